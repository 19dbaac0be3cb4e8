"""Masks of seeded random segmentations (polygons of many kinds, boxes, runs) against pycocotools:
the same runs for single polygons, the same pixels, areas and boxes for all, and PNG files that zlib
expands to these pixels."""
import json
import random
import subprocess
import sys
import zlib

import numpy as np
from pycocotools import mask as coco

program, n_cases = sys.argv[1], int(sys.argv[2])
random.seed(7)


def polygon(h, w):
    kind = random.randrange(5)
    n = random.choice([3, 3, 4, 5, 8, 20, 100])
    if n == 2 and kind != 0:
        n = 3
    spread = random.choice([0.1, 0.5, 1.0, 3.0])
    cx, cy = random.uniform(-0.2, 1.2) * w, random.uniform(-0.2, 1.2) * h
    points = []
    for i in range(n):
        x = cx + random.uniform(-1, 1) * spread * w
        y = cy + random.uniform(-1, 1) * spread * h
        if kind == 1:
            x, y = round(x), round(y)
        elif kind == 2:
            x, y = round(x, 2), round(y, 2)
        elif kind == 3:  # on the border of pixels of the fine grid
            x, y = round(x * 10) / 10, round(y * 10) / 10
        elif kind == 4 and points:  # flat and steep sides, repeated points
            x, y = random.choice([(points[-2], y), (x, points[-1]), (points[-2], points[-1])])
        points += [x, y]
    return points


def segmentation(h, w):
    kind = random.randrange(10)
    if kind < 6:
        return [polygon(h, w) for _ in range(random.choice([1, 1, 1, 2, 4]))]
    if kind == 6:
        return [[random.uniform(-5, w), random.uniform(-5, h), random.uniform(0, w), random.uniform(0, h)]]
    pixels = np.asfortranarray(np.random.RandomState(random.randrange(1 << 30)).rand(h, w) < random.choice([0.02, 0.5, 1]),
                               dtype=np.uint8)
    rle = coco.encode(pixels)
    if kind == 7:
        return {"size": [h, w], "counts": rle["counts"].decode()}
    flat = pixels.ravel(order="F")
    counts, value = [], 0
    i = 0
    while i < len(flat):
        k = i
        while k < len(flat) and flat[k] == value:
            k += 1
        counts.append(k - i)
        value, i = 1 - value, k
    return {"size": [h, w], "counts": counts}


cases = []
for _ in range(n_cases):
    h = random.choice([1, 2, 7, 30, 100, 427, 480])
    w = random.choice([1, 3, 8, 33, 64, 257, 640])
    cases.append((h, w, segmentation(h, w)))
text = "".join(f"{h} {w} {json.dumps(s)}\n" for h, w, s in cases)
lines = subprocess.run([program], input=text, capture_output=True, text=True, check=True).stdout.splitlines()
assert len(lines) == len(cases), (len(lines), len(cases))
png_bytes = 0
for (h, w, s), line in zip(cases, lines):
    where = f"{h} x {w}: {json.dumps(s)[:300]}"
    assert not line.startswith("error"), (line, where)
    counts, area, *box, png = line.split(" ")
    if isinstance(s, dict):
        rles = [s if isinstance(s["counts"], str) else coco.frPyObjects(s, h, w)]
    else:
        rles = coco.frPyObjects(np.array(s, dtype=np.double) if len(s[0]) == 4 else s, h, w)
    merged = rles[0] if len(rles) == 1 else coco.merge(rles)
    expected = coco.decode(merged)
    want = merged["counts"] if isinstance(merged["counts"], str) else merged["counts"].decode()
    assert counts == want, (counts[:80], want[:80], where)
    assert int(area) == int(coco.area(merged)), where
    ys, xs = np.nonzero(expected)
    want_box = [ys.min(), xs.min(), ys.max() + 1, xs.max() + 1] if len(ys) else [0, 0, 0, 0]
    assert [int(v) for v in box] == [int(v) for v in want_box], (box, want_box, where)
    png = bytes.fromhex(png)
    png_bytes += len(png)
    at, parts = 8, {}
    while at < len(png):
        n = int.from_bytes(png[at:at + 4], "big")
        name, data = png[at + 4:at + 8], png[at + 8:at + 8 + n]
        assert zlib.crc32(name + data) == int.from_bytes(png[at + 8 + n:at + 12 + n], "big"), where
        parts[name] = data
        at += 12 + n
    assert list(parts) == [b"IHDR", b"IDAT", b"IEND"], where
    rows = np.frombuffer(zlib.decompress(parts[b"IDAT"]), np.uint8).reshape(h, w + 1)
    assert not rows[:, 0].any() and (rows[:, 1:] == expected).all(), where
print(f"masks: {len(cases)} of {len(cases)} equal pycocotools, mean PNG {png_bytes / len(cases):.0f} bytes")
