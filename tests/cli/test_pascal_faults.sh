#!/usr/bin/env bash
# A VOC conversion killed at 12 seeded moments: whatever lies under a final name, JSON included, is what
# an undisturbed conversion writes, and the same command goes on to the end.
set -u
bin=${EDT_BIN_DIR:?}/create_pascal_records
data=${EDT_DATA_DIR:-${EDT_SOURCE_DIR:?}/../shared/data}
# shellcheck source=tests/cli/common.sh
. "$(dirname "$0")/common.sh"
need_dirs "$data"
# The same pictures under many ids, so that a conversion takes long enough to be killed in it.
kit=$tmp/VOC2012
mkdir -p "$kit/ImageSets/Main" "$kit/Annotations"
ln -s "$data/voc-mini/VOCdevkit/VOC2012/JPEGImages" "$kit/JPEGImages"
for copy in $(seq 12); do
  while read -r id; do
    ln -s "$data/voc-mini/VOCdevkit/VOC2012/Annotations/$id.xml" "$kit/Annotations/$copy-$id.xml"
    echo "$copy-$id" >>"$kit/ImageSets/Main/trainval.txt"
  done <"$data/voc-mini/VOCdevkit/VOC2012/ImageSets/Main/trainval.txt"
done
run=(--data_dir="$tmp" --year=VOC2012 --set=trainval --num_shards=24 --num_threads=2)
convert() { "$bin" "${run[@]}" --output_path="$1/t" 2>"$tmp/stderr"; }
right_so_far() { # what there is of shards and JSON
  local file
  for file in "$tmp"/killed/*.tfrecord "$tmp"/killed/*.json; do
    [ -e "$file" ] || continue
    cmp "$file" "$tmp/whole/${file##*/}" || complain "wrong ${file##*/} after kill $1"
  done
}
start=$(date +%s%N)
convert "$tmp/whole" || complain "$(cat "$tmp/stderr")"
whole_us=$((($(date +%s%N) - start) / 1000))
RANDOM=2026
n_resumed=0
for i in $(seq 12); do
  mkdir -p "$tmp/killed"
  us=$((RANDOM * whole_us / 32768 + 1000))
  "$bin" "${run[@]}" --output_path="$tmp/killed/t" 2>"$tmp/stderr" &
  pid=$!
  sleep "$(printf '%d.%06d' $((us / 1000000)) $((us % 1000000)))"
  kill -KILL $pid 2>/dev/null
  wait $pid 2>/dev/null
  grep -q 'going on with a conversion' "$tmp/stderr" && n_resumed=$((n_resumed + 1))
  right_so_far $i
  if [ $((i % 4)) = 0 ]; then
    convert "$tmp/killed" || complain "after kill $i: $(cat "$tmp/stderr")"
    rm -f "$tmp"/killed/*.tmp-*
    diff -rq -x '*.catalog' "$tmp/whole" "$tmp/killed" || complain "after kill $i: other files"
    rm -rf "$tmp/killed"
  fi
done
echo "12 kills, $n_resumed runs went on from finished shards"
finish "pascal faults"
