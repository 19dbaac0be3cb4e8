#!/usr/bin/env bash
# Sees to the packages that edt needs on Debian and Ubuntu: `packages.sh build` for the programs,
# `packages.sh test` for the tests as well. What is missing gets installed when we are root or may
# use sudo; otherwise the command to run is printed and the exit code is 1.
set -u
what=${1:-build}
case $what in build | test) ;; *) echo "usage: packages.sh build|test" >&2; exit 2 ;; esac

has_header() { echo "#include <$1>" | cc -E -x c - >/dev/null 2>&1; }
has_library() { pkg-config --exists "$1" 2>/dev/null; }
has_hdf5() { has_library hdf5 || has_library hdf5-serial; }
has_downloader() { command -v curl || command -v wget; }
has_font() { find /usr/share/fonts -name "$1" 2>/dev/null | grep -q .; }

missing_packages() {
  # need PACKAGE COMMAND...: PACKAGE is missing when COMMAND fails
  local missing=()
  need() {
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
  }
  need build-essential command -v cc
  has_header stdio.h || missing+=(libc6-dev)
  need git command -v git
  need cmake command -v cmake
  need ninja-build command -v ninja
  need pkg-config command -v pkg-config
  need protobuf-c-compiler command -v protoc-c
  need libprotobuf-c-dev has_library libprotobuf-c
  need libcjson-dev has_library libcjson
  need libyaml-dev has_library yaml-0.1
  need zlib1g-dev has_library zlib
  need libjpeg-dev has_library libjpeg
  need libssl-dev has_library libcrypto
  need libcairo2-dev has_library cairo
  need libzstd-dev has_library libzstd
  need liblmdb-dev has_library lmdb
  need libpng-dev has_library libpng
  need libgif-dev has_header gif_lib.h
  need libxml2-dev has_library libxml-2.0
  need libdnnl-dev has_header oneapi/dnnl/dnnl.h
  need libhdf5-dev has_hdf5
  need fonts-dejavu-core has_font DejaVuSans.ttf
  if [ "$what" = test ]; then
    need libcriterion-dev has_header criterion/criterion.h
    # Optional: without MPI its plug-in is not built and its tests skip.
    if apt-cache show libopenmpi-dev >/dev/null 2>&1; then
      need libopenmpi-dev command -v mpicc
      need openmpi-bin command -v mpirun
    fi
    # Optional: without curl or wget the test of fetch_checkpoint.sh skips.
    if apt-cache show curl >/dev/null 2>&1; then
      need curl has_downloader
    fi
  fi
  echo "${missing[*]}"
}

missing=$(missing_packages)
if [ -z "$missing" ]; then
  echo "packages: all there"
  exit 0
fi
if ! command -v apt-get >/dev/null; then
  echo "packages: this machine has no apt-get; please install what these Debian packages hold:" >&2
  echo "  $missing" >&2
  exit 1
fi
as_root=()
if [ "$(id -u)" != 0 ]; then
  # Without a terminal sudo must not ask for a password.
  if command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
    as_root=(sudo)
  else
    echo "packages: some are missing and only root may install them; please run" >&2
    echo "  apt-get update && apt-get install -y --no-install-recommends $missing" >&2
    exit 1
  fi
fi
echo "packages: installing $missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086 # a list of names
if ! { "${as_root[@]}" apt-get update &&
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing; } \
  >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  echo "packages: apt-get failed (above); is the network up and the package list readable?" >&2
  exit 1
fi
still=$(missing_packages)
if [ -n "$still" ]; then
  echo "packages: installed, but still not found: $still" >&2
  exit 1
fi
