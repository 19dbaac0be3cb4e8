#!/usr/bin/env bash
# Training speed of several ranks with one thread each against one rank with as many threads, in turns
# in the same run, on the first batch again and again (--use_fake_data, so that no loader takes part).
# Prints one JSON line for each way: images per second (best and median of the lines of metrics.jsonl
# past the first) and processor seconds per image, which other programs on the machine change less.
# Started by hand, on an idle machine:
#
#   EDT_BIN_DIR=build/bin tests/bench/compare_ranks.sh [RANKS [IMAGE_SIZE [BATCH [ROUNDS [STEPS]]]]]
set -u
bin=${EDT_BIN_DIR:-build/bin}
ranks=${1:-2} size=${2:-512} batch=${3:-4} rounds=${4:-3} steps=${5:-24}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[ -x "$bin/train" ] || { echo "no $bin/train; EDT_BIN_DIR is the folder of the built programs" >&2; exit 2; }
"$bin/draw_shapes" --output_dir="$work/data" --num_train=$((2 * batch)) --num_val=1 --image_size="$size" \
  --log_level=quiet >/dev/null || exit 2
"$bin/create_coco_records" --image_dir="$work/data/train" --num_shards=1 --log_level=quiet \
  --object_annotations_file="$work/data/annotations/instances_train.json" --output_file_prefix="$work/train" ||
  exit 2
echo "$(nproc) processors, load $(cut -d ' ' -f 1 /proc/loadavg)" >&2

# measure NAME PROGRAM...
measure() {
  local name=$1
  shift
  rm -rf "$work/model"
  times >"$work/times" # no pipe: a subshell would have its own
  "$@" --model_name=efficientdet-d0 --model_dir="$work/model" --train_file_pattern="$work/train-*" \
    --train_batch_size="$batch" --num_examples_per_epoch=$((batch * steps)) --num_epochs=1 \
    --log_steps=$((steps / 6)) --use_fake_data --seed=1 \
    --hparams="image_size=$size,num_classes=6,sync_bn=off,lr_warmup_epoch=0" >"$work/log" 2>&1 ||
    { tail -n 5 "$work/log" >&2; exit 1; }
  sed -n '2,$s/.*"images_per_second": \([0-9.]*\).*/\1/p' "$work/model/metrics.jsonl" >>"$work/$name.speed"
  times >>"$work/times" # of this shell, then of its children, twice
  tr 'ms' '  ' <"$work/times" | awk -v n=$((batch * steps)) '
    { at[NR] = 60 * ($1 + $3) + $2 + $4 } END { print (at[4] - at[2]) / n }' >>"$work/$name.cost"
}
for _ in $(seq "$rounds"); do
  measure one "$bin/train" --num_threads="$ranks"
  measure shm "$bin/train" --num_ranks="$ranks" --num_threads=1
  if command -v mpirun >/dev/null && [ -e "$bin/libedt_mpi.so" ]; then
    measure mpi mpirun --allow-run-as-root --oversubscribe --bind-to none -n "$ranks" "$bin/train" --num_threads=1
  fi
done
median() { sort -g "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
reference=$(median "$work/one.speed")
for name in one shm mpi; do
  [ -e "$work/$name.speed" ] || continue
  printf '{"what":"train_ranks","way":"%s","ranks":%d,"threads":%d,"image_size":%d,"batch":%d,' "$name" \
    "$([ $name = one ] && echo 1 || echo "$ranks")" "$([ $name = one ] && echo "$ranks" || echo 1)" "$size" "$batch"
  printf '"best":%.2f,"median":%.2f,"unit":"images/s","of_one_rank":%.3f,"cpu_seconds_per_image":%.4f}\n' \
    "$(sort -g "$work/$name.speed" | tail -n 1)" "$(median "$work/$name.speed")" \
    "$(awk -v a="$(median "$work/$name.speed")" -v b="$reference" 'BEGIN { print a / b }')" \
    "$(median "$work/$name.cost")"
done
