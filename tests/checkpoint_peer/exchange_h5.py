"""Keras weight files between export_model and h5py: see exchange_h5.sh."""
import csv
import os
import subprocess
import sys

import h5py
import numpy as np

BIN, GOLDEN, TMP = sys.argv[1:4]


def export(model, source, out, *flags):
    path = os.path.join(TMP, out)
    done = subprocess.run(
        [os.path.join(BIN, "export_model"), f"--model_name={model}", f"--ckpt_path={source}",
         f"--export_ckpt={path}", *flags], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"export_model {source} -> {out}: {done.stderr}")
    return path


def texts(attributes, name):
    """As Keras reads a list of names: in one attribute, or in numbered parts of it."""
    def decode(value):
        return value.decode("utf8") if hasattr(value, "decode") else value

    if name in attributes:
        return [decode(value) for value in attributes[name]]
    found, part = [], 0
    while f"{name}{part}" in attributes:
        found += [decode(value) for value in attributes[f"{name}{part}"]]
        part += 1
    return found


def read(path):
    """{layer: [(weight name, values), ...]}, both in the file's order."""
    with h5py.File(path) as file:
        top = file["model_weights"] if "model_weights" in file else file
        assert texts(top["top_level_model_weights"].attrs, "weight_names") == []
        for name in ("backend", "keras_version"):
            value = file.attrs[name]
            assert hasattr(value, "decode") or isinstance(value, str), name
        return {layer: [(name, top[layer][name][()]) for name in
                        texts(top[layer].attrs, "weight_names")]
                for layer in texts(top.attrs, "layer_names")}


def expect_equal(have, want, what):
    assert list(have) == list(want), (what, list(have), list(want))
    for layer, weights in want.items():
        names = [name for name, _ in weights]
        assert [name for name, _ in have[layer]] == names, (what, layer)
        for (name, left), (_, right) in zip(have[layer], weights):
            assert left.dtype == right.dtype and left.shape == right.shape, (what, name)
            assert left.tobytes() == right.tobytes(), (what, name)


def write(path, contents, libver="earliest", wrap=False, variable=False, dtype=None, **storage):
    def put(target, name, values):
        if not values:
            target.attrs[name] = []
        elif variable:
            target.attrs.create(name, values, dtype=h5py.string_dtype())
        else:
            target.attrs[name] = [value.encode() for value in values]

    with h5py.File(path, "w", libver=libver) as file:
        file.attrs["backend"], file.attrs["keras_version"] = "tensorflow", "2.15.0"
        top = file.create_group("model_weights") if wrap else file
        put(top, "layer_names", list(contents))
        for layer, weights in contents.items():
            group = top.create_group(layer)
            put(group, "weight_names", [name for name, _ in weights])
            for name, values in weights:
                options = storage if values.ndim else {}
                group.create_dataset(name, data=values.astype(dtype or values.dtype), **options)


def main():
    source = os.path.join(GOLDEN, "efficientdet-lite0.h5")
    golden = read(source)
    lite0 = export("efficientdet-lite0", source, "lite0.h5")
    expect_equal(read(lite0), golden, "what Keras wrote")
    n = sum(len(weights) for weights in golden.values())
    print(f"lite0: {n} weights of {len(golden)} layers equal to what Keras wrote, in its order")

    # From TensorFlow's averages, with fusion weights before their node's other weights.
    d0 = read(export("efficientdet-d0", os.path.join(GOLDEN, "efficientdet-d0", "model"), "d0.h5"))
    have = {name[:-2]: values for weights in d0.values() for name, values in weights}
    with open(os.path.join(GOLDEN, "efficientdet-d0.values.tsv"), encoding="utf8") as table:
        rows = list(csv.DictReader(table, delimiter="\t"))
    ending = "/ExponentialMovingAverage"
    name_column = list(rows[0])[0]
    averages = [row for row in rows if row[name_column].endswith(ending)]
    assert len(averages) == len(have), (len(averages), len(have))
    for row in averages:
        values = have[row[name_column][:-len(ending)]].astype(np.float64).ravel()
        magnitude = np.abs(values).sum()
        assert abs(values.sum() - float(row["sum"])) <= 1e-11 * magnitude, row
        assert abs(magnitude - float(row["abs_sum"])) <= 1e-11 * magnitude, row
        assert np.float32(values[0]) == np.float32(row["first"]), row
        assert np.float32(values[-1]) == np.float32(row["last"]), row
    cells = [name for name, _ in d0["fpn_cells"]]
    node = [name.split("/", 3)[3] for name in cells if name.startswith("fpn_cells/cell_0/fnode1/")]
    assert [name.split(":")[0] for name in node[:4]] == [
        "WSM", "WSM_1", "resample_0_2_6/conv2d/kernel", "resample_0_2_6/conv2d/bias"], node
    print(f"d0: {len(have)} weights equal to the averages of the TensorFlow checkpoint")

    variants = {
        "variable": dict(variable=True), "whole model": dict(wrap=True),
        "gzip": dict(compression="gzip", shuffle=True, fletcher32=True, chunks=True),
        "newest layout": dict(libver="latest"), "big-endian": dict(dtype=">f4"),
        "wide": dict(dtype="f8"),
    }
    for what, options in variants.items():
        path = os.path.join(TMP, "variant.h5")
        write(path, golden, **options)
        expect_equal(read(export("efficientdet-lite0", path, "back.h5", "--overwrite")), golden,
                     what)
    halves = {layer: [(name, values.astype("f2").astype("f4")) for name, values in weights]
              for layer, weights in golden.items()}
    write(path, golden, dtype="f2")
    expect_equal(read(export("efficientdet-lite0", path, "back.h5", "--overwrite")), halves, "half")
    print(f"lite0: {len(variants) + 1} ways of h5py to store it are read")


main()
