#!/usr/bin/env bash
# create_pascal_records as its users run it: the same bytes for any number of threads and processes, and
# bad input of each kind: one clear message, the right exit code, nothing under the final names.
set -u
bin=${EDT_BIN_DIR:?}/create_pascal_records
data=${EDT_DATA_DIR:-${EDT_SOURCE_DIR:?}/../shared/data}
# shellcheck source=tests/cli/common.sh
. "$(dirname "$0")/common.sh"
need_dirs "$data"
same_dirs() { # shards, JSON, side indexes; a catalog holds LMDB's pages, in any order
  diff -rq -x '*.catalog' "$1" "$2" || complain "$2 differs from $1"
}

# Whole sets, by threads and by processes (as a launcher would number them).
kit=$data/voc-mini/VOCdevkit
run=(--data_dir="$kit" --year=merged --set=val --num_shards=4)
for threads in 1 2 8; do
  expect 0 'Finished writing' "${run[@]}" --num_threads=$threads --output_path="$tmp/$threads/voc"
  same_dirs "$tmp/1" "$tmp/$threads"
done
for rank in 2 0 1; do
  OMPI_COMM_WORLD_RANK=$rank OMPI_COMM_WORLD_SIZE=3 \
    "$bin" "${run[@]}" --output_path="$tmp/ranks/voc" 2>"$tmp/stderr" || complain "$(cat "$tmp/stderr")"
done
same_dirs "$tmp/1" "$tmp/ranks"
[ -e "$tmp/1/voc-00003-of-00004.tfrecord" ] && [ -e "$tmp/1/json_voc.json" ] || complain "no shards"
images=$(grep -o '"file_name"' "$tmp/1/json_voc.json" | wc -l)
[ "$images" = 34 ] || complain "$images images in the JSON instead of 34"
grep -o '"name": "person"' "$tmp/1/json_voc.json" | wc -l | grep -qx 1 || complain "categories repeat"
expect 0 'Finished' "${run[@]}" --reference_defects --output_path="$tmp/parity/voc"
grep -o '"name": "person"' "$tmp/parity/json_voc.json" | wc -l | grep -qx 2 ||
  complain "the reference repeats the categories"
(cd "$tmp" && "$bin" "${run[@]}" --output_path=here 2>/dev/null)
[ -e "$tmp/json_here.json" ] || complain "no files in the current directory"

# Wrong usage.
out=$tmp/bad
expect 2 '--data_dir' --output_path="$out"
expect 2 '--output_path' --data_dir="$kit"
expect 2 '--set' --data_dir="$kit" --output_path="$out" --set=dev
expect 2 '--year' --data_dir="$kit" --output_path="$out" --year=VOC2010
expect 2 '--num_shards' "${run[@]}" --output_path="$out" --num_shards=0
expect 2 '--num_images' "${run[@]}" --output_path="$out" --num_images=-1
expect 2 'label_map_json_path' "${run[@]}" --output_path="$out" --label_map_jsn_path=x
expect 1 "$tmp/none" --data_dir="$tmp/none" --output_path="$out"
expect 1 'no list of images' --data_dir="$kit" --year=VOC2012 --set=test --output_path="$out"
expect 1 'aeroplane_val.txt' --data_dir="$tmp" --set=val --output_path="$out"
expect 1 "$tmp/map" "${run[@]}" --label_map_json_path="$tmp/map" --output_path="$out"
echo '[1, 2]' >"$tmp/map"
expect 1 'expected an object' "${run[@]}" --label_map_json_path="$tmp/map" --output_path="$out"
echo '{"background": 0, "dog": 1.5}' >"$tmp/map"
expect 1 "'dog' is no whole number" "${run[@]}" --label_map_json_path="$tmp/map" --output_path="$out"
expect_nothing "$out"

# A devkit of one good image and one bad thing.
own=$tmp/own
mkdir -p "$own/VOC2007/"{Annotations,ImageSets/Main,JPEGImages}
corpus=$data/jpeg-corpus
cp "$corpus/baseline_420.jpg" "$own/VOC2007/JPEGImages/good.jpg"
annotation() { # ID FILENAME HEIGHT WIDTH OBJECTS
  printf '<annotation><folder>anything</folder><filename>%s</filename><size><width>%s</width>
    <height>%s</height></size>%s</annotation>' "$2" "$4" "$3" "$5" >"$own/VOC2007/Annotations/$1.xml"
}
object() { # NAME XMIN YMIN XMAX YMAX
  printf '<object><name>%s</name><pose>Left</pose><truncated>0</truncated><difficult>0</difficult>
    <bndbox><xmin>%s</xmin><ymin>%s</ymin><xmax>%s</xmax><ymax>%s</ymax></bndbox></object>' "$@"
}
annotation good good.jpg 149 227 "$(object dog 1 2 30 40)"
run=(--data_dir="$own" --set=val --num_shards=2)
# bad_image CODE WORDS: image `bad` as it has just been made
bad_image() {
  printf 'good\nbad\n' >"$own/VOC2007/ImageSets/Main/val.txt"
  rm -rf "$out"* "$tmp/json_bad.json"
  expect 1 "$2" "${run[@]}" --output_path="$out"
  expect_nothing "$out"
  expect_nothing "$tmp/json_bad"
  expect 0 'bad items were left out' "${run[@]}" --on_bad=skip --output_path="$out" \
    --report="$tmp/report.json"
  grep -q "\"$1\": 1" "$tmp/report.json" || complain "$1 is not counted"
  grep -q '"records": 1,' "$tmp/report.json" || complain "$1: one record expected"
  grep -q "\"code\": \"$1\"" "$tmp/report.json" || complain "$1 is not listed"
  [ "$(grep -o '"file_name"' "$tmp/json_bad.json" | wc -l)" = 1 ] || complain "$1: JSON"
}
bad_image unreadable 'Annotations/bad.xml'
: >"$own/VOC2007/Annotations/bad.xml"
bad_image field 'empty file'
head -c 200 "$own/VOC2007/Annotations/good.xml" >"$own/VOC2007/Annotations/bad.xml"
bad_image field 'cut off'
annotation bad none.jpg 149 227 ''
bad_image unreadable 'none.jpg'
annotation bad good.jpg 227 149 ''
bad_image size '149 x 227'
annotation bad good.jpg 149 227 "$(object unicorn 1 2 3 4)"
bad_image category "class 'unicorn' is not in the label map"
annotation bad good.jpg 149 227 "$(object dog 1 2 x 4)"
bad_image field "object 0: element 'object/bndbox/xmax': 'x'"
printf '\x89PNG\r\n\x1a\n' >"$own/VOC2007/JPEGImages/bad.jpg"
annotation bad bad.jpg 1 1 ''
bad_image header 'bad.jpg'
head -c 4000 "$corpus/baseline_420.jpg" >"$own/VOC2007/JPEGImages/bad.jpg"
annotation bad bad.jpg 149 227 ''
bad_image header 'cut off'
printf 'good\n\nbad -1\ngood  1\n' >"$own/VOC2007/ImageSets/Main/val.txt"
cp "$corpus/baseline_420.jpg" "$own/VOC2007/JPEGImages/bad.jpg"
expect 1 'good of VOC2007 stands in the list twice' "${run[@]}" --output_path="$out"

# A PNG that is sound, too, is none of VOC's pictures.
cp "$corpus/png_named_jpg_6x6.jpg" "$own/VOC2007/JPEGImages/bad.jpg"
annotation bad bad.jpg 6 6 ''
printf 'bad\n' >"$own/VOC2007/ImageSets/Main/val.txt"
expect 1 'Image format not JPEG' "${run[@]}" --output_path="$tmp/png"

# Boxes that stick out are kept and counted, or cut; decimals lose their fractions in the JSON.
printf 'good\n' >"$own/VOC2007/ImageSets/Main/val.txt"
annotation good good.jpg 149 227 \
  "$(object dog 1.7 2 300 40)$(object dog -5 2 30 40)$(object dog 30 2 30 40)"
expect 0 'kept_outside: 1' "${run[@]}" --output_path="$tmp/kept"
grep -q 'kept_empty: 1' "$tmp/stderr" || complain "an empty box is not counted"
grep -qF '"bbox": [1, 2, 299, 38]' "$tmp/json_kept.json" || complain "$(cat "$tmp/json_kept.json")"
expect 0 'clipped: 2' "${run[@]}" --output_path="$tmp/cut" --clip_boxes
grep -qF '"bbox": [1, 2, 226, 38]' "$tmp/json_cut.json" || complain "$(cat "$tmp/json_cut.json")"
grep -qF '"bbox": [0, 2, 30, 38]' "$tmp/json_cut.json" || complain "$(cat "$tmp/json_cut.json")"
grep -o '"bbox"' "$tmp/json_cut.json" | wc -l | grep -qx 2 || complain "the empty box stays"

# Pictures made smaller, by any number of threads; records and JSON have the new sizes.
small=(--data_dir="$kit" --year=VOC2012 --set=val --num_shards=2 --max_side=200 --reencode=80,420)
expect 0 'Finished' "${small[@]}" --num_threads=1 --output_path="$tmp/small1/voc"
expect 0 'Finished' "${small[@]}" --num_threads=3 --output_path="$tmp/small3/voc"
same_dirs "$tmp/small1" "$tmp/small3"
"$EDT_BIN_DIR/inspect_records" --verify --log_level=quiet "$tmp"/small1/voc-* >"$tmp/verify" ||
  complain "$(cat "$tmp/verify")"
"$EDT_BIN_DIR/inspect_records" --list "$tmp"/small1/voc-* | awk -F'\t' 'NR > 1 && ($6 > 200 || $7 > 200)' |
  grep . && complain "a picture is too large"
grep -qF '"file_name": "2007_000039.jpg", "height": 150, "width": 200' "$tmp/small1/json_voc.json" ||
  complain "the JSON has other sizes"
# 156 89 188 190 of the whole picture, two fifths of it.
grep -qF '"bbox": [62, 35, 75, 76]' "$tmp/small1/json_voc.json" || complain "the boxes do not follow"
expect 2 '--reencode' "${small[@]}" --output_path="$tmp/no" --reencode=0

# A full disk (a limit of the file size here): nothing new appears.
mkdir "$tmp/full"
(
  trap '' XFSZ
  ulimit -f 1000
  expect 1 'voc-00000-of-00001.tfrecord' --data_dir="$kit" --year=VOC2012 --set=val --num_shards=1 \
    --output_path="$tmp/full/voc"
  exit $failures
) || complain "disk full"
[ -z "$(find "$tmp/full" -name '*.tfrecord*')" ] || complain "disk full: $(ls "$tmp/full")"

finish "create_pascal_records"
