#!/usr/bin/env bash
# Keras weight files as a user meets them: trained weights are exported as .h5, served and fetched,
# and then looked at, trained from, used to detect; what is damaged is named by every program.
set -u
bin_dir=${EDT_BIN_DIR:?}
source_dir=${EDT_SOURCE_DIR:?}
# shellcheck source=tests/cli/common.sh
. "$source_dir/tests/cli/common.sh"
[ -x "$bin_dir/edt_hdf5" ] || skip "built without HDF5"
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$tmp"' EXIT

"$bin_dir/draw_shapes" --output_dir="$tmp/data" --num_train=4 --num_val=1 --image_size=96 --min_side=16 \
  --max_side=40 --log_level=quiet >/dev/null || complain draw_shapes
"$bin_dir/create_coco_records" --image_dir="$tmp/data/train" --output_file_prefix="$tmp/records/train" \
  --object_annotations_file="$tmp/data/annotations/instances_train.json" --num_shards=1 2>"$tmp/stderr" ||
  complain "create_coco_records: $(cat "$tmp/stderr")"
model=(--model_name=efficientdet-lite0 --hparams=image_size=128,num_classes=6,lr_warmup_epoch=0)
train=("${model[@]}" --train_file_pattern="$tmp/records/train-*" --num_examples_per_epoch=4 --num_epochs=1
  --train_batch_size=2)

bin=$bin_dir/train
expect 0 "" "${train[@]}" --model_dir="$tmp/first"
bin=$bin_dir/export_model
expect 0 "" --model_dir="$tmp/first" --export_ckpt="$tmp/site/coco2/efficientdet-d0.h5"
[ -s "$tmp/site/coco2/efficientdet-d0.h5" ] || complain "no .h5: $(cat "$tmp/stderr")"

# By way of a server, where there is one.
h5=$tmp/site/coco2/efficientdet-d0.h5
if command -v python3 >/dev/null && { command -v curl || command -v wget; } >/dev/null; then
  python3 - "$tmp/site" "$tmp/port" <<'END' 2>/dev/null &
import functools, http.server, os, sys
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1])
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
with open(sys.argv[2] + ".new", "w") as file:
    file.write(str(server.server_port))
os.rename(sys.argv[2] + ".new", sys.argv[2])
server.serve_forever()
END
  server=$!
  while [ ! -s "$tmp/port" ] && kill -0 "$server" 2>/dev/null; do :; done
  h5=$(env -u http_proxy -u HTTP_PROXY bash "$source_dir/tools/fetch_checkpoint.sh" efficientdet-d0.h5 "$tmp/fetched" \
    --url="http://127.0.0.1:$(cat "$tmp/port")" 2>"$tmp/stderr") || complain "fetch: $(cat "$tmp/stderr")"
  [ "$h5" = "$tmp/fetched/coco2/efficientdet-d0.h5" ] || complain "fetched '$h5'"
fi

"$bin_dir/model_info" --ckpt_path="$h5" >"$tmp/stdout" 2>"$tmp/stderr" ||
  complain "model_info: $(cat "$tmp/stderr")"
grep -q "Keras HDF5 file, 588 tensors" "$tmp/stdout" || complain "model_info: $(head -n1 "$tmp/stdout")"
bin=$bin_dir/train
expect 0 "loaded 588 of 588 variables from $h5" "${train[@]}" --model_dir="$tmp/second" --ckpt="$h5"
bin=$bin_dir/detect
expect 0 "1 pictures with boxes" "${model[@]}" --ckpt_path="$h5" --input_image="$tmp/data/val" \
  --output_image_dir="$tmp/drawn"

# The same weights in the other formats give the same file back.
bin=$bin_dir/export_model
expect 0 "" "${model[@]}" --ckpt_path="$h5" --export_ckpt="$tmp/tf/model" --format=tf2
expect 0 "" "${model[@]}" --ckpt_path="$tmp/tf/model" --export_ckpt="$tmp/back.h5"
cmp "$h5" "$tmp/back.h5" || complain "other bytes after a round trip"

# Damaged ones.
bad=$tmp/bad.h5
refuse() { # WORDS: that all programs say beside the file's name
  local words=$1
  bin=$bin_dir/model_info
  expect 1 "$words" --ckpt_path="$bad"
  bin=$bin_dir/detect
  expect 1 "$words" "${model[@]}" --ckpt_path="$bad" --input_image="$tmp/data/val" --output_json="$tmp/dt.json"
  bin=$bin_dir/train
  expect 1 "$words" "${train[@]}" --model_dir="$tmp/none" --ckpt="$bad"
  grep -qF "$bad" "$tmp/stderr" || complain "the file is not named: $(cat "$tmp/stderr")"
}
head -c 100000 "$h5" >"$bad"
refuse "is cut or damaged"
echo "<html>not found</html>" >"$bad"
refuse "is a web page"
echo "not found" >"$bad"
refuse "does not begin with HDF5's mark"
cp "$h5" "$bad"
head -c 4000 /dev/zero | dd of="$bad" bs=1 seek=600 conv=notrunc 2>/dev/null
refuse "damaged?"
[ ! -e "$tmp/dt.json" ] || complain "a result from a damaged file"
finish "Keras weight files"
