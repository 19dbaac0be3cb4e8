#!/usr/bin/env bash
# Goes on training the trained lite0 weights on real photographs for about ten minutes; prints AP on
# them before and after.   usage: finetune_coco.sh BUILD_DIR COCO_MINI_DIR WEIGHTS_DIR OUT_DIR [EPOCHS]
set -eu
build=$1 data=$2 weights=$3/efficientdet-lite0 out=$4 epochs=${5:-20}
mkdir -p "$out"
gt=$data/annotations/instances_train2017.json
"$build/bin/create_coco_records" --image_dir="$data/train2017" --object_annotations_file="$gt" \
  --output_file_prefix="$out/rec" --num_shards=4
echo "before:"
"$build/bin/train" --mode=eval --model_name=efficientdet-lite0 --model_dir="$weights" --eval_timeout=0 \
  --val_file_pattern="$out/rec-*" --val_json_file="$gt" --eval_batch_size=4
echo "after $epochs epochs:"
"$build/bin/train" --model_name=efficientdet-lite0 --ckpt="$weights" --model_dir="$out/model" \
  --train_file_pattern="$out/rec-*" --val_file_pattern="$out/rec-*" --val_json_file="$gt" \
  --train_batch_size=8 --num_examples_per_epoch=0 --eval_batch_size=4 --num_epochs="$epochs" --eval_after_train \
  --hparams=learning_rate=0.01,lr_warmup_init=0.001,jitter_min=0.8,jitter_max=1.25,moving_average_decay=0.99,label_map=coco
