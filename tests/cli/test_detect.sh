#!/usr/bin/env bash
# detect with random weights: pictures are drawn, results written, image ids found; what cannot be
# read is named; wrong use ends with a word and a code.
set -u
bin=${EDT_BIN_DIR:?}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
fails=0
fail() {
  echo "FAILED: $*"
  fails=1
}
expect() { # $1 exit code, $2 text that the output must hold, rest: arguments
  local want=$1 text=$2 out code
  shift 2
  out=$("$bin/detect" --model_name=efficientdet-lite0 --ckpt_path=_ --image_size=128 "$@" 2>&1)
  code=$?
  if [ $code != "$want" ] || ! grep -qF -- "$text" <<<"$out"; then
    fail "detect $*: exit $code, wanted $want and '$text': $out"
  fi
}

"$bin/draw_shapes" --output_dir="$tmp/data" --num_train=1 --num_val=3 --image_size=96 --min_side=16 \
  --max_side=40 --log_level=quiet >/dev/null || fail draw_shapes
val=$tmp/data/val
gt=$tmp/data/annotations/instances_val.json
echo notes >"$val/notes.txt"

# Both outputs at once; a text file among the pictures is passed over.
expect 0 "3 pictures with boxes" --input_image="$val" --output_image_dir="$tmp/drawn" \
  --output_json="$tmp/dt.json" --val_json_file="$gt" --min_score_thresh=0 --batch_size=2
[ "$(ls "$tmp/drawn" | tr '\n' ' ')" = "0.jpg 1.jpg 2.jpg " ] || fail "drawn: $(ls "$tmp/drawn")"
cmp -s "$tmp/drawn/0.jpg" "$val/000001.jpg" && fail "nothing was drawn"
for id in 1 2 3; do
  grep -q "\"image_id\": *$id[,}]" "$tmp/dt.json" || fail "no rows of image $id"
done
"$bin/coco_eval" "$gt" "$tmp/dt.json" >/dev/null || fail "coco_eval refuses the result"

# The ids are those of the ground truth's file names, whatever the names are.
mkdir "$tmp/named" && cp "$val/000002.jpg" "$tmp/named/second[1],x.jpg"
sed 's/000002\.jpg/second[1],x.jpg/' "$gt" >"$tmp/named.json"
expect 0 "" --input_image="$tmp/named" --output_json="$tmp/named_dt.json" --val_json_file="$tmp/named.json"
grep -q '"image_id": *2[,}]' "$tmp/named_dt.json" || fail "not the id of the file name"
expect 1 "has the file_name second[1],x.jpg" --input_image="$tmp/named" --val_json_file="$gt" \
  --output_json="$tmp/wrong.json"
[ ! -e "$tmp/wrong.json" ] || fail "a mismatch left a result"

# What cannot be read is named, the rest is done, the code tells.
cp -r "$val" "$tmp/bad" && echo "no JPEG" >"$tmp/bad/000002.jpg"
expect 1 "000002.jpg is left out" --input_image="$tmp/bad" --output_json="$tmp/bad_dt.json"
grep -q '"image_id": *3[,}]' "$tmp/bad_dt.json" || fail "the files behind a bad one are lost"
cp "$val/000002.jpg" "$tmp/bad/" && echo "no JPEG" >"$tmp/bad/000001.jpg"
expect 1 "000001.jpg is left out" --input_image="$tmp/bad" --output_json="$tmp/bad_dt.json" \
  --hparams=mixed_precision=true
[ "$(grep -o '"image_id": *[0-9]*' "$tmp/bad_dt.json" | tr -d ' ' | sort -u | tr '\n' ' ')" = \
  '"image_id":2 "image_id":3 ' ] || fail "not the files behind a bad first one"

# PNG, BMP and GIF, the names of two of them without an ending.
formats=${EDT_GOLDEN_DIR:-${EDT_SOURCE_DIR:?}/../shared/golden}/data/decode/formats
if [ -d "$formats" ]; then
  mkdir "$tmp/formats"
  cp "$formats/rgb24.bmp" "$tmp/formats/1.bmp"
  cp "$formats/rgba16.png" "$tmp/formats/2"
  cp "$formats/one_frame.gif" "$tmp/formats/3"
  cp "$formats/rgb8_bad_crc.png" "$tmp/formats/4.png"
  expect 1 "4.png is left out" --input_image="$tmp/formats" --output_json="$tmp/formats_dt.json" --min_score_thresh=0
  for id in 1 2 3; do
    grep -q "\"image_id\": *$id[,}]" "$tmp/formats_dt.json" || fail "no rows of format $id"
  done
fi

expect 2 "could replace them" --input_image="$val" --output_image_dir="$val/"
expect 2 "nothing to write" --input_image="$val"
expect 2 "--input_image" --output_json="$tmp/x.json"
expect 2 "image_size" --input_image="$val" --output_json="$tmp/x.json" --image_size=64
expect 1 "holds no picture" --input_image="$tmp/data" --output_json="$tmp/x.json"
[ ! -e "$tmp/x.json" ] || fail "a refused run left a result"
exit $fails
