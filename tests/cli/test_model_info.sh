#!/usr/bin/env bash
# model_info: published sizes, the parts' sum, the tensors of a checkpoint, the environment; exit
# codes and words for wrong use.
set -u
bin=${EDT_BIN_DIR:?}/model_info
weights=${EDT_WEIGHTS_DIR:-${EDT_SOURCE_DIR:?}/../shared/weights}
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
  out=$("$bin" "$@" 2>&1)
  code=$?
  if [ $code != "$want" ] || ! grep -qF -- "$text" <<<"$out"; then
    fail "model_info $*: exit $code, wanted $want and '$text': $out"
  fi
}
is_json() {
  ! command -v python3 >/dev/null || python3 -c 'import json, sys; json.load(open(sys.argv[1]))' "$1"
}
row() { printf '{"name": "%s", "parameters": %s, "flops": %s, "macs": %s' "$1" "$2" "$4" "$3"; }

"$bin" --all --json >"$tmp/all.json" || fail "--all: exit $?"
is_json "$tmp/all.json" || fail "--all --json is no JSON"
while read -r name parameters macs flops; do
  grep -qF "$(row "$name" "$parameters" "$macs" "$flops")}" "$tmp/all.json" || fail "--all: $name"
done <<'ROWS'
efficientdet-d0 3880067 2492331520 2535456212
efficientdet-d1 6625898 6003416880 6101276606
efficientdet-d2 8097039 10832466688 10993616340
efficientdet-d3 12032296 24568753664 24882174696
efficientdet-d4 20723675 54583712096 55167980944
efficientdet-d5 33653315 134133865152 135353203056
efficientdet-d6 51871782 224121477984 225532115747
efficientdet-d7 51871782 322731636576 324740293607
efficientdet-d7x 77147166 407628345344 410116867935
efficientdet-lite0 3243470 973589696 979428213
efficientdet-lite1 4248318 1966649904 1976353506
efficientdet-lite2 5252334 3371304384 3386596870
efficientdet-lite3 8350862 7480187904 7509226979
efficientdet-lite3x 9280862 13978127600 14026487930
efficientdet-lite4 15130894 20168084000 20232158598
ROWS
expect 0 "| efficientdet-d0 | 512x512 | 3.88M | 3.9M | 2.54B | 2.54B | 2.49B | 49104 |" --all
expect 0 "| efficientdet-lite0 | 320x320 | 3.24M | 3.2M | 0.98B | - | 0.97B | 19206 |" --all
expect 0 "MiB of activations" --model_name=efficientdet-lite0

"$bin" --json >"$tmp/d0.json" || fail "one model: exit $?"
is_json "$tmp/d0.json" || fail "one model's --json is no JSON"
grep -qF "$(row efficientdet-d0 3880067 2492331520 2535456212)" "$tmp/d0.json" || fail "counts of d0"
for key in parameters macs; do # of the parts: the first number is the whole
  sum=$(grep -oE "\"$key\": [0-9]+" "$tmp/d0.json" | awk 'NR == 1 { whole = $2 } NR > 1 { s += $2 }
    END { print s == whole }')
  [ "$sum" = 1 ] || fail "the parts' $key do not sum up"
done
expect 0 "709 variables: 3880067 trainable parameters, 47136 moving statistics"
expect 0 "320x320" --model_name=efficientdet-lite0
expect 0 "128x128" --image_size=128
expect 0 "efficientnet-b0/stem/conv2d/kernel" --variables
[ "$("$bin" --variables | wc -l)" = 709 ] || fail "d0 has 709 variables"
"$bin" --variables --json >"$tmp/variables.json" && is_json "$tmp/variables.json" ||
  fail "--variables --json"
for library in oneDNN libjpeg-turbo zlib cairo cJSON libyaml protobuf-c libcrypto libpng giflib; do
  expect 0 "$library" --env
done
"$bin" --env --json >"$tmp/env.json" && is_json "$tmp/env.json" || fail "--env --json"
grep -qF '"runs_here": true' "$tmp/env.json" || fail "no backend runs here"

if [ -d "$weights/efficientdet-lite0" ]; then
  expect 0 "box_net/box-0-bn-3/beta" --ckpt_path="$weights/efficientdet-lite0"
  "$bin" --ckpt_path="$weights/efficientdet-lite0" --json >"$tmp/ckpt.json" ||
    fail "--ckpt_path: exit $?"
  is_json "$tmp/ckpt.json" || fail "--ckpt_path --json is no JSON"
  grep -q '"name": "box_net/box-0/bias".*"dtype": "f32", "shape": \[64\], "min": -\?[0-9.]*, "mean"' \
    "$tmp/ckpt.json" || fail "no statistics of box_net/box-0/bias"
elif [ -n "${CI:-}" ]; then
  fail "no weights at $weights"
else
  echo "skipped the checkpoint: no weights at $weights"
fi

expect 2 "one of" --all --env
expect 2 "efficientdet-d0" --model_name=efficientdet-z9
expect 2 "hparam" --hparams=num_clases=3
expect 1 "$tmp/none" --ckpt_path="$tmp/none"
exit $fails
