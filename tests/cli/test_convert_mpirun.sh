#!/usr/bin/env bash
# Conversions by three processes under a real mpirun: the same directory as one process makes, byte for
# byte, side indexes and catalog included. Skips (code 77) where there is no mpirun.
set -u
bin=${EDT_BIN_DIR:?}
data=${EDT_DATA_DIR:-${EDT_SOURCE_DIR:?}/../shared/data}
# shellcheck source=tests/cli/common.sh
. "$(dirname "$0")/common.sh"
need_dirs "$data"
command -v mpirun >/dev/null || skip "no mpirun here (Debian: openmpi-bin)"
# For Open MPI: containers run as root, and there may be fewer cores than processes. Of no meaning to
# other launchers.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
mpirun -n 3 true >"$tmp/log" 2>&1 || skip "mpirun -n 3 true fails here: $(tail -n 1 "$tmp/log")"
# compare NAME OUTPUT_FLAG COMMAND...: the command by one process and by three
compare() {
  local name=$1 flag=$2
  shift 2
  "$@" "$flag=$tmp/$name-1/set" >"$tmp/log" 2>&1 || complain "$name: $(tail -n 3 "$tmp/log")"
  mpirun -n 3 "$@" "$flag=$tmp/$name-3/set" >"$tmp/log" 2>&1 ||
    complain "$name by mpirun: $(tail -n 3 "$tmp/log")"
  # Two processes say so, the third, whichever it is, that the whole is finished.
  [ "$(grep -c 'of 3: its shards are finished' "$tmp/log")" = 2 ] ||
    complain "$name: mpirun started no three ranks: $(cat "$tmp/log")"
  diff -r "$tmp/$name-1" "$tmp/$name-3" || complain "$name: three processes write something else"
}
coco=("$bin/create_coco_records" --image_dir="$data/coco-mini/val2017" --num_shards=5
  --object_annotations_file="$data/coco-mini/annotations/instances_val2017.json")
compare boxes --output_file_prefix "${coco[@]}"
compare masks --output_file_prefix "${coco[@]}" --include_masks
compare zstd --output_file_prefix "${coco[@]}" --compression=zstd
compare voc --output_path "$bin/create_pascal_records" --data_dir="$data/voc-mini/VOCdevkit" \
  --year=merged --set=val --num_shards=5

finish "conversion under mpirun"
