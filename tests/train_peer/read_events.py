"""What TensorBoard's reader finds in the event files of read_events.sh."""
import collections
import glob
import io
import json
import os
import shutil
import sys

import numpy
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.util import tensor_util

root = sys.argv[1]
STEPS, EPOCH_STEPS, IMAGE_STEPS = 8, 4, 3
NAMES = ["AP", "AP50", "AP75", "APs", "APm", "APl", "ARmax1", "ARmax10", "ARmax100", "ARs", "ARm", "ARl"]
CLASSES = ["circle", "square", "triangle", "star", "ring", "cross"]
TF1 = {"epoch": "train_epochs", "learning_rate": "lrn_rate", "loss": "trainloss/loss",
       **{f"{n}_loss": f"trainloss/{n}_loss" for n in ("det", "cls", "box", "box_iou", "reg_l2")}}
TF2 = {n: f"batch_{n}" for n in ("loss", "det_loss", "cls_loss", "box_loss", "box_iou_loss", "reg_l2_loss",
                                 "learning_rate", "gradient_norm")}


def read(*path):
    events = EventAccumulator(os.path.join(root, *path), size_guidance=dict(
        scalars=0, images=0, tensors=0, histograms=0))
    events.Reload()
    return events


def lines(semantics):
    with open(os.path.join(root, semantics, "metrics.jsonl"), encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [r for r in rows if "AP" not in r], [r for r in rows if "AP" in r]


def same(events, tag, pairs):
    """The scalars of a tag are these (step, value), each step once; f32 of nine digits."""
    found = [(e.step, e.value) for e in events.Scalars(tag)]
    assert [s for s, _ in found] == [s for s, _ in pairs], (tag, found, pairs)
    for (step, value), (_, wanted) in zip(found, pairs):
        wanted = numpy.float32("nan" if wanted is None else wanted)
        assert abs(value - wanted) <= 2e-7 * abs(wanted), (tag, step, value, wanted)


def check_train(events, rows, names):
    assert [r["step"] for r in rows] == list(range(1, STEPS + 1)), rows
    for name in rows[0]:
        if name != "step":
            same(events, names.get(name, name), [(r["step"], r[name]) for r in rows])


def check_eval(events, rows, at):
    for name in NAMES:
        same(events, name, [(at(r["step"]), r[name]) for r in rows])
    for name in CLASSES:
        for event in events.Scalars("AP_/" + name):
            assert event.value == -1 or 0 <= event.value <= 1
    mean = [v for v in (events.Scalars("AP_/" + name)[-1].value for name in CLASSES) if v != -1]
    assert abs(numpy.mean(mean) - events.Scalars("AP")[-1].value) < 1e-6


def check_losses(events, rows, at, prefix=""):
    for name in ("loss", "det_loss", "cls_loss", "box_loss", "reg_l2_loss"):
        same(events, prefix + name, [(at(r["step"]), r["val_" + name]) for r in rows])
        assert all(r["val_" + name] > 0 for r in rows)
    assert all(abs(r["val_det_loss"] + r["val_reg_l2_loss"] - r["val_loss"]) < 1e-6 * r["val_loss"] for r in rows)


def check_images(events, tag, steps, size):
    found = events.Images(tag)
    assert [e.step for e in found] == steps, (tag, [e.step for e in found])
    for event in found:
        image = Image.open(io.BytesIO(event.encoded_image_string))
        image.load()
        assert image.mode == "RGB" and image.size == size == (event.width, event.height), (tag, image.size)


def check_histograms(events, n_parameters):
    totals = {}
    for tag in events.Tags()["tensors"]:
        if not tag.startswith(("weights/", "gradients/")):
            continue
        metadata = events.SummaryMetadata(tag)
        assert metadata.plugin_data.plugin_name == "histograms", tag
        for event in events.Tensors(tag):
            rows = tensor_util.make_ndarray(event.tensor_proto)
            assert rows.dtype == numpy.float64 and rows.ndim == 2 and rows.shape[1] == 3, tag
            assert (rows[:, 0] < rows[:, 1]).all() and (rows[1:, 0] == rows[:-1, 1]).all(), tag
            assert (rows[:, 2] >= 0).all(), tag
            # This reader keeps tensors of steps that were done again.
            totals[tag, event.step] = int(rows[:, 2].sum())
    sums = collections.Counter()
    for (tag, step), total in totals.items():
        sums[tag.split("/")[0], step] += total
    wanted = {(what, step): n_parameters for what in ("weights", "gradients") for step in range(2, STEPS + 1, 2)}
    assert sums == wanted, (sums, n_parameters)


def check_settings(events):
    assert {"_hparams_/session_start_info", "_hparams_/session_end_info"} <= set(events.Tags()["tensors"])
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    hparams = hparams_metadata.parse_session_start_info_plugin_data(content).hparams
    assert hparams["learning_rate"].number_value == 0.08
    assert hparams["train_batch_size"].number_value == 2
    assert hparams["optimizer"].string_value == "sgd"
    assert hparams["input_rand_hflip"].bool_value is True
    content = events.SummaryMetadata("_hparams_/session_end_info").plugin_data.content
    assert hparams_metadata.parse_session_end_info_plugin_data(content).status == 1
    text = tensor_util.make_ndarray(events.Tensors("config.yaml")[-1].tensor_proto).item().decode()
    with open(os.path.join(root, "tf1", "config.yaml"), encoding="utf-8") as file:
        config = file.read()
    if "semantics: tf1" in text:
        assert "".join(line[4:] + "\n" for line in text.splitlines()) == config


def check_cut(path):
    """A record that is cut off hides nothing but itself."""
    whole = list(RawEventFileLoader(path).Load())
    cut = os.path.join(root, "cut", os.path.basename(path))
    os.makedirs(os.path.dirname(cut))
    shutil.copy(path, cut)
    os.truncate(cut, os.path.getsize(cut) - 5)
    assert list(RawEventFileLoader(cut).Load()) == whole[:-1]


with open(os.path.join(root, "plan"), encoding="utf-8") as plan_file:
    n_trainable = next(int(line.split()[-1]) for line in plan_file if "trainable parameters" in line)
image_steps = [1] + list(range(IMAGE_STEPS, STEPS + 1, IMAGE_STEPS))
sample_steps = sorted({*range(IMAGE_STEPS, STEPS + 1, IMAGE_STEPS), EPOCH_STEPS, STEPS})

train, evaluations = lines("tf1")
log = read("tf1")
check_train(log, train, TF1)
same(log, "loss", [(r["step"], r["loss"]) for r in train])
same(log, "global_step/sec", [(r["step"], r["images_per_second"] / 2) for r in train])
for i in range(2):
    check_images(log, f"input_image/image/{i}", image_steps, (96, 96))
check_images(log, "Test image", sample_steps, (128, 128))
check_histograms(log, n_trainable)
check_settings(log)
check_eval(read("tf1", "eval"), evaluations[:2], lambda step: step)
check_eval(read("tf1", "eval_again"), evaluations[2:], lambda step: step)
check_losses(read("tf1", "eval"), evaluations[:2], lambda step: step)
files = sorted(glob.glob(os.path.join(root, "tf1", "events.out.tfevents.*")))
assert len(files) == 2, files
check_cut(files[-1])

train, evaluations = lines("tf2")
log = read("tf2", "train")
check_train(log, train, TF2)
# Epoch 1 was done twice, and its step is smaller than the steps of what is to be forgotten.
same(log, "epoch_loss", [(i, train[(i + 1) * EPOCH_STEPS - 1]["loss"]) for i in (0, 1, 1)])
check_settings(log)
check_histograms(log, n_trainable)
check_images(read("tf2", "train_images"), "input_image/image/0", image_steps, (96, 96))
check_images(read("tf2", "test_images"), "Test image", sample_steps, (128, 128))
check_eval(read("tf2", "coco"), evaluations, lambda step: step // EPOCH_STEPS)
check_losses(read("tf2", "validation"), evaluations, lambda step: step // EPOCH_STEPS - 1, "epoch_")
print(f"events: {len(log.Tags()['scalars'])} scalars, {len(log.Tags()['tensors'])} tensors, "
      f"{n_trainable} parameters in histograms")
