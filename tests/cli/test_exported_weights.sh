#!/usr/bin/env bash
# detect, train --ckpt and benchmark take weights in any format: equal weights, equal results. A
# trained model_dir is exported and used by one command each.
set -u
bins=${EDT_BIN_DIR:?}
bin=$bins/export_model
# shellcheck source=tests/cli/common.sh
. "$(dirname "$0")/common.sh"

"$bins/draw_shapes" --output_dir="$tmp/data" --num_train=4 --num_val=2 --image_size=96 --min_side=16 \
  --max_side=40 --log_level=quiet >/dev/null || complain draw_shapes
"$bins/create_coco_records" --image_dir="$tmp/data/train" --num_shards=1 --log_level=quiet \
  --object_annotations_file="$tmp/data/annotations/instances_train.json" \
  --output_file_prefix="$tmp/train" || complain create_coco_records
settings=image_size=96,num_classes=6,num_epochs=1,lr_warmup_epoch=0,learning_rate=0.5
train() { # MODEL_DIR FLAGS...
  "$bins/train" --model_name=efficientdet-lite0 --train_batch_size=4 --num_examples_per_epoch=4 \
    --train_file_pattern="$tmp/train-00000-of-00001.tfrecord" --model_dir="$1" --log_level=error \
    --hparams="$settings" "${@:2}" >/dev/null || complain "train $*"
}
train "$tmp/run" # one step, so that the averages are not the values

flags=(--model_name=efficientdet-lite0 --hparams="image_size=96,num_classes=6")
declare -A name=([tf1]=model [tf2]=model [h5]=model.h5 [safetensors]=model.safetensors)
for to in tf1 tf2 h5 safetensors; do
  # As a checkpoint of ours the source tells its settings itself.
  expect 0 '' --model_dir="$tmp/run" --export_ckpt="$tmp/$to/${name[$to]}" --format=$to
  expect 0 '' --model_dir="$tmp/run" --export_ckpt="$tmp/$to-raw/${name[$to]}" --format=$to --ema=raw
done

detect() { # RESULT FLAGS...
  "$bins/detect" --input_image="$tmp/data/val" --output_json="$tmp/$1.json" --num_threads=1 \
    "${@:2}" >/dev/null 2>"$tmp/stderr" || complain "detect $*: $(cat "$tmp/stderr")"
}
detect source --model_dir="$tmp/run"
[ "$(grep -o '"score"' "$tmp/source.json" | wc -l)" -ge 10 ] || complain "hardly any detection"
detect source-raw --model_dir="$tmp/run" --hparams=moving_average_decay=0
cmp -s "$tmp/source.json" "$tmp/source-raw.json" && complain "the averages are the raw values"
for to in tf1 tf2 h5 safetensors; do
  detect $to "${flags[@]}" --ckpt_path="$tmp/$to/${name[$to]}"
  cmp "$tmp/source.json" "$tmp/$to.json" || complain "detect: $to differs"
  detect $to-raw "${flags[@]}" --hparams=image_size=96,num_classes=6,moving_average_decay=0 \
    --ckpt_path="$tmp/$to-raw/${name[$to]}"
  cmp "$tmp/source-raw.json" "$tmp/$to-raw.json" || complain "detect: $to-raw differs"
  train "$tmp/from-$to" --ckpt="$tmp/$to-raw/${name[$to]}"
  cmp "$tmp/from-tf1/model.ckpt-1.data-00000-of-00001" "$tmp/from-$to/model.ckpt-1.data-00000-of-00001" ||
    complain "train --ckpt: $to differs"
  "$bins/benchmark" --what=network --bm_runs=1 --json --log_level=quiet "${flags[@]}" \
    --ckpt_path="$tmp/$to/${name[$to]}" >"$tmp/stdout" 2>"$tmp/stderr" ||
    complain "benchmark, $to: $(cat "$tmp/stderr")"
  grep -q '"what": "network best"' "$tmp/stdout" || complain "benchmark, $to: no result"
done
cmp -s "$tmp/run/model.ckpt-1.data-00000-of-00001" "$tmp/from-tf1/model.ckpt-1.data-00000-of-00001" &&
  complain "train --ckpt starts from nothing"
detect alone --ckpt_path="$tmp/safetensors/model.safetensors"
cmp "$tmp/source.json" "$tmp/alone.json" || complain "a safetensors file does not tell its settings"
finish exported_weights
