#!/usr/bin/env bash
# train --strategy=gpus with two ranks on the emulated device, over the stand-in for NCCL: steps that
# are recorded and replayed with their sums agree with one rank on the device and with two on the
# processor, and give the same bytes again.
set -u
bin=${EDT_BIN_DIR:?}
compare=$bin/../acceptance/compare_runs
export EDT_PLUGIN_DIR=$bin/../emulated EDT_CUDA_MEASURE=0 EDT_EMULATOR_STAYS_OPEN=1
if [ ! -e "$EDT_PLUGIN_DIR/libedt_nccl.so" ]; then
  echo "no emulated NCCL in this build: skipped"
  exit 0
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
fail() {
  echo "FAIL: $1"
  tail -n 25 "$tmp"/*.log
  exit 1
}
"$bin/draw_shapes" --output_dir="$tmp/data" --num_train=10 --num_val=1 --image_size=96 \
  --min_side=24 --max_side=60 --log_level=quiet >/dev/null || fail draw_shapes
"$bin/create_coco_records" --image_dir="$tmp/data/train" --num_shards=1 --log_level=quiet \
  --object_annotations_file="$tmp/data/annotations/instances_train.json" \
  --output_file_prefix="$tmp/train" || fail create_coco_records

# The second batch is a short one.
hparams=image_size=128,num_classes=6,sync_bn=full,learning_rate=0.01,lr_warmup_epoch=0
hparams+=,drop_remainder=false,fpn_cell_repeats=1,box_class_repeats=1
run() { # NAME STEPS FLAGS...
  local name=$1 steps=$2
  shift 2
  "$bin/train" --model_name=efficientdet-d0 --train_batch_size=8 --num_examples_per_epoch=8 --seed=1 \
    --log_steps=1 --num_threads=1 --num_epochs="$steps" --train_file_pattern="$tmp/train-*" \
    --hparams=$hparams --model_dir="$tmp/$name" "$@" >"$tmp/$name.log" 2>&1 || fail "$name"
}
gpus=(--strategy=gpus --num_ranks=2 --share_device)
run first_cpu 1 --num_ranks=2
run first_one 1 --device=cuda
run first_two 1 "${gpus[@]}"
"$compare" "$tmp/first_one" "$tmp/first_two" 1e-3 1e-5 || fail "two ranks and one differ"
"$compare" "$tmp/first_cpu" "$tmp/first_two" 1e-3 1e-5 || fail "device and processor differ"
run cpu 3 --num_ranks=2
run two 3 "${gpus[@]}"
run again 3 "${gpus[@]}" --log_steps=3
grep -q '2 ranks (nccl), 4 of the batch on each' "$tmp/two.log" || fail "not over NCCL"
for name in cpu two; do
  cp "$tmp/first_two"/model.ckpt-1.* "$tmp/$name/"
done
"$compare" "$tmp/cpu" "$tmp/two" 1 1e-4 || fail "losses of three steps differ"
for part in index data-00000-of-00001; do
  cmp "$tmp/two/model.ckpt-3.$part" "$tmp/again/model.ckpt-3.$part" || fail "two runs differ"
done

# A rank is lost while the other one's steps are replayed: that one ends by itself, with words.
EDT_EMULATED_NCCL_MS=2000 "$bin/train" --model_name=efficientdet-d0 --train_batch_size=8 --seed=1 \
  --num_examples_per_epoch=8 --log_steps=1 --num_threads=1 --num_epochs=200 --hparams=$hparams \
  --train_file_pattern="$tmp/train-*" --model_dir="$tmp/lost" "${gpus[@]}" >"$tmp/lost.log" 2>&1 &
supervisor=$!
tail -n +1 -F --pid=$supervisor "$tmp/lost/metrics.jsonl" 2>/dev/null | grep -qm1 '"step": 2,' ||
  fail "no second step"
mapfile -t ranks < <(pgrep -P $supervisor)
kill -KILL "${ranks[1]}"
wait $supervisor && fail "a rank was killed, and all was well"
grep -q "rank 1 (process ${ranks[1]}) was killed by signal 9" "$tmp/lost.log" || fail "no word"
grep -qE '^E .*(remote process exited|rank 1 .* was killed)' "$tmp/lost.log" || fail "rank 0 is silent"
grep -q 'NCCL would wait' "$tmp/lost.log" && fail "a recording outlives its communicator"
echo "ok"
