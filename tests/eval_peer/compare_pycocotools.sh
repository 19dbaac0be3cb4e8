#!/usr/bin/env bash
# coco_eval against pycocotools on random cases and on the sample files. Without Python or network the
# test skips with a line.
set -u
bin=${EDT_BIN_DIR:?}
data=${EDT_DATA_DIR:-${EDT_SOURCE_DIR:?}/../shared/data}/coco-eval
# shellcheck source=tests/support/peer_venv.sh
. "$(dirname "$0")/../support/peer_venv.sh"
peer_python pycocotools.mask pycocotools numpy
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
files=()
if [ -d "$data" ]; then
  val=$data/val2014_100
  files=("$val/instances_val2014_100.json" "$val/instances_val2014_fakebbox100_results.json" bbox
    "$val/instances_val2014_100.json" "$val/instances_val2014_fakesegm100_results.json" segm
    "$data/val2014_bbox_area/sampled_gts_bbox_area.json" "$data/val2014_bbox_area/sampled_bbox_results.json" bbox
    "$data/edge/edge_gt.json" "$data/edge/edge_dt.json" bbox)
else
  echo "no sample data at $data: random cases only"
fi
"$peer_python" "${EDT_SOURCE_DIR:?}/tests/eval_peer/compare_pycocotools.py" "$bin/coco_eval" "$tmp" "${1:-300}" \
  "${2:-2000}" "${files[@]}"
