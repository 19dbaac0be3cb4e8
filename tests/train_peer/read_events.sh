#!/usr/bin/env bash
# TensorBoard's own reader takes the event files of a run that was broken off and resumed, and finds
# there what metrics.jsonl has, pictures, histograms and settings. Skips where tensorboard cannot be
# installed from PyPI.
set -eu
here=$(dirname "$0")
# shellcheck source=tests/support/peer_venv.sh
. "$here/../support/peer_venv.sh"
peer_python tensorboard tensorboard
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
bin=$EDT_BIN_DIR
quiet() { "$@" >"$tmp/log" 2>&1 || { cat "$tmp/log"; exit 1; }; }
quiet "$bin/draw_shapes" --output_dir="$tmp/data" --num_train=8 --num_val=2 --image_size=128 --min_side=24 \
  --max_side=64
for split in train val; do
  quiet "$bin/create_coco_records" --image_dir="$tmp/data/$split" --num_shards=1 \
    --object_annotations_file="$tmp/data/annotations/instances_$split.json" --output_file_prefix="$tmp/$split"
done
hparams="image_size=96,num_classes=6,lr_warmup_epoch=0,img_summary_steps=3,sample_image=$tmp/data/val/000001.jpg"
train() { # $1 model_dir, rest: flags
  local model_dir=$1
  shift
  quiet "$bin/train" --model_name=efficientdet-lite0 --num_threads=1 --num_examples_per_epoch=8 --batch_size=2 \
    --train_file_pattern="$tmp/train-*" --val_file_pattern="$tmp/val-*" --model_dir="$model_dir" \
    --val_json_file="$tmp/data/annotations/instances_val.json" "$@"
}
for semantics in tf1 tf2; do
  # tf2 evaluates every fifth epoch unless told otherwise.
  map_freq=$([ $semantics = tf2 ] && echo 1 || echo 5)
  run=(--mode=train_and_eval --num_epochs=2 --log_steps=1 --histogram_steps=2
    --hparams="$hparams,semantics=$semantics,map_freq=$map_freq")
  train "$tmp/$semantics" "${run[@]}"
  # As if the run had been killed behind its first epoch: steps 5 to 8 are done once more.
  rm "$tmp/$semantics"/model.ckpt-8.*
  printf 'model_checkpoint_path: "model.ckpt-4"\nall_model_checkpoint_paths: "model.ckpt-4"\n' \
    >"$tmp/$semantics/checkpoint"
  train "$tmp/$semantics" "${run[@]}"
done
train "$tmp/tf1" --mode=eval --eval_timeout=0 --eval_name=again
"$bin/train" --plan --model_name=efficientdet-lite0 --batch_size=2 --hparams="$hparams" >"$tmp/plan"
"$peer_python" "$here/read_events.py" "$tmp"
