#!/usr/bin/env bash
# Trains D0 at 128x128 for 200 steps from the sample checkpoint on real photographs, and compares the cpu
# backend with ref (compare_backends.c): ten steps one by one, and, without --nocurve (four minutes), both
# curves. EDT_DATA_DIR and EDT_GOLDEN_DIR name the samples.
#                                  usage: compare_backends.sh BUILD_DIR [OPTIONS OF compare_backends]
set -eu
build=$1
shift
shared=$(dirname "$0")/../../../shared
data=${EDT_DATA_DIR:-$shared/data}/coco-mini
checkpoint=${EDT_GOLDEN_DIR:-$shared/golden}/model/ckpt/efficientdet-d0
if [ ! -d "$data" ] || [ ! -d "$checkpoint" ]; then
  echo "skipped: no sample data at $data or $checkpoint"
  [ -z "${CI:-}" ] && exit 77
  exit 1
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$build/bin/create_coco_records" --image_dir="$data/train2017" --num_shards=2 --log_level=error \
  --object_annotations_file="$data/annotations/instances_train2017.json" --output_file_prefix="$tmp/rec"
"$build/acceptance/compare_backends" --ckpt="$checkpoint" --train_file_pattern="$tmp/rec-*" "$@"
