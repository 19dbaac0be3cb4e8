#!/usr/bin/env bash
# Every file of the JPEG corpus gets its documented result: what decodes is converted and verified
# clean, what must be refused is left out by the converter or named by --verify, and never both.
set -u
data=${EDT_DATA_DIR:-${EDT_SOURCE_DIR:?}/../shared/data}
golden=${EDT_GOLDEN_DIR:-${EDT_SOURCE_DIR:?}/../shared/golden}
# shellcheck source=tests/cli/common.sh
. "$(dirname "$0")/common.sh"
need_dirs "$data" "$golden"
kit=$tmp/VOC2007
mkdir -p "$kit/"{Annotations,ImageSets/Main}
ln -s "$data/jpeg-corpus" "$kit/JPEGImages"
while IFS=$'\t' read -r name _ _ _ expected size _; do
  [ "$name" = file ] && continue
  [ "$size" = - ] && size=16x16
  printf '<annotation><folder>VOC2007</folder><filename>%s</filename><size><width>%s</width>
    <height>%s</height></size></annotation>' "$name" "${size%x*}" "${size#*x}" \
    >"$kit/Annotations/$name.xml"
  echo "$name" >>"$kit/ImageSets/Main/test.txt"
  printf '%s\t%s\n' "$name" "$expected" >>"$tmp/expected.tsv"
done <"$data/jpeg-corpus/MANIFEST.tsv"

fails=0
convert() {
  "$EDT_BIN_DIR/create_pascal_records" --data_dir="$tmp" --set=test --num_shards=3 --on_bad=skip \
    --report="$tmp/report.json" --output_path="$tmp/out/corpus" --log_level=quiet || fails=1
}
convert
# Where the manifest has no size, the frame header's, so that nothing is left out for its size alone.
sed -n "s|.*JPEGImages/\\([^']*\\)' .* is \\([0-9]*\\) x \\([0-9]*\\) (height x width).*|\\1 \\2 \\3|p" \
  "$tmp/report.json" >"$tmp/sizes"
while read -r name height width; do
  sed -i "s|<width>16<|<width>$width<|; s|<height>16<|<height>$height<|" "$kit/Annotations/$name.xml"
done <"$tmp/sizes"
convert
"$EDT_BIN_DIR/inspect_records" --verify --json="$tmp/verify.json" --log_level=quiet \
  "$tmp"/out/corpus-*.tfrecord >/dev/null
"$EDT_BIN_DIR/inspect_records" --list "$tmp"/out/corpus-*.tfrecord >"$tmp/list.tsv"
# Image id (the number in the list) -> found undecodable by --verify
grep -A4 '"code": "image"' "$tmp/verify.json" | sed -n 's/.*"id": "\([0-9]*\)".*/\1/p' >"$tmp/undecodable"
n=0
while IFS=$'\t' read -r name expected; do
  n=$((n + 1))
  id=$(awk -F'\t' -v n="$name" '$9 == n { print $5 }' "$tmp/list.tsv")
  if [ -z "$id" ]; then
    grep -qF "$name'" "$tmp/report.json" || { echo "$name: left out without a word"; fails=1; }
    got="clear error"
  elif grep -qx "$id" "$tmp/undecodable"; then
    got="clear error"
  else
    got=decodes
  fi
  case "$expected" in
    *"$got"*) ;;
    *) echo "$name: $got instead of $expected"; fails=1 ;;
  esac
done <"$tmp/expected.tsv"
[ $n = 60 ] || { echo "$n files instead of 60"; fails=1; }
[ $fails = 0 ] && echo "corpus: $n files, $(grep -c . "$tmp/undecodable") named by --verify," \
  "$((n + 1 - $(wc -l <"$tmp/list.tsv"))) left out"
exit $fails
