"""Checkpoints from here to TensorFlow and back.

  exchange_with_tensorflow.py BIN_DIR GOLDEN_CKPT_DIR WORK_DIR

All values are compared bit for bit, as TensorFlow's own reader gives them.
"""

import json
import os
import subprocess
import sys

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

BIN, GOLDEN, WORK = sys.argv[1:4]
GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
AVERAGE = "/ExponentialMovingAverage"


def export(source, target, *flags, model="efficientdet-d0"):
    command = [os.path.join(BIN, "export_model"), "--model_name=" + model,
               "--ckpt_path=" + source, "--export_ckpt=" + target, *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stderr)
    assert "verified" in done.stdout, done.stdout
    return target


def tensors(prefix):
    reader = tf.train.load_checkpoint(prefix)
    names = sorted(reader.get_variable_to_shape_map())
    assert names == [name for name, _ in tf.train.list_variables(prefix)]
    return {name: reader.get_tensor(name) for name in names}


def graph_of(stored):
    return trackable_object_graph_pb2.TrackableObjectGraph.FromString(stored[GRAPH])


def assert_same(ours, theirs):
    assert sorted(ours) == sorted(theirs), sorted(set(ours) ^ set(theirs))[:5]
    for name, value in theirs.items():
        value, other = np.asarray(value), np.asarray(ours[name])
        assert value.dtype == other.dtype and value.shape == other.shape, name
        assert value.tobytes() == other.tobytes(), name


def variables(model):
    done = subprocess.run([os.path.join(BIN, "model_info"), "--variables", "--json",
                           "--model_name=" + model], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def paths(graph):
    """Path -> (full name, key) of each value, and path -> names of an object's references."""
    values, children = {}, {}
    todo, seen = [("", 0)], set()
    while todo:
        path, i = todo.pop()
        node = graph.nodes[i]
        children[path] = {child.local_name for child in node.children}
        for value in node.attributes:
            assert value.name == "VARIABLE_VALUE"
            values[path] = (value.full_name, value.checkpoint_key)
        for child in node.children:
            if (i, child.local_name) not in seen and child.local_name != "root":
                seen.add((i, child.local_name))
                todo.append((path + "/" + child.local_name, child.node_id))
    return values, children


def test_names():
    golden = tensors(os.path.join(GOLDEN, "efficientdet-d0", "model"))
    prefix = os.path.join(GOLDEN, "efficientdet-d0")
    assert_same(tensors(export(prefix, WORK + "/names/keep")), golden)
    raw = tensors(export(prefix, WORK + "/names/raw", "--ema=raw"))
    assert_same(raw, {k: v for k, v in golden.items() if not k.endswith(AVERAGE)})
    folded = tensors(export(prefix, WORK + "/names/fold", "--ema=fold"))
    assert_same(folded, {k: v if k.endswith(AVERAGE) else golden.get(k + AVERAGE, v)
                         for k, v in golden.items()})


def test_objects():
    """The same keys, names and values as the golden file of Keras; a graph that is part of its."""
    prefix = os.path.join(GOLDEN, "efficientdet-lite0-tf2")
    golden = tensors(os.path.join(prefix, "emackpt-1"))
    ours = tensors(export(prefix, WORK + "/objects/raw", "--format=tf2", "--ema=raw",
                          model="efficientdet-lite0"))
    weights = {k: v for k, v in golden.items() if k != GRAPH and "/.OPTIMIZER_SLOT/" not in k
               and not k.startswith("optimizer/awg_optimizer")}
    assert_same({k: v for k, v in ours.items() if k != GRAPH}, weights)
    their_values, their_children = paths(graph_of(golden))
    our_values, our_children = paths(graph_of(ours))
    assert {k: v for k, v in their_values.items() if "awg_optimizer" not in k} == our_values
    for path, names in our_children.items():
        assert names <= their_children[path], path

    kept = tensors(export(prefix, WORK + "/objects/keep", "--format=tf2", "--ema=keep",
                          model="efficientdet-lite0"))
    slots = {k: v for k, v in golden.items() if k.endswith("/optimizer/average" + VALUE)}
    assert len(slots) == 84
    assert_same({k: kept[k] for k in slots}, slots)
    by_number = graph_of(golden).nodes
    theirs = {(by_number[s.original_variable_node_id].attributes[0].checkpoint_key, s.slot_name,
               by_number[s.slot_variable_node_id].attributes[0].full_name)
              for node in by_number for s in node.slot_variables if s.slot_name == "average"}
    by_number = graph_of(kept).nodes
    mine = {(by_number[s.original_variable_node_id].attributes[0].checkpoint_key, s.slot_name,
             by_number[s.slot_variable_node_id].attributes[0].full_name)
            for node in by_number for s in node.slot_variables}
    assert theirs <= mine and len(mine) == 588


def set_path(tree, path, variable):
    *owners, last = path.split("/")
    for name in owners:
        tree = tree.setdefault(name, {})
    tree[last] = variable


def track(tree):
    """Nested dictionaries as the objects that Keras has: lists where the names are numbers."""
    if not isinstance(tree, dict):
        return tree
    if tree and all(name.isdigit() for name in tree):
        return [track(tree.get(str(i), {})) for i in range(1 + max(map(int, tree)))]
    module = tf.Module()
    for name, child in tree.items():
        setattr(module, name, track(child))
    return module


def test_objects_restore():
    """TensorFlow restores into objects; fusion weights also through the list of their node."""
    golden = tensors(os.path.join(GOLDEN, "efficientdet-d0", "model"))
    prefix = export(os.path.join(GOLDEN, "efficientdet-d0"), WORK + "/objects/d0", "--format=tf2")
    tree, expected = {}, []
    for row in variables("efficientdet-d0"):
        variable = tf.Variable(tf.zeros(row["shape"]))
        set_path(tree, row["object_path"], variable)
        expected.append((variable, golden[row["name"] + AVERAGE]))
    root = track(tree)
    status = tf.train.Checkpoint(root).read(prefix)
    status.assert_existing_objects_matched().assert_nontrivial_match()
    for variable, value in expected:
        assert variable.numpy().tobytes() == np.asarray(value).tobytes(), variable

    listed = tf.Variable(0.0)
    tree = {}
    set_path(tree, "cells/1/fnodes/2/vars/1", listed)
    tf.train.Checkpoint(fpn_cells=track(tree)).read(prefix).assert_existing_objects_matched()
    assert listed.numpy() == golden["fpn_cells/cell_1/fnode2/WSM_1" + AVERAGE]


def draw(rows, seed):
    generator = np.random.default_rng(seed)
    return {row["name"]: generator.standard_normal(row["shape"]).astype(np.float32) for row in rows}


def test_saver():
    """What TF1's Saver writes, in one file and sharded over devices."""
    rows = variables("efficientdet-d0")
    wanted = draw(rows, 1)
    wanted.update({k + AVERAGE: v for k, v in draw(rows, 2).items()})
    wanted["global_step"] = np.int64(77)
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
    with tf.Graph().as_default():
        for i, (name, value) in enumerate(sorted(wanted.items())):
            with tf.device(f"/cpu:{i % 2}"):
                tf.compat.v1.get_variable(name, initializer=value)
        savers = [tf.compat.v1.train.Saver(sharded=sharded) for sharded in (False, True)]
        with tf.compat.v1.Session() as session:
            session.run(tf.compat.v1.global_variables_initializer())
            for n_files, saver in enumerate(savers, 1):
                directory = f"{WORK}/saver-{n_files}"
                os.mkdir(directory)
                prefix = saver.save(session, directory + "/model", global_step=77)
                assert os.path.exists(f"{prefix}.data-00000-of-0000{n_files}")
                ours = export(directory, f"{WORK}/from-saver/{n_files}")
                assert_same(tensors(ours), wanted)

    # Other types are converted. Slices written apart and joined afterwards, as parallel writers do.
    names = sorted(wanted)
    stored = {name: tf.constant(value) for name, value in wanted.items()}
    for name, kind in (("class_net/class-predict/bias", tf.float64), ("box_net/box-0/bias", tf.bfloat16),
                       ("fpn_cells/cell_0/fnode0/WSM", tf.float16)):
        stored[name] = tf.cast(stored[name], kind)
        wanted[name] = tf.cast(stored[name], tf.float32).numpy()
    parts = [f"{WORK}/merged/part{i}" for i in range(3)]
    for i, part in enumerate(parts):
        mine = names[i::3]
        tf.raw_ops.SaveV2(prefix=part, tensor_names=mine, shape_and_slices=[""] * len(mine),
                          tensors=[stored[name] for name in mine])
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=WORK + "/merged/model")
    assert os.path.exists(WORK + "/merged/model.data-00002-of-00003")
    assert_same(tensors(export(WORK + "/merged/model", WORK + "/from-merged/model")), wanted)


def test_checkpoint_write():
    """What tf.train.Checkpoint writes: values found by full names, and by paths where these tell
    nothing."""
    rows = variables("efficientdet-d0")
    wanted = draw(rows, 3)
    for named in (True, False):
        tree = {}
        os.mkdir(f"{WORK}/objects-{named}")
        for i, row in enumerate(rows):
            name = row["name"] if named else f"Variable_{i}"
            set_path(tree, row["object_path"], tf.Variable(wanted[row["name"]], name=name))
        prefix = tf.train.Checkpoint(track(tree)).write(f"{WORK}/objects-{named}/ckpt-1")
        ours = tensors(export(prefix, f"{WORK}/from-objects/{named}", "--ema=raw"))
        ours.pop("global_step", None)
        assert_same(ours, wanted)


if __name__ == "__main__":
    os.makedirs(WORK + "/merged")
    for test in (test_saver, test_names, test_objects, test_objects_restore, test_checkpoint_write):
        test()
    print("checkpoints: TensorFlow and ours read each other's")
