#!/usr/bin/env bash
# coco_eval with ground truth from shards gives the numbers of the JSON that the shards were made
# from, for boxes and masks; wrong use of the options ends with a word and a code.
set -u
bin=${EDT_BIN_DIR:?}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
fails=0
fail() {
  echo "FAILED: $*"
  fails=1
}
expect() { # $1 text that the message must hold, rest: arguments; exit code 2 or 1
  local text=$1 out
  shift
  if out=$("$bin/coco_eval" "$@" 2>&1); then
    fail "coco_eval $*: no failure"
  fi
  grep -qF -- "$text" <<<"$out" || fail "coco_eval $*: no '$text' in $out"
}

"$bin/draw_shapes" --output_dir="$tmp/data" --num_train=1 --num_val=12 --log_level=quiet >/dev/null ||
  fail draw_shapes
gt=$tmp/gt.json
# Masks as well: the boxes, in the form that a segmentation may have.
sed -E 's/"bbox": *(\[[^]]*\])/"segmentation": [\1], &/g' "$tmp/data/annotations/instances_val.json" >"$gt"
"$bin/create_coco_records" --image_dir="$tmp/data/val" --object_annotations_file="$gt" \
  --output_file_prefix="$tmp/val" --num_shards=2 --include_masks --log_level=quiet >/dev/null || fail convert
# The objects themselves as detections: moved by up to five pixels, so that the last digit of x is 5,
# and scored by the first digit of the height.
sed -E 's/\[([0-9]*)[0-9]((\.[0-9]+)?, *[^],]*, *[^],]*, *)([0-9])/[\15\2\4/g
        s/"bbox": *\[([^],]*,[^],]*,[^],]*), *([0-9])/"score": 0.\2, &/g' "$gt" >"$tmp/dt.json"
for type in bbox segm; do
  "$bin/coco_eval" "$gt" "$tmp/dt.json" --iou_type=$type >"$tmp/json.txt" || fail "json, $type"
  "$bin/coco_eval" --gt_records="$tmp/val*" --dt="$tmp/dt.json" --iou_type=$type >"$tmp/records.txt" ||
    fail "records, $type"
  cmp "$tmp/json.txt" "$tmp/records.txt" || fail "$type: $(diff "$tmp/json.txt" "$tmp/records.txt")"
  grep -q 'area=   all | maxDets=100 \] = 0\.[3-9]' "$tmp/json.txt" || fail "$type: $(cat "$tmp/json.txt")"
done

expect "--iou_type=mask: allowed are bbox and segm" "$gt" "$tmp/dt.json" --iou_type=mask
expect "two files are needed" --gt="$gt" --gt_records="$tmp/val*" --dt="$tmp/dt.json"
expect "is not label:low:high" "$gt" "$tmp/dt.json" --area_ranges=all:0
expect "'x' is no number" "$gt" "$tmp/dt.json" --iou_thresholds=0.5,x
expect "IoU threshold 2: allowed are 0 to 1" "$gt" "$tmp/dt.json" --iou_thresholds=2
expect "no image with id 4711" "$gt" "$tmp/dt.json" --image_ids=4711
printf 'damage' | dd of="$tmp/val-00001-of-00002.tfrecord" bs=1 seek=40 conv=notrunc 2>/dev/null
expect "a damaged ground truth is not evaluated" --gt_records="$tmp/val*" --dt="$tmp/dt.json"
exit $fails
