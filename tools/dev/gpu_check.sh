#!/usr/bin/env bash
# Runs everything that needs a GPU, from an unpacked bundle (bundle.sh) and inside a time limit: what
# the machine is, the GPU tests with the goldens, compute-sanitizer over the small ones, two ranks on
# one device against one rank, then the benchmarks. Writes one JSON report. Needs the driver and, from
# somewhere, cuBLASLt, cuDNN 9 and (for ranks) NCCL; nothing else.
set -u
usage() {
  cat <<'END'
usage: gpu_check.sh [--output=FILE.json] [--seconds=N] [--only=PART,...]
  --output=FILE.json  default gpu_report.json; logs of what failed go beside it, as FILE.json.logs/
  --seconds=N         time limit; default 520. What does not fit any more is reported as "no time"
  --only=PART,...     of: tests, sanitizer, ranks, benchmarks
Libraries are looked for where the loader looks, in CUDA_HOME, and in python3's nvidia packages.
Exit code: 0 when everything ran and passed, 1 when something failed, 77 without a GPU.
END
}
output=gpu_report.json limit=520 only=tests,sanitizer,ranks,benchmarks
for arg in "$@"; do
  case $arg in
    --output=*) output=${arg#*=} ;;
    --seconds=*) limit=${arg#*=} ;;
    --only=*) only=${arg#*=} ;;
    --help | -h) usage; exit 0 ;;
    *) echo "gpu_check.sh: unknown option '$arg'" >&2; usage >&2; exit 2 ;;
  esac
done
case $output in /*) ;; *) output=$PWD/$output ;; esac
logs=$output.logs
cd "$(dirname "$0")" || exit 1
top=$PWD
mkdir -p "$logs"
export EDT_GOLDEN_DIR=$top/golden EDT_DATA_DIR=$top/data EDT_PLUGIN_DIR=${EDT_PLUGIN_DIR:-$top/bin} OMP_WAIT_POLICY=passive

path=$top/lib
for folder in $(python3 -c 'import glob, site
for s in site.getsitepackages():
    print(*glob.glob(s + "/nvidia/*/lib"))' 2>/dev/null) "${CUDA_HOME:-/usr/local/cuda}/lib64"; do
  [ -d "$folder" ] && path=$path:$folder
done
ldconfig -p 2>/dev/null | grep -q 'libstdc++\.so\.6' || path=$path:$top/libstdc++
export LD_LIBRARY_PATH=$path${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

json_string() { # standard input as a JSON string
  printf '"'
  LC_ALL=C tr -d '\000-\010\013-\037\177-\377' | sed 's/\\/\\\\/g; s/"/\\"/g; s/\t/\\t/g' | awk '{ printf "%s%s", (NR > 1 ? "\\n" : ""), $0 }'
  printf '"'
}
wanted() { case ,$only, in *,"$1",*) true ;; *) false ;; esac; }
left() { echo $((limit - SECONDS)); }

entries=$(mktemp -d)
trap 'rm -rf "$entries"' EXIT
n_failed=0 n_passed=0 n_skipped=0
# run PART NAME MOST_SECONDS COMMAND...: one entry of the report. Exit code 77, or a Criterion run
# in which every test was skipped, counts as skipped.
run() {
  local part=$1 name=$2 most=$3 result status=0 begin log=$logs/$1-${2//[^A-Za-z0-9_.-]/_}.log
  shift 3
  if [ "$(left)" -lt 5 ]; then
    result="no time" status=-1 begin=$SECONDS
    : >"$log"
  else
    [ "$most" -lt "$(left)" ] || most=$(left)
    begin=$SECONDS
    timeout -k 5 "$most" "$@" >"$log" 2>&1 || status=$?
    result=failed
    [ $status = 0 ] && result=passed
    [ $status = 77 ] && result=skipped
    [ $status = 124 ] && result="timed out"
    grep -qE 'Tested: 0 \|' "$log" && [ $status = 0 ] && result=skipped
  fi
  case $result in passed) n_passed=$((n_passed + 1)) ;; skipped) n_skipped=$((n_skipped + 1)) ;; *) n_failed=$((n_failed + 1)) ;; esac
  printf '%4d s  %-9s  %s %s\n' $((SECONDS - begin)) "$result" "$part" "$name"
  {
    printf '{"part":"%s","name":"%s","result":"%s","exit_code":%d,"seconds":%d,' "$part" "$name" "$result" "$status" $((SECONDS - begin))
    # A benchmark's lines are JSON objects already.
    printf '"results":['
    grep -E '^\{.*\}$' "$log" | sed '$!s/$/,/'
    printf '],"tail":'
    if [ "$result" = passed ]; then printf '""'; else tail -n 25 "$log" | json_string; fi
    printf '}\n'
  } >>"$entries/list"
  case $result in passed | skipped) rm -f "$log" ;; esac
}

# Fails where the plug-in finds no device; says why.
if ! "$top/bin/benchmark" --device=cuda --what=network --bm_runs=1 --hparams=image_size=128 --json >"$logs/device.log" 2>&1; then
  code=1
  grep -qi "no cuda device\|no device\|driver" "$logs/device.log" && code=77
  tail -n 5 "$logs/device.log" >&2
  echo "gpu_check.sh: the cuda backend does not run here" >&2
  exit $code
fi

if wanted tests; then
  while IFS='|' read -r name program arguments _; do
    # shellcheck disable=SC2086
    run tests "$name" 150 "$top/tests/$program" $arguments </dev/null
  done <"$top/gpu_tests.txt"
fi

if wanted sanitizer; then
  sanitizer=$(command -v compute-sanitizer || ls "${CUDA_HOME:-/usr/local/cuda}/bin/compute-sanitizer" 2>/dev/null || true)
  while IFS='|' read -r name program arguments small; do
    [ "$small" = yes ] || continue
    if [ -z "$sanitizer" ]; then
      run sanitizer "$name" 1 sh -c 'echo "compute-sanitizer is not on this machine"; exit 77'
      continue
    fi
    for tool in memcheck racecheck; do
      # shellcheck disable=SC2086
      run sanitizer "$tool $name" 90 "$sanitizer" --tool=$tool --error-exitcode=9 --target-processes=all "$top/tests/$program" $arguments </dev/null
    done
  done <"$top/gpu_tests.txt"
fi

work=$(mktemp -d)
trap 'rm -rf "$entries" "$work"' EXIT
if wanted ranks || wanted benchmarks; then
  run setup records 30 "$top/bin/create_coco_records" --image_dir="$top/data/images" \
    --image_info_file="$top/data/instances.json" --object_annotations_file="$top/data/instances.json" \
    --output_file_prefix="$work/rec" --num_shards=2
fi

if wanted ranks; then
  # Two ranks on one device: NCCL takes them for two machines when their NCCL_HOSTID differs.
  run ranks "two against one" 120 bash "$top/two_ranks.sh" "$top/bin" "$work/rec" "$work/ranks"
fi

if wanted benchmarks; then
  bench() { # NAME MOST_SECONDS ARGUMENTS...
    local name=$1 most=$2
    shift 2
    run benchmarks "$name" "$most" "$top/bin/benchmark" --device=cuda --json "$@"
  }
  bench "network d0 512 batch 1 f32" 25 --what=network --precision=f32 --bm_runs=50
  bench "network d0 512 batch 1 bf16" 25 --what=network --precision=bf16 --bm_runs=50
  bench "end to end d0 512 batch 1 bf16" 25 --what=end_to_end --precision=bf16 --bm_runs=50 --input_image="$top/data/images"
  for batch in 16 64 128; do
    bench "train d0 512 bf16 batch $batch" 40 --what=train --precision=bf16 --batch_size=$batch --bm_runs=20
  done
  bench "train d0 512 bf16 batch 64, by op" 40 --what=train --precision=bf16 --batch_size=64 --bm_runs=5 --per_op
  bench "train d0 512 fp16 batch 64" 40 --what=train --precision=f16 --batch_size=64 --bm_runs=20
  bench "train d0 512 tf32 batch 64" 40 --what=train --precision=tf32 --batch_size=64 --bm_runs=20
  bench "train d0 512 f32 batch 32" 40 --what=train --precision=f32 --batch_size=32 --bm_runs=10
fi

{
  printf '{"revision":'
  json_string <"$top/revision"
  printf ',"seconds":%d,"passed":%d,"failed":%d,"skipped":%d,"machine":' "$SECONDS" "$n_passed" "$n_failed" "$n_skipped"
  { nvidia-smi --query-gpu=name,driver_version,memory.total,power.limit --format=csv,noheader 2>&1
    "$top/bin/model_info" --env 2>&1; } | json_string
  printf ',"entries":[\n'
  [ -e "$entries/list" ] && sed '$!s/$/,/' "$entries/list"
  printf ']}\n'
} >"$output"
echo "$output: $n_passed passed, $n_failed failed, $n_skipped skipped, $SECONDS s"
[ $n_failed = 0 ]
