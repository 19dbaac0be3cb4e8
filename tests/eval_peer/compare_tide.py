"""Compares coco_eval --errors with tidecv, the program of TIDE's authors, on a given pair of files and
on seeded random cases: AP, the gain of every kind of error and their counts.

usage: compare_tide.py COCO_EVAL WORK_DIR N_CASES [GT.json DT.json]
"""
import json
import os
import random
import subprocess
import sys
import unittest.mock

# tidecv draws with these, which takes hundreds of megabytes; only its numbers are wanted here.
for name in ("cv2", "seaborn", "pandas", "matplotlib", "matplotlib.pyplot", "matplotlib.lines"):
    sys.modules[name] = unittest.mock.MagicMock()

from tidecv import TIDE, Data

KINDS = {"Cls": "class", "Loc": "location", "Both": "both", "Dupe": "duplicate",
         "Bkg": "background", "Miss": "missed"}


def run_peer(gt, dt):
    """tidecv takes images in the order of the file, we by rising id; only ties differ."""
    truth, found = Data("gt", max_dets=100), Data("dt")
    for image in sorted(gt["images"], key=lambda x: x["id"]):
        truth.add_image(image["id"], str(image["id"]))
    known = set()
    for category in gt["categories"]:
        truth.add_class(category["id"], category["name"])
        known.add(category["id"])
    for a in sorted(gt["annotations"], key=lambda x: x["category_id"]):
        add = truth.add_ignore_region if a.get("iscrowd") else truth.add_ground_truth
        add(a["image_id"], a["category_id"], a["bbox"])
    for d in dt:
        # Detections of unknown classes vanish in COCO's evaluation.
        if d["category_id"] in known:
            found.add_detection(d["image_id"], d["category_id"], d["score"], d["bbox"])
    tide = TIDE()
    run = tide.evaluate(truth, found, mode=TIDE.BOX)
    errors = tide.get_all_errors()
    counts = {e.short_name: n for e, n in run.count_errors().items()}
    name, = errors["main"]
    return run.ap, errors["main"][name], counts, errors["special"][name]


def compare(program, folder, gt_path, dt_path, title):
    with open(gt_path) as f:
        gt = json.load(f)
    with open(dt_path) as f:
        dt = json.load(f)
    out = os.path.join(folder, "out.json")
    done = subprocess.run([program, gt_path, dt_path, "--errors", "--json=" + out],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit("%s: coco_eval failed: %s" % (title, done.stderr))
    with open(out) as f:
        ours = json.load(f)["errors"]
    ap, gains, counts, special = run_peer(gt, dt)
    rows = [("AP", 100 * ours["AP"], ap)]
    for short, kind in KINDS.items():
        mine, = [e for e in ours["errors"] if e["kind"] == kind]
        rows.append((kind, 100 * mine["gain"], gains[short]))
        rows.append((kind + " count", mine["count"], counts[short]))
    rows.append(("false positives", 100 * ours["gain_false_positives"], special["FalsePos"]))
    rows.append(("false negatives", 100 * ours["gain_false_negatives"], special["FalseNeg"]))
    worst = 0
    for what, mine, theirs in rows:
        worst = max(worst, abs(mine - theirs))
        if abs(mine - theirs) > 1e-9:
            raise SystemExit("%s: %s is %.12g, tidecv says %.12g" % (title, what, mine, theirs))
    return worst


def draw_case(rng):
    n_images, n_categories = rng.choice([1, 4, 20]), rng.choice([1, 2, 5])
    gt = {"images": [{"id": i, "width": 640, "height": 480} for i in
                     rng.sample(range(1, 500), n_images)],
          "categories": [{"id": 3 * k + 1, "name": "class %d" % k} for k in range(n_categories)],
          "annotations": []}
    crowd_rate = rng.choice([0, 0.15])
    dt = []

    def add(image, category, box):
        dt.append({"image_id": image, "category_id": category, "bbox": box,
                   "score": rng.choice([rng.random(), round(rng.random(), 2)])})

    def category():
        return 3 * rng.randrange(n_categories) + 1

    for image in gt["images"]:
        for _ in range(rng.randrange(12)):
            box = [rng.uniform(0, 300), rng.uniform(0, 300), rng.uniform(10, 200),
                   rng.uniform(10, 200)]
            gt["annotations"].append({"id": len(gt["annotations"]) + 1, "image_id": image["id"],
                                      "category_id": category(), "bbox": box,
                                      "area": box[2] * box[3],
                                      "iscrowd": int(rng.random() < crowd_rate)})
            for _ in range(rng.choice([0, 1, 1, 2, 4])):
                spread = rng.choice([0.02, 0.2, 0.5])
                near = [box[i] + rng.uniform(-spread, spread) * box[2 + i % 2] for i in range(2)]
                near += [box[i] * (1 + rng.uniform(-spread, spread)) for i in (2, 3)]
                same = gt["annotations"][-1]["category_id"]
                add(image["id"], same if rng.random() < 0.7 else category(), near)
        for _ in range(rng.choice([0, 3, 150])):
            add(image["id"], category(), [rng.uniform(0, 500), rng.uniform(0, 400),
                                          rng.uniform(5, 80), rng.uniform(5, 80)])
    rng.shuffle(dt)
    return gt, dt


def main():
    program, folder, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
    worst = 0
    if len(sys.argv) > 5:
        worst = compare(program, folder, sys.argv[4], sys.argv[5], os.path.basename(sys.argv[4]))
        print("%s: equal within %.1g points of AP" % (os.path.basename(sys.argv[4]), worst))
    n_run = 0
    for seed in range(n):
        gt, dt = draw_case(random.Random(seed))
        if not dt or not gt["annotations"]:
            continue
        paths = [os.path.join(folder, name) for name in ("gt.json", "dt.json")]
        for path, data in zip(paths, (gt, dt)):
            with open(path, "w") as f:
                json.dump(data, f)
        worst = max(worst, compare(program, folder, *paths, "seed %d" % seed))
        n_run += 1
    print("%d random cases: equal within %.1g points of AP" % (n_run, worst))


main()
