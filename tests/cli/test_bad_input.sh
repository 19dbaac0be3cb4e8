#!/usr/bin/env bash
# train, detect and coco_eval on bad input: one clear message, exit code 1 or 2, nothing unfinished
# under a final name and nothing lost that was complete. The converter and inspect_records have
# tests of their own.
set -u
bin=${EDT_BIN_DIR:?}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
failures=0
complain() {
  echo "FAILED: $*"
  failures=$((failures + 1))
}
# expect PROGRAM CODE WORDS ARGS...: exit code, a part of what stderr says, one line of error
expect() {
  local program=$1 code=$2 words=$3
  shift 3
  "$bin/$program" "$@" >"$tmp/stdout" 2>"$tmp/stderr"
  local got=$?
  [ $got = "$code" ] || complain "exit $got instead of $code: $program $* ($(tail -n1 "$tmp/stderr"))"
  grep -qF -- "$words" "$tmp/stderr" || complain "$program $*: '$words' is not in: $(cat "$tmp/stderr")"
  [ "$(grep -c '^E ' "$tmp/stderr")" = 1 ] || complain "$program $*: not one error: $(cat "$tmp/stderr")"
}
expect_absent() {
  local path
  for path in "$@"; do
    compgen -G "$path*" >/dev/null && complain "left behind: $(ls -d "$path"*)"
  done
}

data=$tmp/data
"$bin/draw_shapes" --output_dir="$data" --num_train=4 --num_val=2 --image_size=64 --min_side=16 \
  --max_side=32 --log_level=quiet >/dev/null || complain draw_shapes
gt=$data/annotations/instances_val.json
for split in train val; do
  "$bin/create_coco_records" --image_dir="$data/$split" --num_shards=1 --log_level=quiet \
    --object_annotations_file="$data/annotations/instances_$split.json" \
    --output_file_prefix="$tmp/$split" || complain "create_coco_records $split"
done
shard=$tmp/train-00000-of-00001.tfrecord
val=$tmp/val-00000-of-00001.tfrecord
size=image_size=96
six=$size,num_classes=6,num_epochs=1,lr_warmup_epoch=0
model=(--model_name=efficientdet-lite0 --train_batch_size=4 --num_examples_per_epoch=4)

# A trained model, one step old.
"$bin/train" "${model[@]}" --model_dir="$tmp/model" --train_file_pattern="$shard" --hparams=$six \
  --log_level=quiet || complain "training a step"
(cd "$tmp/model" && sha256sum model.ckpt-* checkpoint config.yaml >"$tmp/model.sums")

# train: wrong words
expect train 2 "did you mean 'learning_rate'" "${model[@]}" --model_dir="$tmp/new" \
  --train_file_pattern="$shard" --hparams=learning_rat=1
expect train 2 'did you mean' --model_nam=efficientdet-d0
expect train 2 'efficientdet-d0' --model_name=efficientdet-d00 --model_dir="$tmp/new" \
  --train_file_pattern="$shard"
for bad in 64 0 -5 12x; do
  expect train 2 'image_size' "${model[@]}" --model_dir="$tmp/new" --train_file_pattern="$shard" \
    --hparams=image_size=$bad
done
expect train 2 'num_classes' "${model[@]}" --model_dir="$tmp/new" --train_file_pattern="$shard" \
  --hparams=num_classes=0
expect_absent "$tmp/new"

# train: missing and damaged files
expect train 1 "$tmp/none/x-*" "${model[@]}" --model_dir="$tmp/new" \
  --train_file_pattern="$tmp/none/x-*" --hparams=$six
expect train 1 "$tmp/none.yaml" "${model[@]}" --model_dir="$tmp/new" --train_file_pattern="$shard" \
  --hparams="$tmp/none.yaml"
expect train 1 "$tmp/none" "${model[@]}" --model_dir="$tmp/none" --mode=eval \
  --val_file_pattern="$val" --hparams=$six --eval_timeout=0
expect train 1 "$tmp/none" "${model[@]}" --model_dir="$tmp/fresh" --train_file_pattern="$shard" \
  --hparams=$six --ckpt="$tmp/none"
cp "$shard" "$tmp/flipped.tfrecord"
printf '\xff\x00\xff\x00' | dd of="$tmp/flipped.tfrecord" bs=1 seek=1500 conv=notrunc status=none
expect train 1 "flipped.tfrecord': corrupted record: record 0" "${model[@]}" \
  --model_dir="$tmp/flipped" --train_file_pattern="$tmp/flipped.tfrecord" --hparams=$six
expect_absent "$tmp/flipped/model.ckpt" "$tmp/flipped/checkpoint"
expect train 1 "flipped.tfrecord': corrupted record: record 0" "${model[@]}" --mode=eval \
  --model_dir="$tmp/model" --val_file_pattern="$tmp/flipped.tfrecord" --hparams=$six --eval_timeout=0
head -c 3000 "$shard" >"$tmp/cut.tfrecord"
expect train 1 "cut.tfrecord" "${model[@]}" --model_dir="$tmp/cut" \
  --train_file_pattern="$tmp/cut.tfrecord" --hparams=$six
expect_absent "$tmp/cut/model.ckpt"
: >"$tmp/empty.json"
expect train 1 "empty.json" "${model[@]}" --mode=eval --model_dir="$tmp/model" \
  --val_file_pattern="$val" --val_json_file="$tmp/empty.json" --hparams=$six --eval_timeout=0

# A checkpoint of another class count, and one that is cut.
three=$size,num_classes=3
expect train 1 'the checkpoint has 6 classes, the model 3' "${model[@]}" --model_dir="$tmp/model" \
  --train_file_pattern="$shard" --hparams=$three,num_epochs=9
expect train 1 'the checkpoint has 6 classes, the model 3' "${model[@]}" --mode=eval \
  --model_dir="$tmp/model" --val_file_pattern="$val" --hparams=$three --eval_timeout=0
expect detect 1 'the checkpoint has 6 classes, the model 3' --model_dir="$tmp/model" \
  --hparams=num_classes=3 --input_image="$data/val" --output_json="$tmp/three.json"
expect_absent "$tmp/three.json"
cp -r "$tmp/model" "$tmp/short"
for file in "$tmp/short/"*.data-*; do truncate -s 100000 "$file"; done
expect train 1 "$tmp/short/model.ckpt" "${model[@]}" --mode=eval --model_dir="$tmp/short" \
  --val_file_pattern="$val" --hparams=$six --eval_timeout=0

# detect: what can be read is done, what cannot is named, and the exit code tells.
mkdir "$tmp/pictures"
cp "$data/val/000001.jpg" "$tmp/pictures/"
head -c 1500 "$data/val/000002.jpg" >"$tmp/pictures/cut.jpg"
: >"$tmp/pictures/empty.jpg"
expect detect 1 '2 of 3 files' --model_dir="$tmp/model" --input_image="$tmp/pictures" \
  --output_json="$tmp/some.json" --output_image_dir="$tmp/drawn"
grep -q 'cut.jpg is left out' "$tmp/stderr" || complain "cut.jpg is not named"
grep -q 'empty.jpg is left out' "$tmp/stderr" || complain "empty.jpg is not named"
[ "$(ls "$tmp/drawn")" = 0.jpg ] || complain "drawn: $(ls "$tmp/drawn")"
expect detect 1 "$tmp/none" --model_dir="$tmp/model" --input_image="$tmp/none" \
  --output_json="$tmp/other.json"
expect detect 1 "$tmp/none" --model_dir="$tmp/none" --input_image="$data/val" \
  --output_json="$tmp/other.json"
expect_absent "$tmp/other.json"

# coco_eval
dt=$tmp/some.json
expect coco_eval 1 "$tmp/none.json" "$tmp/none.json" "$dt"
expect coco_eval 1 "$tmp/none.json" "$gt" "$tmp/none.json"
expect coco_eval 1 'empty.json' "$tmp/empty.json" "$dt"
expect coco_eval 1 'empty.json' "$gt" "$tmp/empty.json"
head -c 300 "$gt" >"$tmp/cut_gt.json"
head -c 300 "$dt" >"$tmp/cut_dt.json"
expect coco_eval 1 'cut_gt.json' "$tmp/cut_gt.json" "$dt" --json="$tmp/metrics.json"
expect coco_eval 1 'cut_dt.json' "$gt" "$tmp/cut_dt.json" --json="$tmp/metrics.json"
sed 's/"category_id": [0-9]*/"category_id": 77/' "$gt" >"$tmp/category.json"
expect coco_eval 1 '77' "$tmp/category.json" "$dt" --json="$tmp/metrics.json"
expect_absent "$tmp/metrics.json"

# A full disk, played by a limit on file sizes: no half of a checkpoint or result, the old stays.
echo old >"$tmp/full.json"
(
  failures=0
  trap '' XFSZ
  ulimit -f 4000
  expect train 1 'model.ckpt-' "${model[@]}" --model_dir="$tmp/full" --train_file_pattern="$shard" \
    --hparams=$six
  ulimit -f 4
  expect detect 1 "$tmp/full.json" --model_dir="$tmp/model" --input_image="$data/val" \
    --output_json="$tmp/full.json"
  expect draw_shapes 1 "$tmp/drawing" --output_dir="$tmp/drawing" --num_train=8 --num_val=1 \
    --image_size=512 --quality=100
  exit $failures
) || complain "disk full"
expect_absent "$tmp/full/model.ckpt" "$tmp/full/checkpoint" "$tmp/drawing/annotations/instances"
[ "$(cat "$tmp/full.json")" = old ] || complain "disk full: the old result is gone"
find "$tmp" -name '*.tmp-*' | grep . && complain "temporary files are left"

# Nothing of all this touched the trained model.
(cd "$tmp/model" && sha256sum --check --quiet "$tmp/model.sums") || complain "the trained model changed"

[ $failures = 0 ] && echo "bad input: ok"
exit $((failures > 0))
