#!/usr/bin/env bash
# inspect_records: help, exit codes and words for wrong use, before any picture is made.
set -u
bin=$EDT_BIN_DIR/inspect_records
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
fails=0
expect() { # $1 exit code, $2 text that the output must hold, rest: arguments
  local want=$1 text=$2 out code
  shift 2
  out=$("$bin" "$@" 2>&1)
  code=$?
  if [ $code != "$want" ] || ! grep -qF -- "$text" <<<"$out"; then
    echo "inspect_records $*: exit $code, wanted $want and '$text':"
    echo "$out"
    fails=1
  fi
}
expect 0 "--save_samples_dir" --help
expect 0 "inspect_records" --version
expect 2 "give --file_pattern" --samples=3
expect 2 "--samples" --samples=0 x
expect 2 "later version" --verify x
expect 2 "save_samples_dir" --save_sample_dir=x
expect 2 "efficientdet-d0" --model_name=efficientdet-z9 "$tmp/none"
expect 1 "$tmp/none" "$tmp/none"
printf 'not a record file at all' >"$tmp/bad.tfrecord"
expect 1 "bad.tfrecord" --save_samples_dir="$tmp/out" "$tmp/bad.tfrecord"
: >"$tmp/empty.tfrecord"
expect 2 "no samples" --save_samples_dir="$tmp/out" "$tmp/empty.tfrecord"
expect 1 "has a box" --eval --save_samples_dir="$tmp/out" "$tmp/empty.tfrecord"
expect 2 "hparam" --hparams=autoaugment_policyy=v0 "$tmp/empty.tfrecord"
expect 1 "autoaugment_policy" --hparams=autoaugment_policy=v0 "$tmp/empty.tfrecord"
exit $fails
