#!/usr/bin/env bash
# Training with several ranks: as one rank with the same global batch; the same bytes over shared
# memory and MPI and in every run; ranks that are killed or interrupted; evaluation.
set -u
bin=${EDT_BIN_DIR:?}
compare=$bin/../acceptance/compare_runs
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
fail() {
  echo "FAIL: $1"
  tail -n 25 "$tmp"/*.log
  exit 1
}

"$bin/draw_shapes" --output_dir="$tmp/data" --num_train=26 --num_val=7 --image_size=96 \
  --min_side=24 --max_side=60 --log_level=quiet >/dev/null || fail draw_shapes
for split in train val; do
  "$bin/create_coco_records" --image_dir="$tmp/data/$split" --num_shards=2 --log_level=quiet \
    --object_annotations_file="$tmp/data/annotations/instances_$split.json" \
    --output_file_prefix="$tmp/$split" || fail "create_coco_records $split"
done

# Swish: with ReLU6 rounding alone moves gradients by a percent, as neurons at a kink change sides.
# Batches of 8 out of 26 records with a short one at the end of each epoch.
hparams=image_size=128,num_classes=6,sync_bn=full,learning_rate=0.01,lr_warmup_epoch=0
hparams+=,drop_remainder=false
# flags STEPS
flags() {
  echo "--model_name=efficientdet-d0 --train_batch_size=8 --num_examples_per_epoch=8 --seed=1
    --log_steps=1 --num_threads=1 --num_epochs=$1 --train_file_pattern=$tmp/train-*
    --val_file_pattern=$tmp/val-* --eval_batch_size=2 --eval_samples=${samples:-0}"
}
# run NAME STEPS HPARAMS PROGRAM... : into $tmp/NAME, output in $tmp/NAME.log
run() {
  local name=$1 steps=$2 more=$3
  shift 3
  set -f # the pattern is for the program
  # shellcheck disable=SC2046 # a list of flags
  "$@" $(flags "$steps") --hparams="$hparams$more" --model_dir="$tmp/$name" >"$tmp/$name.log" 2>&1
  local code=$?
  set +f
  return $code
}
mpi() { mpirun --allow-run-as-root --oversubscribe -n "$1" "${@:2}"; }
same() { # $1, $2: runs, $3: step
  local part
  for part in index data-00000-of-00001; do
    cmp "$tmp/$1/model.ckpt-$3.$part" "$tmp/$2/model.ckpt-$3.$part" || fail "$1 and $2 differ"
  done
}

# One, two and four ranks: the first gradient, and losses over an epoch with its short last batch.
for n in 1 2 4; do
  run "first_$n" 1 "" "$bin/train" --num_ranks=$n || fail "$n ranks"
done
run one 4 "" "$bin/train" || fail "one rank, an epoch"
run two 4 "" "$bin/train" --num_ranks=2 || fail "two ranks, an epoch"
for n in 2 4; do
  "$compare" "$tmp/first_1" "$tmp/first_$n" 1e-4 1e-5 || fail "$n ranks and one differ"
done
for name in one two; do
  cp "$tmp/first_1"/model.ckpt-1.* "$tmp/$name/"
done
"$compare" "$tmp/one" "$tmp/two" 1 1e-5 || fail "losses of two ranks and one differ"
grep -q '2 ranks (shm), 4 of the batch on each' "$tmp/two.log" || fail "two ranks say nothing"

# The same bytes again, and over MPI; moving statistics averaged instead of synchronised as well.
run again 4 "" "$bin/train" --num_ranks=2 || fail "two ranks again"
same two again 4
run stats 2 ,sync_bn=stats "$bin/train" --num_ranks=2 || fail "sync_bn=stats"
if command -v mpirun >/dev/null && [ -e "$bin/libedt_mpi.so" ]; then
  run mpi 4 "" mpi 2 "$bin/train" || fail "mpirun"
  grep -q '2 ranks (mpi)' "$tmp/mpi.log" || fail "not over MPI"
  same two mpi 4
  run mpi_stats 2 ,sync_bn=stats mpi 2 "$bin/train" || fail "mpirun, sync_bn=stats"
  same stats mpi_stats 2
else
  echo "mpirun or libedt_mpi.so is not there: MPI is not tested"
fi

# Evaluation: every picture once, whatever the ranks.
for n in 1 2 3; do
  run two 4 "" "$bin/train" --num_ranks=$n --mode=eval --eval_timeout=0 || fail "eval, $n ranks"
  grep -q 'evaluated 7 images' "$tmp/two.log" || fail "eval, $n ranks: not all pictures"
  grep 'Average' "$tmp/two.log" >"$tmp/eval_$n"
  cmp "$tmp/eval_1" "$tmp/eval_$n" || fail "evaluation on $n ranks differs"
done
samples=3
for n in 1 3; do
  run two 4 "" "$bin/train" --num_ranks=$n --mode=eval --eval_timeout=0 || fail "part, $n ranks"
  grep -q 'evaluated 4 images' "$tmp/two.log" || fail "part, $n ranks: not two batches of 2"
  grep 'Average' "$tmp/two.log" >"$tmp/part_$n"
done
cmp "$tmp/part_1" "$tmp/part_3" || fail "evaluation of a part differs"
samples=0

# Rank 0 evaluates beside the steps of both: the same weights and the same numbers.
run in_turn 3 "" "$bin/train" --num_ranks=2 --mode=train_and_eval || fail "evaluations in turn"
run beside 3 "" "$bin/train" --num_ranks=2 --mode=train_and_eval --eval_device=cpu --eval_threads=1 ||
  fail "evaluations beside training"
same in_turn beside 3
evaluations() { sed -n 's/, "eval_seconds": [^,]*//p' "$tmp/$1/metrics.jsonl"; }
[ "$(evaluations in_turn | wc -l)" = 3 ] || fail "not three evaluations"
[ "$(evaluations in_turn)" = "$(evaluations beside)" ] || fail "evaluations beside training differ"

# in_background NAME STEPS: two ranks; the caller knows them once metrics of step 3 are written
in_background() {
  mkdir "$tmp/$1"
  run "$1" "$2" "" "$bin/train" --num_ranks=2 --save_checkpoints_steps=2 &
  background=$!
  tail -n +1 -s 0.02 -F --pid=$background "$tmp/$1/metrics.jsonl" 2>/dev/null | grep -qm1 '"step": 3,' ||
    fail "no third step"
  supervisor=$(pgrep -P $background -f "$bin/train" | head -n 1)
  mapfile -t ranks < <(pgrep -P "$supervisor")
  [ ${#ranks[@]} = 2 ] || fail "ranks of $supervisor: ${ranks[*]}"
}

# losses NAME: step and loss of each line
losses() { sed -n 's/^{"step": \([0-9]*\), "epoch": [^,]*, "loss": \([^,]*\),.*/\1 \2/p' "$tmp/$1/metrics.jsonl"; }

# A rank is killed: everything ends, and says which. From its last checkpoint, in the middle of an
# epoch, two ranks come to the bytes of a run that nothing happened to, one or four to its losses.
steps=24 # more than are taken until the kill
in_background killed $steps
kill -KILL "${ranks[1]}"
wait $background && fail "a rank was killed, and all was well"
grep -q "rank 1 (process ${ranks[1]}) was killed by signal 9" "$tmp/killed.log" || fail "no word"
saved=$(sed -n 's/.*model.ckpt-\([0-9]*\)".*/\1/p' "$tmp/killed/checkpoint" | head -n 1)
[ "$saved" -ge 2 ] && [ "$saved" -lt $steps ] || fail "not killed between two checkpoints: $saved"
run whole $steps "" "$bin/train" --num_ranks=2 || fail "the run that nothing happens to"
for n in 1 4; do
  cp -r "$tmp/killed" "$tmp/killed_$n"
  run killed_$n $steps "" "$bin/train" --num_ranks=$n || fail "$n ranks do not resume"
  [ "$(losses killed_$n | wc -l)" = $steps ] || fail "$n ranks: not every step once"
  paste -d' ' <(losses whole) <(losses killed_$n) | awk '
    { d = ($2 - $4) / $2; if ($1 != $3 || d > 1e-2 || d < -1e-2) { print "losses differ:", $0; bad = 1 } }
    END { exit bad }' || fail "$n ranks go on otherwise than two"
done
run killed $steps "" "$bin/train" --num_ranks=2 || fail "two ranks do not resume"
same whole killed $steps
[ "$(losses whole)" = "$(losses killed)" ] || fail "losses of two ranks that went on differ"

# One rank is interrupted: all stop at the same step, with a checkpoint, and go on to the same end.
in_background stopped 400
kill -TERM "${ranks[1]}"
wait $background && fail "interrupted, and all was well"
grep -q 'interrupted at step' "$tmp/stopped.log" || fail "nobody says where it stopped"
at=$(sed -n 's/.*model.ckpt-\([0-9]*\)".*/\1/p' "$tmp/stopped/checkpoint" | head -n 1)
grep -q "interrupted at step $at" "$tmp/stopped.log" || fail "no checkpoint of the last step"
# A step that is not finite: every rank's rows are kept, all end together, with a word on where it began.
run bad 8 ,learning_rate=1e30,lr_warmup_init=1e30,clip_gradients_norm=0,nan_skip_budget=1 \
  "$bin/train" --num_ranks=2 && fail "a run that diverged, and all was well"
grep -q 'E .*not finite; pictures of the batch: .*first value that is not finite comes from the .* node' \
  "$tmp/bad.log" || fail "no word on what is not finite"
grep -q 'E .*on rank [01], the first value' "$tmp/bad.log" || fail "no rank is named"
for part in 1-rank-{0,1} 1-2-rank-{0,1}; do
  [ -e "$tmp/bad/bad_batches/step-$part.safetensors" ] || fail "no batch of step $part is kept"
done
echo "ok"
