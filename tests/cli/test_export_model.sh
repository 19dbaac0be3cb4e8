#!/usr/bin/env bash
# export_model: every format from every other gives what it gives from the source; golden
# checkpoints of each kind; wrong use; a disk that fills up; killed at many moments.
set -u
bin=${EDT_BIN_DIR:?}/export_model
golden=${EDT_GOLDEN_DIR:-${EDT_SOURCE_DIR:?}/../shared/golden}/model/ckpt
# shellcheck source=tests/cli/common.sh
. "$(dirname "$0")/common.sh"
need_dirs "$golden"
trap 'mountpoint -q "$tmp/disk" && umount "$tmp/disk"; rm -rf "$tmp"' EXIT

convert() { # SOURCE TARGET FLAGS...
  "$bin" --ckpt_path="$1" --export_ckpt="$2" "${@:3}" >"$tmp/stdout" 2>"$tmp/stderr" ||
    complain "$*: $(cat "$tmp/stderr")"
  grep -q '^verified [0-9]* tensors' "$tmp/stdout" || complain "$*: nothing was verified"
}
same() { # TARGET TARGET: one file, or the two of a checkpoint
  local ending
  for ending in '' .index .data-00000-of-00001; do
    if [ -f "$1$ending" ] || [ -f "$2$ending" ]; then
      cmp "$1$ending" "$2$ending" || complain "$1$ending and $2$ending differ"
    fi
  done
}
declare -A name=([tf1]=model [tf2]=model [h5]=model.h5 [safetensors]=model.safetensors)
formats="tf1 tf2 h5 safetensors"

# With averages and step through the formats that have a place for them.
d0=$golden/efficientdet-d0
convert "$d0" "$tmp/a/model"
grep -q 'read .*efficientdet-d0/model: 709 variables, 709 averages, step 270000' "$tmp/stdout" ||
  complain "not what was read: $(cat "$tmp/stdout")"
grep -q '^verified 1419 tensors' "$tmp/stdout" || complain "not 1419 tensors"
cmp "$tmp/a/checkpoint" <(printf 'model_checkpoint_path: "model"\nall_model_checkpoint_paths: "model"\n') ||
  complain "no state file"
convert "$tmp/a" "$tmp/b/model" --format=tf2 --ema=keep
convert "$tmp/b/model" "$tmp/c.safetensors"
convert "$tmp/c.safetensors" "$tmp/d/model"
same "$tmp/a/model" "$tmp/d/model"

# The averages alone, around the whole circle.
convert "$d0" "$tmp/first.h5"
grep -q 'averages in the place of the values of 709' "$tmp/stdout" || complain "not folded"
convert "$tmp/first.h5" "$tmp/e/model" --ema=raw
convert "$tmp/e" "$tmp/f/model" --format=tf2
convert "$tmp/f" "$tmp/g.h5"
convert "$tmp/g.h5" "$tmp/h.safetensors"
convert "$tmp/h.safetensors" "$tmp/i/model" --ema=raw
same "$tmp/e/model" "$tmp/i/model"
same "$tmp/first.h5" "$tmp/g.h5"

# All pairs, from lite0: what comes from a format is what comes from the source.
lite0=(--model_name=efficientdet-lite0)
source=$golden/efficientdet-lite0.h5
for to in $formats; do
  convert "$source" "$tmp/pairs/$to/${name[$to]}" "${lite0[@]}" --format=$to --ema=raw
  grep -q '^verified 588 tensors' "$tmp/stdout" || complain "not 588 tensors: $(cat "$tmp/stdout")"
done
for from in $formats; do
  for to in $formats; do
    convert "$tmp/pairs/$from/${name[$from]}" "$tmp/pairs/$to/from-$from-${name[$to]}" "${lite0[@]}" \
      --format=$to --ema=raw
    same "$tmp/pairs/$to/${name[$to]}" "$tmp/pairs/$to/from-$from-${name[$to]}"
  done
done
grep -q '"model"' "$tmp/pairs/tf1/checkpoint" || complain "a second export took over the state file"

# Without averages a checkpoint by names holds the values under both names, as the reference wants it.
convert "$source" "$tmp/both/model" "${lite0[@]}"
grep -q '^verified 1176 tensors' "$tmp/stdout" || complain "not both names: $(cat "$tmp/stdout")"
convert "$golden/efficientdet-lite0-tf2" "$tmp/keras/model" "${lite0[@]}"
grep -q ' 588 variables, 84 averages, step 2$' "$tmp/stdout" || complain "lite0-tf2: $(cat "$tmp/stdout")"

# Wrong use: one line, exit code 2, nothing written.
refused() { # WORDS FLAGS...
  expect 2 "$@"
  [ "$(wc -l <"$tmp/stderr")" = 1 ] || complain "more than a line: $(cat "$tmp/stderr")"
}
from=(--ckpt_path="$d0")
for flag in saved_model_dir frozen_graph tflite onnx tensorrt; do
  refused "--$flag is not supported" "${from[@]}" --$flag="$tmp/x"
done
refused 'either --export_ckpt' "${from[@]}"
refused 'either --export_ckpt' "${from[@]}" --export_ckpt="$tmp/x" --safetensors="$tmp/y"
refused 'either --model_dir' --export_ckpt="$tmp/x"
refused 'either --model_dir' "${from[@]}" --model_dir="$d0" --export_ckpt="$tmp/x"
refused 'random weights' --ckpt_path=_ --export_ckpt="$tmp/x"
refused 'is a directory' "${from[@]}" --export_ckpt="$tmp/a"
refused 'is a directory' "${from[@]}" --export_ckpt="$tmp/none/"
refused "such as $tmp/a/model.h5" "${from[@]}" --export_ckpt="$tmp/a" --format=h5
for ending in .index .meta .data-00000-of-00001; do
  refused "leave $ending out" "${from[@]}" --export_ckpt="$tmp/x$ending"
done
refused '--overwrite' "${from[@]}" --export_ckpt="$tmp/a/model"
refused '--overwrite' "${from[@]}" --export_ckpt="$tmp/first.h5"
refused '--overwrite' "${from[@]}" --safetensors="$tmp/c.safetensors"
refused 'one value per variable' "${from[@]}" --export_ckpt="$tmp/x.h5" --ema=keep
refused 'tf1' "${from[@]}" --export_ckpt="$tmp/x" --format=onnx
expect 2 'no averages' "${lite0[@]}" --ckpt_path="$source" --export_ckpt="$tmp/x" --ema=keep
expect 1 "holds 'efficientnet-b0', the model 'efficientnet-b1'" --model_name=efficientdet-d1 "${from[@]}" \
  --export_ckpt="$tmp/x"
expect 1 'are num_scales and aspect_ratios those' "${from[@]}" --hparams=num_scales=1 --export_ckpt="$tmp/x"
expect 1 '90 classes' "${from[@]}" --hparams=num_classes=20 --export_ckpt="$tmp/x"
expect 1 "$tmp/missing" --ckpt_path="$tmp/missing" --export_ckpt="$tmp/x"
expect 1 'is a file' "${from[@]}" --export_ckpt="$tmp/a/model.index/x"
expect_nothing "$tmp/x"
expect 0 '' "${from[@]}" --safetensors="$tmp/c.safetensors" --overwrite
convert "$d0" "$tmp/d/model" --overwrite
same "$tmp/a/model" "$tmp/d/model"

# A disk that fills up leaves what was there: a small tmpfs where mounting is permitted, a limit of
# the file size otherwise.
mkdir "$tmp/disk"
mount -t tmpfs -o size=20m none "$tmp/disk" 2>/dev/null || echo "no tmpfs may be mounted here"
for to in $formats; do
  target=$tmp/disk/${name[$to]}
  flags=(--ckpt_path="$d0" --export_ckpt="$target" --format=$to --ema=fold)
  if mountpoint -q "$tmp/disk"; then
    head -c 12M /dev/zero >"$tmp/disk/filler"
    expect 1 "$target" "${flags[@]}"
    rm "$tmp/disk/filler"
  else
    (trap '' XFSZ && ulimit -f 4000 && expect 1 "$target" "${flags[@]}" && exit $failures) ||
      complain "full disk, $to"
  fi
  left=$(ls -A "$tmp/disk")
  [ -z "$left" ] || complain "full disk, $to: left $left"
done

# Killed: the final name holds what was there (nothing, or other weights) or all of the new. Of a
# checkpoint the .index is what makes it one.
equal() { # TARGET TARGET
  local ending
  for ending in '' .index .data-00000-of-00001; do
    [ ! -f "$2$ending" ] || cmp -s "$1$ending" "$2$ending" || return 1
  done
}
for to in $formats; do
  target=$tmp/killed/${name[$to]}
  flags=(--ckpt_path="$d0" --export_ckpt="$target" --format=$to --overwrite)
  complete=$target
  case $to in tf*) complete+=.index ;; esac
  convert "$d0" "$tmp/old/$to/${name[$to]}" --format=$to --ema=raw
  start=$(date +%s%N)
  convert "$d0" "$tmp/new/$to/${name[$to]}" --format=$to
  whole_us=$((($(date +%s%N) - start) / 1000))
  RANDOM=2026
  for i in $(seq 8); do
    rm -rf "$tmp/killed"
    [ $((i % 2)) = 0 ] && cp -r "$tmp/old/$to" "$tmp/killed"
    us=$((RANDOM * whole_us / 32768 + 1000))
    "$bin" "${flags[@]}" >/dev/null 2>&1 &
    pid=$!
    sleep "$(printf '%d.%06d' $((us / 1000000)) $((us % 1000000)))"
    kill -KILL $pid 2>/dev/null
    wait $pid 2>/dev/null
    [ -e "$complete" ] || continue
    equal "$target" "$tmp/new/$to/${name[$to]}" || equal "$target" "$tmp/old/$to/${name[$to]}" ||
      complain "killed after $us us: $target is neither old nor new"
  done
done
finish export_model
