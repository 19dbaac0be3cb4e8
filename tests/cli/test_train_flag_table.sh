#!/usr/bin/env bash
# Every flag of the reference's two training programs (main.py, tf2/train.py): taken, or refused with
# the reason; and what those do that tests elsewhere do not look at.
set -u
bin=${EDT_BIN_DIR:?}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
fails=0
fail() {
  echo "FAILED: $*"
  fails=1
}
# A plan reads the whole command line and trains nothing. Value "-" is for a flag without one.
plan=(--plan --model_name=efficientdet-lite0 --hparams=image_size=96 --num_examples_per_epoch=100)
while read -r name value want words; do
  case $name in '' | '#') continue ;; esac
  flag=--$name=$value
  [ "$value" = - ] && flag=--$name
  [ "$value" = "''" ] && flag=--$name=
  out=$("$bin/train" "${plan[@]}" "$flag" 2>&1)
  code=$?
  case $want in
    taken) [ $code = 0 ] && grep -q "largest batch" <<<"$out" || fail "$flag: exit $code: $out" ;;
    refused) [ $code = 2 ] && grep -qF -- "--$name is not supported: $words" <<<"$out" || fail "$flag: exit $code: $out" ;;
    *) fail "row $name $value $want" ;;
  esac
done <<'TABLE'
tpu x refused TPUs
gcp_project x refused TPUs
tpu_zone x refused TPUs
eval_master x refused TPUs
eval_name test taken
strategy '' taken
use_fake_data true taken
use_fake_data - taken
nouse_fake_data - taken
use_xla true refused there is no XLA
use_xla false taken
nouse_xla - taken
model_dir /nonexistent/model taken
backbone_ckpt x taken
ckpt x taken
hparams num_epochs=3 taken
num_cores 4 refused TPUs
num_cores 8 taken
use_spatial_partition true refused TPUs
use_spatial_partition false taken
num_cores_per_replica 4 refused TPUs
num_cores_per_replica 2 taken
input_partition_dims 1,2,1,1 refused TPUs
train_batch_size 8 taken
eval_batch_size 2 taken
eval_samples 100 taken
iterations_per_loop 100 taken
save_checkpoints_steps 100 taken
train_file_pattern x taken
val_file_pattern x taken
val_json_file x taken
testdev_dir . taken
num_examples_per_epoch 1000 taken
num_epochs 5 taken
mode train taken
mode train_and_eval taken
model_name efficientdet-lite1 taken
eval_after_train true taken
profile true taken
tf_random_seed 111 taken
min_eval_interval 10 taken
eval_timeout 5 taken
run_epoch_in_child_process false taken
# tf2/train.py
worker a,b refused ranks come from
worker_index 1 refused ranks come from
worker_index 0 taken
pretrained_ckpt x taken
batch_size 2 taken
steps_per_execution 10 taken
mode traineval taken
hub_module_url x refused TF-Hub
debug true taken
TABLE

"$bin/draw_shapes" --output_dir="$tmp/data" --num_train=8 --num_val=2 --image_size=96 --min_side=16 \
  --max_side=32 --log_level=quiet >/dev/null || fail draw_shapes
for split in train val; do
  "$bin/create_coco_records" --image_dir="$tmp/data/$split" --num_shards=1 --log_level=quiet \
    --object_annotations_file="$tmp/data/annotations/instances_$split.json" \
    --output_file_prefix="$tmp/$split" || fail "create_coco_records $split"
done
train() { # $1 model_dir, rest: flags
  local model_dir=$1
  shift
  "$bin/train" --model_name=efficientdet-lite0 --num_examples_per_epoch=8 --num_threads=1 --num_epochs=1 \
    --batch_size=2 --train_file_pattern="$tmp/train-*" --val_file_pattern="$tmp/val-*" \
    ${model_dir:+"--model_dir=$model_dir"} --hparams=image_size=96,num_classes=6,lr_warmup_epoch=0 "$@" \
    >"$tmp/out" 2>"$tmp/err" || fail "train $*: exit $?: $(cat "$tmp/err")"
}
values() { grep -o "\"$2\": [^,}]*" "$1/metrics.jsonl" | cut -d' ' -f2; } # $1 model_dir, $2 name

# The log period, under the names of both programs.
train "$tmp/a" --iterations_per_loop=2 --tf_random_seed=1
[ "$(values "$tmp/a" step | tr '\n' ' ')" = "2 4 " ] || fail "iterations_per_loop: $(values "$tmp/a" step)"
# The seed decides, and nothing else does.
train "$tmp/b" --steps_per_execution=2 --tf_random_seed=1 --debug
cmp -s <(values "$tmp/a" loss) <(values "$tmp/b" loss) || fail "one seed, two losses"
train "$tmp/c" --steps_per_execution=2 --tf_random_seed=2
cmp -s <(values "$tmp/a" loss) <(values "$tmp/c" loss) && fail "two seeds, one loss"
# The first batch again and again, also after a restart; and its timelines.
train "$tmp/fake" --use_fake_data --profile --log_steps=1
[ "$(values "$tmp/fake" num_positives | sort -u | wc -l)" = 1 ] || fail "fake data change: $(values "$tmp/fake" num_positives)"
[ "$(values "$tmp/a" num_positives | sort -u | wc -l)" = 2 ] || fail "data do not change"
train "$tmp/fake" --use_fake_data --log_steps=1 --num_epochs=2
[ "$(values "$tmp/fake" num_positives | wc -l)" = 8 ] || fail "fake data: no second epoch"
[ "$(values "$tmp/fake" num_positives | sort -u | wc -l)" = 1 ] || fail "fake data change when resumed"
[ "$(cd "$tmp/fake" && echo timeline-*)" = timeline-4.json ] || fail "timelines: $(ls "$tmp/fake")"
for event in conv2d optimizer forward_backward; do
  grep -q "\"name\":\"$event\"" "$tmp/fake/timeline-4.json" || fail "--profile: no $event"
done
[ "$(grep -c '"ph":"B","name":"optimizer"' "$tmp/fake/timeline-4.json")" = 2 ] || fail "--profile: not two steps"
# An estimate writes nothing, with and without a directory, and knows what is left. It times evaluations
# as the run makes them: with their losses, which test-dev does not have.
train "" --estimate --mode=train_and_eval --trace_filename="$tmp/trace"
evaluates() { sed -n 'H; /"optimizer"/{s/.*//; x;}; ${x; p;}' "$tmp/trace"; } # since the last step
evaluates | grep -q '"focal_loss"' || fail "--estimate: evaluations without losses"
train "" --estimate --mode=train_and_eval --trace_filename="$tmp/trace" --testdev_dir="$tmp"
evaluates | grep -q '"network"' || fail "--estimate: no evaluation of test-dev"
evaluates | grep -q '"focal_loss"' && fail "--estimate: losses of test-dev"
train "" --estimate --mode=train_and_eval
grep -q "^steps 0 to 4: " "$tmp/out" && grep -q "^1 evaluations of 2 pictures" "$tmp/out" || fail "--estimate: $(cat "$tmp/out")"
[ -z "$(ls -d "$tmp"/estimate* 2>/dev/null)" ] || fail "an estimate wrote something"
before=$(ls -lR "$tmp/a")
train "$tmp/a" --estimate --num_epochs=3
grep -q "^steps 4 to 12: " "$tmp/out" || fail "--estimate, resumed: $(cat "$tmp/out")"
[ "$(ls -lR "$tmp/a")" = "$before" ] || fail "an estimate changed its directory"
# What cannot be together.
for flags in "--profile --trace_filename=$tmp/t" "--estimate --mode=eval"; do
  # shellcheck disable=SC2086 # a list of flags
  "$bin/train" --model_dir="$tmp/none" --train_file_pattern="$tmp/train-*" --val_file_pattern="$tmp/val-*" $flags \
    >"$tmp/out" 2>&1
  [ $? = 2 ] || fail "$flags: $(cat "$tmp/out")"
done
[ ! -e "$tmp/none" ] || fail "a refused run left a directory"
# On a terminal one line, drawn in place, says epoch, step, loss, rate, waiting and the time left.
if command -v script >/dev/null; then
  COLUMNS=200 script -qec "stty cols 200; '$bin/train' --model_name=efficientdet-lite0 --num_examples_per_epoch=8 \
    --num_threads=1 --num_epochs=6 --batch_size=2 --train_file_pattern='$tmp/train-*' --model_dir='$tmp/tty' \
    --hparams=image_size=96,num_classes=6" /dev/null >"$tmp/tty.out" 2>&1 </dev/null || fail "on a terminal: $(cat "$tmp/tty.out")"
  tr '\r' '\n' <"$tmp/tty.out" | grep -qE '^train: [0-9]+/24 \([0-9.]+%\) [0-9.]+ steps/s ETA [0-9:]+ epoch [0-9.]+ loss [0-9.]+ [0-9.]+ images/s wait [0-9]+%' ||
    fail "the line on a terminal: $(cat -v "$tmp/tty.out")"
fi
exit $fails
