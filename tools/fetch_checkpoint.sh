#!/usr/bin/env bash
# Downloads one of the checkpoints that the reference publishes, checks that all of it arrived and
# unpacks it. What is unfinished lies in a hidden folder beside the final name and goes on from there
# with the next call; a final name appears in one step, when everything under it is whole.
set -u
export LC_ALL=C

official_base=https://storage.googleapis.com/cloud-tpu-checkpoints/efficientdet
base=${EDT_CHECKPOINT_URL:-$official_base}

usage() {
  cat <<END
usage: tools/fetch_checkpoint.sh NAME [DIR] [--url=BASE] [--retries=N] [--timeout=SECONDS]
       tools/fetch_checkpoint.sh --list [DIR] [--sizes]

Downloads the published checkpoint NAME to DIR/NAME and prints that path, the only line on stdout.
DIR is "checkpoints" where it is not given. Interrupted, it goes on where it stopped when it is
called again.

  NAME               as --list prints it. The folder may be left out: coco2 is taken before coco640,
                     coco and advprop. Names that end in .h5 are Keras weights, one file; the others
                     are TensorFlow checkpoints, a folder
  --list             names, kinds and what of them DIR holds
  --sizes            with --list: asks the server for each size
  --url=BASE         a mirror: what stands before "/NAME.tar.gz". Also EDT_CHECKPOINT_URL; default
                     $official_base
  --retries=N        how often in a row it tries again when nothing more arrives; default 5
  --timeout=SECONDS  a connection that brings nothing for so long is given up; default 60

Needs GNU tar, gzip, and curl or wget (the variables http_proxy, https_proxy and no_proxy apply).
Exit codes: 0 done or there already, 1 failed, 2 wrong usage.

  train  --model_name=efficientdet-d0 --ckpt="\$(tools/fetch_checkpoint.sh efficientdet-d0)" ...
  detect --model_name=efficientdet-d0 --ckpt_path=checkpoints/coco2/efficientdet-d0 ...
END
}

# Addresses below the base; a name is its address without .tar.gz or .tgz. A name without its folder
# means the first one here that has it.
addresses() {
  cat <<'END'
coco2/efficientdet-d0.tar.gz
coco2/efficientdet-d0.h5
coco2/efficientdet-d1.tar.gz
coco2/efficientdet-d1.h5
coco2/efficientdet-d2.tar.gz
coco2/efficientdet-d2.h5
coco2/efficientdet-d3.tar.gz
coco2/efficientdet-d3.h5
coco2/efficientdet-d4.tar.gz
coco2/efficientdet-d4.h5
coco2/efficientdet-d5.tar.gz
coco2/efficientdet-d5.h5
coco2/efficientdet-d6.tar.gz
coco2/efficientdet-d6.h5
coco2/efficientdet-d7.tar.gz
coco2/efficientdet-d7.h5
coco2/efficientdet-d7x.tar.gz
coco2/efficientdet-d7x.h5
coco640/efficientdet-d2-640.tar.gz
coco640/efficientdet-d2-640.h5
coco640/efficientdet-d3-640.tar.gz
coco640/efficientdet-d3-640.h5
coco640/efficientdet-d4-640.tar.gz
coco640/efficientdet-d4-640.h5
coco640/efficientdet-d5-640.tar.gz
coco640/efficientdet-d5-640.h5
coco640/efficientdet-d6-640.tar.gz
coco640/efficientdet-d6-640.h5
coco/efficientdet-d0.tar.gz
coco/efficientdet-lite0.tgz
coco/efficientdet-lite1.tgz
coco/efficientdet-lite2.tgz
coco/efficientdet-lite3.tgz
coco/efficientdet-lite3x.tgz
coco/efficientdet-lite4.tgz
advprop/efficientdet-d0.tar.gz
advprop/efficientdet-d1.tar.gz
advprop/efficientdet-d2.tar.gz
advprop/efficientdet-d3.tar.gz
advprop/efficientdet-d4.tar.gz
advprop/efficientdet-d5.tar.gz
coco2/val/d0_coco_val.txt
coco2/val/d1_coco_val.txt
coco2/val/d2_coco_val.txt
coco2/val/d3_coco_val.txt
coco2/val/d4_coco_val.txt
coco2/val/d5_coco_val.txt
coco2/val/d6_coco_val.txt
coco2/val/d7_coco_val.txt
coco2/val/d7x_coco_val.txt
coco2/testdev/d0_coco_test-dev2017.txt
coco2/testdev/d1_coco_test-dev2017.txt
coco2/testdev/d2_coco_test-dev2017.txt
coco2/testdev/d3_coco_test-dev2017.txt
coco2/testdev/d4_coco_test-dev2017.txt
coco2/testdev/d5_coco_test-dev2017.txt
coco2/testdev/d6_coco_test-dev2017.txt
coco2/testdev/d7_coco_test-dev2017.txt
coco2/testdev/d7x_coco_test-dev2017.txt
data/video480p.mov
END
}

name_of() {
  local name=${1%.tar.gz}
  echo "${name%.tgz}"
}
kind_of() { # of an address
  case $1 in
    *.tar.gz | *.tgz) echo tensorflow ;;
    *.h5) echo keras ;;
    *) echo file ;;
  esac
}

say() { echo "fetch_checkpoint.sh: $*" >&2; }
die() {
  say "$@"
  exit 1
}
wrong_usage() {
  say "$@" "(see --help)"
  exit 2
}
in_words() { # a number of bytes
  if [ "${1:-0}" -ge 1048576 ]; then
    echo "$(($1 / 1048576)).$(($1 % 1048576 * 10 / 1048576)) MiB"
  else
    echo "${1:-0} bytes"
  fi
}
size_of() { stat -L -c %s -- "$1" 2>/dev/null || echo 0; }
free_bytes() { df -Pk -- "$1" 2>/dev/null | awk 'NR == 2 { printf "%.0f", $4 * 1024 }'; }
# need_space BYTES FOLDER WHAT
need_space() {
  local free
  free=$(free_bytes "$2")
  [ -z "$free" ] || [ "$free" -ge "$1" ] ||
    die "the disk is full: $3 needs $(in_words "$1"), $2 has $(in_words "$free") free;" \
      "make room or give another DIR, then call again"
}

# --- the server -----------------------------------------------------------------------------------

# run_client WORDS COMMAND...: its exit code. What it says goes to the file WORDS, or with "-" to our
# stderr. A signal ends it as well; its redirection must not catch what interrupted says.
client_pid=
run_client() {
  local words=$1
  shift
  if [ "$words" = - ]; then "$@" </dev/null & else "$@" </dev/null 2>"$words" & fi
  client_pid=$!
  wait $client_pid
  local code=$?
  client_pid=
  return $code
}
interrupted() {
  if [ -n "$client_pid" ]; then
    kill "$client_pid" 2>/dev/null
    wait "$client_pid"
  fi
  say "interrupted; what arrived is kept, call again to go on"
  exit "$1"
}
trap 'interrupted 130' INT
trap 'interrupted 143' TERM HUP

# header NAME FILE: the value in the last answer of a chain of redirections
header() {
  awk -v want="$1" '
    { sub(/\r$/, ""); sub(/^ +/, "") }
    /^HTTP\// { value = "" }
    index(tolower($0), want ":") == 1 { value = substr($0, length(want) + 2); gsub(/^[ \t]+/, "", value) }
    END { print value }' "$2"
}
status_of() { awk '{ sub(/^ +/, "") } /^HTTP\// { code = $2 } END { print code + 0 }' "$1"; }

# ask ADDRESS HEADERS WORDS: HEAD. 0: headers are in the file, whatever the status; 1: no answer, the
# client's words are in the other file
ask() {
  : >"$2"
  if [ "$client" = curl ]; then
    run_client "$3" curl -sSLI --connect-timeout "$timeout" --max-time "$timeout" -D "$2" -o /dev/null -- "$1"
  else
    run_client - wget --spider -S --tries=1 --timeout="$timeout" -o "$3" -- "$1"
    grep '^  [^ ]' "$3" >"$2"
  fi
  [ "$(status_of "$2")" != 0 ]
}
# get ADDRESS FILE HEADERS WORDS: the file from its present size on; the client's exit code. If-Range
# makes the server send everything, which the client refuses, when its file is another one by now.
get() {
  local have words=$4 options=()
  have=$(size_of "$2")
  : >"$3"
  if [ "$have" -gt 0 ] && [ -n "$validator" ]; then
    options+=(--header "If-Range: $validator")
  fi
  if [ "$client" = curl ]; then
    [ "$have" = 0 ] || options+=(-C "$have")
    : >"$words"
    if [ -t 2 ]; then words=-; else options+=(-s); fi
    run_client "$words" curl -fSL --connect-timeout "$timeout" --speed-limit 1 --speed-time "$timeout" \
      ${options[@]+"${options[@]}"} -D "$3" -o "$2" -- "$1"
  else
    [ "$have" = 0 ] || options+=(-c)
    [ ! -t 2 ] || options+=(--show-progress)
    run_client - wget -nv -S --tries=1 --timeout="$timeout" --no-use-server-timestamps \
      ${options[@]+"${options[@]}"} -o "$words" -O "$2" -- "$1"
    local code=$?
    grep '^  [^ ]' "$words" >"$3"
    return $code
  fi
}
last_words() { grep -v '^ \|^$' "$1" | tail -n 1; }

# One try for "$archive". 0: all of it is there; 1: $reason says what failed and may not fail again.
attempt() {
  local address status etag modified about before code
  for address in "${candidates[@]}"; do
    url=$base/$address
    if ! ask "$url" "$work/headers" "$work/words"; then
      reason="no answer from $url: $(last_words "$work/words")"
      [ $answered = yes ] || die "$reason; is the network up, and the address right?"
      return 1
    fi
    answered=yes
    status=$(status_of "$work/headers")
    case $status in 403 | 404 | 410) ;; *) break ;; esac
  done
  etag='' modified='' length='' md5=''
  case $status in
    200)
      etag=$(header etag "$work/headers")
      modified=$(header last-modified "$work/headers")
      length=$(header content-length "$work/headers")
      [[ $length =~ ^[0-9]{1,15}$ ]] || length=
      md5=$(stored_md5 "$work/headers")
      ;;
    405 | 501) ;; # no HEAD: nothing is known before
    408 | 429 | 5??) reason="$url: the server answers $status, it may do better later"; return 1 ;;
    403 | 404 | 410) die "$url is not there (the server answers $status)" ;;
    *) die "$url: the server answers $status" ;;
  esac
  [ "$length" != 0 ] || die "$url is empty"
  case $etag in W/*) validator=$modified ;; *) validator=${etag:-$modified} ;; esac

  # What arrived earlier goes on only when it is of the very file that the server has now.
  about=$(printf '%s\n' "$url" "$etag" "$modified" "$length")
  before=$(size_of "$archive")
  if [ "$before" -gt 0 ]; then
    if [ -z "$etag$modified" ] || [ "$before" -gt "${length:-$before}" ] ||
      [ "$(cat "$work/about" 2>/dev/null)" != "$about" ]; then
      say "what arrived earlier may not belong to the server's file of today: starting again"
      rm -f "$archive"
      before=0
    elif [ "$before" = "$length" ]; then
      return 0
    fi
  fi
  if [ "$before" = 0 ]; then
    printf '%s\n' "$about" >"$work/about" || die "cannot write to $work, see above"
  fi
  if [ -n "$length" ]; then
    need_space $((length - before)) "$work" "the rest of the download"
    say "$url: $(in_words "$length")$([ "$before" = 0 ] || echo ", going on at $(in_words "$before")")"
  else
    say "$url"
  fi

  get "$url" "$archive" "$work/headers" "$work/words"
  code=$?
  status=$(status_of "$work/headers")
  if [ "$before" -gt 0 ] && { [ "$client $code" = "curl 33" ] || [ "$status" = 416 ]; }; then
    say "the server cannot go on at a place in a file, or has another file by now: starting again"
    rm -f "$archive"
    get "$url" "$archive" "$work/headers" "$work/words"
    code=$?
    status=$(status_of "$work/headers")
  fi
  if { [ "$status" = 200 ] || [ "$status" = 206 ]; } && [ -n "$etag$modified" ] &&
    [ "$etag $modified" != "$(header etag "$work/headers") $(header last-modified "$work/headers")" ]; then
    rm -f "$archive"
    reason="$url changed while it was downloaded"
    return 1
  fi
  case "$client $code" in
    *' 0')
      before=$(size_of "$archive")
      [ "${length:-$before}" != "$before" ] || return 0
      reason="$url: $before bytes arrived, the server had announced $length"
      [ "$before" -lt "$length" ] || rm -f "$archive"
      ;;
    'curl 23' | 'wget 3')
      die "cannot write $archive: $(last_words "$work/words"); $(in_words "$(free_bytes "$work")") are" \
        "free there; is the disk full? What arrived is kept, call again to go on"
      ;;
    'curl 22' | 'wget 8')
      reason="$url: the server answers $status"
      case $status in 408 | 429 | 5??) ;; *) die "$reason" ;; esac
      ;;
    *) reason="$url: the connection ended after $(size_of "$archive") of ${length:-unknown} bytes: $(last_words "$work/words")" ;;
  esac
  return 1
}

download() {
  local best have failures=0
  best=$(size_of "$archive")
  answered=no
  until attempt; do
    have=$(size_of "$archive")
    if [ "$have" -gt "$best" ]; then best=$have failures=0; fi
    failures=$((failures + 1))
    [ $failures -le "$retries" ] ||
      die "$reason; $(in_words "$have") are kept, call again to go on"
    say "$reason; trying again"
    run_client - sleep $((failures < 5 ? 2 ** (failures - 1) : 16))
  done
}

# --- what arrived ---------------------------------------------------------------------------------

# The MD5 that Google's storage states of a file it sends as it is stored, as md5sum prints it.
stored_md5() {
  [ "$(header x-goog-stored-content-encoding "$1")" != gzip ] || return 0
  tr -d '\r' <"$1" | sed -n 's/^ *[Xx]-[Gg]oog-[Hh]ash:.*md5=\([A-Za-z0-9+/]*=*\).*/\1/p' | tail -n 1 |
    base64 -d 2>/dev/null | od -An -tx1 | tr -d ' \n'
}
bytes_at() { od -An -tx1 -j "$2" -N "$3" -- "$1" 2>/dev/null | tr -d ' \n'; }
damaged() {
  rm -f "$archive" "$work/about"
  die "$url: $*; removed, call again to download it anew"
}

# HDF5's superblock says how long the file is.
check_keras() { # FILE; says what is wrong
  local at version end
  [ "$(bytes_at "$1" 0 8)" = 894844460d0a1a0a ] || { echo "it is no HDF5 file"; return; }
  version=$(bytes_at "$1" 8 1)
  case $version in 00) at=40 ;; 01) at=44 ;; 02 | 03) at=28 ;; *) return ;; esac
  end=$(od -An -tu8 -j $at -N 8 -- "$1" | tr -d ' ')
  if [ "${end:-0}" != "$(size_of "$1")" ] && [ "$end" -gt "$(size_of "$1")" ] 2>/dev/null; then
    echo "the HDF5 file has $(size_of "$1") bytes of $end"
  fi
}

# A folder with a checkpoint: each .index is a whole table and has all its data files, and the file
# "checkpoint" names one of them. Says what is wrong.
check_folder() {
  local index prefix shard first count i latest found=0
  for index in "$1"/*.index; do
    [ -f "$index" ] || continue
    found=$((found + 1)) prefix=${index%.index}
    [ "$(tail -c 8 -- "$index" | od -An -tx1 | tr -d ' \n')" = 57fb808b247547db ] ||
      { echo "$(basename "$index") is cut or no checkpoint's index"; return; }
    first=$(compgen -G "$prefix.data-00000-of-*" | head -n 1)
    count=${first##*-of-}
    [[ $count =~ ^[0-9]{5}$ ]] || { echo "$(basename "$index") has no data files"; return; }
    for ((i = 0; i < 10#$count; i++)); do
      shard=$(printf '%s.data-%05d-of-%s' "$prefix" $i "$count")
      [ -s "$shard" ] || { echo "$(basename "$shard") is missing or empty"; return; }
    done
  done
  [ $found -gt 0 ] || { echo "there is no .index file in it"; return; }
  latest=$(latest_in "$1")
  [ -n "$latest" ] || { echo "it has no file \"checkpoint\""; return; }
  [ -f "$1/$latest.index" ] || echo "its file \"checkpoint\" names $latest, which is not there"
}
latest_in() { sed -n 's/^ *model_checkpoint_path: *"\(.*\)" *$/\1/p' "$1/checkpoint" 2>/dev/null | head -n 1; }

# Some machine's path, or no file "checkpoint" at all, would keep programs from finding the prefix.
complete_state_file() {
  local latest
  latest=$(latest_in "$1")
  [ -z "$latest" ] || [ ! -f "$1/$latest.index" ] || return
  if [ -z "$latest" ] || [ ! -f "$1/$(basename -- "$latest").index" ]; then
    [ "$(compgen -G "$1/*.index" | wc -l)" = 1 ] || return
    latest=$(compgen -G "$1/*.index")
    latest=${latest%.index}
  fi
  latest=$(basename -- "$latest")
  say "wrote the file \"checkpoint\": it names $latest, which the published one does not"
  echo "model_checkpoint_path: \"$latest\"" >"$1/checkpoint"
}

# Unpacks "$archive" to "$unpacked" and sets $folder to the one that holds the checkpoint.
unpack() {
  local list=$work/list total odd depth wrong
  case $(bytes_at "$archive" 0 2) in
    1f8b)
      gzip -t <"$archive" 2>"$work/words" ||
        damaged "the archive is damaged ($(last_words "$work/words" | sed 's/^gzip: stdin: //'))"
      ;;
    *)
      [ "$(bytes_at "$archive" 257 5)" = 7573746172 ] ||
        damaged "this is no archive, it begins with \"$(head -c 40 "$archive" | tr -c '[:print:]' ' ')\""
      ;;
  esac
  tar -tvPf "$archive" --numeric-owner --quoting-style=escape >"$list" 2>"$work/words" ||
    damaged "the archive is damaged ($(last_words "$work/words"))"
  odd=$(grep -m 1 '^[^d-]' "$list") && damaged "the archive holds something that is no file: $odd"
  tar -tPf "$archive" --quoting-style=escape >"$work/names" 2>/dev/null
  odd=$(grep -m 1 -E '^/|(^|/)[.][.](/|$)|[\]' "$work/names") &&
    damaged "the archive would write outside its folder, or has a strange name in it: $odd"
  total=$(awk '{ sum += $3 } END { printf "%.0f", sum }' "$list")
  need_space "$total" "$work" "unpacking"

  rm -rf "$unpacked"
  mkdir "$unpacked" || die "cannot create $unpacked, see above"
  run_client "$work/words" tar -xf "$archive" -C "$unpacked" --no-same-owner --no-same-permissions ||
    die "unpacking failed: $(head -n 1 "$work/words"); $(in_words "$(free_bytes "$work")") are free" \
      "in $work; the archive is kept, call again to try again"
  chmod -R u+rwX "$unpacked"

  find "$unpacked" -type f -name '*.index' ! -name '._*' -printf '%d %h\n' | sort -u | sort -n >"$list"
  [ -s "$list" ] || damaged "the archive holds no checkpoint: no .index file among" \
    "$(wc -l <"$work/names") names, the first is $(head -n 1 "$work/names")"
  depth=$(head -n 1 "$list")
  [ "$(grep -c "^${depth%% *} " "$list")" = 1 ] || damaged "the archive holds several folders with checkpoints"
  folder=${depth#* }
  complete_state_file "$folder"
  wrong=$(check_folder "$folder")
  [ -z "$wrong" ] || damaged "the archive holds no whole checkpoint: $wrong"
}

# --- names ----------------------------------------------------------------------------------------

# Sets $address for what the user calls NAME.
find_address() {
  local wanted near
  wanted=$(name_of "$1")
  address=$(addresses | awk -v wanted="$wanted" '
    { name = $0; sub(/\.(tar\.gz|tgz)$/, "", name); tail = name; sub(/.*\//, "", tail) }
    name == wanted { exact = $0 }
    tail == wanted && first == "" { first = $0 }
    END { print exact != "" ? exact : first }')
  if [ -n "$address" ]; then
    [ "$(name_of "$address")" = "$wanted" ] || say "$wanted: taking $(name_of "$address")"
    return
  fi
  near=$(addresses | awk -v wanted="$wanted" '
    function min(x, y) { return x < y ? x : y }
    function distance(a, b,    i, j, old, t, row) { # Levenshtein
      for (j = 0; j <= length(b); j++) row[j] = j
      for (i = 1; i <= length(a); i++) {
        old = row[0]; row[0] = i
        for (j = 1; j <= length(b); j++) {
          t = row[j]
          row[j] = min(min(row[j], row[j - 1]) + 1, old + (substr(a, i, 1) != substr(b, j, 1)))
          old = t
        }
      }
      return row[length(b)]
    }
    { sub(/\.(tar\.gz|tgz)$/, ""); tail = $0; sub(/.*\//, "", tail)
      d = min(distance(wanted, $0), distance(wanted, tail))
      if (NR == 1 || d < best) { best = d; name = $0 } }
    END { print name }')
  wrong_usage "there is no checkpoint '$1'; the nearest name is $near, --list shows all"
}

list() {
  local address name kind size here begun
  printf '%-40s %-11s %-11s %s\n' NAME KIND DOWNLOAD "IN $dir"
  while read -r address; do
    name=$(name_of "$address") kind=$(kind_of "$address") size=- here=-
    begun=$dir/$(dirname "$name")/.$(basename "$name").fetching
    if [ -e "$dir/$name" ]; then
      here="there, $(in_words "$(du -sb -- "$dir/$name" | cut -f 1)")"
    elif [ -s "$begun/download" ]; then
      here="begun, $(in_words "$(size_of "$begun/download")")"
      [ -z "$(sed -n 4p "$begun/about")" ] || size=$(in_words "$(sed -n 4p "$begun/about")")
    fi
    if [ $sizes = yes ]; then
      size=$(size_at_server "$address")
    fi
    printf '%-40s %-11s %-11s %s\n' "$name" "$kind" "$size" "$here"
  done < <(addresses)
}
size_at_server() {
  local scratch address size=missing
  scratch=$(mktemp -d) || exit 1
  set_candidates "$1"
  for address in "${candidates[@]}"; do
    ask "$base/$address" "$scratch/headers" "$scratch/words" || { size="no answer"; break; }
    [ "$(status_of "$scratch/headers")" = 200 ] || continue
    size=$(header content-length "$scratch/headers")
    if [[ $size =~ ^[0-9]{1,15}$ ]]; then size=$(in_words "$size"); else size=unknown; fi
    break
  done
  rm -rf "$scratch"
  echo "$size"
}
# The link that was published for lite3x has an ending that cannot be right.
set_candidates() {
  candidates=("$1")
  case $1 in
    coco/efficientdet-lite3x.tgz) candidates+=("${1%tgz}.gz" "${1%tgz}tar.gz") ;;
  esac
}

advice() {
  case $1 in
    advprop/*)
      say "this network was trained on other values of pixels: give" \
        "--hparams=mean_rgb=0,stddev_rgb=1,scale_range=true with it"
      ;;
  esac
}

# Held until this process and its client end. What is locked is the folder's present file: the one
# who had it may have removed the folder.
lock() {
  while :; do
    mkdir -p -- "$work" || die "cannot create $work, see above"
    exec 9>"$work/lock" || die "cannot write to $work, see above"
    command -v flock >/dev/null || return 0
    flock -n 9
    if [ $? = 1 ]; then
      say "another download of $name is at work: waiting until it ends"
      flock 9
    fi
    [ ! "$work/lock" -ef /dev/fd/9 ] || return 0
  done
}

# --- the call -------------------------------------------------------------------------------------

dir='' name='' mode=fetch sizes=no retries=5 timeout=60
while [ $# -gt 0 ]; do
  case $1 in
    --url | --retries | --timeout)
      [ $# -gt 1 ] || wrong_usage "$1 needs a value"
      set -- "$1=$2" "${@:3}"
      ;;
  esac
  case $1 in
    --url=*) base=${1#*=} ;;
    --retries=*) retries=${1#*=} ;;
    --timeout=*) timeout=${1#*=} ;;
    --list) mode=list ;;
    --sizes) sizes=yes ;;
    --help | -h) usage; exit 0 ;;
    -*) wrong_usage "unknown option '$1'" ;;
    '') wrong_usage "a name or a folder is empty" ;;
    *)
      if [ $mode = fetch ] && [ -z "$name" ]; then name=$1
      elif [ -z "$dir" ]; then dir=$1
      else wrong_usage "'$1' is one argument too many"; fi
      ;;
  esac
  shift
done
[[ $retries =~ ^[0-9]{1,4}$ ]] || wrong_usage "--retries=$retries is not a whole number"
[[ $timeout =~ ^[1-9][0-9]{0,4}$ ]] || wrong_usage "--timeout=$timeout is not a number of seconds"
[[ $base =~ ^https?://. ]] || wrong_usage "--url=$base does not begin with http:// or https://"
base=${base%/}
if [ $mode = list ] && [ -n "$name" ]; then dir=$name; fi
dir=${dir:-checkpoints}
dir=${dir%/}

client=
for program in curl wget; do
  if command -v $program >/dev/null; then client=$program; break; fi
done
need_client() {
  [ -n "$client" ] || die "neither curl nor wget is here; install one of them (apt-get install curl)"
}
if [ $mode = list ]; then
  if [ $sizes = yes ]; then need_client; fi
  list
  exit
fi
[ -n "$name" ] || wrong_usage "which checkpoint? --list shows all names"

find_address "$name"
set_candidates "$address"
name=$(name_of "$address")
kind=$(kind_of "$address")
final=$dir/$name
work=$(dirname "$final")/.$(basename "$final").fetching
archive=$work/download unpacked=$work/unpacked

say_if_there() {
  local wrong=
  [ -e "$final" ] || [ -L "$final" ] || return 0
  case $kind in
    tensorflow) wrong=$(check_folder "$final") ;;
    keras) wrong=$(check_keras "$final") ;;
    *) [ -s "$final" ] || wrong="it is empty" ;;
  esac
  [ -z "$wrong" ] || die "$final is there already, but not as published: $wrong; move it away and call again"
  say "$final is there already"
  echo "$final"
  exit 0
}
say_if_there
need_client
lock
# Another one may have been at it while this one waited.
[ ! -e "$final" ] || { rm -rf "$work"; say_if_there; }

download
if [ -n "$md5" ] && [ "$(md5sum <"$archive" | cut -d ' ' -f 1)" != "$md5" ]; then
  damaged "what arrived has another MD5 than the server states"
fi
case $kind in
  tensorflow)
    unpack
    ;;
  keras)
    wrong=$(check_keras "$archive")
    [ -z "$wrong" ] || damaged "$wrong"
    folder=$archive
    ;;
  *) folder=$archive ;;
esac
# The name must not outlive its bytes when the power fails.
find "$folder" -type f -exec sync -- {} +
mv -T -- "$folder" "$final" || die "cannot give $folder its name $final, see above"
rm -rf "$work"
say "$final: done after $SECONDS s"
advice "$name"
echo "$final"
