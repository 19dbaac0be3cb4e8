#!/usr/bin/env bash
# draw_shapes: the same bytes for any number of threads, a data set that the converter takes
# whole, exit codes for wrong use.
set -u
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
fails=0
fail() { echo "$*"; fails=1; }
draw=$EDT_BIN_DIR/draw_shapes
for n in 1 3; do
  "$draw" --output_dir="$tmp/$n" --num_train=20 --num_val=7 --image_size=96 --min_side=16 \
    --max_side=40 --seed=9 --num_threads=$n --log_level=quiet >/dev/null || fail "$n threads: exit $?"
done
diff -r "$tmp/1" "$tmp/3" || fail "1 and 3 threads draw different data sets"
[ "$(find "$tmp/1" -name '*.jpg' | wc -l)" = 27 ] || fail "not 27 pictures"
"$draw" --output_dir="$tmp/other" --num_train=1 --num_val=1 --image_size=96 --min_side=16 \
  --max_side=40 --seed=10 --log_level=quiet >/dev/null
cmp -s "$tmp/1/train/000001.jpg" "$tmp/other/train/000001.jpg" && fail "the seed changes nothing"
for split in train val; do
  "$EDT_BIN_DIR/create_coco_records" --image_dir="$tmp/1/$split" --num_shards=1 \
    --object_annotations_file="$tmp/1/annotations/instances_$split.json" --log_level=quiet \
    --output_file_prefix="$tmp/records/$split" --report="$tmp/$split.json" || fail "converting $split"
done
[ -s "$tmp/records/train-00000-of-00001.tfrecord" ] || fail "no shard"
grep -q 'iscrowd' "$tmp/1/annotations/instances_train.json" || fail "no annotations"

expect() { # $1 exit code, $2 text that the output must hold, rest: arguments
  local want=$1 text=$2 out code
  shift 2
  out=$("$draw" "$@" 2>&1)
  code=$?
  { [ $code = "$want" ] && grep -qF -- "$text" <<<"$out"; } ||
    fail "draw_shapes $*: exit $code, wanted $want and '$text': $out"
}
expect 0 "--num_train" --help
expect 2 "max_side" --output_dir="$tmp/x" --image_size=64 --max_side=64
expect 2 "max_objects" --output_dir="$tmp/x" --max_objects=0
printf x >"$tmp/file"
expect 1 "$tmp/file" --output_dir="$tmp/file/below" --num_train=1 --num_val=1
[ ! -e "$tmp/x" ] || fail "a refused run left $tmp/x"
exit $fails
