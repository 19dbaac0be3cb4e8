#!/usr/bin/env bash
# Two and four ranks started by the program itself and by mpirun: the same results; a rank that dies,
# gives up or comes late ends all of them, with words that name it.
set -u
bin=$EDT_BIN_DIR/../tests/rank_exercise
export EDT_PLUGIN_DIR=$EDT_BIN_DIR
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
fail() { echo "FAIL: $1"; sed 's/^/  | /' "$tmp/out" "$tmp/err" 2>/dev/null; exit 1; }
self() { env EXERCISE_RANKS="$1" "$bin" "${@:2}" >"$tmp/out" 2>"$tmp/err"; }
mpi() {
  mpirun --allow-run-as-root --oversubscribe -n "$1" "$bin" "${@:2}" >"$tmp/out" 2>"$tmp/err"
}
says() { grep -qE "$1" "$tmp/err" || fail "no '$1' on stderr"; }

"$bin" sums >"$tmp/one" 2>/dev/null || fail "one rank"
[ "$(wc -l <"$tmp/one")" = 2 ] || fail "one rank prints $(cat "$tmp/one")"
for n in 2 4; do
  self $n || fail "self-started ranks"
  [ "$(grep '^rank' "$tmp/out" | cut -d' ' -f4 | sort -u | wc -l)" = 1 ] || fail "ranks differ"
  [ "$(grep -c '^rank' "$tmp/out")" = $n ] || fail "wrong number of ranks"
  says "shm, $n ranks"
  cp "$tmp/out" "$tmp/shm_$n"
  self $n && cmp "$tmp/out" "$tmp/shm_$n" || fail "two runs differ"
done

# A rank that waits leaves its processor to others.
self 3 wait || fail "waiting ranks"
[ "$(grep -c 'rank [01] waited with .*: asleep' "$tmp/err")" = 2 ] || fail "a rank waits awake"

# Long lines arrive whole, each from one rank.
self 3 talk || fail "talking ranks"
for r in 1 2; do
  n=$(grep -cE "^\[rank $r\] $r{6000}\$" "$tmp/err")
  [ "$n" = 40 ] || fail "$n of 40 long lines of rank $r"
done

self 3 die 60 && fail "a rank died, and all was well"
says 'rank 2 \(process [0-9]+\) was killed by signal 9'
says '^    rank 2 will now die'
says '^E .*rank 2 \(process [0-9]+\) was killed'
self 3 abort 60 && fail "a rank gave up, and all was well"
says '^E .*rank 2 on .* gave up: exercise of giving up'
self 3 late 1 && fail "a rank was late, and all was well"
says 'waited 1 s .*for rank 2 on '

# What the supervisor inherits does not matter.
EDT_RANK=1 NCCL_HOSTID=x self 2 && cmp "$tmp/out" "$tmp/shm_2" || fail "a variable from outside"
env --ignore-signal=CHLD EXERCISE_RANKS=2 "$bin" >"$tmp/out" 2>"$tmp/err" ||
  fail "an ignored SIGCHLD"

# Ranks that stop because they were asked to are no failure.
EXERCISE_RANKS=3 "$bin" stop 60 >"$tmp/out" 2>"$tmp/err" &
pid=$!
until [ "$(grep -c 'waits' "$tmp/err")" = 3 ]; do kill -0 $pid || fail "ended early"; done
kill -TERM $pid
wait $pid
[ $? = 1 ] || fail "stopped ranks do not end with their code"
[ "$(grep -c 'interrupted$' "$tmp/err")" -ge 1 ] || fail "nobody says that it was interrupted"
grep -q 'ended with exit code' "$tmp/err" && fail "a rank that stops is taken for one that failed"

# The ranks end with the supervisor's SIGTERM.
EXERCISE_RANKS=2 "$bin" late 60 >"$tmp/out" 2>"$tmp/err" &
pid=$!
until grep -q 'will now late' "$tmp/err"; do kill -0 $pid || fail "ended early"; done
kill -TERM $pid
wait $pid && fail "interrupted, and all was well"

if ! command -v mpirun >/dev/null || [ ! -e "$EDT_BIN_DIR/libedt_mpi.so" ]; then
  echo "mpirun or libedt_mpi.so is not there: MPI is not tested"
  exit 0
fi
for n in 2 4; do
  mpi $n || fail "mpirun"
  says "mpi, $n ranks"
  cmp "$tmp/out" "$tmp/shm_$n" || fail "MPI and shared memory differ"
done
mpi 3 wait || fail "mpirun: waiting ranks"
[ "$(grep -c 'rank [01] waited with .*: asleep' "$tmp/err")" = 2 ] || fail "mpirun: a rank waits awake"
mpi 3 abort 60 && fail "mpirun: a rank gave up, and all was well"
says 'rank 2 on .* gave up: exercise of giving up'
mpi 3 late 1 && fail "mpirun: a rank was late, and all was well"
says 'waited 1 s .*for rank 2 on '
mpi 3 die 60 && fail "mpirun: a rank died, and all was well"
EDT_PLUGIN_DIR=$tmp mpi 2 && fail "ranks that cannot talk went on"
says 'a launcher started 2 ranks.*libedt_mpi.so'
echo "ok"
