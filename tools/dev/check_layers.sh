#!/usr/bin/env bash
# Enforces the layer table (docs/architecture.md): who may include whom, where vendor headers may
# appear, unique file names. Prints each offence as file:line: reason; exit 1 when there is one.
set -u
cd "$(dirname "$0")/../.." || exit 1
bad=0
offend() { printf '%s\n' "$1"; bad=1; }

# folder -> folders of ours that it may include from (itself is always allowed)
declare -A may=(
  [core]=""
  [augment]="core"
  [dataio]="core augment"
  [backend]="core"
  [dist]="core backend/backend.h"
  [model]="core backend"
  [eval]="core model dataio dist/comm.h dist/stop_vote.h"
  [train]="core augment dataio backend dist model eval"
  [tools]="core augment dataio backend dist model eval train"
)
for layer in "${!may[@]}"; do
  [ -d "$layer" ] || continue
  while IFS=: read -r file line text; do
    [ -n "$file" ] || continue
    [[ $text =~ \"([^\"]+)\" ]]
    header=${BASH_REMATCH[1]}
    case "$header" in
      */../*|../*|./*) offend "$file:$line: includes '$header' by a relative path; write it from the root"; continue ;;
      *pb-c.h) continue ;;
    esac
    case "$header" in */*) ;; *) offend "$file:$line: includes '$header' without its folder"; continue ;; esac
    top=${header%%/*}
    [ "$top" = "$layer" ] && continue
    ok=0
    for allowed in ${may[$layer]}; do
      if [ "$allowed" = "$top" ] || [ "$allowed" = "$header" ]; then ok=1; fi
    done
    [ $ok = 1 ] || offend "$file:$line: $layer must not include '$header'"
  done < <(grep -rnE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' "$layer" --include='*.[ch]' --include='*.cu' --include='*.cuh')
done

# vendor header (regular expression) -> path prefixes that may include it
vendor() { # $1 pattern, rest: allowed prefixes
  local pattern=$1; shift
  while IFS=: read -r file line _; do
    [ -n "$file" ] || continue
    local ok=0 prefix
    for prefix in "$@"; do case "$file" in "$prefix"*) ok=1 ;; esac; done
    case "$file" in *_priv.h|*_kernels.h|*.c|*.cu|*.cuh) ;; *) ok=0 ;; esac
    [ $ok = 1 ] || offend "$file:$line: vendor header not allowed here"
  done < <(grep -rnE "^[[:space:]]*#[[:space:]]*include[[:space:]]*[<\"]([a-z0-9_/-]*/)?($pattern)[>\"]" \
             core augment dataio backend dist model eval train tools --include='*.[ch]' --include='*.cu' --include='*.cuh' 2>/dev/null \
             | grep -vE '"(core/yaml\.h|backend/cuda/)')
}
vendor 'dnnl[a-z_]*\.h|oneapi/dnnl/.*' backend/cpu/
vendor 'omp\.h' backend/cpu/
vendor 'cuda[a-z_]*\.h|cudnn[a-z_]*\.h|cublas[A-Za-z_]*\.h' backend/cuda/ dist/comm_nccl
vendor 'nccl\.h' dist/comm_nccl
vendor 'mpi\.h' dist/comm_mpi
vendor 'cJSON\.h' core/
vendor 'yaml\.h' core/yaml core/hparams core/libraries
vendor 'lmdb\.h|zstd\.h|zlib\.h|jpeglib\.h|png\.h|gif_lib\.h|cairo[a-z-]*\.h|sha\.h|evp\.h' dataio/
vendor 'libxml/.*\.h' dataio/voc_xml
vendor '.*pb-c\.h' dataio/ model/io/ model/export/ train/event_file
vendor 'hdf5\.h' model/io/

# File names are unique in the tree (mains, build files and tests' data aside).
while read -r name; do
  offend "file name '$name' occurs more than once: $(git ls-files -co --exclude-standard | grep -E "(^|/)$name\$" | grep -v '^tools/[a-z_]*\.c$' | tr '\n' ' ')"
done < <(git ls-files -co --exclude-standard '*.c' '*.h' '*.cu' | grep -vE '^tools/[a-z_]*\.c$' | xargs -rn1 basename | sort | uniq -d)

[ $bad = 0 ] && echo "layers: ok"
exit $bad
