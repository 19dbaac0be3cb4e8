#!/usr/bin/env bash
# efficientdet-d0 from random weights learns 16 real photographs by heart at 256x256; prints the AP on
# them and draws the result.   usage: overfit_coco.sh BUILD_DIR COCO_MINI_DIR OUT_DIR [STEPS]
#
# The loss is near 0 after 200 steps; the moving statistics of batch norm, which inference uses, still
# hold 0.99^200 = 13 % of their initial values then, hence the 800 steps.
set -eu
build=$1 data=$2 out=$3 steps=${4:-800}
mkdir -p "$out/images"
"$build/acceptance/select_images" "$data/annotations/instances_train2017.json" "$out/subset.json" 16 256 24
"$build/bin/create_coco_records" --image_dir="$data/train2017" --image_info_file="$out/subset.json" \
  --object_annotations_file="$out/subset.json" --output_file_prefix="$out/rec" --num_shards=1
grep -o '"file_name": "[^"]*"' "$out/subset.json" | sed 's/.*: "//; s/"$//' |
  while read -r name; do cp "$data/train2017/$name" "$out/images/"; done
cat > "$out/overfit.yaml" <<'Y'
image_size: 256
optimizer: adam
learning_rate: 0.006
lr_warmup_init: 0.0005
lr_warmup_epoch: 30.0
input_rand_hflip: false
jitter_min: 1.0
jitter_max: 1.0
moving_average_decay: 0.98
label_map: coco
Y
"$build/bin/train" --model_name=efficientdet-d0 --hparams="$out/overfit.yaml" --train_batch_size=16 \
  --num_examples_per_epoch=16 --num_epochs="$steps" --model_dir="$out/model" \
  --train_file_pattern="$out/rec-*" --val_file_pattern="$out/rec-*" --val_json_file="$out/subset.json" \
  --eval_batch_size=4 --eval_after_train
"$build/bin/detect" --model_dir="$out/model" --input_image="$out/images" --output_image_dir="$out/drawn"
