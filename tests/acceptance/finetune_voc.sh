#!/usr/bin/env bash
# Runs docs/finetune_voc.md as written, in an empty folder, and asks for AP50 of at least 0.8 on the
# pictures trained on.   usage: finetune_voc.sh BUILD_DIR VOC_MINI_DIR WEIGHTS_DIR OUT_DIR
# The checkpoint that fetch_checkpoint.sh would download is there already: WEIGHTS_DIR's.
set -eu
build=$(realpath "$1") voc=$(realpath "$2") weights=$(realpath "$3") out=$4
root=$(realpath "$(dirname "$0")/../..")
mkdir -p "$out"
cd "$out"
out=$PWD
ln -sfn "$voc/VOCdevkit" VOCdevkit
ln -sfn "$root/configs" configs
mkdir -p checkpoints/coco
[ -e checkpoints/coco/efficientdet-lite0 ] || cp -r "$weights/efficientdet-lite0" checkpoints/coco
chmod -R u+w checkpoints
PATH=$build/bin:$root/tools:$PATH
export PATH
awk '/^```sh$/ {on = 1; next} /^```$/ {on = 0} on' "$root/docs/finetune_voc.md" >commands.sh
SECONDS=0
bash -euo pipefail -c '. ./commands.sh' | tee log.txt
ap50=$(awk '/IoU=0.50      / {value = $NF} END {print value}' log.txt)
echo "AP50 $ap50 after $SECONDS s; pictures in $out/found, gallery in $out/samples/index.html"
awk -v ap="$ap50" 'BEGIN {exit !(ap >= 0.8)}'
