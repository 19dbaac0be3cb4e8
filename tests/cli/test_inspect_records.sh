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
expect 2 "later version" --verify x
expect 2 "save_samples_dir" --save_sample_dir=x
expect 2 "efficientdet-d0" --model_name=efficientdet-z9 "$tmp/none"
expect 1 "$tmp/none" "$tmp/none"
printf 'not a record file at all' >"$tmp/bad.tfrecord"
expect 1 "bad.tfrecord" --save_samples_dir="$tmp/out" "$tmp/bad.tfrecord"
: >"$tmp/empty.tfrecord"
expect 2 "no samples" --save_samples_dir="$tmp/out" "$tmp/empty.tfrecord"
expect 1 "has a box" --eval --save_samples_dir="$tmp/out" "$tmp/empty.tfrecord"
expect 2 "hparam" --hparams=autoaugment_policyy=v0 "$tmp/empty.tfrecord"
expect 1 "autoaugment_policy" --hparams=autoaugment_policy=v0 "$tmp/empty.tfrecord"

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
