#!/usr/bin/env bash
# Every program that takes a checkpoint takes each format: detect, benchmark, model_info and the
# ways in which train starts from one; what does not fit is refused with the reason.
set -u
dir=${EDT_BIN_DIR:?}
# shellcheck source=tests/cli/common.sh
. "$(dirname "$0")/common.sh"
run() { # PROGRAM WORDS ARGS...: exit 0 and the words in what it says
  local program=$1 words=$2
  shift 2
  "$dir/$program" "$@" >"$tmp/out" 2>&1 || complain "$program $*: $(tail -n 3 "$tmp/out")"
  grep -qF -- "$words" "$tmp/out" || complain "$program $*: no '$words' in $(tail -n 5 "$tmp/out")"
}

"$dir/draw_shapes" --output_dir="$tmp/data" --num_train=2 --num_val=1 --image_size=64 --min_side=16 \
  --max_side=32 --log_level=quiet >/dev/null || complain draw_shapes
"$dir/create_coco_records" --image_dir="$tmp/data/train" --num_shards=1 --log_level=quiet \
  --object_annotations_file="$tmp/data/annotations/instances_train.json" \
  --output_file_prefix="$tmp/train" || complain create_coco_records
picture=$(ls "$tmp"/data/val/* | head -n 1)
small="image_size=96,num_classes=6,lr_warmup_epoch=0"
train=(--model_name=efficientdet-lite0 --num_examples_per_epoch=2 --num_threads=1 --num_epochs=1
  --train_batch_size=2 --train_file_pattern="$tmp/train-*")
run train "step 1" "${train[@]}" --model_dir="$tmp/model" --hparams=$small

declare -A name=([tf1]=model [tf2]=model [h5]=m.h5 [safetensors]=m.safetensors)
declare -A said=([tf1]="(TensorFlow checkpoint" [tf2]="(object-based TensorFlow checkpoint"
  [h5]="(Keras HDF5 file" [safetensors]="(safetensors file")
for format in tf1 tf2 h5 safetensors; do
  file=$tmp/$format/${name[$format]}
  run export_model verified --model_dir="$tmp/model" --export_ckpt="$file" --format=$format
  what="loaded 588 of 588 variables from $file ${said[$format]}"
  run detect "$what" --model_name=efficientdet-lite0 --ckpt_path="$file" --hparams=$small \
    --input_image="$picture" --output_image_dir="$tmp/drawn"
  run benchmark "$what" --model_name=efficientdet-lite0 --ckpt_path="$file" --hparams=$small \
    --batch_size=1 --num_threads=1 --bm_runs=1 --warmup=0
  run model_info pointwise_kernel --ckpt_path="$file"
  "$dir/model_info" --ckpt_path="$file" --json >"$tmp/info.json" || complain "model_info --json"
  grep -q '"mean"' "$tmp/info.json" || complain "$format: no statistics"
  run train "$what" "${train[@]}" --model_dir="$tmp/a-$format" --hparams=$small --ckpt="$file" --ckpt_strict
  run train "loaded 586 of 588 variables" "${train[@]}" --model_dir="$tmp/b-$format" \
    --hparams=${small/classes=6/classes=7} --ckpt="$file"
  grep -q 'class_net/class-predict/bias: stored \[54\], model \[63\]' "$tmp/out" || complain "no word of shapes"
  run train "variables start from their initial values" "${train[@]}" --model_dir="$tmp/c-$format" \
    --hparams=$small --pretrained_ckpt="$file"
  run train "variables from $file" "${train[@]}" --model_dir="$tmp/d-$format" --hparams=$small \
    --backbone_ckpt="$file"
  bin=$dir/train
  expect 1 "has 6 classes, the model 7" "${train[@]}" --model_dir="$tmp/e" --ckpt="$file" --ckpt_strict \
    --hparams=${small/classes=6/classes=7}
  expect 1 "is model_name the one it was trained with?" "${train[@]}" --model_dir="$tmp/e" --ckpt="$file" \
    --hparams=$small,skip_mismatch=false --model_name=efficientdet-d0
  [ ! -e "$tmp/e/checkpoint" ] || complain "$format: a refused checkpoint began a run"
done
expect 2 "give either --ckpt or --backbone_ckpt" "${train[@]}" --model_dir="$tmp/e" --hparams=$small \
  --ckpt="$tmp/tf1" --backbone_ckpt="$tmp/tf2"
finish test_checkpoint_formats
