"""Makes a ground truth and a result file of the size of COCO val2017, the same for a seed on every machine.

usage: make_coco_eval_data.py OUT_DIR [N_DETECTIONS] [--polygons] [--seed=N]

5 000 images, 36 781 objects (446 of them crowds) of 80 categories. A detection is an object moved and
scaled a little, sometimes of another category, or a box anywhere; boxes have 2 decimals, scores 3. With
--polygons the ground truth is about as large as instances_val2017.json; detections stay boxes.
Writes gt.json and dt.json.
"""
import json
import os
import random
import sys

N_IMAGES, N_OBJECTS, N_CROWDS, N_CATEGORIES = 5000, 36781, 446, 80


def draw_polygon(rng, box):
    x, y, w, h = box
    out = []
    for _ in range(rng.randint(10, 35)):
        out += [round(x + w * rng.random(), 2), round(y + h * rng.random(), 2)]
    return [out]


def main():
    flags = [a for a in sys.argv[1:] if a.startswith("--")]
    words = [a for a in sys.argv[1:] if not a.startswith("--")]
    folder = words[0]
    n_detections = int(words[1]) if len(words) > 1 else 500000
    seed = next((int(f[7:]) for f in flags if f.startswith("--seed=")), 1)
    rng = random.Random(seed)
    image_ids = sorted(rng.sample(range(100, 600000), N_IMAGES))
    category_ids = sorted(rng.sample(range(1, 91), N_CATEGORIES))
    # As in photographs: a few categories have most of the objects.
    weights = [1 / (1 + i) for i in range(N_CATEGORIES)]
    sizes = {i: rng.choice([(640, 480), (480, 640), (640, 427)]) for i in image_ids}
    crowds = set(rng.sample(range(N_OBJECTS), N_CROWDS))
    objects = []
    for i, (image_id, category_id) in enumerate(zip(
            rng.choices(image_ids, k=N_OBJECTS), rng.choices(category_ids, weights, k=N_OBJECTS))):
        width, height = sizes[image_id]
        w = round(min(width - 2.0, 4 + rng.expovariate(1 / 90)), 2)
        h = round(min(height - 2.0, 4 + rng.expovariate(1 / 90)), 2)
        box = [round(rng.uniform(0, width - w), 2), round(rng.uniform(0, height - h), 2), w, h]
        item = {"area": round(w * h * rng.uniform(0.4, 1), 4), "iscrowd": int(i in crowds),
                "image_id": image_id, "bbox": box, "category_id": category_id, "id": 1000 + 7 * i}
        if "--polygons" in flags:
            item["segmentation"] = draw_polygon(rng, box)
        objects.append(item)
    detections = []
    for _ in range(n_detections):
        if rng.random() < 0.4:
            near = rng.choice(objects)
            image_id, category_id = near["image_id"], near["category_id"]
            if rng.random() < 0.15:
                category_id = rng.choice(category_ids)
            x, y, w, h = near["bbox"]
            spread = rng.choice([0.03, 0.1, 0.3])
            box = [x + rng.uniform(-spread, spread) * w, y + rng.uniform(-spread, spread) * h,
                   w * (1 + rng.uniform(-spread, spread)), h * (1 + rng.uniform(-spread, spread))]
            score = rng.betavariate(2, 2)
        else:
            image_id = rng.choice(image_ids)
            category_id = rng.choices(category_ids, weights)[0]
            width, height = sizes[image_id]
            w, h = 4 + rng.expovariate(1 / 90), 4 + rng.expovariate(1 / 90)
            box = [rng.uniform(0, width), rng.uniform(0, height), w, h]
            score = rng.betavariate(1, 6)
        detections.append({"image_id": image_id, "category_id": category_id,
                           "bbox": [round(v, 2) for v in box], "score": round(score, 3)})
    detections.sort(key=lambda d: d["image_id"])
    gt = {"info": {}, "licenses": [],
          "images": [{"id": i, "width": sizes[i][0], "height": sizes[i][1],
                      "file_name": "%012d.jpg" % i} for i in image_ids],
          "annotations": objects,
          "categories": [{"id": c, "name": "class %d" % c, "supercategory": "all"} for c in category_ids]}
    os.makedirs(folder, exist_ok=True)
    for name, value in (("gt.json", gt), ("dt.json", detections)):
        with open(os.path.join(folder, name), "w") as f:
            json.dump(value, f)


main()
