#!/usr/bin/env bash
# inspect_records: help, exit codes and words for wrong use, and the names that a label map gives.
set -u
bin=$EDT_BIN_DIR/inspect_records
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
fails=0
expect() { # $1 exit code, $2 text that the output must hold, rest: arguments
  local want=$1 text=$2 out code
  shift 2
  out=$("$bin" "$@" 2>&1)
  code=$?
  if [ $code != "$want" ] || ! grep -qF -- "$text" <<<"$out"; then
    echo "inspect_records $*: exit $code, wanted $want and '$text':"
    echo "$out"
    fails=1
  fi
}
expect 0 "--save_samples_dir" --help
expect 0 "inspect_records" --version
expect 2 "give --file_pattern" --samples=3
expect 2 "--samples" --samples=0 x
expect 2 "go alone" --list --verify x
expect 2 "go alone" --extract=1 --repair=y x
expect 2 "either --verify or --stats" --json=- x
expect 2 "--hparams=num_classes" --num_classes=3 x
expect 2 "save_samples_dir" --save_sample_dir=x
expect 2 "efficientdet-d0" --model_name=efficientdet-z9 "$tmp/none"
expect 1 "$tmp/none" "$tmp/none"
printf 'not a record file at all' >"$tmp/bad.tfrecord"
expect 1 "bad.tfrecord" --save_samples_dir="$tmp/out" "$tmp/bad.tfrecord"
: >"$tmp/empty.tfrecord"
expect 2 "no samples" --save_samples_dir="$tmp/out" "$tmp/empty.tfrecord"
expect 1 "has a box" --eval --save_samples_dir="$tmp/out" "$tmp/empty.tfrecord"
expect 2 "hparam" --hparams=autoaugment_policyy=v0 "$tmp/empty.tfrecord"
expect 2 "randaug, or None" --hparams=autoaugment_policy=v9 "$tmp/empty.tfrecord"

# Checks, tables, lists, single records and repair, over every storage.
golden=${EDT_GOLDEN_DIR:-${EDT_SOURCE_DIR:-.}/../shared/golden}/data/tfrecord
if [ -d "$golden" ]; then
  expect 0 "24 records in 2 files, 183 boxes, 2 records without boxes: all good" --verify \
    "$golden"/coco-*.tfrecord
  expect 1 "label 84 is not in 1..80" --verify --num_classes=80 "$golden"/coco-*.tfrecord
  expect 1 "box_range: " --verify --json="$tmp/verify.json" "$golden"/edge-*.tfrecord
  grep -q '"box_range": 1,' "$tmp/verify.json" || { echo "no count in the JSON"; fails=1; }
  grep -q '"duplicate_id": 24,' <("$bin" --verify --json=- --log_level=quiet \
    "$golden"/coco-*.tfrecord "$golden/../tfrecord"/coco-*.tfrecord) || { echo "twice is once"; fails=1; }
  expect 0 "person" --stats --hparams=label_map=coco --file_pattern="$golden/coco-*"
  expect 0 "boxes per record" --stats --json="$tmp/stats.json" "$golden"/voc-*.tfrecord
  grep -q '"name": "tvmonitor"' "$tmp/stats.json" || { echo "no name in the JSON"; fails=1; }
  [ "$("$bin" --list "$golden"/coco-*.tfrecord | wc -l)" = 25 ] || { echo "--list"; fails=1; }
  "$bin" --extract=2007_000033.jpg --save_samples_dir="$tmp/one" "$golden"/voc-*.tfrecord >/dev/null
  cmp -s "$tmp/one/2007_000033.jpg.jpg" \
    "$golden/../../../data/voc-mini/VOCdevkit/VOC2012/JPEGImages/2007_000033.jpg" ||
    { echo "--extract changes the picture"; fails=1; }
  grep -q '"name": "aeroplane"' "$tmp/one/2007_000033.jpg.json" || { echo "--extract: JSON"; fails=1; }
  expect 1 "no record of 1 files has" --extract=999 "$golden"/voc-*.tfrecord
  expect 1 "cannot be read" --list "$golden/reader/plain.tfrecord"

  # A shard with a damaged record, a damaged length and a cut: everything else is saved, whatever it is
  # stored as afterwards.
  cp "$golden/coco-00000-of-00002.tfrecord" "$tmp/damaged.tfrecord"
  chmod u+w "$tmp/damaged.tfrecord"
  "$bin" --list "$tmp/damaged.tfrecord" | cut -f3,4 >"$tmp/places"
  at() { sed -n "$(($1 + 2))p" "$tmp/places" | cut -f1; }
  poke() { printf '\xff\xfe\xfd' | dd of="$tmp/damaged.tfrecord" bs=1 seek="$1" conv=notrunc status=none; }
  poke $(($(at 2) + 500))
  poke "$(at 5)"
  truncate -s $(($(at 11) + 100)) "$tmp/damaged.tfrecord"
  expect 1 "3 defects" --verify "$tmp/damaged.tfrecord"
  expect 0 "9 records saved" --repair="$tmp/good.tfrecord.zst" "$tmp/damaged.tfrecord"
  expect 0 "9 records in 1 files" --verify "$tmp/good.tfrecord.zst"
  expect 0 "9 records saved" --repair="$tmp/good.tfrecord" "$tmp/good.tfrecord.zst"
  expect 0 "9 records saved" --repair="$tmp/good.tfrecord.gz" "$tmp/good.tfrecord"
  expect 0 "9 records saved" --repair="$tmp/good.tfrecord.zz" "$tmp/good.tfrecord.gz"
  gzip -dc "$tmp/good.tfrecord.gz" | cmp -s - "$tmp/good.tfrecord" || { echo "repair: gz"; fails=1; }
  for i in 0 1 3 4 6 7 8 9 10; do
    dd if="$golden/coco-00000-of-00002.tfrecord" bs=1M iflag=skip_bytes,count_bytes skip="$(at $i)" \
      count=$(($(at $((i + 1))) - $(at $i))) status=none
  done | cmp -s - "$tmp/good.tfrecord" || { echo "repair changes records"; fails=1; }
  # Pictures come out of every storage, and the page stands alone.
  for file in good.tfrecord good.tfrecord.gz good.tfrecord.zz good.tfrecord.zst; do
    rm -rf "$tmp/seen"
    expect 0 "9 pictures" --eval --samples=9 --save_samples_dir="$tmp/seen" "$tmp/$file"
    [ -e "$tmp/seen/samples.jpg" ] || { echo "$file: no contact sheet"; fails=1; }
    [ "$(grep -c '<figure>' "$tmp/seen/index.html")" = 9 ] || { echo "$file: no page"; fails=1; }
    grep -qE '(src|href)="[^"]*(:|/)|<script' "$tmp/seen/index.html" &&
      { echo "$file: the page leads elsewhere"; fails=1; }
    [ "$(find "$tmp/seen" -name '.*' | wc -l)" = 0 ] || { echo "$file: copies left behind"; fails=1; }
  done
  expect 2 "would be replaced" --repair="$tmp/good.tfrecord" "$tmp/good.tfrecord"
  expect 2 "go into a directory" --repair="$tmp/x" "$golden"/coco-*.tfrecord
  expect 0 "24 records saved" --repair="$tmp/dir/" "$golden"/coco-*.tfrecord
  cmp -s "$tmp/dir/coco-00001-of-00002.tfrecord" "$golden/coco-00001-of-00002.tfrecord" ||
    { echo "repair changes a good shard"; fails=1; }
fi

# A named label map goes before the names in the records.
"$EDT_BIN_DIR/draw_shapes" --output_dir="$tmp/shapes" --num_train=4 --num_val=1 --image_size=96 \
  --min_side=24 --max_side=48 --log_level=quiet >/dev/null || fails=1
"$EDT_BIN_DIR/create_coco_records" --image_dir="$tmp/shapes/train" --num_shards=1 \
  --object_annotations_file="$tmp/shapes/annotations/instances_train.json" --log_level=quiet \
  --output_file_prefix="$tmp/shapes/train" >/dev/null || fails=1
shard=$tmp/shapes/train-00000-of-00001.tfrecord
for map in none voc; do
  hparams=image_size=128,num_classes=20
  [ $map = none ] || hparams=$hparams,label_map=$map
  expect 0 "4 pictures" --eval --hparams=$hparams --save_samples_dir="$tmp/$map" "$shard"
done
voc='aeroplane|bicycle|bird|boat|bottle|bus'
grep -qE "$voc" "$tmp/none/index.html" && echo "names from nowhere" && fails=1
grep -qE "$voc" "$tmp/voc/index.html" || { echo "the label map gives no names"; fails=1; }
expect 2 "'kitti' is not known" --hparams=label_map=kitti --save_samples_dir="$tmp/kitti" "$shard"
exit $fails
