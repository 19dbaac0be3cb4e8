#!/usr/bin/env bash
# Builds edt and runs its tests: the Release build with warnings as errors and everything but
# benchmarks, then AddressSanitizer + UBSan and ThreadSanitizer with the fast and pipeline tests.
# Installs the Debian packages it needs when it may (tools/dev/packages.sh). CTest writes the
# details under build*/Testing.
set -u
cd "$(dirname "$0")/.." || exit 1

usage() {
  cat <<'END'
usage: tools/test.sh [--fast] [--no-sanitizers] [--jobs=N]
  --fast           Release build and the tests labelled "fast" only
  --no-sanitizers  Release build and all its tests
  --jobs=N         parallel jobs; default: one per processor
Sample data and goldens are looked for in ../shared; EDT_DATA_DIR, EDT_GOLDEN_DIR and
EDT_WEIGHTS_DIR name other places. With CI=true they must be there.
END
}
labels= sanitizers=yes jobs=$(nproc)
for arg in "$@"; do
  case $arg in
    --fast) labels='^fast$' sanitizers=no ;;
    --no-sanitizers) sanitizers=no ;;
    --jobs=*) jobs=${arg#*=} ;;
    --help | -h) usage; exit 0 ;;
    *) echo "test.sh: unknown option '$arg'" >&2; usage >&2; exit 2 ;;
  esac
done

report=()
failed=no
# phase NAME COMMAND...: runs the command, keeps its time for the summary
phase() {
  local name=$1 begin=$SECONDS result=ok
  shift
  echo "== $name"
  "$@" || result=FAILED failed=yes
  report+=("$(printf '%5d s  %-6s  %s' $((SECONDS - begin)) "$result" "$name")")
  [ $result = ok ]
}
finish() {
  echo "== summary"
  printf '%s\n' "${report[@]}"
  printf '%5d s  in all\n' "$SECONDS"
  [ $failed = no ] && echo "test.sh: all passed" || echo "test.sh: FAILED"
  [ $failed = no ]
  exit
}

# build PRESET DIRECTORY TARGETS...; the compiler's words are shown when it fails
build() {
  local preset=$1 directory=$2 log
  shift 2
  log=$(mktemp)
  if cmake --preset "$preset" -DEDT_WERROR=ON -DEDT_TESTS=ON >"$log" 2>&1 &&
    cmake --build "$directory" -j "$jobs" --target "$@" >>"$log" 2>&1; then
    rm -f "$log"
    return 0
  fi
  grep -vE '^\[[0-9]+/[0-9]+\] (Building|Linking|Running|Generating)' "$log" | tail -n 60
  rm -f "$log"
  return 1
}
run_ctest() { # $1 directory, rest: options of ctest
  local directory=$1
  shift
  ctest --test-dir "$directory" -j "$jobs" --output-on-failure --no-tests=error "$@"
}

# Test programs run side by side: their threads must not spin while they wait for each other.
export OMP_WAIT_POLICY=passive

phase "packages" bash tools/dev/packages.sh test || finish
phase "build release" build release build all || finish
if [ -n "$labels" ]; then
  phase "test release, fast" run_ctest build -L "$labels"
  finish
fi
phase "test release" run_ctest build -LE '^bench$'
phase "ignored results (clang)" bash tools/dev/check_unused_results.sh build
quickstart_smoke() {
  local out status
  out=$(mktemp -d)
  bash tools/quickstart.sh --fast --output_dir="$out" >"$out/log" 2>&1
  status=$?
  [ $status = 0 ] || tail -n 40 "$out/log"
  rm -rf "$out"
  return $status
}
phase "quickstart --fast" quickstart_smoke
if [ $sanitizers = no ]; then
  finish
fi

targets=(programs tests_unit tests_ops tests_pipeline)
if phase "build asan-ubsan" build asan-ubsan build-asan-ubsan "${targets[@]}" tests_fuzz; then
  phase "test asan-ubsan" run_ctest build-asan-ubsan -L '^(fast|pipeline|fuzz)$'
fi
# ThreadSanitizer does not see the barriers of the OpenMP runtime: one thread there.
if phase "build tsan" build tsan build-tsan programs tests_unit tests_pipeline; then
  phase "test tsan" env OMP_NUM_THREADS=1 ctest --test-dir build-tsan -j "$jobs" \
    --output-on-failure --no-tests=error -L '^(fast|pipeline)$'
fi
finish
