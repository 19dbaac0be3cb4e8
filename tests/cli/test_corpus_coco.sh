#!/usr/bin/env bash
# The JPEG corpus and damaged annotation files through create_coco_records. With --verify_pixels exactly
# those pictures are refused that the reference cannot decode; a mutated JSON file ends with a message
# that names it, or its bad items are counted, and never anything else.
set -u
bin=${EDT_BIN_DIR:?}/create_coco_records
data=${EDT_DATA_DIR:-${EDT_SOURCE_DIR:?}/../shared/data}
golden=${EDT_GOLDEN_DIR:-$EDT_SOURCE_DIR/../shared/golden}
# shellcheck source=tests/cli/common.sh
. "$(dirname "$0")/common.sh"
need_dirs "$data" "$golden"

# Sizes are the headers' own, so that nothing is left out for its size alone.
list() { # SIZES-FILE (name height width): an image list of the whole corpus
  local i=0 sep='' name height width
  printf '{"images": ['
  while read -r name height width; do
    i=$((i + 1))
    printf '%s{"id": %d, "file_name": "%s", "height": %d, "width": %d}' "$sep" $i "$name" "$height" "$width"
    sep=,
  done <"$1"
  printf ']}'
}
convert() {
  "$bin" --image_dir="$data/jpeg-corpus" --image_info_file="$tmp/list.json" --num_shards=3 \
    --output_file_prefix="$tmp/out/corpus" --report="$tmp/report.json" --on_bad=skip \
    --log_level=quiet "$@"
}
(cd "$data/jpeg-corpus" && ls ./*.jpg ./*.mpo) | sed 's|^\./||; s|$| 16 16|' >"$tmp/sizes"
list "$tmp/sizes" >"$tmp/list.json"
convert || complain "first look at the corpus"
while read -r name height width; do
  sed -i "s|^$name .*|$name $height $width|" "$tmp/sizes"
done < <(sed -n "s|.*jpeg-corpus/\\([^']*\\)' .* is \\([0-9]*\\) x \\([0-9]*\\) (height x width).*|\\1 \\2 \\3|p" \
  "$tmp/report.json")
list "$tmp/sizes" >"$tmp/list.json"
bad_names() { sed -n "s|.*\"what\": \".*jpeg-corpus/\\([^']*\\)'.*|\\1|p" "$tmp/report.json" | sort; }
awk -F'\t' '$1 == "jpeg" && $3 != "ok" { print $2 }' "$golden/data/decode/decode.tsv" | sort >"$tmp/undecodable"
convert --verify_pixels || complain "--verify_pixels"
diff <(bad_names) "$tmp/undecodable" || complain "--verify_pixels refuses others than the reference"
grep -q '"records": 49,' "$tmp/report.json" || complain "49 of 60 should be stored"
grep -q '"not_jpeg": 1,*$' "$tmp/report.json" || complain "the PNG should be counted"
for option in --reencode=90 --max_side=64; do
  convert $option || complain "$option"
  [ "$(bad_names)" != "" ] || complain "$option: no bad pictures"
  diff <(bad_names) "$tmp/undecodable" >"$tmp/diff"
  # --max_side leaves small pictures as they are, so it does not see all of the damage.
  grep -q '^<' "$tmp/diff" && complain "$option refuses what can be decoded: $(cat "$tmp/diff")"
done
# Headers alone: what is left out is among the undecodable, too.
convert || complain "headers"
bad_names | comm -23 - "$tmp/undecodable" | grep . && complain "a header is refused that can be decoded"

# Seeded damage to a small instances file with masks: one byte changed, a piece cut out or doubled.
cat >"$tmp/good.json" <<'JSON'
{"images": [{"id": 1, "file_name": "hopper.jpg", "height": 128, "width": 128},
 {"id": 2, "file_name": "gray.jpg", "height": 128, "width": 128}],
 "categories": [{"id": 5, "name": "caf\u00e9"}, {"id": 7, "name": "y"}],
 "annotations": [{"id": 1, "image_id": 1, "bbox": [1, 2, 30.5, 40], "category_id": 5, "iscrowd": 0,
  "area": 9e2, "segmentation": [[1, 2, 31, 2, 31, 42]]},
 {"id": 2, "image_id": 2, "bbox": [0, 0, 8, 8], "category_id": 7, "iscrowd": true, "area": 3,
  "segmentation": {"counts": [16000, 384], "size": [128, 128]}}]}
JSON
n=$(wc -c <"$tmp/good.json")
RANDOM=11
declare -A outcomes=()
for i in $(seq 400); do
  at=$((RANDOM % n))
  byte=$((RANDOM % 256)) # here, as a subshell would draw from a seed of its own
  case $((i % 4)) in
    0) { head -c $at; head -c $((RANDOM % 20 + 1)) >/dev/null; cat; } <"$tmp/good.json" >"$tmp/bad.json" ;;
    1) { head -c $((at + 10)) "$tmp/good.json"; tail -c +$((at + 1)) "$tmp/good.json"; } >"$tmp/bad.json" ;;
    2) head -c $at "$tmp/good.json" >"$tmp/bad.json" ;;
    3) { head -c $at "$tmp/good.json"; printf "\\x$(printf %x $byte)"
      tail -c +$((at + 2)) "$tmp/good.json"; } >"$tmp/bad.json" ;;
  esac
  rm -rf "$tmp/mutated"
  for on_bad in fail skip; do
    "$bin" --image_dir="$data/jpeg-corpus" --object_annotations_file="$tmp/bad.json" --num_shards=2 \
      --include_masks --on_bad=$on_bad --num_threads=1 --output_file_prefix="$tmp/mutated/t" \
      --report="$tmp/mutated.json" >"$tmp/stdout" 2>"$tmp/stderr"
    code=$?
    n_shards=$(find "$tmp/mutated" -maxdepth 1 -name 't-*' 2>/dev/null | wc -l)
    case $code in
      0) [ "$n_shards" = 2 ] || complain "mutation $i: exit 0 with $n_shards shards" ;;
      1) [ "$n_shards" = 0 ] || complain "mutation $i: exit 1 with $n_shards shards"
        grep -qE "^E .*(bad\.json|image '|images could be used)" "$tmp/stderr" ||
          complain "mutation $i: $(cat "$tmp/stderr")" ;;
      *) complain "mutation $i: exit $code: $(cat "$tmp/stderr")" ;;
    esac
    outcomes[$on_bad$code]=$((${outcomes[$on_bad$code]:-0} + 1))
    rm -rf "$tmp/mutated"
  done
done
[ $failures = 0 ] && echo "corpus: ok; mutated files: ${outcomes[fail0]:-0} converted, ${outcomes[fail1]:-0}" \
  "refused; with --on_bad=skip ${outcomes[skip0]:-0} and ${outcomes[skip1]:-0}"
exit $((failures > 0))
