"""Reads shards with TensorFlow's own reader, parser and decoder and holds them against the COCO file
that they were made from; then writes the records again with TensorFlow's writer.

  read_with_tensorflow.py DIR     DIR/annotations/instances_train.json, DIR/{none,gzip,zlib}/shapes-*
"""

import glob
import hashlib
import json
import os
import sys

import tensorflow as tf

KINDS = {"none": "", "gzip": "GZIP", "zlib": "ZLIB"}
SUFFIXES = {"none": ".tfrecord", "gzip": ".tfrecord.gz", "zlib": ".tfrecord.zz"}
FEATURES = {
    "image/encoded": tf.io.FixedLenFeature((), tf.string),
    "image/filename": tf.io.FixedLenFeature((), tf.string),
    "image/format": tf.io.FixedLenFeature((), tf.string),
    "image/key/sha256": tf.io.FixedLenFeature((), tf.string),
    "image/source_id": tf.io.FixedLenFeature((), tf.string),
    "image/height": tf.io.FixedLenFeature((), tf.int64),
    "image/width": tf.io.FixedLenFeature((), tf.int64),
    "image/object/bbox/xmin": tf.io.VarLenFeature(tf.float32),
    "image/object/bbox/xmax": tf.io.VarLenFeature(tf.float32),
    "image/object/bbox/ymin": tf.io.VarLenFeature(tf.float32),
    "image/object/bbox/ymax": tf.io.VarLenFeature(tf.float32),
    "image/object/class/label": tf.io.VarLenFeature(tf.int64),
    "image/object/class/text": tf.io.VarLenFeature(tf.string),
    "image/object/is_crowd": tf.io.VarLenFeature(tf.int64),
    "image/object/area": tf.io.VarLenFeature(tf.float32),
}


def check_record(payload, coco):
    parsed = tf.io.parse_single_example(payload, FEATURES)
    image = coco["images"][int(parsed["image/source_id"].numpy())]
    height, width = image["height"], image["width"]
    assert parsed["image/height"].numpy() == height and parsed["image/width"].numpy() == width
    assert parsed["image/filename"].numpy().decode() == image["file_name"]
    encoded = parsed["image/encoded"].numpy()
    assert parsed["image/key/sha256"].numpy().decode() == hashlib.sha256(encoded).hexdigest()
    assert tf.io.decode_jpeg(encoded, channels=3).shape == (height, width, 3)
    boxes = coco["boxes"].get(image["id"], [])

    def values(key):
        return tf.sparse.to_dense(parsed[key], default_value=b"" if "text" in key else 0).numpy()

    assert list(values("image/object/class/label")) == [b["category_id"] for b in boxes]
    assert [t.decode() for t in values("image/object/class/text")] == [
        coco["names"][b["category_id"]] for b in boxes
    ]
    assert list(values("image/object/is_crowd")) == [b["iscrowd"] for b in boxes]
    for key, want in {
        "image/object/bbox/xmin": [b["bbox"][0] / width for b in boxes],
        "image/object/bbox/ymin": [b["bbox"][1] / height for b in boxes],
        "image/object/bbox/xmax": [(b["bbox"][0] + b["bbox"][2]) / width for b in boxes],
        "image/object/bbox/ymax": [(b["bbox"][1] + b["bbox"][3]) / height for b in boxes],
        "image/object/area": [b["area"] for b in boxes],
    }.items():
        assert list(values(key)) == [tf.constant(w, tf.float32).numpy() for w in want], key
    return len(boxes)


def main():
    directory = sys.argv[1]
    with open(os.path.join(directory, "annotations/instances_train.json"), encoding="utf-8") as file:
        raw = json.load(file)
    coco = {
        "images": {image["id"]: image for image in raw["images"]},
        "names": {category["id"]: category["name"] for category in raw["categories"]},
        "boxes": {},
    }
    for annotation in raw["annotations"]:
        coco["boxes"].setdefault(annotation["image_id"], []).append(annotation)
    payloads = {}
    for name, kind in KINDS.items():
        files = sorted(glob.glob(os.path.join(directory, name, "shapes-*" + SUFFIXES[name])))
        assert len(files) == 2, files
        # The glob that a user would give must match shards alone.
        assert sorted(tf.io.gfile.glob(os.path.join(directory, name, "shapes*"))) == files
        payloads[name] = [r.numpy() for r in tf.data.TFRecordDataset(files, compression_type=kind)]
        assert len(payloads[name]) == len(raw["images"])
        n_boxes = sum(check_record(payload, coco) for payload in payloads[name])
        print(f"{name}: {len(payloads[name])} records, {n_boxes} boxes")
        options = tf.io.TFRecordOptions(compression_type=kind)
        path = os.path.join(directory, f"peer-{name}.tfrecord")
        with tf.io.TFRecordWriter(path, options) as writer:
            for payload in payloads["none"]:
                writer.write(payload)
    assert sorted(payloads["none"]) == sorted(payloads["gzip"]) == sorted(payloads["zlib"])


main()
