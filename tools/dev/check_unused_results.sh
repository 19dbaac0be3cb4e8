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
if git ls-files -co --exclude-standard -- '*.c' |
  xargs -P "$(nproc)" -n 8 clang "${flags[@]}"; then
  echo "unused results: ok"
else
  exit 1
fi
