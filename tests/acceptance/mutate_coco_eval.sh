#!/usr/bin/env bash
# Breaks the evaluator in one line at a time, in a copy of the tree, and runs its tests: each must be
# noticed. Prints a table of what noticed which; fails when a breakage survives or no longer applies.
# Takes a quarter of an hour or more on two cores. Started by hand:
#
#   tests/acceptance/mutate_coco_eval.sh [WORK_DIR [FIRST [LAST]]]     # numbers of breakages
#
# Unit tests and sample files are asked first, pycocotools (from PyPI, where it can be had) last.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
work=${1:-}
first=${2:-1}
last=${3:-9999}
if [ -z "$work" ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
fi
rm -rf "$work/tree" # objects of an earlier run may be those of a breakage
mkdir -p "$work/tree"
work=$(cd "$work" && pwd)
tree=$work/tree
build=$tree/build
log=$work/log
export EDT_DATA_DIR=${EDT_DATA_DIR:-$root/../shared/data} OMP_WAIT_POLICY=passive
(cd "$root" && tar -c --exclude='./build*' --exclude=./.git --exclude=./.cache .) | tar -x -C "$tree" || exit 2
cmake -S "$tree" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DEDT_CUDA=OFF -DEDT_BENCH=OFF >"$log" 2>&1 ||
  { tail "$log"; exit 2; }

tests="test_coco_evaluate test_coco_match test_coco_params test_coco_mask test_coco_dt test_coco_eval \
  test_coco_summary test_coco_gt test_coco_matches test_coco_stream test_coco_records"
python=$work/venv/bin/python
if ! "$python" -c 'import pycocotools.mask' 2>/dev/null; then
  { python3 -m venv "$work/venv" && "$work/venv/bin/pip" -q install pycocotools numpy; } >"$log" 2>&1 ||
    { echo "pycocotools cannot be installed here: unit tests and sample files alone"; python=; }
fi

make_target() {
  cmake --build "$build" --target "$1" -j2 >"$log" 2>&1
}
# Sets $noticed to the first test that fails, empty: none; $noticed=build: it does not compile.
ask() {
  local test
  noticed=
  for test in $tests; do
    make_target "$test" || { noticed=build; return; }
    timeout 120 "$build/tests/$test" -j1 >"$log" 2>&1 || { noticed=$test; return; }
  done
  [ -n "$python" ] || return
  make_target coco_eval || { noticed=build; return; }
  rm -rf "$work/cases" && mkdir "$work/cases"
  timeout 300 "$python" "$root/tests/eval_peer/compare_pycocotools.py" "$build/bin/coco_eval" "$work/cases" \
    30 400 >"$log" 2>&1 || noticed=pycocotools
}

ask
[ -z "$noticed" ] || { echo "the tree as it is fails: $noticed"; tail "$log"; exit 2; }
n=0
n_bad=0
# break_line FILE WORDS SED: SED changes exactly one line
break_line() {
  local file=$tree/eval/$1 words=$2 expression=$3 verdict
  n=$((n + 1))
  [ $n -ge "$first" ] && [ $n -le "$last" ] || return
  cp -p "$file" "$work/whole"
  sed -E -i "$expression" "$file"
  if [ "$(diff "$work/whole" "$file" | grep -c '^<')" != 1 ]; then
    verdict="DOES NOT APPLY"
    n_bad=$((n_bad + 1))
  else
    ask
    case $noticed in
    '') verdict=SURVIVED && n_bad=$((n_bad + 1)) ;;
    build) verdict="DOES NOT COMPILE" && n_bad=$((n_bad + 1)) ;;
    *) verdict=$noticed ;;
    esac
  fi
  cp "$work/whole" "$file"
  printf '%2d  %-17s %-60s %s\n' $n "$1" "$words" "$verdict"
}

# Area ranges: both ends belong to them.
break_line coco_priv.h "lower end of an area range does not belong to it" \
  's/area < pass->areas\[i_area\]\[0\]/area <= pass->areas[i_area][0]/'
break_line coco_priv.h "upper end of an area range does not belong to it" \
  's/area > pass->areas\[i_area\]\[1\]/area >= pass->areas[i_area][1]/'
# Matching.
break_line coco_group.c "of equal overlaps the first object is taken" 's/c->iou < best/c->iou <= best/'
break_line coco_group.c "an overlap equal to the threshold does not match" \
  's/!\(iou < pass->thresholds\[t\]\)/(iou > pass->thresholds[t])/'
break_line coco_group.c "a crowd is matched once, among several objects" 's/ != 0 && !is_crowd\[g\]\)/ != 0)/'
break_line coco_group.c "a crowd is matched once, alone" 's/is_crowd\[g\] \? 0u : \(unsigned\)/(unsigned)/'
break_line coco_group.c "overlap with a crowd over the union" \
  's/is_crowd != NULL && is_crowd\[i\] \? area/false ? area/'
break_line coco_group.c "a match with an ignored object counts as true" 's/matched & ~ignored/matched/'
break_line coco_group.c "detections outside the area range count as false" \
  's/edt_coco_is_outside\(pass, items\[i\]\.area, i_area\) \? 0 : all/all/'
break_line coco_group.c "crowds are not ignored" 's/is_crowd\[i\] \|\| edt_coco_is_outside/edt_coco_is_outside/'
break_line coco_group.c "ignored objects are matched before others" 's/!= ignored \|\|$/== ignored ||/'
break_line coco_group.c "equal scores of an image change their order" 's/return a > b \|\| \(/return a >= b || (/'
break_line coco_group.c "common pixels are computed from the wrong corner" \
  's/smaller\(right, g\[2\] \+ g\[0\]\)/smaller(right, g[2])/'
break_line coco_table.c "one detection too few per image and category" \
  's/n_dt < max_dets \? n_dt : max_dets,/n_dt < max_dets ? n_dt : max_dets - 1,/'
break_line coco_table.c "areas of detections in float" 's/\.area = w \* h,/.area = (double)((float)w * (float)h),/'
break_line coco_table.c "detections of images that are not evaluated" \
  's/is_wanted && category >= 0 && work/category >= 0 \&\& work/'
break_line coco_matches.c "a match is reported one object further" \
  's/\? -1 : \(int32_t\)gt_rows\[of_image\]/? -1 : (int32_t)gt_rows[of_image] + 1/'
break_line coco_match.c "crowds count as objects to be found" 's/k >= 0 && !gt->is_crowd\[i\]/k >= 0/'
# Ids and parameters.
break_line coco_id_map.h "ids are compared in 32 bits" \
  's/map->ids\[i\] == id/(int32_t)map->ids[i] == (int32_t)id/'
break_line coco_params.c "thresholds without the rounding of NumPy's step" \
  's/\(double\)i \* step \+ first/(last - first) * (double)i \/ (n_usual - 1) + first/'
break_line coco_params.c "max_dets are not sorted" 's/qsort\(max_dets, \(size_t\)n/qsort(max_dets, (size_t)0/'
# Numbers as they are read.
break_line coco_row_form.c "scores in float" 's/\.score = numbers/.score = (double)(float)numbers/'
break_line coco_row_form.c "boxes lose their sign" 's/d\.negative \? -value : value/value/'
# Accumulation.
break_line coco_accumulate.c "one detection too many per image and category" \
  's/row->rank >= \(uint32_t\)max_dets/row->rank > (uint32_t)max_dets/'
break_line coco_accumulate.c "the curve of a smaller max_dets is repeated" \
  's/max_rank < \(uint32_t\)result/max_rank <= (uint32_t)result/'
break_line coco_accumulate.c "-0 and 0 are different scores" 's/= score \+ 0\.0;/= score;/'
break_line coco_accumulate.c "NaN scores come first" 's/return UINT64_MAX;/return 0;/'
break_line coco_accumulate.c "equal scores of different images change their order" \
  's/= acc->order\[begin \+ i\];/= acc->order[begin + n - 1 - i];/'
break_line coco_accumulate.c "precision is interpolated from the wrong side" \
  's/s->precision\[i\] > s->precision\[i - 1\] \?/s->precision[i] < s->precision[i - 1] ?/'
break_line coco_accumulate.c "precision without the spacing of 1" 's/ \+ 2\.220446049250313e-16//'
break_line coco_accumulate.c "a recall threshold must be passed, not reached" \
  's/\(double\)n_positives < recalls\[r\]/(double)n_positives <= recalls[r]/'
break_line coco_accumulate.c "recall 0 needs a true positive" 's/<= n_tp : n_used > 0\)/<= n_tp : n_tp > 0)/'
break_line coco_accumulate.c "score of the next true positive" 's/s->i_hit\[at\]\]/s->i_hit[at + (at + 1 < n_tp)]]/'
# Summary.
break_line coco_summary.c "undefined values are part of means" 's/cells\[m\] > -1/cells[m] >= -1/'
break_line coco_summary.c "sums one after the other" 's/if \(n < 8\)/if (n < 1000000)/'
break_line coco_summary.c "AP75 at another limit of detections" 's/\{true, 0\.75, "all", 2\}/{true, 0.75, "all", 1}/'
# Masks.
break_line coco_mask.h "overlap with a crowd over the crowd's area" 's/is_crowd \? dt->area/is_crowd ? gt->area/'
break_line coco_mask.h "the bound on common pixels of two masks is too low" \
  's/\(right - left\) \* \(bottom - top\)/(right - left) * (bottom - top) \/ 2/'
break_line coco_mask.c "differences of compressed runs begin one too early" 's/n > 2 \? before/n > 1 ? before/'
break_line coco_mask.c "a run that ends last is left" 's/p \+= p_ends_first \? 2 : 0/p += 2/'
break_line coco_dt_json.c "areas of masks are those of their boxes" \
  's/is_mask_file \? EDT_COCO_AREA_MASK : /is_mask_file ? EDT_COCO_AREA_F64 : /'

echo "$n breakages, $n_bad not noticed or not applied"
exit $((n_bad > 0))
