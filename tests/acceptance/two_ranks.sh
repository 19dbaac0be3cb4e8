#!/usr/bin/env bash
# Two ranks against one with the same global batch: the first step's gradient and the mean loss of 20
# steps must agree (compare_runs.c).
#   usage: two_ranks.sh BIN_DIR RECORD_PREFIX OUT_DIR [cpu|cuda [IMAGE_SIZE [GRADIENT_TOLERANCE [LOSS_TOLERANCE]]]]
# compare_runs is looked for in BIN_DIR and in BIN_DIR/../acceptance. On one GPU the ranks share it: NCCL takes
# processes with different NCCL_HOSTID for different machines.
set -eu
bin=$1 records=$2 out=$3 device=${4:-cuda} size=${5:-512} gradient=${6:-1e-2} loss=${7:-1e-2}
compare=$bin/compare_runs
[ -x "$compare" ] || compare=$bin/../acceptance/compare_runs
rm -rf "$out"
mkdir -p "$out"
flags=(--model_name=efficientdet-d0 --train_batch_size=16 --num_examples_per_epoch=16
  --log_steps=1 --seed=3 --train_file_pattern="$records-*"
  --hparams="image_size=$size,sync_bn=full,learning_rate=0.01,lr_warmup_epoch=0,label_map=coco")
# run NAME FLAGS...: 20 steps, and the checkpoint of a first step beside them.
run() {
  local name=$1 steps
  shift
  for steps in 1 20; do
    "$bin/train" "${flags[@]}" --num_epochs=$steps --model_dir="$out/$name-$steps" "$@" >"$out/$name-$steps.log" 2>&1 ||
      { echo "two_ranks.sh: training '$name' failed:" >&2; tail -n 20 "$out/$name-$steps.log" >&2; exit 1; }
  done
  cp "$out/$name-1"/model.ckpt-1.* "$out/$name-20/"
}
case $device in
  cuda)
    run one --device=cuda
    run two --strategy=gpus --num_ranks=2 --share_device
    ;;
  *)
    run one --device="$device" --num_threads=2
    run two --device="$device" --num_ranks=2 --num_threads=1
    ;;
esac
"$compare" "$out/one-20" "$out/two-20" "$gradient" "$loss"
