"""Pictures of all formats, sound and damaged, against tf.io.decode_image: the same pixels or an
error from both. Seeded GIFs with several frames, and seeded damage to the files of a folder; of
PNGs the packed rows are damaged and the CRCs set right, so that the decoder is reached."""
import glob
import hashlib
import os
import random
import struct
import subprocess
import sys
import zlib

import tensorflow as tf

program, formats, corpus, out, n_cases = *sys.argv[1:5], int(sys.argv[5])
random.seed(7)


def gif_frame():
    """One frame, its pixels as 3-bit codes, each behind a clear code so that codes never grow."""
    h, w = random.choice([(random.randint(1, 8), random.randint(1, 8))] * 30 + [(0, 3)])
    has_map, map_bits = random.random() < 0.3, random.choice([0, 1, 2])
    flags = (0x80 | map_bits if has_map else 0) | (0x40 if random.random() < 0.3 else 0)
    frame = b"," + struct.pack("<HHHHB", random.choice([0, 0, 1, 5]), random.choice([0, 0, 1, 3]), w, h, flags)
    if has_map:
        frame += random.randbytes(3 << (map_bits + 1))
    n_colours = random.choice([2, 4])
    codes = [code for _ in range(h * w) for code in (4, random.randrange(n_colours))] + [4, 5]
    bits = sum(code << 3 * i for i, code in enumerate(codes))
    data = bits.to_bytes((3 * len(codes) + 7) // 8, "little")
    frame += b"\2"
    for i in range(0, len(data), 100):
        frame += bytes([len(data[i:i + 100])]) + data[i:i + 100]
    return frame + b"\0"


def gif():
    has_map, map_bits = random.random() < 0.85, random.choice([0, 1, 1, 2])
    data = b"GIF89a" + struct.pack("<HH", random.randint(0, 12), random.randint(0, 12))
    data += bytes([(0x80 if has_map else 0) | map_bits, 0, 0])
    if has_map:
        data += random.randbytes(3 << (map_bits + 1))
    for _ in range(random.choice([0, 1, 1, 1, 2, 3])):
        for _ in range(random.choice([0, 0, 1, 1, 2])):
            control = b"!\xf9\4" + bytes([random.choice([0, 1, 9]), 0, 0, random.randrange(4), 0])
            data += random.choice([control, b"!\xfe\2hi\0", b"!\xf9\3\1\0\0\0", b"!\xff\x0bNETSCAPE2.0\3\1\0\0\0"])
        data += gif_frame()
    data += random.choice([b";"] * 9 + [b""])
    return data[:random.randrange(len(data) + 1)] if random.random() < 0.15 else data


def damage(data):
    data = bytearray(data)
    for _ in range(random.choice([1, 1, 2, 4])):
        if not data:
            break
        at, kind = random.randrange(len(data)), random.randrange(5)
        if kind == 0:
            data[at] = random.randrange(256)
        elif kind == 1:
            data[at] ^= 1 << random.randrange(8)
        elif kind == 2:
            del data[at:at + random.randrange(1, 8)]
        elif kind == 3:
            data[at:at] = data[at:at + random.randrange(1, 32)]
        elif random.random() < 0.3:
            del data[at:]
    return bytes(data)


def damage_head(data):
    return damage(data[:70]) + data[70:]


def png_chunks(data):
    at = 8
    while len(data) - at >= 12:
        n = struct.unpack(">I", data[at:at + 4])[0]
        yield data[at + 4:at + 8], data[at + 8:at + 8 + n]
        at += 12 + n


def damaged_png(data):
    result = data[:8]
    for i, (name, body) in enumerate(png_chunks(data)):
        if name == b"IDAT" and random.random() < 0.7:
            body = zlib.compress(damage(zlib.decompress(body)))
        elif random.random() < 0.25:
            body = damage(body)
        chunks = [(name, body)] if random.random() > 0.03 else []
        if i > 0 and random.random() < 0.05:
            extra = random.choice([b"tEXt", b"iCCP", b"gAMA", b"sBIT", b"zTXt", b"PLTE", b"tRNS", b"bKGD", b"hIST"])
            chunks.insert(0, (extra, random.randbytes(random.choice([1, 3, 4, 6, 9, 30]))))
        for chunk in chunks:
            result += struct.pack(">I", len(chunk[1])) + b"".join(chunk) + struct.pack(">I", zlib.crc32(b"".join(chunk)))
    return result


with open(f"{formats}/MANIFEST.tsv") as table:
    refused = {line.split("\t")[0] for line in table if "\terror\t" in line}


def sources(pattern):
    names = [name for name in sorted(glob.glob(pattern)) if os.path.basename(name) not in refused]
    return [open(name, "rb").read() for name in names]


# One frame: ours does not unpack later ones, so damage to their codes goes unnoticed.
gifs, bmps, pngs = sources(f"{formats}/one*.gif"), sources(f"{formats}/*.bmp"), sources(f"{formats}/*.png")
jpegs = [data for data in sources(f"{corpus}/*.jpg") if 100 < len(data) < 40000]
makers = [("gif", gif), ("gif", lambda: damage(random.choice(gifs))), ("bmp", lambda: damage_head(random.choice(bmps))),
          ("png", lambda: damaged_png(random.choice(pngs))), ("jpg", lambda: damage(random.choice(jpegs)))]
paths = []
for i in range(n_cases):
    ending, make = makers[i % len(makers)]
    paths.append(f"{out}/{i}.{ending}")
    with open(paths[-1], "wb") as file:
        file.write(make())
paths += sorted(glob.glob(f"{formats}/*.[gbpj][imnp][fpg]")) + sorted(glob.glob(f"{corpus}/*.jpg"))
ours = subprocess.run([program], input="\n".join(paths) + "\n", text=True, stdout=subprocess.PIPE, check=True)
answers = ours.stdout.splitlines()
assert len(answers) == len(paths), f"{len(answers)} answers for {len(paths)} pictures"
# TensorFlow looks at neither of these: pixels packed or in other orders come out as noise.
stricter = "compression", "bits per pixel", "header of OS/2"
n_ok = n_different = n_stricter = 0
for path, answer in zip(paths, answers):
    with open(path, "rb") as file:
        data = file.read()
    try:
        picture = tf.io.decode_image(data, channels=3, expand_animations=False).numpy()
        want = f"ok {picture.shape[0]} {picture.shape[1]} {hashlib.sha256(picture.tobytes()).hexdigest()}"
    except tf.errors.InvalidArgumentError as error:
        want = f"error {error.message}"
    n_ok += want.startswith("ok")
    if want.startswith("ok") and answer.startswith("error BMP") and any(words in answer for words in stricter):
        n_stricter += 1
    elif answer != want and (answer.startswith("ok") or want.startswith("ok")):
        n_different += 1
        print(f"{os.path.basename(path)}: {answer}, TensorFlow: {want}")
print(f"pictures: {len(paths)}, of which TensorFlow decodes {n_ok}; {n_different} differ, {n_stricter} BMPs of kinds that only "
      "TensorFlow takes")
sys.exit(n_different > 0)
