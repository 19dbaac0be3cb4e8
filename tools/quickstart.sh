#!/usr/bin/env bash
# From a bare Debian or Ubuntu machine to a trained detector: installs packages, builds, draws a
# small data set of coloured shapes, converts it, looks into it, trains on the CPU, evaluates and
# draws what the detector finds. Run again, it goes on where it stopped.
set -eu
cd "$(dirname "$0")/.."

usage() {
  cat <<'END'
usage: tools/quickstart.sh [--output_dir=DIR] [--seed=N] [--fast]
  --output_dir=DIR  where everything goes; default out/quickstart
  --seed=N          another data set and other initial weights; default 1
  --fast            a few pictures and steps: shows that all parts work, learns nothing
END
}
out=out/quickstart seed=1 fast=no
while [ $# -gt 0 ]; do
  case $1 in
    --output_dir=* | --seed=*) ;;
    --output_dir | --seed)
      [ $# -gt 1 ] || { echo "quickstart.sh: $1 needs a value" >&2; exit 2; }
      set -- "$1=$2" "${@:3}"
      ;;
    --fast) fast=yes ;;
    --help | -h) usage; exit 0 ;;
    *) echo "quickstart.sh: unknown option '$1'" >&2; usage >&2; exit 2 ;;
  esac
  case $1 in
    --output_dir=*) out=${1#*=} ;;
    --seed=*) seed=${1#*=} ;;
  esac
  shift
done
[[ $seed =~ ^[0-9]{1,15}$ ]] || { echo "quickstart.sh: --seed=$seed is not a whole number" >&2; exit 2; }
if [ -z "$out" ]; then echo "quickstart.sh: --output_dir is empty" >&2; exit 2; fi

if [ $fast = yes ]; then
  n_train=96 n_val=24 more_flags=(--num_epochs=2)
else
  n_train=2400 n_val=240 more_flags=()
fi
step_name=start
trap 'code=$?; [ $code = 0 ] || echo "quickstart.sh: stopped at \"$step_name\" (exit code $code); what is complete stays, run the command again to go on" >&2' EXIT
step() {
  step_name=$1
  printf '\n== %s  (%d s)\n' "$1" "$SECONDS"
}

# A directory holds one run: another seed or size would mix two data sets.
settings="seed=$seed train=$n_train val=$n_val"
mkdir -p "$out"
if [ -e "$out/settings" ] && [ "$(cat "$out/settings")" != "$settings" ]; then
  step_name=settings
  echo "quickstart.sh: $out holds a run with $(cat "$out/settings"), this one has $settings;" \
    "give another --output_dir or remove that one" >&2
  exit 2
fi
echo "$settings" >"$out/settings"

step "packages"
bash tools/dev/packages.sh build

step "build"
if [ ! -e build/build.ninja ]; then
  cmake --preset release -DEDT_TESTS=OFF >"$out/build.log" 2>&1 || { tail -n 30 "$out/build.log" >&2; exit 1; }
fi
cmake --build build --target programs >"$out/build.log" 2>&1 || { tail -n 60 "$out/build.log" >&2; exit 1; }
bin=build/bin
echo "programs are in $bin"

data=$out/data records=$out/records model=$out/model
gt=$data/annotations/instances_val.json
step "draw the data set: $n_train + $n_val pictures, seed $seed"
if [ -e "$data/annotations/instances_train.json" ] && [ -e "$gt" ]; then
  echo "$data is there already"
else
  $bin/draw_shapes --output_dir="$data" --num_train=$n_train --num_val=$n_val --seed="$seed" \
    --image_size=192 --min_side=40 --max_side=110 --max_objects=4
fi

step "convert it to records"
for split in train val; do
  if compgen -G "$records/$split-*.tfrecord" >/dev/null; then
    echo "$records/$split-* are there already"
  else
    $bin/create_coco_records --image_dir="$data/$split" --num_shards=4 \
      --object_annotations_file="$data/annotations/instances_$split.json" \
      --output_file_prefix="$records/$split"
  fi
done

step "look into the records"
$bin/inspect_records --file_pattern="$records/train-*" --samples=10 --save_samples_dir="$out/samples" \
  --model_name=efficientdet-lite0 --hparams=configs/quickstart.yaml

step "train efficientdet-lite0"
$bin/train --mode=train --model_name=efficientdet-lite0 --model_dir="$model" \
  --train_file_pattern="$records/train-*" --hparams=configs/quickstart.yaml \
  --train_batch_size=16 --num_examples_per_epoch=$n_train --seed="$seed" --save_checkpoints_steps=500 ${more_flags[@]+"${more_flags[@]}"}

step "evaluate on the validation records"
$bin/train --mode=eval --model_name=efficientdet-lite0 --model_dir="$model" \
  --val_file_pattern="$records/val-*" --val_json_file="$gt" --hparams=configs/quickstart.yaml \
  --eval_batch_size=8 --eval_samples=0 --eval_timeout=0

step "detect on the validation pictures, and evaluate the result file"
$bin/detect --model_name=efficientdet-lite0 --model_dir="$model" --hparams=configs/quickstart.yaml \
  --batch_size=8 --input_image="$data/val" --output_json="$out/detections.json"
$bin/coco_eval "$gt" "$out/detections.json" --json="$out/metrics.json"

step "draw what the detector finds"
rm -rf "$out/few" && mkdir -p "$out/few"
for i in 1 2 3 4 5 6 7 8 9 10; do
  cp "$data/val/$(printf '%06d.jpg' $i)" "$out/few/"
done
$bin/detect --model_name=efficientdet-lite0 --model_dir="$model" --hparams=configs/quickstart.yaml \
  --input_image="$out/few" --output_image_dir="$out/pictures"
rm -rf "$out/few"

step_name=end
cat <<END

Done in $SECONDS s.
  $data/            the drawn pictures and their COCO annotations
  $records/         the same as TFRecord shards
  $out/samples/index.html   training samples as the network sees them
  $model/           checkpoints, config.yaml, metrics.jsonl
  $out/detections.json, $out/metrics.json   result rows, and the twelve COCO figures
  $out/pictures/    validation pictures with the boxes that were found
Next: the same with your own COCO data, see README.md.
END
