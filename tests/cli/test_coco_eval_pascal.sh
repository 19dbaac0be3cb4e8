#!/usr/bin/env bash
# VOC's metric over what create_pascal_records writes: the objects themselves as detections give 1 with
# the JSON and with the shards, which know difficult objects.
set -u
bin=${EDT_BIN_DIR:?}/coco_eval
data=${EDT_DATA_DIR:-${EDT_SOURCE_DIR:?}/../shared/data}
# shellcheck source=tests/cli/common.sh
. "$(dirname "$0")/common.sh"
succeed() {
  "$bin" "$@" >"$tmp/stdout" 2>"$tmp/stderr" || complain "coco_eval $*: $(cat "$tmp/stderr")"
}
need_dirs "$data"
"$EDT_BIN_DIR/create_pascal_records" --data_dir="$data/voc-mini/VOCdevkit" --year=merged --set=val \
  --num_shards=2 --output_path="$tmp/voc" --log_level=quiet >/dev/null || complain convert
sed -E 's/"bbox":/"score": 0.5, &/g' "$tmp/json_voc.json" >"$tmp/dt.json"
for rule in voc2007 voc2010; do
  succeed "$tmp/json_voc.json" "$tmp/dt.json" --metric=$rule
  grep -qE '^ Mean AP .*= +1\.0000$' "$tmp/stdout" || complain "$rule: $(tail -n1 "$tmp/stdout")"
  all=$(awk '$1 ~ /^[0-9]+$/ { objects += $(NF - 2); difficult += $(NF - 1) } END { print objects, difficult }' "$tmp/stdout")
  succeed --gt_records="$tmp/voc-*.tfrecord" --dt="$tmp/dt.json" --metric=$rule
  grep -qE '^ Mean AP .*= +1\.0000$' "$tmp/stdout" || complain "$rule, shards: $(tail -n1 "$tmp/stdout")"
  some=$(awk '$1 ~ /^[0-9]+$/ { objects += $(NF - 2); difficult += $(NF - 1) } END { print objects, difficult }' "$tmp/stdout")
  read -r n_all none <<<"$all"
  read -r n_easy n_difficult <<<"$some"
  if [ "$none" != 0 ] || [ "$n_difficult" = 0 ] || [ $((n_easy + n_difficult)) != "$n_all" ]; then
    complain "$rule: $n_all objects in the JSON, $n_easy and $n_difficult difficult ones in the shards"
  fi
done
finish coco_eval_pascal
