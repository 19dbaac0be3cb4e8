# What the tests of the programs share; source it. Gives $tmp, a directory that goes when the test ends,
# and
#   complain WORDS...            counts a failure and says it; `finish NAME` ends the test
#   skip WORDS...                ends the test as skipped (ctest's SKIP_RETURN_CODE)
#   need_dirs DIR...             skips without these directories; with CI=true they must be there
#   expect CODE WORDS ARGS...    runs $bin: the exit code and a part of what stderr says
#   expect_nothing PREFIX        no file at all under the prefix of a conversion, and nothing unfinished
#                                in its work directory
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
failures=0
complain() {
  echo "FAILED: $*"
  failures=$((failures + 1))
}
finish() {
  [ $failures = 0 ] && echo "$1: ok"
  exit $((failures > 0))
}
skip() {
  echo "skipped: $*"
  exit 77
}
need_dirs() {
  local dir
  for dir in "$@"; do
    [ -d "$dir" ] && continue
    [ -z "${CI:-}" ] && skip "no sample data at $dir"
    complain "no sample data at $dir"
    exit 1
  done
}
expect() {
  local code=$1 words=$2
  shift 2
  "${bin:?}" "$@" >"$tmp/stdout" 2>"$tmp/stderr"
  local got=$?
  [ $got = "$code" ] || complain "exit $got instead of $code: $* ($(tail -n1 "$tmp/stderr"))"
  grep -qF -- "$words" "$tmp/stderr" || complain "'$words' is not in: $(cat "$tmp/stderr")"
}
expect_nothing() {
  local file
  for file in "$1"*; do
    [ -f "$file" ] && complain "left behind: $file"
  done
  file=$(find "$1.converting" -name '*.tmp-*' 2>/dev/null)
  [ -z "$file" ] || complain "left behind: $file"
}
