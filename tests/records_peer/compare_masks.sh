#!/usr/bin/env bash
# Our COCO masks against pycocotools on random segmentations. Without Python or network the test
# skips with a line.
set -u
bin=${EDT_BIN_DIR:?}
# shellcheck source=tests/support/peer_venv.sh
. "$(dirname "$0")/../support/peer_venv.sh"
peer_python pycocotools.mask pycocotools numpy
"$peer_python" "${EDT_SOURCE_DIR:?}/tests/records_peer/compare_masks.py" "$bin/../tests/print_masks" "${1:-2000}"
