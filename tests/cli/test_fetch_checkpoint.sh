#!/usr/bin/env bash
# tools/fetch_checkpoint.sh against a server of our own that cuts connections, knows no ranges, states
# wrong lengths, changes its files and sends what is no checkpoint: in the end there is a whole
# checkpoint or nothing under the final name, and one line says why.
set -u
script=${EDT_SOURCE_DIR:?}/tools/fetch_checkpoint.sh
# shellcheck source=tests/cli/common.sh
. "$(dirname "$0")/common.sh"
python3 -c '' 2>/dev/null || skip "no python3 for the server"
command -v curl >/dev/null || command -v wget >/dev/null || skip "neither curl nor wget"
# Most of it is waiting, so the parts go side by side, each with a server of its own.
part_of_test=${1:-}
if [ -z "$part_of_test" ]; then
  parts=()
  for part_of_test in first wget contents; do
    "$BASH" "$0" $part_of_test &
    parts+=($!)
  done
  for process in "${parts[@]}"; do
    wait "$process" || complain "a part failed"
  done
  finish fetch_checkpoint
fi
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY all_proxy ALL_PROXY EDT_CHECKPOINT_URL

# --- what is published ----------------------------------------------------------------------------

site=$tmp/site
mkdir -p "$site/coco2" "$site/coco" "$site/coco640" "$site/advprop" "$site/coco2/val"
cat >"$tmp/make.py" <<'PY'
import gzip, io, random, struct, sys, tarfile

MAGIC = bytes.fromhex("57fb808b247547db")

def data(n, seed):
    return random.Random(seed).randbytes(n)

def archive(path, members, kind="gz"):
    with tarfile.open(path, "w:" + kind) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = content
                tar.addfile(info)

def members(seed=1, folder="efficientdet-d0/", state=b'model_checkpoint_path: "model"\n'):
    return [(folder[:-1], (tarfile.DIRTYPE, "")), (folder + "checkpoint", state),
            (folder + "model.data-00000-of-00001", data(400000, seed)),
            (folder + "model.index", data(5000, 2) + MAGIC), (folder + "model.meta", b"graph")]

site, what = sys.argv[1:3]
target = site + "/coco2/efficientdet-d0.tar.gz"
evil = {"link": ("efficientdet-d0/l", (tarfile.SYMTYPE, "/etc")),
        "hardlink": ("efficientdet-d0/l", (tarfile.LNKTYPE, "efficientdet-d0/model.index")),
        "fifo": ("efficientdet-d0/l", (tarfile.FIFOTYPE, "")),
        "absolute": (site + "/escaped", b"x"), "parent": ("efficientdet-d0/../../../escaped", b"x"),
        "newline": ("efficientdet-d0/a\nb", b"x")}
if what == "good":
    archive(target, members())
elif what == "changed":
    archive(target, members(seed=9))
elif what == "plain_tar":
    archive(target, members(), "")
elif what == "machine_path":
    archive(target, members(state=b'model_checkpoint_path: "/some/where/model"\n'))
elif what == "no_state":
    archive(target, [m for m in members() if not m[0].endswith("/checkpoint")])
elif what == "no_folder":
    archive(target, [(m[0].split("/", 1)[1], m[1]) for m in members() if "/" in m[0]])
elif what == "no_index":
    archive(target, [m for m in members() if not m[0].endswith(".index")])
elif what == "no_shard":
    archive(target, [(m[0].replace("of-00001", "of-00002"), m[1]) for m in members()])
elif what == "cut_index":
    archive(target, [(n, c[:-1]) if n.endswith(".index") else (n, c) for n, c in members()])
elif what == "two_folders":
    archive(target, members() + members(folder="other/"))
elif what in evil:
    archive(target, members() + [evil[what]])
elif what == "flipped":
    archive(target, members())
    content = bytearray(open(target, "rb").read())
    content[len(content) // 2] ^= 1
    open(target, "wb").write(content)
elif what == "short_tar":  # whole as gzip, cut as tar
    archive(target, members(), "")
    content = open(target, "rb").read()[:100000]
    open(target, "wb").write(gzip.compress(content))
elif what == "html":
    open(target, "wb").write(b"<html>please log in</html>")
elif what == "others":
    head = bytes.fromhex("894844460d0a1a0a") + bytes([0, 0, 0, 0, 0, 8, 8, 0]) + bytes(24)
    whole = head + struct.pack("<Q", 3000)
    open(site + "/coco2/efficientdet-d0.h5", "wb").write(whole.ljust(3000, b"\1"))
    open(site + "/coco2/efficientdet-d1.h5", "wb").write(whole.ljust(2999, b"\1"))
    open(site + "/coco2/efficientdet-d2.h5", "wb").write(b"x" * 3000)
    open(site + "/coco2/val/d0_coco_val.txt", "wb").write(b"AP 0.3\n")
    archive(site + "/coco/efficientdet-lite0.tgz", members(folder="efficientdet-lite0/"))
    archive(site + "/coco/efficientdet-lite3x..gz", members(folder="efficientdet-lite3x/"))
    archive(site + "/advprop/efficientdet-d1.tar.gz", members(folder="efficientdet-d1/"))
PY
make() { python3 "$tmp/make.py" "$site" "$1" || complain "make $1"; }

# --- the server -----------------------------------------------------------------------------------

# Reads its mode before each answer and writes a line "METHOD PATH RANGE STATUS" for each.
cat >"$tmp/server.py" <<'PY'
import base64, hashlib, http.server, os, sys, time
root, mode_file, log_file = sys.argv[1:4]

def mode():
    with open(mode_file) as f:
        return f.read().strip()

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    # Said aloud: wget would send what follows a redirection over the connection that is being closed.
    def end_headers(self):
        self.send_header("Connection", "close")
        super().end_headers()

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def answer(self, get):
        self.close_connection = True
        now, path, asked = mode(), self.path, self.headers.get("Range", "-")
        if now == "redirect" and not path.startswith("/moved"):
            self.send_response(302)
            self.send_header("Location", "/moved" + path)
            self.send_header("Content-Length", "0")
            self.send_header("ETag", '"of the redirection"')
            self.end_headers()
            return
        path = root + path.removeprefix("/moved")
        status = 200
        if now == "no_head" and not get:
            status = 405
        elif now == "busy" or (now == "busy_once" and get):
            status = 503
            if now == "busy_once":
                open(mode_file, "w").write("good")
        elif now == "forbidden" or not os.path.isfile(path):
            status = 403 if now == "forbidden" else 404
        if status != 200:
            self.log(asked, status)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = open(path, "rb").read()
        tag = '"%s"' % hashlib.sha1(content).hexdigest()
        first, ranges = 0, now not in ("no_range", "no_range_cut")
        if asked != "-" and get and ranges and self.headers.get("If-Range", tag) == tag:
            first, status = int(asked[len("bytes="):].split("-")[0]), 206
        self.log(asked, status)
        self.send_response(status)
        body = content[first:]
        if now != "chunked" and now != "no_head":
            self.send_header("ETag", tag)
            self.send_header("Content-Length", str(len(body)))
        if status == 206:
            self.send_header("Content-Range", "bytes %d-%d/%d" % (first, len(content) - 1, len(content)))
        if now == "md5" or now == "wrong_md5":
            md5 = hashlib.md5(content + (b"" if now == "md5" else b"x")).digest()
            self.send_header("x-goog-hash", "crc32c=AAAAAA==")
            self.send_header("x-goog-hash", "md5=" + base64.b64encode(md5).decode())
        if now == "long" and get:  # states less than HEAD did
            body = body[:-1000]
        if now in ("chunked", "no_head"):
            self.send_header("Transfer-Encoding", "chunked")
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        self.end_headers()
        if not get:
            return
        if now in ("cut", "no_range_cut"):
            body = body[:100000]
        if now == "stop" or now == "silent":
            self.wfile.write(body[:150000])
            self.wfile.flush()
            while mode() == now:
                time.sleep(0.02)
            return
        self.wfile.write(body)

    def log(self, asked, status):
        with open(log_file, "a") as f:
            f.write("%s %s %s %d\n" % (self.command, self.path, asked, status))

class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, address):
        pass

server = Server(("127.0.0.1", 0), Handler)
open(log_file + ".port.tmp", "w").write(str(server.server_address[1]))
os.rename(log_file + ".port.tmp", log_file + ".port")
server.serve_forever()
PY
log=$tmp/log
set_mode() {
  echo "$1" >"$tmp/mode.new"
  mv "$tmp/mode.new" "$tmp/mode"
}
# until COMMAND...: waits for it, up to a minute
until_true() {
  local i
  for ((i = 0; i < 1200; i++)); do
    "$@" && return
    sleep 0.05
  done
  complain "waited in vain: $*"
}
set_mode good
: >"$log"
python3 "$tmp/server.py" "$site" "$tmp/mode" "$log" &
server=$!
trap 'kill $server 2>/dev/null; rm -rf "$tmp"' EXIT
until_true test -s "$log.port"
url=http://127.0.0.1:$(cat "$log.port")

# --- what is checked ------------------------------------------------------------------------------

search=$PATH
out=$tmp/out final=$tmp/out/coco2/efficientdet-d0
part=$out/coco2/.efficientdet-d0.fetching/download
# fetch CODE WORDS ARGS...: exit code and a part of what stderr says
fetch() {
  local code=$1 words=$2 got
  shift 2
  PATH=$search "$BASH" "$script" "$@" --url="$url" >"$tmp/stdout" 2>"$tmp/stderr"
  got=$?
  [ $got = "$code" ] || complain "exit $got instead of $code: $* ($(cat "$tmp/stderr"))"
  [ -z "$words" ] || grep -qF -- "$words" "$tmp/stderr" || complain "'$words' is not in: $(cat "$tmp/stderr")"
}
d0() { fetch "$1" "$2" efficientdet-d0 "$out" --retries="${3:-0}"; }
fresh() { # CONTENT MODE
  rm -rf "$out"
  : >"$log"
  make "$1"
  set_mode "$2"
}
is_whole() { # SEED
  local what
  what=$(find "$final" -type f | wc -l)
  [ "$what" = 4 ] || complain "$1: $what files instead of 4 in $final"
  python3 -c 'import random, sys
sys.exit(open(sys.argv[1], "rb").read() != random.Random(int(sys.argv[2])).randbytes(400000))' \
    "$final/model.data-00000-of-00001" "$1" || complain "other bytes arrived than were published"
  [ "$(cat "$tmp/stdout")" = "$final" ] || complain "stdout says $(cat "$tmp/stdout")"
  [ ! -e "${part%/download}" ] || complain "left behind: $(ls "${part%/download}")"
}
is_absent() {
  [ ! -e "$final" ] || complain "$1: there is something under the final name"
}
part_size() { stat -c %s "$part" 2>/dev/null || echo 0; }
# shellcheck disable=SC2317 # called by until_true
part_begun() { [ "$(part_size)" -ge 100000 ]; } # clients keep the last few KiB to themselves

check_downloads() {
  fresh good good
  d0 0 "done after"
  is_whole 1
  grep -qF "taking coco2/efficientdet-d0" "$tmp/stderr" || complain "the folder was not said"
  : >"$log"
  d0 0 "is there already"
  [ "$(cat "$tmp/stdout")" = "$final" ] || complain "no path for what is there already"
  [ ! -s "$log" ] || complain "asked the server for what is there already: $(cat "$log")"
  : >"$final/model.data-00000-of-00001"
  d0 1 "is missing or empty; move it away"

  # Cut: goes on where it stopped, in a second call or by itself while something arrives.
  fresh good cut
  d0 1 "the connection ended after 100000 of"
  [ "$(part_size)" = 100000 ] || complain "a cut connection left $(part_size)"
  is_absent cut
  set_mode good
  d0 0 "going on at 100000 bytes"
  is_whole 1
  grep -q "bytes=100000- 206" "$log" || complain "did not ask for the rest: $(cat "$log")"
  fresh good cut
  d0 0 "trying again" 1
  is_whole 1
  [ "$(grep -c ' 206$' "$log")" = 4 ] || complain "not four goes at the rest: $(cat "$log")"
  fresh good no_range_cut
  d0 1 "the connection ended after 100000 of" 1
  is_absent no_range_cut
  set_mode no_range
  d0 0 "done after"
  is_whole 1

  # Another file by now: nothing of the old one stays.
  fresh good cut
  d0 1 "are kept"
  make changed
  set_mode good
  d0 0 "starting again"
  is_whole 9

  # Killed with everything it started, at any place, and killed alone.
  fresh good stop
  setsid env PATH="$search" "$BASH" "$script" efficientdet-d0 "$out" --url="$url" 2>/dev/null &
  victim=$!
  until_true part_begun
  kill -9 -- -$victim
  wait $victim 2>/dev/null
  is_absent "kill -9"
  set_mode good
  d0 0 "going on at $(part_size) bytes"
  is_whole 1
  fresh good stop
  PATH=$search "$BASH" "$script" efficientdet-d0 "$out" --url="$url" >"$tmp/stdout.first" 2>/dev/null &
  victim=$!
  until_true part_begun
  kill -9 $victim
  wait $victim 2>/dev/null
  if command -v flock >/dev/null; then
    d0 0 "another download of coco2/efficientdet-d0 is at work" &
    second=$!
    until_true grep -q "is at work" "$tmp/stderr"
    set_mode good
    wait $second
    is_whole 1
  fi
  set_mode good

  # Asked to stop: keeps what arrived.
  fresh good stop
  PATH=$search "$BASH" "$script" efficientdet-d0 "$out" --url="$url" 2>"$tmp/stderr" &
  victim=$!
  until_true part_begun
  kill $victim
  wait $victim
  [ $? = 143 ] || complain "SIGTERM did not end it with 143"
  grep -qF "what arrived is kept" "$tmp/stderr" || complain "SIGTERM: $(cat "$tmp/stderr")"
  set_mode good
  d0 0 "going on at $(part_size) bytes"
  is_whole 1

  # A connection that brings nothing more.
  fresh good silent
  fetch 1 "the connection ended after 150000 of" efficientdet-d0 "$out" --timeout=1 --retries=0
  is_absent silent

  for how in redirect chunked no_head md5; do
    fresh good $how
    d0 0 "done after"
    is_whole 1
  done
  fresh good busy
  d0 1 "the server answers 503"
  fresh good busy_once
  d0 0 "trying again" 1
  is_whole 1
  fresh good long
  d0 1 "ended after"
  is_absent long
  fresh good wrong_md5
  d0 1 "another MD5"
  is_absent wrong_md5
  fresh good forbidden
  d0 1 "answers 403"
  set_mode good
  fetch 1 "efficientdet-d7.tar.gz is not there (the server answers 404)" efficientdet-d7 "$out"
}
if [ "$part_of_test" = first ]; then
  check_downloads
  finish "downloads"
fi

# The same with wget alone, and with neither.
if [ "$part_of_test" = wget ]; then
  mkdir "$tmp/path"
  IFS=: read -ra folders <<<"$PATH"
  for program in awk base64 basename cat chmod cut df dirname du find flock grep gzip head md5sum mkdir mktemp \
    mv od rm sed sleep sort stat sync tail tar tr wc; do
    for folder in "${folders[@]}"; do
      [ ! -x "$folder/$program" ] || { ln -s "$folder/$program" "$tmp/path/"; break; }
    done
  done
  search=$tmp/path
  fresh good good
  d0 1 "neither curl nor wget is here"
  if command -v curl >/dev/null && wget=$(command -v wget); then
    ln -s "$wget" "$tmp/path/wget"
    check_downloads
  fi
  finish "downloads by wget"
fi

# --- what arrives is no checkpoint ----------------------------------------------------------------

refuse() { # CONTENT WORDS
  fresh "$1" good
  d0 1 "$2"
  is_absent "$1"
  [ ! -e "$part" ] || complain "$1: kept what can never become whole"
  [ -z "$(find "$tmp" -name escaped)" ] || complain "$1: wrote outside of its folder"
}
refuse link "is no file: lrw"
refuse hardlink "is no file: hrw"
refuse fifo "is no file: prw"
refuse absolute "outside its folder"
refuse parent "outside its folder"
refuse newline "strange name"
refuse flipped "the archive is damaged (invalid compressed data"
refuse short_tar "the archive is damaged"
refuse html 'it begins with "<html>please log in</html>"'
refuse no_index "no checkpoint: no .index file"
refuse no_shard "model.data-00001-of-00002 is missing"
refuse cut_index "model.index is cut"
refuse two_folders "several folders"

# Other layouts that hold one.
fresh plain_tar good
d0 0 "done after"
is_whole 1
for how in machine_path no_state; do
  fresh $how good
  d0 0 'wrote the file "checkpoint"'
  is_whole 1
  [ "$(cat "$final/checkpoint")" = 'model_checkpoint_path: "model"' ] ||
    complain "$how: $(cat "$final/checkpoint")"
done
fresh no_folder good
d0 0 "done after"
is_whole 1

# Other kinds of files, and a network with other hyper-parameters.
fresh others good
fetch 0 "done" efficientdet-d0.h5 "$out"
cmp -s "$site/coco2/efficientdet-d0.h5" "$out/coco2/efficientdet-d0.h5" || complain "efficientdet-d0.h5"
fetch 0 "is there already" efficientdet-d0.h5 "$out"
fetch 1 "has 2999 bytes of 3000" coco2/efficientdet-d1.h5 "$out"
fetch 1 "no HDF5 file" efficientdet-d2.h5 "$out"
fetch 0 "done" d0_coco_val.txt "$out"
fetch 0 "done" efficientdet-lite0.tgz "$out"
fetch 0 "done" efficientdet-lite3x "$out"
[ -f "$out/coco/efficientdet-lite3x/model.index" ] || complain "lite3x by its published link"
fetch 0 "--hparams=mean_rgb=0" advprop/efficientdet-d1 "$out"

# A checkpoint as TensorFlow writes it, read by our own reader.
weights=${EDT_WEIGHTS_DIR:-$EDT_SOURCE_DIR/../shared/weights}
reader=${EDT_BIN_DIR:-}/model_info
if [ -d "$weights/efficientdet-lite0" ] && [ -x "$reader" ]; then
  tar -czf "$site/coco/efficientdet-lite0.tgz" -C "$weights" efficientdet-lite0
  rm -rf "$out"
  fetch 0 "done" efficientdet-lite0 "$out"
  "$reader" --ckpt_path="$(cat "$tmp/stdout")" | grep -qF "box_net/box-0-bn-3/beta" ||
    complain "model_info does not read what was fetched"
fi

# The table, with what is there and what is begun.
fresh good cut
d0 1 "are kept"
make others
fetch 0 "done" efficientdet-lite0 "$out"
fetch 0 "" --list "$out" --sizes
[ "$(wc -l <"$tmp/stdout")" = 61 ] || complain "--list has $(wc -l <"$tmp/stdout") lines"
grep -qE '^coco2/efficientdet-d0 +tensorflow +[0-9]+ bytes +begun, 100000 bytes' "$tmp/stdout" ||
  complain "--list on what is begun: $(sed -n 2p "$tmp/stdout")"
grep -qE '^coco/efficientdet-lite0 +tensorflow +[0-9]+ bytes +there, [0-9]+ bytes' "$tmp/stdout" ||
  complain "--list on what is there: $(grep lite0 "$tmp/stdout")"
grep -qE '^coco2/efficientdet-d7x +tensorflow +missing +-' "$tmp/stdout" || complain "--list on what is not there"

# --- wrong use and a machine that fails -----------------------------------------------------------

fetch 2 "the nearest name is coco2/efficientdet-d7x" efficientdet-d77x "$out"
fetch 2 "the nearest name is coco640/efficientdet-d3-640" coco640/eficientdet-d3-640 "$out"
fetch 2 "which checkpoint" --retries=1
fetch 2 "one argument too many" efficientdet-d0 "$out" more
fetch 2 "unknown option" --wrong
fetch 2 "not a whole number" efficientdet-d0 --retries=x
fetch 0 "" --help
grep -qF -- "--timeout=SECONDS" "$tmp/stdout" || complain "--help"

fresh good good
mkdir -p "$final"
d0 1 "move it away"
rm -rf "$out"
: >"$out"
d0 1 "cannot create"
fresh good good
mkdir "$tmp/fake"
printf '#!/bin/sh\necho header; echo "x 9 9 10 1%% /"\n' >"$tmp/fake/df"
chmod +x "$tmp/fake/df"
search=$tmp/fake:$PATH
d0 1 "the disk is full: the rest of the download needs"
search=$PATH
is_absent "full disk"
# A limit on the size of files in place of a disk that fills up while it is written.
limited() (
  trap '' XFSZ
  ulimit -f "$1"
  "$BASH" "$script" efficientdet-d0 "$out" --url="$url" --retries=0 2>&1 | cat
)
limited 100 | grep -q "cannot write .*is the disk full" || complain "a write that fails"
is_absent "write that fails"
d0 0 "going on at"
is_whole 1

kill $server
wait $server 2>/dev/null
rm -rf "$out"
d0 1 "is the network up"
is_absent "no server"
finish "contents and wrong use"
