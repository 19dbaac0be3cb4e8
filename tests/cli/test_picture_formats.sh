#!/usr/bin/env bash
# PNG, BMP and GIF pictures all the way through records: converted as they are, verified by their
# pixels, extracted, encoded anew as JPEGs; and what cannot be decoded is named.
set -u
bin=${EDT_BIN_DIR:?}/create_coco_records
inspect=$EDT_BIN_DIR/inspect_records
golden=${EDT_GOLDEN_DIR:-${EDT_SOURCE_DIR:?}/../shared/golden}
# shellcheck source=tests/cli/common.sh
. "$(dirname "$0")/common.sh"
need_dirs "$golden"
formats=$golden/data/decode/formats

# Those that decode first, with one box each, then those that do not.
rows() { awk -F'\t' -v s="$1" 'NR > 1 && $2 == s && $1 ~ /\.(png|bmp|gif)$/ { print $1, $4 + 0, $3 + 0 }' "$formats/MANIFEST.tsv"; }
rows ok >"$tmp/sound"
rows error | sed 's/ 0 0$/ 9 11/' >"$tmp/broken"
n_sound=$(wc -l <"$tmp/sound")
[ "$n_sound" = 27 ] || complain "$n_sound sound files instead of 27"
cat "$tmp/sound" "$tmp/broken" | awk '
  { i++; images = images sprintf("%s{\"id\": %d, \"file_name\": \"%s\", \"height\": %d, \"width\": %d}", i > 1 ? "," : "", i, $1, $2, $3)
    boxes = boxes sprintf("%s{\"id\": %d, \"image_id\": %d, \"bbox\": [0, 0, 1, 1], \"category_id\": 1, \"iscrowd\": 0, \"area\": 1}", i > 1 ? "," : "", i, i) }
  END { printf "{\"images\": [%s], \"annotations\": [%s], \"categories\": [{\"id\": 1, \"name\": \"corner\"}]}", images, boxes }' \
  >"$tmp/list.json"
convert() { # NAME OPTIONS...
  local name=$1
  shift
  "$bin" --image_dir="$formats" --object_annotations_file="$tmp/list.json" --num_shards=1 --log_level=quiet \
    --output_file_prefix="$tmp/$name" --report="$tmp/$name.json" "$@"
}

# Bytes as they are: headers alone are looked at, --verify then names the broken ones by their pixels.
convert plain --on_bad=skip || complain "conversion"
"$inspect" --verify --json="$tmp/verify.json" --log_level=quiet "$tmp"/plain-*.tfrecord >/dev/null
[ $? = 1 ] || complain "--verify with broken pictures"
n_records=$(grep -o '"records": *[0-9]*' "$tmp/verify.json" | head -n 1 | grep -o '[0-9]*$')
n_images=$(grep -o '"image": *[0-9]*' "$tmp/verify.json" | head -n 1 | grep -o '[0-9]*$')
n_notes=$(grep -o '"not_jpeg": *[0-9]*' "$tmp/verify.json" | head -n 1 | grep -o '[0-9]*$')
[ "$((n_records - n_images))" = 27 ] || complain "$n_images of $n_records named"
[ "$n_notes" = 27 ] || complain "$n_notes of other formats"

# With --verify_pixels exactly the sound ones are stored.
convert checked --on_bad=skip --verify_pixels || complain "--verify_pixels"
grep -q '"records": 27,' "$tmp/checked.json" || complain "not 27 records"
"$inspect" --verify --log_level=quiet "$tmp"/checked-*.tfrecord >/dev/null || complain "--verify of sound pictures"
expect 1 "rgb24_trailing.bmp" --image_dir="$formats" --object_annotations_file="$tmp/list.json" --num_shards=1 \
  --output_file_prefix="$tmp/strict" --verify_pixels

# Encoded anew all are JPEGs.
convert encoded --on_bad=skip --reencode=95 || complain "--reencode"
"$inspect" --verify --json="$tmp/encoded_verify.json" --log_level=quiet "$tmp"/encoded-*.tfrecord >/dev/null ||
  complain "--verify of encoded pictures"
grep -q '"not_jpeg": *0' "$tmp/encoded_verify.json" || complain "there are other formats than JPEG"

# Extracted as they were, with boxes drawn on a copy.
for name in rgb8_adam7.png rgb24.bmp two_frames.gif; do
  mkdir "$tmp/extract"
  "$inspect" --extract="$name" --save_samples_dir="$tmp/extract" --log_level=quiet "$tmp"/checked-*.tfrecord >/dev/null ||
    complain "--extract=$name"
  cmp -s "$formats/$name" "$tmp"/extract/*."${name##*.}" || complain "$name is not what was extracted"
  ls "$tmp"/extract/*_boxes.jpg >/dev/null 2>&1 || complain "$name: no picture with boxes"
  rm -r "$tmp/extract"
done
finish "picture formats"
