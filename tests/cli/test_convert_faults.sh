#!/usr/bin/env bash
# Conversions that end badly: killed at 50 seeded moments, on a disk that fills up, by several ranks
# of which one dies, and mixed with conversions of other options. Whatever lies under a final name
# must be what an undisturbed conversion writes, and the same command must go on to the end.
set -u
bin=${EDT_BIN_DIR:?}/create_coco_records
data=${EDT_DATA_DIR:-${EDT_SOURCE_DIR:?}/../shared/data}
# shellcheck source=tests/cli/common.sh
. "$(dirname "$0")/common.sh"
need_dirs "$data"
trap 'mountpoint -q "$tmp/disk" && umount "$tmp/disk"; rm -rf "$tmp"' EXIT
base=(--image_dir="$data/coco-mini/train2017" --num_shards=24 --num_threads=2
  --object_annotations_file="$data/coco-mini/annotations/instances_train2017.json")
plain=("${base[@]}")
clipped=("${base[@]}" --clip_boxes --on_bad=skip)
packed=("${base[@]}" --compression=zstd)

convert() { # OUTPUT_DIR ARGS...
  local dir=$1
  shift
  "$bin" "$@" --output_file_prefix="$dir/t" --report="$dir/report.json" 2>"$tmp/stderr"
}
kill_after() { # MICROSECONDS OUTPUT_DIR ARGS...
  local us=$1 dir=$2 pid
  shift 2
  "$bin" "$@" --output_file_prefix="$dir/t" --report="$dir/report.json" 2>"$tmp/stderr" &
  pid=$!
  sleep "$(printf '%d.%06d' $((us / 1000000)) $((us % 1000000)))"
  kill -KILL $pid 2>/dev/null
  # Until it is gone it holds its locks. (timeout(1) would be killed with it, and not wait.)
  wait $pid 2>/dev/null
}
same_shards() { # DIR REFERENCE: the same final files (a run killed in its last moment leaves its
  local file   # report under a temporary name)
  diff <(cd "$1" && ls -d ./* | grep -v 'report\.json\.tmp-') <(cd "$2" && ls -d ./*) >"$tmp/diff" ||
    complain "$1: other files than in $2: $(cat "$tmp/diff")"
  for file in "$2"/*; do
    cmp "$1/${file##*/}" "$file" || complain "$1/${file##*/} differs"
  done
  diff -q "$1/.edt" "$2/.edt" | grep -v catalog && complain "$1: other side indexes"
}
# What lies under final names may be incomplete, but each file must be right.
right_so_far() { # DIR REFERENCE
  local file
  for file in "$1"/*.tfrecord*; do
    [ -e "$file" ] || continue
    cmp "$file" "$2/${file##*/}" || complain "wrong final shard after $3"
  done
}
for kind in plain clipped packed; do
  mkdir "$tmp/$kind"
  declare -n args=$kind
  convert "$tmp/$kind" "${args[@]}" || complain "$kind: $(cat "$tmp/stderr")"
  [ -e "$tmp/$kind/t.converting" ] && complain "$kind: the work directory is still there"
done

# Killed again and again; every fifth time it may run to its end.
RANDOM=2026
n_published=0 n_resumed=0
for kind in plain packed; do
  declare -n args=$kind
  mkdir "$tmp/killed"
  start=$(date +%s%N)
  convert "$tmp/killed" "${args[@]}"
  whole_us=$((($(date +%s%N) - start) / 1000))
  rm -rf "$tmp/killed"
  for i in $(seq 25); do
    mkdir -p "$tmp/killed"
    us=$((RANDOM * whole_us / 32768 + 1000))
    kill_after $us "$tmp/killed" "${args[@]}"
    right_so_far "$tmp/killed" "$tmp/$kind" "kill $i after $us us"
    grep -q 'going on with a conversion' "$tmp/stderr" && n_resumed=$((n_resumed + 1))
    [ -e "$tmp/killed/t-00000-of-00024.tfrecord" ] && n_published=$((n_published + 1))
    if [ $((i % 5)) = 0 ]; then
      convert "$tmp/killed" "${args[@]}" || complain "after kill $i: $(cat "$tmp/stderr")"
      same_shards "$tmp/killed" "$tmp/$kind"
      rm -rf "$tmp/killed"
    fi
  done
done
echo "50 kills: $n_resumed runs went on from finished shards, $n_published left shards that were named"

# A conversion with other options never takes up what another has left.
mkdir "$tmp/mixed"
for i in 1 2 3 4 5 6; do
  kill_after $((RANDOM * whole_us / 32768 + 1000)) "$tmp/mixed" "${plain[@]}"
  convert "$tmp/mixed" "${clipped[@]}" || complain "mixed: $(cat "$tmp/stderr")"
  same_shards "$tmp/mixed" "$tmp/clipped"
done
# Nor does it go between the shards of a set of another number or compression.
convert "$tmp/mixed" "${packed[@]}" && complain "a second set under one prefix was accepted"
grep -q 'belongs to a set' "$tmp/stderr" || complain "no words on the other set"
same_shards "$tmp/mixed" "$tmp/clipped"

# Input files that change between a kill and the rerun are read again. An image listed last and
# missing ends the first run when nearly all shards are finished.
mkdir "$tmp/images" "$tmp/changed" "$tmp/fresh"
for i in 1 2 3 4; do
  cp "$data/jpeg-corpus/hopper.jpg" "$tmp/images/$i.jpg"
done
sep=
for i in 1 2 3 4 5; do
  printf '%s{"id": %d, "file_name": "%d.jpg", "height": 128, "width": 128}' "$sep" $i $i
  sep=,
done >"$tmp/list"
echo "{\"images\": [$(cat "$tmp/list")]}" >"$tmp/list.json"
few=(--image_dir="$tmp/images" --image_info_file="$tmp/list.json" --num_shards=5 --num_threads=1)
convert "$tmp/changed" "${few[@]}" && complain "a missing image was accepted"
grep -q '5.jpg' "$tmp/stderr" || complain "the missing image is not named"
grep -q 'the same command goes on' "$tmp/stderr" || complain "no word on the finished shards"
cp "$data/jpeg-corpus/exif_orientation_2.jpg" "$tmp/images/2.jpg"
cp "$tmp/images/1.jpg" "$tmp/images/5.jpg"
convert "$tmp/changed" "${few[@]}" || complain "changed: $(cat "$tmp/stderr")"
grep -q 'going on with a conversion that was ended early: 3 images' "$tmp/stderr" ||
  complain "three images should have been kept: $(cat "$tmp/stderr")"
convert "$tmp/fresh" "${few[@]}" || complain "fresh: $(cat "$tmp/stderr")"
same_shards "$tmp/changed" "$tmp/fresh"

# Ranks: the same directory as one process, in any order of their ends; a rank that dies is made up
# for by the same command.
rank() { # RANK WORLD DIR ARGS...
  local r=$1 w=$2
  shift 2
  OMPI_COMM_WORLD_RANK=$r OMPI_COMM_WORLD_SIZE=$w convert "$@"
}
for kind in plain packed; do
  declare -n args=$kind
  for order in '0 1 2' '2 0 1'; do
    mkdir "$tmp/ranks"
    for r in $order; do
      compgen -G "$tmp/ranks/*.tfrecord*" >/dev/null && complain "named before rank $r has run"
      rank "$r" 3 "$tmp/ranks" "${args[@]}" || complain "rank $r: $(cat "$tmp/stderr")"
    done
    same_shards "$tmp/ranks" "$tmp/$kind"
    rm -rf "$tmp/ranks"
  done
  mkdir "$tmp/ranks"
  for r in 0 1 2; do
    (rank $r 3 "$tmp/ranks" "${args[@]}") &
  done
  wait
  same_shards "$tmp/ranks" "$tmp/$kind"
  rm -rf "$tmp/ranks"
done
mkdir "$tmp/ranks"
rank 0 2 "$tmp/ranks" "${plain[@]}" || complain "rank 0: $(cat "$tmp/stderr")"
rank 1 2 "$tmp/ranks" "${clipped[@]}" # alone in other options: it clears what rank 0 has left
compgen -G "$tmp/ranks/*.tfrecord" >/dev/null && complain "ranks of two conversions made one set"
convert "$tmp/ranks" "${plain[@]}" || complain "one for two ranks: $(cat "$tmp/stderr")"
same_shards "$tmp/ranks" "$tmp/plain"

# A disk that fills up: a small tmpfs where mounting is permitted, a limit of the file size
# otherwise. When there is room again, the same command goes on.
mkdir "$tmp/disk"
if mount -t tmpfs -o size=24m none "$tmp/disk" 2>/dev/null; then
  convert "$tmp/disk" "${plain[@]}" && complain "a full disk was not noticed"
  grep -q 'free some space' "$tmp/stderr" || complain "full disk: $(cat "$tmp/stderr")"
  compgen -G "$tmp/disk/*.tfrecord" >/dev/null && complain "a full disk left named shards"
  mount -o remount,size=256m "$tmp/disk"
  convert "$tmp/disk" "${plain[@]}" || complain "after the full disk: $(cat "$tmp/stderr")"
  grep -q 'going on with a conversion' "$tmp/stderr" || complain "full disk: began anew"
  same_shards "$tmp/disk" "$tmp/plain"
else
  echo "no tmpfs may be mounted here: the full disk is a limit of the file size"
  (
    trap '' XFSZ
    ulimit -f 1000
    convert "$tmp/disk" "${base[@]}" --num_shards=1
    exit $(($? != 1))
  ) || complain "the limit of the file size was not noticed"
  compgen -G "$tmp/disk/*.tfrecord" >/dev/null && complain "a full disk left named shards"
fi

finish "convert faults"
