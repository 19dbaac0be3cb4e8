#!/usr/bin/env bash
# create_coco_records as its users run it: whole data sets, the same bytes for any number of threads,
# and bad input of each kind: one clear message, the right exit code, nothing under the final names.
set -u
bin=${EDT_BIN_DIR:?}/create_coco_records
data=${EDT_DATA_DIR:-${EDT_SOURCE_DIR:?}/../shared/data}
# shellcheck source=tests/cli/common.sh
. "$(dirname "$0")/common.sh"
need_dirs "$data"
# Both splits of the sample data.
for split in train2017 val2017; do
  args=(--image_dir="$data/coco-mini/$split"
    --object_annotations_file="$data/coco-mini/annotations/instances_$split.json" --num_shards=3)
  for threads in 1 3; do
    expect 0 "Finished writing, skipped 0 annotations." "${args[@]}" --num_threads=$threads \
      --output_file_prefix="$tmp/$threads/$split" --report="$tmp/report.json"
  done
  listed=$(grep -o '"file_name"' "$data/coco-mini/annotations/instances_$split.json" | wc -l)
  grep -q "\"records\": $listed," "$tmp/report.json" || complain "$split: not $listed records"
  for i in 0 1 2; do
    name=$split-0000$i-of-00003.tfrecord
    cmp "$tmp/1/$name" "$tmp/3/$name" || complain "$name depends on the threads"
  done
done
[ "$(find "$tmp/1" -name "*.tfrecord*" -not -path "*/.edt/*" | wc -l)" = 6 ] || complain "6 shards expected: $(ls "$tmp/1")"

# A prefix without a directory.
(cd "$tmp" && "$bin" "${args[@]}" --output_file_prefix=here 2>/dev/null)
[ -e "$tmp/here-00002-of-00003.tfrecord" ] || complain "no shards in the current directory"

# Wrong usage: exit code 2.
out=$tmp/bad
good=$data/coco-mini/annotations/instances_val2017.json
expect 2 'image_dir' --output_file_prefix="$out"
expect 2 'All annotation files are missing' --image_dir="$tmp" --output_file_prefix="$out"
expect 2 '--num_shards' "${args[@]}" --output_file_prefix="$out" --num_shards=0
expect 2 '--compression' "${args[@]}" --output_file_prefix="$out" --compression=lz4
expect 2 '--reencode' "${args[@]}" --output_file_prefix="$out" --reencode=101
expect 2 '--reencode' "${args[@]}" --output_file_prefix="$out" --reencode=90,411
expect 2 '--max_side' "${args[@]}" --output_file_prefix="$out" --max_side=-5
expect 2 'num_shards' "${args[@]}" --output_file_prefix="$out" --num_shard=4

# Missing and damaged files.
expect 1 "$tmp/none" --image_dir="$tmp/none" --object_annotations_file="$good" \
  --output_file_prefix="$out"
expect 1 "$tmp/none.json" --image_dir="$tmp" --object_annotations_file="$tmp/none.json" \
  --output_file_prefix="$out"
: >"$tmp/empty.json"
expect 1 "empty.json': the file is empty" --image_dir="$tmp" \
  --object_annotations_file="$tmp/empty.json" --output_file_prefix="$out"
head -c 100000 "$good" >"$tmp/cut.json"
expect 1 "cut.json': line 1, column" --image_dir="$tmp" --object_annotations_file="$tmp/cut.json" \
  --output_file_prefix="$out"
: >"$tmp/file"
expect 1 "$tmp/file" "${args[@]}" --output_file_prefix="$tmp/file/x"
expect_nothing "$out"

# Bad items, one at a time: they end the run, or are left out and counted.
mkdir "$tmp/images"
corpus=$data/jpeg-corpus
cp "$corpus/baseline_420.jpg" "$tmp/images/good.jpg"
head -c 60 "$corpus/baseline_420.jpg" >"$tmp/images/header_cut.jpg"
head -c 4000 "$corpus/baseline_420.jpg" >"$tmp/images/cut.jpg"
: >"$tmp/images/empty.jpg"
echo 'not a picture' >"$tmp/images/text.jpg"
mkdir "$tmp/images/dir.jpg"
# bad_item CODE WORDS IMAGES ANNOTATIONS: next to one good image with one good box
bad_item() {
  local json=$tmp/items.json
  printf '{"images": [{"id": 1, "file_name": "good.jpg", "height": 149, "width": 227}%s],
    "categories": [{"id": 5, "name": "x"}], "annotations": [{"id": 1, "image_id": 1,
    "bbox": [1, 2, 30, 40], "category_id": 5, "iscrowd": 0, "area": 9}%s]}' "$3" "$4" >"$json"
  local run=(--image_dir="$tmp/images" --object_annotations_file="$json" --num_shards=2
    --output_file_prefix="$out")
  expect 1 "$2" "${run[@]}"
  expect_nothing "$out"
  expect 0 'bad items were left out' "${run[@]}" --on_bad=skip --report="$tmp/report.json"
  grep -q "\"$1\": 1" "$tmp/report.json" || complain "$1 is not counted"
  grep -q '"records": 1,' "$tmp/report.json" || complain "$1: one record expected"
  grep -q '"boxes": 1,' "$tmp/report.json" || complain "$1: one box expected"
  grep -q "\"code\": \"$1\"" "$tmp/report.json" || complain "$1 is not listed"
  rm -rf "$out"*
}
image() { printf ', {"id": 2, "file_name": "%s", "height": %d, "width": %d}' "$1" "$2" "$3"; }
bad_item unreadable 'none.jpg' "$(image none.jpg 149 227)" ''
bad_item unreadable 'empty.jpg' "$(image empty.jpg 149 227)" ''
bad_item unreadable 'dir.jpg' "$(image dir.jpg 149 227)" ''
bad_item header 'text.jpg' "$(image text.jpg 149 227)" ''
bad_item header 'header_cut.jpg' "$(image header_cut.jpg 149 227)" ''
bad_item header 'cut off' "$(image cut.jpg 149 227)" ''
bad_item size '149 x 227' "$(image good.jpg 227 149)" ''
bad_item field "images[1]: field 'file_name' is missing" ', {"id": 2, "height": 1, "width": 1}' ''
bad_item duplicate_image 'images[1]' ', {"id": 1, "file_name": "b", "height": 1, "width": 1}' ''
bad_item category 'category_id: 77' '' \
  ', {"image_id": 1, "bbox": [0, 0, 1, 1], "category_id": 77, "iscrowd": 0, "area": 1}'
bad_item field "annotations[1]: field 'area' is missing" '' \
  ', {"image_id": 1, "bbox": [0, 0, 1, 1], "category_id": 5, "iscrowd": 0}'

# Boxes that stick out are dropped, or cut to the image when asked.
printf '{"images": [{"id": 1, "file_name": "good.jpg", "height": 149, "width": 227}],
  "categories": [{"id": 5, "name": "x"}], "annotations": [{"image_id": 1, "area": 9,
  "bbox": [200, 2, 30, 40], "category_id": 5, "iscrowd": 0}]}' >"$tmp/out.json"
run=(--image_dir="$tmp/images" --object_annotations_file="$tmp/out.json" --num_shards=1)
expect 0 'skipped 1 annotations' "${run[@]}" --output_file_prefix="$tmp/dropped"
expect 0 'clipped: 1' "${run[@]}" --output_file_prefix="$tmp/clipped" --clip_boxes

# A full disk (a limit of the file size here): old shards stay, nothing new appears.
mkdir "$tmp/full"
echo old >"$tmp/full/v-00000-of-00001.tfrecord"
(
  trap '' XFSZ
  ulimit -f 1000
  expect 1 'v-00000-of-00001.tfrecord' "${args[@]}" --num_shards=1 \
    --output_file_prefix="$tmp/full/v"
  exit $failures
) || complain "disk full"
[ "$(cat "$tmp/full/"*)" = old ] || complain "disk full: $(ls "$tmp/full")"

finish "create_coco_records"
