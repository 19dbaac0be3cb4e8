#!/usr/bin/env bash
# Makes files of the size of COCO val2017 and times coco_eval against the COCO evaluators on PyPI, all in
# the same run; fails when coco_eval's twelve numbers are not pycocotools'. A peer that cannot be
# installed is named. Started by hand:
#
#   EDT_BIN_DIR=build/bin tests/bench/compare_coco_eval.sh [WORK_DIR [ROUNDS]]
set -u
bin=${EDT_BIN_DIR:-build/bin}
here=$(cd "$(dirname "$0")" && pwd)
work=${1:-}
rounds=${2:-5}
if [ -z "$work" ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
fi
mkdir -p "$work"
[ -x "$bin/coco_eval" ] || { echo "no $bin/coco_eval; EDT_BIN_DIR is the folder of the built programs" >&2; exit 2; }
[ -x "$work/venv/bin/python" ] || python3 -m venv "$work/venv" || exit 2
for package in numpy pycocotools faster-coco-eval hotcoco ultrafast-pycocotools; do
  "$work/venv/bin/pip" -q --disable-pip-version-check install "$package" >"$work/pip.log" 2>&1 ||
    echo "$package cannot be installed here: $(tail -n 1 "$work/pip.log")"
done
"$work/venv/bin/pip" --disable-pip-version-check list 2>/dev/null | grep -i coco
echo "$(nproc) processors, load $(cut -d ' ' -f 1 /proc/loadavg)"

status=0
# compare NAME WORDS ARGS...: makes the files once
compare() {
  local name=$1 words=$2
  shift 2
  [ -f "$work/$name/dt.json" ] || "$work/venv/bin/python" "$here/make_coco_eval_data.py" "$work/$name" "$@" || exit 2
  echo
  echo "$words (gt.json $(($(stat -c %s "$work/$name/gt.json") / 1000000)) MB," \
    "dt.json $(($(stat -c %s "$work/$name/dt.json") / 1000000)) MB)"
  cat "$work/$name/gt.json" "$work/$name/dt.json" >/dev/null # into the page cache
  "$work/venv/bin/python" "$here/compare_coco_eval.py" "$bin/coco_eval" "$work/$name" "$rounds" || status=1
}
compare large "5 000 images, 36 781 objects, 500 000 detections" 500000
compare small "5 000 images, 36 781 objects, 36 700 detections" 36700
compare polygons "the large case, ground truth with polygons" 500000 --polygons
exit $status
