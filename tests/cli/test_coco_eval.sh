#!/usr/bin/env bash
# coco_eval on malformed files: one message that says where, exit code 1 or 2, never a crash, nothing
# written; what pycocotools evaluates (NaN and infinite scores, negative boxes, detections of unknown
# categories) is evaluated.
set -u
bin=${EDT_BIN_DIR:?}/coco_eval
data=${EDT_DATA_DIR:-${EDT_SOURCE_DIR:?}/../shared/data}/coco-eval
# shellcheck source=tests/cli/common.sh
. "$(dirname "$0")/common.sh"
gt=$tmp/gt.json
dt=$tmp/dt.json
cat >"$gt" <<'JSON'
{"images":[{"id":1,"width":64,"height":48},{"id":2,"width":64,"height":48}],
"annotations":[
{"id":1,"image_id":1,"category_id":1,"bbox":[1,2,30,20],"area":600,"iscrowd":0,"segmentation":[[1,2,31,2,31,22]]},
{"id":2,"image_id":2,"category_id":2,"bbox":[5,5,10,10],"area":100,"iscrowd":1,
"segmentation":{"size":[48,64],"counts":[100,50,2922]}}],
"categories":[{"id":1,"name":"a"},{"id":2,"name":"b"}]}
JSON
cat >"$dt" <<'JSON'
[{"image_id":1,"category_id":1,"bbox":[1,2,30,20],"score":0.5},
{"image_id":2,"category_id":2,"bbox":[5,5,10,10],"score":0.25}]
JSON
bad=$tmp/bad.json
# refused CODE WORDS ARGS...: that code and words, one error, no numbers and no file
refused() {
  expect "$@" --json="$tmp/result.json" --arrays="$tmp/arrays.st"
  [ "$(grep -c '^E ' "$tmp/stderr")" = 1 ] || complain "$*: not one error: $(cat "$tmp/stderr")"
  [ ! -s "$tmp/stdout" ] || complain "$*: numbers all the same"
  ls "$tmp"/result.json* "$tmp"/arrays.st* >/dev/null 2>&1 && complain "$*: left a file behind"
}
# With a ground truth or detections that SED made out of the good ones.
bad_gt() { # WORDS SED ARGS...
  sed "$2" "$gt" >"$bad"
  cmp -s "$gt" "$bad" && complain "nothing changed: $2"
  refused 1 "$1" "$bad" "$dt" "${@:3}"
}
bad_dt() { # WORDS SED ARGS...
  sed "$2" "$dt" >"$bad"
  cmp -s "$dt" "$bad" && complain "nothing changed: $2"
  refused 1 "$1" "$gt" "$bad" "${@:3}"
}
text_gt() { # WORDS TEXT
  printf '%s' "$2" >"$bad"
  refused 1 "$1" "$bad" "$dt"
}
text_dt() { # WORDS TEXT ARGS...
  printf '%s' "$2" >"$bad"
  refused 1 "$1" "$gt" "$bad" "${@:3}"
}
good_dt() { # AP SED: evaluated, with this in the first line
  sed "$2" "$dt" >"$bad"
  "$bin" "$gt" "$bad" >"$tmp/stdout" 2>"$tmp/stderr" || complain "$2: $(cat "$tmp/stderr")"
  head -n1 "$tmp/stdout" | grep -qF "] = $1" || complain "$2: not $1: $(head -n1 "$tmp/stdout")"
}
good_dt 1.000 ''

# Not what the files should be at all.
for text in '' ' ' '[]' 3 null '"x"' '{' '{}' '{"images":3}' '{"images":[],"annotations":[]}' $'\xff\xfe'; do
  text_gt bad.json "$text"
done
for text in '' ' ' '{}' 3 null '"x"' '[' '[3]' '[{}]' '[null]' '{"annotations":3}' $'\xff\xfe'; do
  text_dt bad.json "$text"
done
refused 1 'give a file' "$tmp" "$dt"
refused 1 'give a file' "$gt" "$tmp"
refused 1 "$tmp/none.json" "$tmp/none.json" "$dt"
refused 1 "$tmp/none.json" "$gt" "$tmp/none.json"
refused 1 'not a regular file' "$gt" /dev/zero
refused 1 'not a regular file' <(cat "$gt") "$dt"
if [ "$(id -u)" != 0 ]; then
  cp "$gt" "$tmp/closed.json"
  chmod 000 "$tmp/closed.json"
  refused 1 'ermission' "$tmp/closed.json" "$dt"
fi
refused 2 'two files are needed' "$gt"
refused 2 '3 arguments given' "$gt" "$dt" "$dt"
refused 2 'allowed are bbox and segm' "$gt" "$dt" --iou_type=box
refused 2 'max_dets' "$gt" "$dt" --max_dets=1,x,100
refused 1 'no image with id 77' "$gt" "$dt" --image_ids=77

# Ground truth: fields that are missing, of another type, or out of range.
bad_gt 'annotations[0]): no "id"' 's/"id":1,"image_id"/"image_id"/'
bad_gt 'annotations[0]): no "image_id"' 's/"image_id":1,//'
bad_gt 'annotations[0]): no "category_id"' 's/"category_id":1,//'
bad_gt 'annotations[0]): no "bbox"' 's/"bbox":\[1,2,30,20\],//'
bad_gt 'annotations[0]): no "area"' 's/"area":600,//'
bad_gt 'images[1]): no "id"' 's/"id":2,"width"/"width"/'
bad_gt 'categories[1]): no "id"' 's/"id":2,"name"/"name"/'
bad_gt 'no "segmentation"' 's/,"segmentation":\[\[.*\]\]//' --iou_type=segm
bad_gt 'annotations[0].bbox): a bbox has four numbers' 's/1,2,30,20/1,2,30/'
bad_gt 'annotations[0].bbox[3]): a bbox has four numbers' 's/1,2,30,20/1,2,30,20,9/'
bad_gt 'annotations[0].bbox[2]): expected a number, found text' 's/1,2,30,20/1,2,"30",20/'
bad_gt 'annotations[0].bbox[2]): NaN is no JSON number' 's/1,2,30,20/1,2,NaN,20/'
bad_gt 'annotations[0].bbox): expected an array' 's/\[1,2,30,20\]/null/'
bad_gt 'annotations[0].area): NaN is no JSON number' 's/600/NaN/'
bad_gt 'annotations[0].area): 1e999 is too large' 's/600/1e999/'
bad_gt 'annotations[0].area): expected a number, found text' 's/600/"600"/'
bad_gt 'iscrowd must be 0 or 1, found text' 's/"iscrowd":0/"iscrowd":"0"/'
bad_gt 'iscrowd must be 0 or 1, found null' 's/"iscrowd":0/"iscrowd":null/'
bad_gt 'images[0].id): ids must be integers, found text' 's/"id":1,"width"/"id":"1","width"/'
bad_gt 'images[0].id): 1.5 is no integer' 's/"id":1,"width"/"id":1.5,"width"/'
bad_gt 'outside the range of 64-bit integers' 's/"id":1,"width"/"id":18446744073709551616,"width"/'
bad_gt 'annotations[0].image_id): ids must be integers, found null' 's/"image_id":1/"image_id":null/'
bad_gt 'categories[0].name): expected text, found a number' 's/"name":"a"/"name":5/'
bad_gt 'duplicate image id 1; annotation 2 refers to unknown image 2' 's/"id":2,"width"/"id":1,"width"/'
bad_gt 'duplicate annotation id 1' 's/"id":2,"image_id"/"id":1,"image_id"/'
bad_gt 'annotation 1 refers to unknown category 9' 's/"category_id":1/"category_id":9/'
bad_gt 'image 2 has width 0, height 48' 's/"id":2,"width":64/"id":2,"width":0/'
bad_gt "expected ',' or '}'" 's/"area":600,/"area":600 /'
bad_gt 'sum up to 3071 pixels' 's/2922/2921/' --iou_type=segm
bad_gt 'annotations[1]): segmentation:' 's/\[100,50,2922\]/"zz"/' --iou_type=segm
if [ -d "$data" ]; then
  refused 1 '5 defects' "$data/bad_gt/healthcheck_bad.json" "$dt"
else
  echo "no sample data at $data: bad_gt is left out"
fi

# Detections.
bad_dt '[0]): no "image_id"' 's/"image_id":1,//'
bad_dt '[0]): no "category_id"' 's/"category_id":1,//'
bad_dt '[0]): no "bbox"' 's/"bbox":\[1,2,30,20\],//'
bad_dt '[1]): no "bbox"' 's/\[5,5,10,10\]/[]/'
bad_dt '[0]): no "score"' 's/,"score":0.5//'
bad_dt '[0].score): expected a number, found text' 's/0\.5/"0.5"/'
bad_dt '[0].score): expected a number, found null' 's/0\.5/null/'
bad_dt '[1].image_id): image 9 is not in the ground truth' 's/"image_id":2/"image_id":9/'
bad_dt '[0].category_id): expected a number, found text' 's/"category_id":1/"category_id":"1"/'
bad_dt '[0].bbox[1]): expected a number' 's/1,2,30,20/1,[2],30,20/'
bad_dt 'expected a value' 's/0\.5/.5/'
bad_dt 'must not begin with 0' 's/0\.5/05/'
bad_dt "found 'x'" 's/0\.25}\]/0.25}]x/'
bad_dt "found ']'" 's/0\.25}\]/0.25},]/'
good_dt 0.000 's/0\.5/0.5,"category_id":99/'
good_dt 1.000 's/0\.5/NaN/'
good_dt 1.000 's/0\.5/-Infinity/'
good_dt 1.000 's/0\.5/1e999/'
good_dt 0.000 's/1,2,30,20/31,22,-30,-20/'
good_dt 0.000 's/1,2,30,20/NaN,2,Infinity,20/'
good_dt 0.000 's/1,2,30,20/-1e300,2,1e308,1e308/'
mask() { # WORDS SEGMENTATION
  text_dt "$1" '[{"image_id":1,"category_id":1,"score":0.5,"segmentation":'"$2"'}]' --iou_type=segm
}
mask 'expected polygons or a run-length mask, found a number' 5
mask 'expected polygons or a run-length mask, found null' null
mask 'the list is empty' '[]'
mask 'item 0 has 2 numbers' '[[1,2]]'
mask 'polygon coordinate 1e+30' '[[1e30,2,3,4,5,6]]'
mask 'polygon coordinate nan' '[[NaN,2,3,4,5,6]]'
mask "field 'counts' is missing" '{}'
mask 'belongs to no number' '{"size":[48,64],"counts":"zzzzzz"}'
mask 'sum up to 9 pixels' '{"size":[48,64],"counts":[9]}'
mask "'counts' holds -5" '{"size":[48,64],"counts":[-5,3077]}'
mask '1e30 is no integer' '{"size":[48,64],"counts":[1e30]}'
mask 'allowed are 1 to 2^31 - 1 pixels' '{"size":[4800000,640000],"counts":"1"}'
mask 'allowed are 1 to 2^31 - 1 pixels' '{"size":[-48,64],"counts":"1"}'
mask 'no "segmentation"' '[[1,2,9,2,9,9]]},{"image_id":1,"category_id":1,"score":0.5'

# Files that are cut anywhere; the last byte is a line end.
for file in gt dt; do
  n=$(($(wc -c <"$tmp/$file.json") - 2))
  for ((at = 0; at <= n; at += at < 40 || at > n - 40 ? 1 : 7)); do
    head -c $at "$tmp/$file.json" >"$bad"
    if [ $file = gt ]; then set -- "$bad" "$dt"; else set -- "$gt" "$bad"; fi
    "$bin" "$@" --iou_type=bbox >"$tmp/stdout" 2>"$tmp/stderr"
    got=$?
    { [ $got = 1 ] && grep -q 'bad.json: line ' "$tmp/stderr"; } ||
      complain "$file cut at $at: exit $got: $(cat "$tmp/stderr")"
  done
done

# A gigabyte of nesting is refused after its first levels: no time, no memory (a file mapping counts too).
# Beginnings of 128 bytes take turns before the same tail.
deep=$tmp/deep.json
tr '\0' '[' </dev/zero | head -c 1000000000 >"$deep"
begin() { printf '%-128s' "$1" | dd of="$deep" conv=notrunc status=none; }
nested() { # ARGS...
  (
    failures=0
    ulimit -v 2000000 -t 20
    expect 1 'nested too deeply; allowed: 64 levels' "$@" --num_threads=2
    exit $failures
  ) || complain "nesting: $*"
}
if [ "$(wc -c <"$deep")" = 1000000000 ]; then
  refused 1 'expected an object, found an array' "$deep" "$dt"
  begin '{"images":[],"categories":[],"info":'
  nested "$deep" "$dt"
  begin '{"images":[{"id":1}],"categories":[],"annotations":[{"id":1,"segmentation":'
  nested "$deep" "$dt"
  nested "$deep" "$dt" --iou_type=segm
  begin '[{"image_id":1,"x":'
  nested "$gt" "$deep"
  begin '[{"image_id":1,"category_id":1,"score":1,"segmentation":'
  nested "$gt" "$deep" --iou_type=segm
  begin '{"a":'
  nested "$gt" "$deep"
else
  echo "no room for a gigabyte in $tmp: nesting is left out"
fi
rm -f "$deep"
finish "coco_eval"
