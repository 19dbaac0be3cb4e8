#!/usr/bin/env bash
# coco_eval against pycocotools on random cases. Without Python or network the test skips
# with a line.
set -u
bin=${EDT_BIN_DIR:?}
# shellcheck source=tests/support/peer_venv.sh
. "$(dirname "$0")/../support/peer_venv.sh"
peer_python pycocotools.mask pycocotools numpy
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$peer_python" "${EDT_SOURCE_DIR:?}/tests/eval_peer/compare_pycocotools.py" "$bin/coco_eval" "$tmp" "${1:-300}"
