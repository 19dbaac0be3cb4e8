#!/usr/bin/env bash
# Packs what a machine with a GPU, and nothing else of ours, needs to check and to measure this
# build: programs, plug-ins, GPU tests, the shared libraries they link (without driver, CUDA, cuDNN
# and NCCL, which that machine brings), the golden vectors of hashed weights, 32 photographs, and
# gpu_check.sh, which runs it all. At most 40 MB.
set -eu
cd "$(dirname "$0")/../.."

usage() {
  cat <<'END'
usage: tools/dev/bundle.sh [--output=FILE.tar.xz] [--build_dir=DIR] [--jobs=N]
  --output=FILE.tar.xz  default out/edt-gpu.tar.xz
  --build_dir=DIR       default build-bundle
  --jobs=N              default: one per processor
On the other machine:  tar xf edt-gpu.tar.xz && edt-gpu/gpu_check.sh --output=report.json
EDT_DATA_DIR and EDT_GOLDEN_DIR name sample data and goldens; default ../shared/data, ../shared/golden.
END
}
output=out/edt-gpu.tar.xz build=build-bundle jobs=$(nproc)
for arg in "$@"; do
  case $arg in
    --output=*) output=${arg#*=} ;;
    --build_dir=*) build=${arg#*=} ;;
    --jobs=*) jobs=${arg#*=} ;;
    --help | -h) usage; exit 0 ;;
    *) echo "bundle.sh: unknown option '$arg'" >&2; usage >&2; exit 2 ;;
  esac
done
most_bytes=$((40 * 1000 * 1000)) n_images=32
data=${EDT_DATA_DIR:-../shared/data} golden=${EDT_GOLDEN_DIR:-../shared/golden}
for needed in "$data/coco-mini/val2017" "$golden/model/forward"; do
  [ -d "$needed" ] || { echo "bundle.sh: $needed is not there; set EDT_DATA_DIR and EDT_GOLDEN_DIR" >&2; exit 1; }
done
command -v nvcc >/dev/null || PATH=$PATH:/usr/local/cuda/bin
command -v nvcc >/dev/null || { echo "bundle.sh: no nvcc: the CUDA parts cannot be built here" >&2; exit 1; }

echo "== build ($build)"
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DEDT_CUDA=ON -DEDT_VOC=OFF -DEDT_BENCH=OFF >/dev/null
cmake --build "$build" -j "$jobs" --target programs plugins tests_gpu select_images compare_runs

echo "== pack"
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
top=$stage/edt-gpu
mkdir -p "$top/bin" "$top/tests" "$top/lib" "$top/libstdc++" "$top/golden" "$top/data"
for program in train detect benchmark coco_eval model_info create_coco_records; do
  cp "$build/bin/$program" "$top/bin/"
done
# What reads .h5 files, where this build has it.
[ ! -x "$build/bin/edt_hdf5" ] || cp "$build/bin/edt_hdf5" "$top/bin/"
cp "$build"/bin/libedt_*.so "$top/bin/"
# One line per test: NAME|PROGRAM|ARGUMENTS|SANITIZE (yes where it is small enough for that).
cp "$build/gpu_tests.txt" "$top/"
cut -d'|' -f2 "$build/gpu_tests.txt" | sort -u | while read -r program; do
  cp "$build/tests/$program" "$top/tests/"
done

# Libraries, found by the dynamic linker's own rules. What belongs to the C library, to the driver or
# to CUDA stays away; libstdc++ comes along for machines that have none.
for file in "$top"/bin/* "$top"/tests/*; do ldd "$file" 2>/dev/null; done |
  awk '$2 == "=>" && $3 ~ /^\// { print $1, $3 }' | sort -u |
  while read -r name path; do
    case $name in
      libc.so.* | libm.so.* | libpthread.so.* | libdl.so.* | librt.so.* | libresolv.so.* | ld-linux*) ;;
      libcuda.so* | libcudart* | libcublas* | libcudnn* | libnccl* | libnvidia* | libnvrtc*) ;;
      libmpi* | libopen-* | libhwloc* | libevent* | libpmix*) ;;
      libstdc++.so.* | libgcc_s.so.*) cp -L "$path" "$top/libstdc++/$name" ;;
      *) cp -L "$path" "$top/lib/$name" ;;
    esac
  done
find "$top/bin" "$top/tests" "$top/lib" -type f -exec strip --strip-unneeded {} + 2>/dev/null || true

# Goldens of generated ("hashed") weights only: the ones of the trained checkpoint need the checkpoint.
mkdir -p "$top/golden/model"
cp "$golden"/model/*.tsv "$golden"/model/README.md "$top/golden/model/"
for folder in anchors forward losses post targets train; do
  mkdir -p "$top/golden/model/$folder"
  find "$golden/model/$folder" -type f ! -name '*_ckpt_*' -exec cp {} "$top/golden/model/$folder/" \;
done

annotations=$data/coco-mini/annotations/instances_val2017.json
"$build/acceptance/select_images" "$annotations" "$top/data/instances.json" $n_images 512 4
mkdir -p "$top/data/images"
grep -o '"file_name": "[^"]*"' "$top/data/instances.json" | sed 's/.*: "//; s/"$//' |
  while read -r name; do cp "$data/coco-mini/val2017/$name" "$top/data/images/"; done
chmod -R u+w "$top"
cp tools/dev/gpu_check.sh tests/acceptance/two_ranks.sh "$top/"
cp "$build/acceptance/compare_runs" "$top/bin/"
git describe --always --dirty >"$top/revision" 2>/dev/null || echo unknown >"$top/revision"

mkdir -p "$(dirname "$output")"
tar -C "$stage" --sort=name --owner=0 --group=0 -cf - edt-gpu | xz -T0 -6 >"$output.part"
bytes=$(stat -c %s "$output.part")
if [ "$bytes" -gt $most_bytes ]; then
  echo "bundle.sh: the bundle has $bytes bytes, more than $most_bytes; its largest parts:" >&2
  (cd "$top" && du -a . | sort -rn | head -n 15) >&2
  rm -f "$output.part"
  exit 1
fi
mv "$output.part" "$output"
echo "$output: $bytes bytes, $(wc -l <"$top/gpu_tests.txt") tests, $(ls "$top/data/images" | wc -l) photographs, $(ls "$top/lib" | wc -l) libraries"
