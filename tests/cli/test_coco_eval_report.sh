#!/usr/bin/env bash
# coco_eval --curves, --errors and --metric as their users run them: a page with all its pictures, the
# table of errors, one class per line, and a word about what does not go together.
set -u
bin=${EDT_BIN_DIR:?}/coco_eval
# shellcheck source=tests/cli/common.sh
. "$(dirname "$0")/common.sh"
succeed() {
  "$bin" "$@" >"$tmp/stdout" 2>"$tmp/stderr" || complain "coco_eval $*: $(cat "$tmp/stderr")"
}

cat >"$tmp/gt.json" <<'JSON'
{"images": [{"id": 1, "width": 99, "height": 99}, {"id": 2, "width": 99, "height": 99}],
 "categories": [{"id": 1, "name": "cat"}, {"id": 7, "name": "dog"}],
 "annotations": [
  {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0},
  {"id": 2, "image_id": 1, "category_id": 7, "bbox": [20, 0, 9, 9], "area": 81, "iscrowd": 0},
  {"id": 3, "image_id": 2, "category_id": 7, "bbox": [40, 0, 9, 9], "area": 81, "iscrowd": 0,
   "difficult": 1}]}
JSON
cat >"$tmp/dt.json" <<'JSON'
[{"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "score": 0.9},
 {"image_id": 1, "category_id": 1, "bbox": [20, 0, 9, 9], "score": 0.8},
 {"image_id": 2, "category_id": 7, "bbox": [40, 0, 9, 9], "score": 0.7}]
JSON
run=("$tmp/gt.json" "$tmp/dt.json")

succeed "${run[@]}" --errors --json="$tmp/out.json" --curves="$tmp/a/report"
[ "$(grep -c 'Average' "$tmp/stdout")" = 12 ] || complain "the twelve lines: $(cat "$tmp/stdout")"
grep -qE '^class +[0-9.]+ +1$' "$tmp/stdout" || complain "no line of class errors: $(cat "$tmp/stdout")"
grep -q '"errors": {' "$tmp/out.json" || complain "no errors in the JSON"
for name in index.html numbers.json classes.csv precision_recall.{png,svg,csv} ap_per_class.{png,svg} \
  confusion.{png,svg,csv} scores.{png,svg,csv} thresholds.{png,svg,csv} errors.{png,svg} classes/{1,7}.png; do
  [ -s "$tmp/a/report/$name" ] || complain "no $name"
done
for name in "$tmp"/a/report/*.png "$tmp"/a/report/classes/*.png; do
  [ "$(head -c 4 "$name" | tail -c 3)" = PNG ] || complain "$name is no PNG"
done
grep -q '^"cat",1,0,0$' "$tmp/a/report/confusion.csv" || complain "$(cat "$tmp/a/report/confusion.csv")"
# Into the same folder again, whatever the number of threads.
cp -r "$tmp/a/report" "$tmp/before"
succeed "${run[@]}" --curves="$tmp/a/report" --num_threads=3
diff -r "$tmp/before" "$tmp/a/report" >/dev/null || complain "another report: $(diff -rq "$tmp/before" "$tmp/a/report")"

succeed "${run[@]}" --metric=voc2007 --json="$tmp/voc.json"
grep -qE '^ +1 +cat +1\.0000 +1\.0000 +0\.5000 +1 +0 +2$' "$tmp/stdout" || complain "$(cat "$tmp/stdout")"
# The difficult dog is neither an object nor a hit.
grep -qE '^ +7 +dog +0\.0000 +0\.0000 +- +1 +1 +1$' "$tmp/stdout" || complain "$(cat "$tmp/stdout")"
grep -q 'Mean AP (VOC 2007, 11 points, IoU 0.50) = *0.5000' "$tmp/stdout" || complain "$(cat "$tmp/stdout")"
grep -q '"mAP": 0.5' "$tmp/voc.json" || complain "$(cat "$tmp/voc.json")"
succeed "${run[@]}" --metric=voc2010 --iou_thresholds=0.9 --classes=cat
grep -q 'Mean AP (VOC 2010, every point, IoU 0.90) = *1.0000' "$tmp/stdout" || complain "$(cat "$tmp/stdout")"

expect 2 'coco, voc2007, voc2010' "${run[@]}" --metric=voc2012
expect 2 'goes without --errors' "${run[@]}" --metric=voc2007 --errors
expect 2 'goes without --errors' "${run[@]}" --metric=voc2010 --curves="$tmp/b"
expect 2 'at one of --iou_thresholds' "${run[@]}" --metric=voc2010 --iou_thresholds=0.5,0.75
expect 2 'needs --use_cats=true' "${run[@]}" --errors --use_cats=false
expect 1 "$tmp/gt.json" "${run[@]}" --curves="$tmp/gt.json/report"
expect 2 'goes without --max_dets' "${run[@]}" --metric=voc2007 --max_dets=1,10,100
expect 2 '--per_class needs --use_cats=true' "${run[@]}" --per_class --use_cats=false

# Why numbers are -1, in the log and in the JSON, and not a word more on stdout.
succeed "${run[@]}" --json="$tmp/notes.json"
[ "$(wc -l <"$tmp/stdout")" = 12 ] || complain "more than twelve lines: $(cat "$tmp/stdout")"
for words in 'APm, ARm are -1: no object' 'APl, ARl are -1: no object'; do
  grep -q "$words" "$tmp/stderr" && grep -q "$words" "$tmp/notes.json" || complain "no '$words': $(cat "$tmp/stderr")"
done
succeed "${run[@]}" --per_class --json="$tmp/classes.json" --image_ids=1
grep -qE '^ +7 +dog +1( +0\.000){4} +- +- +0\.000$' "$tmp/stdout" || complain "classes: $(cat "$tmp/stdout")"
grep -c '"objects": 1,' "$tmp/classes.json" | grep -qx 2 || complain "no counts: $(cat "$tmp/classes.json")"
sed 's/"category_id": 1/"category_id": 0/' "$tmp/dt.json" >"$tmp/shifted.json"
succeed "$tmp/gt.json" "$tmp/shifted.json"
grep -q '2 of 3 detections have a category that the ground truth does not have.*: id 0$' "$tmp/stderr" ||
  complain "unknown categories: $(cat "$tmp/stderr")"

[ -e "$tmp/b" ] && complain "a folder after wrong usage"
finish coco_eval_report
