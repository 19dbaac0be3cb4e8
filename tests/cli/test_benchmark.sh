#!/usr/bin/env bash
# benchmark: every measurement runs on tiny sizes and prints one JSON line per result; exit codes
# and words for wrong use. Times are never judged.
set -u
bin=${EDT_BIN_DIR:?}/benchmark
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
fails=0
fail() {
  echo "FAILED: $*"
  fails=1
}
# every_line_is_json FILE, with what this machine has
every_line_is_json() {
  [ -s "$1" ] || return 1
  if command -v python3 >/dev/null; then
    python3 -c 'import json, sys
for line in open(sys.argv[1]):
    row = json.loads(line)
    assert isinstance(row["value"], (int, float)) and row["value"] >= 0, line
    assert row["what"] and row["unit"] and row["threads"] >= 1, line' "$1"
  else
    ! grep -qvE '^\{"what": ".+", .*"value": [0-9.e+-]+, "unit": ".+", "threads": [0-9]+.*\}$' "$1"
  fi
}
# measure NAMES ARGS...: NAMES, divided by '|', must all be among the results
measure() {
  local names=$1 name
  shift
  "$bin" --json --log_level=quiet "$@" >"$tmp/out" 2>"$tmp/err" ||
    fail "benchmark $*: exit $?: $(cat "$tmp/err")"
  every_line_is_json "$tmp/out" || fail "benchmark $*: not JSON lines: $(cat "$tmp/out")"
  while IFS= read -r -d'|' name; do
    grep -qF "\"what\": \"$name\"" "$tmp/out" || fail "benchmark $*: no result '$name'"
  done <<<"$names|"
}
expect() { # $1 exit code, $2 text that the output must hold, rest: arguments
  local want=$1 text=$2 out code
  shift 2
  out=$("$bin" "$@" 2>&1)
  code=$?
  if [ $code != "$want" ] || ! grep -qF -- "$text" <<<"$out"; then
    fail "benchmark $*: exit $code, wanted $want and '$text': $out"
  fi
}
small=(--image_size=128 --num_threads=1 --bm_runs=2 --warmup=1)

measure 'network memory|network best|network median|network|network convolutions|ceiling: f32 matrix product|ceiling: memory triad|network share of the ceiling' \
  "${small[@]}" --what=network
measure 'network|op kind|op' "${small[@]}" --what=network --per_op --model_name=efficientdet-lite0
grep -qE '"op": "conv2d(_bn_act)?( 1x1)?"' "$tmp/out" || fail "no convolution in the table of ops"
OMP_WAIT_POLICY=passive \
  measure 'train best|train median|train best forward|train best backward|train best update and inputs|train|train share of the ceiling|train threads busy|op kind' \
  "${small[@]}" --what=train --per_op
grep -qF '"busy_percent": ' "$tmp/out" || fail "no busy threads in the table of ops"
grep -qF '"batch_size": 2' "$tmp/out" || fail "a training step's default is not batch 2"
measure 'network memory|network median' "${small[@]}" --what=network --precision=bf16
# The oracle has no ceiling to measure.
measure 'network median' --what=network --device=ref --bm_runs=1 --warmup=0 --image_size=128 \
  --model_name=efficientdet-lite0
grep -qF 'ceiling' "$tmp/out" && fail "a ceiling for ref"

"$EDT_BIN_DIR/draw_shapes" --output_dir="$tmp/shapes" --num_train=6 --num_val=2 --image_size=96 \
  --min_side=16 --max_side=40 --log_level=quiet >/dev/null || fail "draw_shapes: exit $?"
"$EDT_BIN_DIR/create_coco_records" --image_dir="$tmp/shapes/train" --num_shards=1 \
  --object_annotations_file="$tmp/shapes/annotations/instances_train.json" --log_level=quiet \
  --output_file_prefix="$tmp/records/train" || fail "create_coco_records: exit $?"
shards="$tmp/records/train-*"
short=("${small[@]}" --seconds=0.01 --file_pattern="$shards")
measure 'decode best|decode|decode pixels' "${short[@]}" --what=decode
[ "$(grep -c '"what": "decode pixels"' "$tmp/out")" = 1 ] || fail "one thread is one series"
mkdir "$tmp/caches"
export TMPDIR=$tmp/caches # of the decoded caches, which do not outlive the run
measure 'ceiling: decode alone|loader u8|loader u8 with targets|loader f32|loader u8 with targets, v0|filling a decoded cache|from a decoded cache|from a decoded cache, v0|cost of v0' \
  "${short[@]}" --what=loader --batch_size=2
measure '1 thread: decode alone|1 thread: loader u8 with targets|1 thread: with v2|cost of v2, decoded cache' \
  "${short[@]}" --num_threads=2 --what=loader --batch_size=2 --hparams=autoaugment_policy=v2
[ -z "$(ls "$TMPDIR")" ] || fail "caches are left: $(ls "$TMPDIR")"
measure 'loader u8' "${short[@]}" --what=loader --batch_size=2 --hparams=decoded_cache_bytes=1
grep -qF 'from a decoded cache' "$tmp/out" && fail "a cache without room counts as full"
unset TMPDIR
stages='end_to_end decode|end_to_end resize|end_to_end network|end_to_end boxes|end_to_end total|end_to_end'
measure "$stages" "${short[@]}" --what=end_to_end --batch_size=3
measure "$stages" "${small[@]}" --what=end_to_end --input_image="$tmp/shapes/val"

expect 0 "--bm_runs" --help
expect 2 "--what" --what=everything
expect 2 "coco_eval" --what=eval
expect 2 "--file_pattern" --what=loader
expect 2 "--file_pattern" --what=decode
expect 2 "--input_image" --what=end_to_end "${small[@]}"
expect 1 "$tmp/none" --what=decode --file_pattern="$tmp/none"
expect 2 "efficientdet-d0" --model_name=efficientdet-z9
expect 2 "image_size" --image_size=1
export CUDA_VISIBLE_DEVICES= # a machine that has a GPU shows none
expect 1 "device cuda" --device=cuda
expect 2 "tf32" --precision=tf32
expect 1 "f16" --precision=f16 --what=network --image_size=128
: >"$tmp/empty.tfrecord"
expect 1 "hold no record" --what=decode --file_pattern="$tmp/empty.tfrecord"
expect 1 "JPEG" --what=end_to_end --input_image="$bin" "${small[@]}"
exit $fails
