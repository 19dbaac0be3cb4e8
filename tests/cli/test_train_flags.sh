#!/usr/bin/env bash
# The flags of train: names of both reference programs, what is refused and with which code, what
# a plan needs, and that mode eval knows what its checkpoint was trained with.
set -u
bin=${EDT_BIN_DIR:?}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
fails=0
fail() {
  echo "FAILED: $*"
  fails=1
}
expect() { # $1 exit code, $2 text that the output must hold, rest: arguments
  local want=$1 text=$2 out code
  shift 2
  out=$("$bin/train" "$@" 2>&1)
  code=$?
  if [ $code != "$want" ] || ! grep -qF -- "$text" <<<"$out"; then
    fail "train $*: exit $code, wanted $want and '$text': $out"
  fi
}

"$bin/draw_shapes" --output_dir="$tmp/data" --num_train=4 --num_val=2 --image_size=64 --min_side=16 \
  --max_side=32 --log_level=quiet >/dev/null || fail draw_shapes
for split in train val; do
  "$bin/create_coco_records" --image_dir="$tmp/data/$split" --num_shards=1 --log_level=quiet \
    --object_annotations_file="$tmp/data/annotations/instances_$split.json" \
    --output_file_prefix="$tmp/$split" || fail "create_coco_records $split"
done
shards=(--train_file_pattern="$tmp/train-*" --val_file_pattern="$tmp/val-*")
small="image_size=96,num_classes=6,lr_warmup_epoch=0"
lite0=(--model_name=efficientdet-lite0 --num_examples_per_epoch=4 --num_threads=1)

# Names of tf2/train.py: traineval, batch_size, steps_per_execution, pretrained_ckpt.
expect 0 "step 2" --mode=traineval "${lite0[@]}" "${shards[@]}" --model_dir="$tmp/model" --num_epochs=1 \
  --batch_size=2 --steps_per_execution=1 --hparams=$small
[ "$(grep -c '"loss"' "$tmp/model/metrics.jsonl")" = 2 ] || fail "not two steps of batch 2"
[ "$(grep -c '"AP"' "$tmp/model/metrics.jsonl")" = 1 ] || fail "traineval did not evaluate"
for key in wait_percent loader_{read,decode,augment,resize,target}_ms loader_idle_percent bad_samples; do
  [ "$(grep -c "\"$key\": [0-9]" "$tmp/model/metrics.jsonl")" = 2 ] || fail "no $key in metrics.jsonl"
done
[ ! -e "$tmp/model/quarantine.json" ] || fail "a report of bad records without any"
expect 2 "on_bad_sample" --on_bad_sample=ignore --model_dir="$tmp/none" "${shards[@]}"
# A byte of a picture is wrong: the run names the record, or goes on and reports it.
for shard in "$tmp"/train-*; do cp "$shard" "$tmp/hurt-${shard##*/}"; done
printf 'x' | dd of="$(ls "$tmp"/hurt-* | head -1)" bs=1 seek=900 conv=notrunc status=none
expect 1 "CRC" "${lite0[@]}" --train_file_pattern="$tmp/hurt-*" --model_dir="$tmp/hurt" --num_epochs=1 \
  --batch_size=2 --hparams=$small
expect 0 "1 distinct bad records" "${lite0[@]}" --train_file_pattern="$tmp/hurt-*" --model_dir="$tmp/hurt" \
  --num_epochs=1 --batch_size=2 --on_bad_sample=skip --hparams=$small,drop_remainder=false
grep -q '"bad_records": 1' "$tmp/hurt/quarantine.json" || fail "no report of the bad record"
expect 0 "" "${lite0[@]}" "${shards[@]}" --model_dir="$tmp/second" --num_epochs=1 --batch_size=4 \
  --pretrained_ckpt="$tmp/model" --hparams=$small
[ -e "$tmp/second/model.ckpt-1.index" ] || fail "pretrained_ckpt: no checkpoint"

# Mode eval takes classes and size from the checkpoint; another model is refused.
expect 0 "Average Precision" --mode=eval --model_dir="$tmp/model" "${shards[@]}" --eval_timeout=0
expect 2 "was trained as efficientdet-lite0" --mode=eval --model_dir="$tmp/model" "${shards[@]}" \
  --model_name=efficientdet-d0 --eval_timeout=0
# Evaluation beside training needs training, and threads.
expect 2 "has no training beside its evaluation" --mode=train "${lite0[@]}" "${shards[@]}" --eval_device=cpu \
  --model_dir="$tmp/none"
expect 2 "give --eval_device" --mode=traineval "${lite0[@]}" "${shards[@]}" --eval_threads=1 --model_dir="$tmp/none"
# Going on with other settings names them.
expect 0 "gamma: 2.0 (was 1.5)" "${lite0[@]}" "${shards[@]}" --model_dir="$tmp/second" --num_epochs=1 \
  --batch_size=4 --hparams=$small,gamma=2.0

# More epochs than before: said with both totals. One flag of the reference has no effect.
expect 0 "the run ends at step 2, not at 1 as before" "${lite0[@]}" "${shards[@]}" --model_dir="$tmp/second" \
  --num_epochs=2 --batch_size=4 --hparams=$small --run_epoch_in_child_process
expect 0 "run_epoch_in_child_process has no effect" "${lite0[@]}" "${shards[@]}" --model_dir="$tmp/second" \
  --num_epochs=2 --batch_size=4 --hparams=$small --run_epoch_in_child_process=true
expect 2 "early_stop_evals" "${lite0[@]}" "${shards[@]}" --model_dir="$tmp/second" --num_epochs=2 --batch_size=4 \
  --hparams=$small,early_stop_evals=2

# A plan needs neither directory nor data.
expect 0 "largest batch" --plan --model_name=efficientdet-lite0 --batch_size=2
expect 0 "16-bit copy of parameters" --plan --model_name=efficientdet-lite0 --batch_size=2 --device=cuda \
  --hparams=mixed_precision=true
expect 0 "with grad_checkpoint=true" --plan --model_name=efficientdet-lite0 --batch_size=2
expect 0 "fits with --hparams=grad_checkpoint=true" --plan --model_name=efficientdet-lite0 --batch_size=4096
expect 0 "fits with --hparams=grad_checkpoint=true,acc" --plan --model_name=efficientdet-lite0 \
  --batch_size=65536 --hparams=grad_checkpoint=true
expect 2 "--model_dir" --model_name=efficientdet-lite0 "${shards[@]}"
expect 2 "--train_file_pattern" --model_name=efficientdet-lite0 --model_dir="$tmp/new"
expect 2 "--val_file_pattern" --mode=train_and_eval --model_name=efficientdet-lite0 --model_dir="$tmp/new" \
  --train_file_pattern="$tmp/train-*"

# One batch for all ranks, refused once, by the process that would start them.
expect 2 "multiple of 3" "${lite0[@]}" "${shards[@]}" --model_dir="$tmp/new" --num_ranks=3 --batch_size=4
grep -q 'rank 1' <<<"$("$bin/train" "${lite0[@]}" "${shards[@]}" --model_dir="$tmp/new" --num_ranks=3 \
  --batch_size=4 2>&1)" && fail "every rank refuses the batch"

# Refused flags and words.
for flag in tpu=x use_xla=true worker=a,b; do
  expect 2 "${flag%%=*}" "${lite0[@]}" "${shards[@]}" --model_dir="$tmp/new" --$flag
done
expect 2 "traineval" --mode=test
expect 2 "did you mean" --model_nam=efficientdet-d0
expect 2 "batch_size" --batch_size=-1
expect 2 "--strategy=tpus" "${lite0[@]}" "${shards[@]}" --model_dir="$tmp/new" --strategy=tpus
expect 2 "contradict" "${lite0[@]}" "${shards[@]}" --model_dir="$tmp/new" --strategy=gpus --device=cpu
export CUDA_VISIBLE_DEVICES=
for flags in --strategy=gpus --strategy=multi-gpus --device=cuda "--device=cuda --num_ranks=2"; do
  # shellcheck disable=SC2086 # a list of flags
  expect 1 "device cuda" "${lite0[@]}" "${shards[@]}" --model_dir="$tmp/new" $flags
done
expect 2 "multiple of 2" "${lite0[@]}" "${shards[@]}" --model_dir="$tmp/new" --num_ranks=2 \
  --train_batch_size=3 --hparams=$small
expect 1 "hparam map_freq" "${lite0[@]}" "${shards[@]}" --model_dir="$tmp/new" \
  --hparams=$small,map_freq=2
[ ! -e "$tmp/new" ] || fail "a refused run left $tmp/new"
exit $fails
