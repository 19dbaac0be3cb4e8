#!/usr/bin/env bash
# Times a D0 training step and D0 inference at 512x512 against what PyPI has, all in the same run and in
# turns, with the peak memory of each process; ends with the table and our times per op. A peer that cannot be
# installed is named. Peers: TensorFlow with a network of D0's shape made of Keras layers (d0_tensorflow.py
# says what it is), ONNX Runtime and OpenVINO on a graph of D0's inference network (make_d0_onnx.py), PyTorch
# effdet where there is a torch. Started by hand:
#
#   EDT_BIN_DIR=build/bin tests/bench/compare_train.sh [WORK_DIR [ROUNDS [BATCH_SIZE]]]
set -u
bin=${EDT_BIN_DIR:-build/bin}
here=$(cd "$(dirname "$0")" && pwd)
work=${1:-}
rounds=${2:-3}
batch=${3:-2}
if [ -z "$work" ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
fi
mkdir -p "$work"
[ -x "$bin/benchmark" ] || { echo "no $bin/benchmark; EDT_BIN_DIR is the folder of the built programs" >&2; exit 2; }

# environment NAME PACKAGE...: an own one for each, since their requirements exclude each other
environment() {
  local name=$1
  shift
  [ -x "$work/$name/bin/python" ] || python3 -m venv "$work/$name" || exit 2
  "$work/$name/bin/pip" -q --disable-pip-version-check install "$@" >"$work/$name.log" 2>&1 ||
    { echo "$* cannot be installed here: $(tail -n 1 "$work/$name.log")"; rm -f "$work/$name/bin/python"; }
}
environment tensorflow 'tensorflow-cpu==2.15.*'
environment runtimes numpy onnx onnxruntime openvino
environment torch torch effdet

if [ -x "$work/runtimes/bin/python" ] && [ ! -f "$work/d0.onnx" ]; then
  "$work/runtimes/bin/python" "$here/make_d0_onnx.py" "$work/d0.onnx" || rm -f "$work/d0.onnx"
fi
echo "$(nproc) processors, load $(cut -d ' ' -f 1 /proc/loadavg)"
python3 "$here/compare_train.py" "$bin/benchmark" "$work" "$rounds" "$batch" || exit 1
for what in "train --batch_size=$batch" "network --batch_size=1"; do
  for precision in f32 bf16; do
    echo
    echo "benchmark --what=$what --precision=$precision --per_op"
    # shellcheck disable=SC2086
    "$bin/benchmark" --what=$what --model_name=efficientdet-d0 --precision=$precision --per_op \
      2>/dev/null | sed -n '/^op  /,/^$/p' | sed '/^$/q'
  done
done
