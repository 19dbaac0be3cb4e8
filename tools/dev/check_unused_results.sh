#!/usr/bin/env bash
# Finds ignored edt_status values: clang knows the attribute for types, gcc for functions only
# (core/status.h). Argument: a configured build directory, whose generated headers must exist.
set -u
cd "$(dirname "$0")/../.." || exit 1
build=${1:-build}
if ! command -v clang >/dev/null; then
  echo "unused results: not checked, clang is not installed"
  exit 0
fi
# Definitions that CMake gives single targets get any value here: nothing is compiled.
flags=(-std=gnu17 -fsyntax-only -fopenmp -msse4.2 -I. "-I$build/generated"
  -D_GNU_SOURCE '-DEDT_VERSION=""' -DEDT_SIMD=base '-DEDT_DATA_DIR_DEFAULT=""'
  '-DEDT_GOLDEN_DIR_DEFAULT=""' '-DEDT_WEIGHTS_DIR_DEFAULT=""'
  -Wno-everything -Wunused-result -Werror=unused-result)
read -ra includes < <(pkg-config --cflags libcjson yaml-0.1 libprotobuf-c libjpeg zlib libcrypto cairo libxml-2.0)
flags+=("${includes[@]}")
if pkg-config --exists hdf5; then
  read -ra includes < <(pkg-config --cflags hdf5)
  flags+=("${includes[@]}")
fi
# Plug-ins are checked where their libraries' headers are.
for folder in $(mpicc --showme:incdirs 2>/dev/null) "${CUDA_HOME:-/usr/local/cuda}/include"; do
  flags+=("-I$folder")
done
has_header() { echo "#include <$1>" | clang "${flags[@]}" -x c - >/dev/null 2>&1; }
files=("*.c")
has_header hdf5.h || files+=(":!model/io/hdf5")
has_header mpi.h || files+=(":!dist/comm_mpi.c")
has_header nccl.h || files+=(":!dist/comm_nccl.c")
has_header cudnn.h || files+=(":!backend/cuda" ":!tests/cuda_emulator")
if git ls-files -co --exclude-standard -- "${files[@]}" |
  xargs -P "$(nproc)" -n 8 clang "${flags[@]}"; then
  echo "unused results: ok"
else
  exit 1
fi
