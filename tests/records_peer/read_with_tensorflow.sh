#!/usr/bin/env bash
# TensorFlow itself reads shards of ours (plain, gzip, zlib), parses their features and decodes their
# images; and our reader takes what TensorFlow writes. Skips where tensorflow-cpu cannot be installed
# from PyPI.
set -eu
here=$(dirname "$0")
# shellcheck source=tests/support/peer_venv.sh
. "$here/../support/peer_venv.sh"
peer_python tensorflow tensorflow-cpu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
bin=$EDT_BIN_DIR
"$bin/draw_shapes" --output_dir="$tmp" --num_train=12 --num_val=1 --image_size=128 --seed=3 2>"$tmp/log" ||
  { cat "$tmp/log"; exit 1; }
"$bin/create_coco_records" --image_dir="$tmp/train" \
  --object_annotations_file="$tmp/annotations/instances_train.json" \
  --output_file_prefix="$tmp/none/shapes" --num_shards=2 2>"$tmp/log" || { cat "$tmp/log"; exit 1; }
for compression in gzip zlib; do
  "$bin/../tests/rewrite_shards" "$tmp/none/shapes-*" "$tmp/$compression/shapes" 2 $compression
done
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=
"$peer_python" "$here/read_with_tensorflow.py" "$tmp"
for compression in none gzip zlib; do
  "$bin/../tests/rewrite_shards" "$tmp/peer-$compression.tfrecord" "$tmp/back/$compression" 1 none
  cmp "$tmp/peer-none.tfrecord" "$tmp/back/$compression-00000-of-00001.tfrecord"
done
echo "records: TensorFlow and ours read each other's shards"
