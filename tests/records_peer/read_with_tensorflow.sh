#!/usr/bin/env bash
# TensorFlow itself reads shards of ours (plain, gzip, zlib), parses their features and decodes their
# images; our programs read what comes out of TensorFlow's writer. Skips where tensorflow-cpu cannot be
# installed from PyPI.
set -eu
here=$(dirname "$0")
. "$here/../support/peer_venv.sh"
peer_python tensorflow tensorflow-cpu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
bin=$EDT_BIN_DIR
"$bin/draw_shapes" --output_dir="$tmp/shapes" --num_images=12 --image_size=96x128 --seed=3 >/dev/null
for compression in none gzip zlib; do
  "$bin/create_coco_records" --image_dir="$tmp/shapes/images" \
    --object_annotations_file="$tmp/shapes/annotations.json" \
    --output_file_prefix="$tmp/$compression/shapes" --num_shards=2 --compression=$compression 2>/dev/null
done
TF_CPP_MIN_LOG_LEVEL=3 "$peer_python" "$here/read_with_tensorflow.py" "$tmp"
