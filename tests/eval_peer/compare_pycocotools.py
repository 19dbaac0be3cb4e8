"""Compares coco_eval with pycocotools on seeded random cases, boxes and masks with all parameters:
precision, recall and scores arrays and the twelve numbers must be equal to the last bit, the printed
lines to the last letter.

usage: compare_pycocotools.py COCO_EVAL WORK_DIR [N_CASES [N_SMALL [GT DT bbox|segm]...]]

N_CASES are of the size of real evaluations; N_SMALL have few images and odd values: ids of 64 bits, scores
of all magnitudes, overlaps and areas that are exactly a threshold or the end of a range. Then the files.
"""
import contextlib
import io
import json
import math
import multiprocessing
import os
import random
import struct
import subprocess
import sys

import numpy as np
from pycocotools.coco import COCO
from pycocotools import mask as mask_utils
from pycocotools.cocoeval import COCOeval


def read_safetensors(path):
    with open(path, "rb") as f:
        data = f.read()
    (n,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + n])
    out = {}
    for name, item in header.items():
        if name == "__metadata__":
            continue
        assert item["dtype"] == "F64", item
        begin, end = item["data_offsets"]
        out[name] = np.frombuffer(data[8 + n + begin:8 + n + end], "<f8").reshape(item["shape"])
    return out


def draw_number(rng, low, high):
    """Coordinates of different grain: whole, quarters, hundredths, all digits."""
    x = rng.uniform(low, high)
    return rng.choice([float(round(x)), round(x * 4) / 4, round(x, 2), x, int(x)])


def draw_size(rng):
    # The ends of the area ranges are drawn often: 32 * 32 and 96 * 96 belong to both sides.
    return rng.choice([32, 96, 16, 64, draw_number(rng, 1, 30), draw_number(rng, 20, 120),
                       draw_number(rng, 80, 300)])


def draw_score(rng, kind):
    if kind == "ties":
        return rng.randrange(5) / 4
    if kind == "close":
        return 0.5 + rng.randrange(1000) * 1e-12
    if kind == "negative":
        return rng.uniform(-3, 3)
    return rng.random() if kind == "full" else round(rng.random(), 3)


def draw_case(rng, big):
    n_images = rng.choice([1, 2, 5, 20, 30]) if not big else 200
    n_categories = rng.choice([1, 2, 5, 8]) if not big else 20
    image_ids = rng.sample(range(1, 10 * n_images + 1), n_images)
    category_ids = rng.sample(range(1, 4 * n_categories + 1), n_categories)
    kind = rng.choice(["ties", "close", "negative", "full", "usual", "usual"])
    crowd_rate = rng.choice([0, 0.1, 0.5])
    most_gt, most_false = rng.choice([(3, 3), (12, 12), (30, 200), (0, 4), (4, 0), (60, 20)])
    objects, detections = [], []
    next_id = rng.choice([1, 100])
    for image_id in image_ids:
        for _ in range(rng.randint(0, most_gt)):
            box = [draw_number(rng, 0, 300), draw_number(rng, 0, 300), draw_size(rng), draw_size(rng)]
            category = rng.choice(category_ids)
            area = rng.choice([box[2] * box[3], 0.6 * box[2] * box[3], 1024, 9216])
            objects.append({"id": next_id, "image_id": image_id, "category_id": category,
                            "bbox": box, "area": area,
                            "iscrowd": int(rng.random() < crowd_rate),
                            "segmentation": [[0, 0, 1, 0, 1, 1]], "ignore": rng.randrange(2)})
            next_id += rng.randint(1, 3)
            for _ in range(rng.choice([0, 1, 1, 2, 4])):
                spread = rng.choice([0, 0.02, 0.1, 0.3])
                near = [box[0] + rng.uniform(-spread, spread) * box[2],
                        box[1] + rng.uniform(-spread, spread) * box[3],
                        box[2] * (1 + rng.uniform(-spread, spread)),
                        box[3] * (1 + rng.uniform(-spread, spread))]
                detections.append((image_id, category if rng.random() < 0.8 else
                                   rng.choice(category_ids), near))
        for _ in range(rng.randint(0, most_false)):
            detections.append((image_id, rng.choice(category_ids + [0, 9999]),
                               [draw_number(rng, 0, 300), draw_number(rng, 0, 300),
                                draw_size(rng), draw_size(rng)]))
    if rng.random() < 0.5:
        rng.shuffle(detections)
        rng.shuffle(objects)
    if not detections:
        detections.append((image_ids[0], category_ids[0], [0, 0, 10, 10]))
    gt = {"images": [{"id": i, "width": 640, "height": 480} for i in image_ids],
          "annotations": objects,
          "categories": [{"id": i, "name": "class %d" % i} for i in category_ids]}
    dt = [{"image_id": i, "category_id": c, "bbox": b, "score": draw_score(rng, kind)}
          for i, c, b in detections]
    return gt, dt


def draw_polygon(rng, box):
    """In and around the box, sometimes with parts outside the picture."""
    n = rng.choice([3, 4, 5, 8, 20])
    out = []
    for _ in range(n):
        out += [round(box[0] + box[2] * rng.uniform(-0.05, 1.05), rng.choice([0, 1, 2, 6])),
                round(box[1] + box[3] * rng.uniform(-0.05, 1.05), rng.choice([0, 1, 2, 6]))]
    return out


def draw_mask(rng, box, size, forms):
    """A segmentation of `size` (height, width) in one of COCO's forms."""
    form = rng.choice(forms)
    x0, y0 = max(0, int(box[0])), max(0, int(box[1]))
    x1, y1 = min(size[1], int(box[0] + box[2]) + 1), min(size[0], int(box[1] + box[3]) + 1)
    if form == "polygons":
        return [draw_polygon(rng, box) for _ in range(rng.choice([1, 1, 1, 2, 3]))]
    pixels = np.zeros(size, dtype=np.uint8, order="F")
    if x1 > x0 and y1 > y0 and rng.random() < 0.95:
        shape = (y1 - y0, x1 - x0)
        noise = np.random.RandomState(rng.randrange(2 ** 31)).rand(*shape)
        pixels[y0:y1, x0:x1] = noise < rng.choice([0.3, 0.9, 1, 1, 1])
        if rng.random() < 0.5:
            pixels[y0:y0 + shape[0] // 3, x0:x0 + shape[1] // 2] = 0
    rle = mask_utils.encode(pixels)
    if form == "compressed":
        return {"size": list(size), "counts": rle["counts"].decode()}
    flat = pixels.flatten(order="F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate([[0], ends, [flat.size]])).tolist()
    return {"size": list(size), "counts": counts if flat[0] == 0 else [0] + counts}


def add_masks(rng, gt, dt):
    """Masks for everything; rarely of another size than the picture's. Half of the files have boxes,
    then polygons are allowed and some rows have none."""
    size = rng.choice([(120, 160), (64, 64), (200, 90)])
    scale = [size[1] / 640.0, size[0] / 480.0] * 2
    for image in gt["images"]:
        image["height"], image["width"] = size
    for rows in (gt["annotations"], dt):
        for row in rows:
            row["bbox"] = [v * s for v, s in zip(row["bbox"], scale)]
    for row in gt["annotations"]:
        row["segmentation"] = draw_mask(rng, row["bbox"], size, ["polygons", "polygons", "counts",
                                                                 "compressed"])
        row["area"] = rng.choice([1024, 9216, rng.uniform(0, 20000), row["bbox"][2] * row["bbox"][3]])
    with_boxes = rng.random() < 0.5
    for row in dt:
        if with_boxes and rng.random() < 0.3:
            continue  # the mask is the box
        odd = (size[0] + 3, size[1]) if rng.random() < 0.02 else size
        row["segmentation"] = draw_mask(rng, row["bbox"], odd,
                                        ["polygons", "counts", "compressed"] if with_boxes and odd == size
                                        else ["compressed"])
    for row in dt:
        if not with_boxes:
            del row["bbox"]


def add_odd_numbers(rng, dt):
    """What a broken detector writes and Python's json reads."""
    for row in rng.sample(dt, min(len(dt), 5)):
        odd = rng.choice([float("nan"), float("inf"), -float("inf"), -5.0, 0.0, 1e300, 5e-324])
        if rng.random() < 0.5:
            row["score"] = odd
        else:
            row["bbox"] = list(row["bbox"])
            row["bbox"][rng.randrange(4)] = odd


def draw_params(rng, gt, params, flags):
    """Changes some of the parameters, for the peer and as flags."""
    def number_list(name, values):
        flags.append("--%s=%s" % (name, ",".join(repr(float(v)) for v in values)))
        return np.array(values, dtype=float)

    if rng.random() < 0.3:
        values = rng.choice([[0.5], [0.1, 0.5, 0.75], [0.75, 0.5], [0.0, 1.0], [0.3],
                             [i / 20 for i in range(1, 20)], [i / 40 for i in range(41)]])
        params.iouThrs = number_list("iou_thresholds", values)
    if rng.random() < 0.2:
        values = rng.choice([[0.5], [i / 10 for i in range(11)], [0, 0.3, 1], [0.5, 0.1, 0.9, 0.2]])
        params.recThrs = number_list("recall_thresholds", values)
    if rng.random() < 0.25:
        ranges = rng.choice([[("all", 0, 1e10)], [("small", 0, 500), ("all", 0, 1e10)],
                             [("a", 0, 100), ("small", 100, 400), ("all", 0, 1e5), ("large", 400, 1e5),
                              ("medium", 1024, 1024), ("f", 50, 60)]])
        params.areaRngLbl = [r[0] for r in ranges]
        params.areaRng = [list(r[1:]) for r in ranges]
        flags.append("--area_ranges=" + ",".join("%s:%r:%r" % r for r in ranges))
    if "--lenient" in flags:
        return  # what it does with duplicates then depends on which lists it went through
    if rng.random() < 0.2:
        ids = [image["id"] for image in gt["images"]]
        params.imgIds = rng.sample(ids, rng.randint(1, len(ids)))
        flags.append("--image_ids=" + ",".join(map(str, params.imgIds)))
    if rng.random() < 0.2:
        ids = [c["id"] for c in gt["categories"]]
        params.catIds = sorted(rng.sample(ids, rng.randint(1, len(ids))))
        flags.append("--classes=" + ",".join(map(str, params.catIds)))


def make_defective(rng, gt):
    """Duplicate ids and unknown references: what --lenient is for."""
    objects = gt["annotations"]
    for _ in range(3):
        if objects:
            copy = dict(rng.choice(objects))
            copy["bbox"] = [5, 5, 40, 40]
            copy["image_id"] = rng.choice(gt["images"] + [{"id": 10 ** 6}])["id"]
            copy["category_id"] = rng.choice(gt["categories"] + [{"id": 10 ** 6}])["id"]
            if rng.random() < 0.5:
                copy["id"] = 10 ** 7 + rng.randrange(100)
            objects.insert(rng.randrange(len(objects) + 1), copy)


def draw_ids(rng, n):
    """Distinct ids: small ones, all 64 bits, or neighbours that are one number as a double or in 32 bits."""
    kind = rng.randrange(5)
    if kind == 0:
        return [rng.choice([-1, 1]) * (2 ** 53 + i) for i in range(1, n + 1)]
    if kind == 1:
        return [i * 2 ** 32 + 7 for i in rng.sample(range(1, n + 3), n)]
    if kind == 2:
        return rng.sample([-2 ** 63, 2 ** 63 - 1, -1, 1, *(rng.randrange(1, 2 ** 62) for _ in range(n))], n)
    return rng.sample(range(1, 3 * n + 1), n)


def draw_small_score(rng, kind):
    if kind == "ties":
        return rng.choice([0.5, 0.25, 0.5000000000000001, 0.49999999999999994])
    if kind == "magnitudes":
        return rng.choice([-1, 1]) * 10 ** rng.uniform(-320, 308)
    if kind == "bits":
        value = struct.unpack("<d", struct.pack("<Q", rng.getrandbits(64)))[0]
        return value if math.isfinite(value) else 0.5
    if kind == "odd":
        return rng.choice([0.0, -0.0, 5e-324, -5e-324, 1.7976931348623157e308, math.inf, -math.inf, 1, 0])
    if kind == "nan":
        return rng.choice([math.nan, 0.5, 1, -math.inf])
    return round(rng.random(), 3)


def draw_small_box(rng, kind):
    """Few different values, so that overlaps are often equal, and often exactly a threshold."""
    if kind == "grid":
        return [rng.randrange(6), rng.randrange(6), rng.randint(1, 10), rng.randint(1, 10)]
    if kind == "limits":
        return [rng.choice([0, 0.5, 3]), rng.choice([0, 1]),
                rng.choice([32, 96, 1024, 9216, 31.999999999999996, 96.00000000000001, 1e5]),
                rng.choice([1, 32, 96, 1e5, 32.00000000000001])]
    if kind == "zero":
        return [rng.randrange(3), rng.randrange(3), rng.choice([0, 0, 1, 4]), rng.choice([0, 2, 4, 1e-300])]
    if kind == "negative":
        return [rng.randint(-4, 4), rng.uniform(-4, 4), rng.choice([-3, 3, 6]), rng.choice([5, 5, -5])]
    return [rng.uniform(0, 20), rng.uniform(0, 20), rng.uniform(0, 20), rng.uniform(0, 20)]


def draw_small_case(rng, iou_type):
    image_ids, category_ids = draw_ids(rng, rng.randint(1, 6)), draw_ids(rng, rng.randint(1, 4))
    boxes = rng.choice(["grid", "grid", "grid", "limits", "zero", "negative", "any"])
    boxes = rng.choice(["grid", "any"]) if iou_type == "segm" else boxes
    scores = rng.choice(["ties", "ties", "magnitudes", "bits", "odd", "usual", "usual", "nan"])
    crowd_rate = rng.choice([0, 0.2, 0.6])
    areas = [0, 1024, 9216, 1024.0000000000002, 9215.999999999998, 1e10, 10000000000.000002, 50, 2000]
    objects, detections = [], []
    for image_id in image_ids:
        used = []
        for _ in range(rng.choice([0, 1, 3, rng.randint(0, 20)])):
            box = rng.choice(used) if used and rng.random() < 0.2 else draw_small_box(rng, boxes)
            used.append(box)
            objects.append({"image_id": image_id, "category_id": rng.choice(category_ids), "bbox": box,
                            "area": rng.choice([box[2] * box[3], rng.choice(areas)]),
                            "iscrowd": int(rng.random() < crowd_rate)})
        for _ in range(rng.choice([0, 1, 5, rng.randint(0, 20)])):
            box = rng.choice(used) if used and rng.random() < 0.5 else draw_small_box(rng, boxes)
            used.append(box)
            category = rng.choice(category_ids) if rng.random() < 0.9 else rng.choice([0, 2 ** 40 + 5])
            detections.append({"image_id": image_id, "category_id": category, "bbox": box,
                               "score": draw_small_score(rng, scores)})
    if not detections:
        detections.append({"image_id": image_ids[0], "category_id": category_ids[0], "bbox": [0, 0, 4, 4],
                           "score": 0.5})
    for item, new_id in zip(objects, draw_ids(rng, len(objects))):
        item["id"] = new_id
    if rng.random() < 0.5:
        rng.shuffle(objects)
        rng.shuffle(detections)
    size = rng.choice([(24, 32), (40, 17), (6, 6)])
    gt = {"images": [{"id": i, "width": size[1], "height": size[0]} for i in image_ids],
          "annotations": objects, "categories": [{"id": i, "name": "class %d" % i} for i in category_ids]}
    if iou_type == "segm":
        with_boxes = rng.random() < 0.5
        for item in objects:
            item["segmentation"] = draw_mask(rng, item["bbox"], size, ["polygons", "counts", "compressed"])
        for item in detections:
            if with_boxes and rng.random() < 0.3:
                continue
            item["segmentation"] = draw_mask(rng, item["bbox"], size, ["polygons", "counts", "compressed"]
                                             if with_boxes else ["compressed"])
        if not with_boxes:
            for item in detections:
                del item["bbox"]
    return gt, detections


def run_pair(program, folder, name, paths, iou_type, flags, max_dets, use_cats, change):
    """Evaluates the files twice; change(params, flags) sets further parameters of both."""
    out = [os.path.join(folder, "out.st"), os.path.join(folder, "out.json")]
    flags += ["--use_cats=%s" % str(use_cats).lower(), "--max_dets=" + ",".join(map(str, max_dets)),
              "--iou_type=" + iou_type]
    with contextlib.redirect_stdout(io.StringIO()), np.errstate(all="ignore"):
        coco = COCO(paths[0])
        with open(paths[1]) as f:
            rows = json.load(f)
        # pycocotools wants a list; an object with one is ours.
        rows = rows["annotations"] if isinstance(rows, dict) else paths[1]
        peer = COCOeval(coco, coco.loadRes(rows), iou_type)
        peer.params.useCats = int(use_cats)
        peer.params.maxDets = list(max_dets)
        change(peer.params, flags)
        peer.evaluate()
        peer.accumulate()
    done = subprocess.run([program, *paths, "--arrays=" + out[0], "--json=" + out[1], *flags],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ValueError("%s %s: coco_eval failed: %s" % (name, flags, done.stderr))
    lines = io.StringIO()
    with contextlib.redirect_stdout(lines):
        peer.summarize()
    arrays = read_safetensors(out[0])
    for array in ("precision", "recall", "scores"):
        want = np.ascontiguousarray(peer.eval[array])
        if arrays[array].shape != want.shape or arrays[array].tobytes() != want.tobytes():
            raise ValueError("%s %s: %s differs in %d of %d values" % (
                name, flags, array, np.count_nonzero(arrays[array] != want), want.size))
    with open(out[1]) as f:
        stats = json.load(f)["stats"]
    if stats != peer.stats.tolist():
        raise ValueError("%s %s: stats %s, expected %s" % (name, flags, stats, peer.stats.tolist()))
    if done.stdout != lines.getvalue():
        raise ValueError("%s %s: printed\n%sexpected\n%s" % (name, flags, done.stdout, lines.getvalue()))


def write_pair(rng, folder, gt, dt):
    paths = [os.path.join(folder, name) for name in ("gt.json", "dt.json")]
    for path, value in zip(paths, (gt, dt)):
        with open(path, "w") as f:
            json.dump(value, f, indent=rng.choice([None, 1]))
    return paths


def run_small_case(program, folder, seed):
    rng = random.Random("small %d" % seed)
    iou_type = rng.choice(["bbox", "bbox", "segm"])
    gt, dt = draw_small_case(rng, iou_type)
    max_dets = rng.choice([[1, 10, 100]] * 3 + [[1, 2, 3], [2, 5, 4], [1, 1, 100], [3, 100, 7]])

    def change(params, flags):
        draw_params(rng, gt, params, flags)
        if iou_type == "segm" and rng.random() < 0.5 and not any("area_ranges" in f for f in flags):
            ranges = [("all", 0, 1e10), ("small", 0, 16), ("medium", 16, 36), ("large", 36, 1e10)]
            params.areaRngLbl = [r[0] for r in ranges]
            params.areaRng = [list(r[1:]) for r in ranges]
            flags.append("--area_ranges=" + ",".join("%s:%r:%r" % r for r in ranges))

    run_pair(program, folder, "small seed %d" % seed, write_pair(rng, folder, gt, dt), iou_type,
             ["--num_threads=1"], max_dets, rng.random() < 0.8, change)


def run_case(program, folder, seed, big):
    rng = random.Random(seed)
    gt, dt = draw_case(rng, big)
    flags = ["--num_threads=%d" % rng.choice([1, 2, 3])]
    iou_type = rng.choice(["bbox", "bbox", "segm"])
    mask_rng = random.Random(seed)
    if iou_type == "segm" or mask_rng.random() < 0.1:
        add_masks(mask_rng, gt, dt)
    if iou_type == "bbox" and "bbox" in dt[0] and mask_rng.random() < 0.1:
        add_odd_numbers(mask_rng, dt)
    use_cats = rng.random() < 0.85
    # Without categories pycocotools also finds objects through duplicates of unknown category.
    # For masks it fails on annotations of unknown images.
    if use_cats and rng.random() < 0.15 and iou_type == "bbox":
        make_defective(rng, gt)
        flags.append("--lenient")
    max_dets = rng.choice([[1, 10, 100]] * 4 + [[1, 5, 20], [100, 2, 300], [3, 3, 100],
                                                [1, 2, 3, 100, 7]])
    run_pair(program, folder, "seed %d" % seed, write_pair(rng, folder, gt, dt), iou_type, flags, max_dets,
             use_cats, lambda params, flags: draw_params(rng, gt, params, flags))


def run_job(job):
    program, folder, kind, item = job
    folder = os.path.join(folder, str(os.getpid()))
    os.makedirs(folder, exist_ok=True)
    try:
        if kind == "small":
            run_small_case(program, folder, item)
        elif kind == "case":
            run_case(program, folder, *item)
        else:
            run_pair(program, folder, item[1], list(item[:2]), item[2], [], [1, 10, 100], True,
                     lambda params, flags: None)
    except Exception as error:  # pylint: disable=broad-except
        return "%s %s: %r" % (kind, item, error)
    return None


def main():
    program, folder = sys.argv[1:3]
    n = int(sys.argv[3]) if len(sys.argv) > 3 else 300
    n_small = int(sys.argv[4]) if len(sys.argv) > 4 else 2000
    files = [tuple(sys.argv[i:i + 3]) for i in range(5, len(sys.argv), 3)]
    jobs = [("files", item) for item in files]
    jobs += [("case", (seed, seed == n - 1)) for seed in range(n)]
    jobs += [("small", seed) for seed in range(n_small)]
    with multiprocessing.Pool(2) as pool:
        failures = [f for f in pool.imap_unordered(
            run_job, [(program, folder, *job) for job in jobs], 16) if f is not None]
    for failure in failures[:10]:
        print(failure)
    if failures:
        raise SystemExit("%d of %d cases differ" % (len(failures), len(jobs)))
    print("%d files, %d cases and %d small cases: arrays, numbers and lines equal" % (len(files), n, n_small))


main()
