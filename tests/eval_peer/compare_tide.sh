#!/usr/bin/env bash
# coco_eval --errors against tidecv. Without Python or network the test skips with a line.
set -u
bin=${EDT_BIN_DIR:?}
source=${EDT_SOURCE_DIR:?}
# shellcheck source=tests/support/peer_venv.sh
. "$(dirname "$0")/../support/peer_venv.sh"
# Without what tidecv draws with (compare_tide.py).
peer_python pycocotools.mask pycocotools numpy
peer_python appdirs appdirs
[ -d "$("$peer_python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/tidecv" ] ||
  "$peer_python" -m pip -q install --no-deps tidecv==1.0.1 2>/dev/null ||
  { echo "skipped: tidecv cannot be installed here"; exit 0; }
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
files=()
folder=${EDT_DATA_DIR:-$source/../shared/data}/coco-eval/val2014_100
[ -d "$folder" ] && files=("$folder/instances_val2014_100.json" "$folder/instances_val2014_fakebbox100_results.json")
"$peer_python" "$source/tests/eval_peer/compare_tide.py" "$bin/coco_eval" "$tmp" "${1:-60}" ${files[@]+"${files[@]}"}
