#!/usr/bin/env bash
# h5py reads the Keras weight files that export_model writes: the names, the order and the values of
# the file that Keras wrote; and export_model reads what h5py writes, in every storage that Keras
# files have been seen in. Skips where h5py cannot be installed from PyPI.
set -eu
here=$(dirname "$0")
golden=${EDT_GOLDEN_DIR:-${EDT_SOURCE_DIR:?}/../shared/golden}/model/ckpt
if [ ! -d "$golden" ]; then
  echo "skipped: no sample checkpoints at $golden"
  exit $((${CI:+1} + 0))
fi
if [ ! -x "$EDT_BIN_DIR/edt_hdf5" ]; then
  echo "skipped: built without HDF5"
  exit 0
fi
# shellcheck source=tests/support/peer_venv.sh
. "$here/../support/peer_venv.sh"
peer_python h5py h5py
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export OMP_WAIT_POLICY=passive
"$peer_python" "$here/exchange_h5.py" "$EDT_BIN_DIR" "$golden" "$tmp"
