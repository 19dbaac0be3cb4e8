#!/usr/bin/env bash
# coco_eval against pycocotools on random cases. The package goes into a virtual environment in the
# build folder; without Python or network the test skips with a line.
set -u
bin=${EDT_BIN_DIR:?}
venv=$bin/../eval_peer_venv
if ! "$venv/bin/python" -c 'import pycocotools.mask' 2>/dev/null; then
  if ! { python3 -m venv "$venv" && "$venv/bin/pip" -q install pycocotools numpy; } >/dev/null 2>&1; then
    rm -rf "$venv"
    echo "skipped: pycocotools cannot be installed here"
    exit 0
  fi
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$venv/bin/python" "${EDT_SOURCE_DIR:?}/tests/eval_peer/compare_pycocotools.py" "$bin/coco_eval" "$tmp" "${1:-300}"
