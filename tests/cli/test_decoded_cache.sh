#!/usr/bin/env bash
# Decoded caches filled ahead of time: over every storage, interrupted, killed, limited, on a disk
# that fills up, damaged, by two processes at once, and of another data set.
set -u
bin=${EDT_BIN_DIR:?}/inspect_records
# shellcheck source=tests/cli/common.sh
. "$(dirname "$0")/common.sh"
trap 'mountpoint -q "$tmp/disk" && umount "$tmp/disk"; rm -rf "$tmp"' EXIT
"$EDT_BIN_DIR/draw_shapes" --output_dir="$tmp/shapes" --num_train=60 --num_val=3 --image_size=160 \
  --log_level=quiet >/dev/null || complain "draw_shapes"
convert() { # NAME ARGS...
  local name=$1
  shift
  "$EDT_BIN_DIR/create_coco_records" --image_dir="$tmp/shapes/train" --num_shards=3 \
    --object_annotations_file="$tmp/shapes/annotations/instances_train.json" --log_level=quiet \
    --output_file_prefix="$tmp/$name" "$@" >/dev/null || complain "create_coco_records $name"
}
convert train
convert packed --compression=zstd
convert zipped --compression=gzip
cache=$tmp/cache
fill=(--fill_cache --hparams="decoded_cache=$cache")
said() { grep -qF -- "$1" "$tmp/stdout" || complain "'$1' is not in: $(cat "$tmp/stdout")"; }
stored() { # OTHER ARGUMENTS...: pictures that one more run finds there
  "$bin" "${fill[@]}" "$@" >"$tmp/stdout" 2>"$tmp/stderr" || complain "$*: $(cat "$tmp/stderr")"
  sed -nE 's/.* ([0-9]+) were there.*/\1/p' "$tmp/stdout"
}

expect 2 "decoded_cache=DIR" --fill_cache "$tmp"/train-*
expect 2 "go alone" --fill_cache --verify "$tmp"/train-*
expect 1 "no decoded cache" --fill_cache --hparams="decoded_cache=$tmp" "$tmp"/train-*
expect 0 "" "${fill[@]}" "$tmp"/train-*
said "60 pictures stored in $cache"
said "60 of 60 in"
expect 0 "" "${fill[@]}" "$tmp"/train-*
said "0 pictures stored"
said "60 were there"

# Another data set empties it, in either order of the shards it is the same one.
expect 0 "is emptied" "${fill[@]}" "$tmp"/packed-*
said "60 pictures stored"
expect 0 "is emptied" "${fill[@]}" "$tmp"/zipped-*
said "60 pictures stored"
expect 0 "is emptied" --fill_cache --hparams="decoded_cache=$cache,exif_rotate=True" "$tmp"/zipped-*
rm -rf "$cache"
expect 0 "" "${fill[@]},decoded_cache_zstd=3" "$tmp"/train-*
said "60 pictures stored"
rm -rf "$cache"

# A limit ends it with a notice, and is no failure.
expect 0 "has reached its limit" "${fill[@]},decoded_cache_bytes=1500000" "$tmp"/train-*
said "its limit"
[ "$(du -s --apparent-size --block-size=1 "$cache/decoded.pixels" | cut -f1)" -le 1500000 ] ||
  complain "larger than its limit"
[ "$(stored "$tmp"/train-*)" -ge 10 ] || complain "the limited cache was not used"
expect 0 "" "${fill[@]}" "$tmp"/train-*
said "60 were there"

# Killed at any moment it goes on where it stood; nothing it says is there is wrong.
RANDOM=2026
rm -rf "$cache"
for i in $(seq 30); do
  "$bin" "${fill[@]}" --num_threads=1 "$tmp"/train-* >/dev/null 2>"$tmp/stderr" &
  pid=$!
  sleep "0.0$((RANDOM % 9))$((RANDOM % 10))"
  kill -KILL $pid 2>/dev/null
  wait $pid 2>/dev/null
  grep -q "emptied\|damaged" "$tmp/stderr" && complain "kill $i: $(cat "$tmp/stderr")"
done
stored "$tmp"/train-* >/dev/null
expect 0 "" "${fill[@]}" "$tmp"/train-*
said "60 were there"

# Two at once share the work or at least the cache.
rm -rf "$cache"
"$bin" "${fill[@]}" "$tmp"/train-* >"$tmp/one" 2>&1 &
"$bin" "${fill[@]}" "$tmp"/train-* >"$tmp/two" 2>&1 || complain "two at once: $(cat "$tmp/two")"
wait $! || complain "two at once: $(cat "$tmp/one")"
[ "$(stored "$tmp"/train-*)" = 60 ] || complain "two at once: not all there"

# A picture that does not decode is left out and counted.
shard=$tmp/broken.tfrecord
cp "$tmp/train-00000-of-00003.tfrecord" "$shard"
"$bin" --list "$shard" | cut -f3 >"$tmp/places"
printf '\xff\xfe\xfd' | dd of="$shard" bs=1 seek=$(($(sed -n 4p "$tmp/places") + 300)) conv=notrunc \
  status=none
rm -rf "$cache"
expect 1 "1 of 20 records were left out" "${fill[@]}" "$shard"
said "19 of 20"

# A full disk ends it with a warning and exit code 1; with room it goes on.
if [ "$(id -u)" = 0 ] && mkdir "$tmp/disk" && mount -t tmpfs -o size=2m none "$tmp/disk" 2>/dev/null; then
  cache=$tmp/disk/cache
  fill=(--fill_cache --hparams="decoded_cache=$cache")
  expect 1 "could not be filled" "${fill[@]}" "$tmp"/train-*
  grep -q "takes no more pictures" "$tmp/stderr" || complain "no warning: $(cat "$tmp/stderr")"
  mount -o remount,size=64m "$tmp/disk"
  expect 0 "" "${fill[@]}" "$tmp"/train-*
  said "60 of 60"
  mount -o remount,ro "$tmp/disk" && {
    expect 1 "may not be written to" "${fill[@]}" "$tmp"/train-*
    expect 1 "another directory" "${fill[@]}" "$tmp"/packed-*
  }
else
  echo "skipped: the disk that fills up (mounting a tmpfs is not allowed)"
fi
finish test_decoded_cache
