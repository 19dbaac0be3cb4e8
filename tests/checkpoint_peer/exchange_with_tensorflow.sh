#!/usr/bin/env bash
# TensorFlow itself reads the checkpoints that export_model writes, and export_model those that
# TensorFlow writes. Skips where tensorflow-cpu cannot be installed from PyPI.
set -eu
here=$(dirname "$0")
golden=${EDT_GOLDEN_DIR:-${EDT_SOURCE_DIR:?}/../shared/golden}/model/ckpt
if [ ! -d "$golden" ]; then
  echo "skipped: no sample checkpoints at $golden"
  exit $((${CI:+1} + 0))
fi
# shellcheck source=tests/support/peer_venv.sh
. "$here/../support/peer_venv.sh"
peer_python tensorflow tensorflow-cpu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES= OMP_WAIT_POLICY=passive
"$peer_python" "$here/exchange_with_tensorflow.py" "$EDT_BIN_DIR" "$golden" "$tmp"
