#!/usr/bin/env bash
# Sound and damaged pictures of all formats against TensorFlow's decoders. Skips where tensorflow-cpu
# cannot be installed from PyPI, and without the sample pictures.
set -u
data=${EDT_DATA_DIR:-${EDT_SOURCE_DIR:?}/../shared/data}
golden=${EDT_GOLDEN_DIR:-$EDT_SOURCE_DIR/../shared/golden}
[ -d "$golden" ] && [ -d "$data" ] || { echo "skipped: no sample pictures"; exit 0; }
here=$(dirname "$0")
# shellcheck source=tests/support/peer_venv.sh
. "$here/../support/peer_venv.sh"
peer_python tensorflow tensorflow-cpu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=
"$peer_python" "$here/compare_pictures.py" "${EDT_BIN_DIR:?}/../tests/print_pictures" \
  "$golden/data/decode/formats" "$data/jpeg-corpus" "$tmp" "${1:-5000}" 2>"$tmp/words"
status=$?
[ $status = 0 ] || tail -n 5 "$tmp/words"
exit $status
