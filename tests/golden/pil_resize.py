#!/usr/bin/env python3
"""Reference vectors for the resize, from Pillow 12.0 (pip install pillow==12.0.0; any from 3.3 on agrees, but 13
resizes some tall images vertically first, which differs by rounding). Writes pil_resize.txt beside this file.

Input pixels come from a small generator that tests/unit/image/test_resize.c repeats: x <- 1664525 x + 1013904223 (mod 2^32),
byte = x >> 24, started at `seed`; `smooth` images are ramps, so that rounding near equal values is tried too.
Each line: kind seed width height channels | box | filter | out_width out_height | FNV-1a-64 of the output | its first 8 bytes
"""
import os
from PIL import Image

def pixels(kind, seed, count):
    out, x = bytearray(count), seed
    for i in range(count):
        if kind == "noise":
            x = (1664525 * x + 1013904223) & 0xFFFFFFFF
            out[i] = x >> 24
        else:
            out[i] = (i * seed // 7) & 255
    return bytes(out)

def fnv(data):
    h = 0xCBF29CE484222325
    for b in data:
        h = ((h ^ b) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return h

CASES = []
for channels in (1, 3):
    for (w, h, ow, oh) in [(1, 1, 1, 1), (1, 1, 5, 7), (2, 3, 1, 1), (5, 5, 3, 3), (7, 3, 16, 16), (28, 28, 32, 32), (28, 28, 28, 28),
                           (32, 32, 64, 64), (33, 17, 8, 5), (100, 75, 37, 41), (64, 48, 64, 30), (64, 48, 31, 48), (128, 4, 1, 4),
                           (500, 375, 224, 224), (320, 240, 11, 3), (3, 200, 9, 20)]:
        CASES.append((w, h, channels, (0.0, 0.0, float(w), float(h)), ow, oh))
    for (w, h, box, ow, oh) in [(100, 75, (10.0, 5.0, 90.0, 70.0), 32, 32), (100, 75, (0.5, 0.25, 99.5, 74.75), 48, 48),
                                (60, 60, (13.25, 7.5, 14.75, 9.125), 16, 16), (200, 100, (20.0, 0.0, 180.0, 100.0), 160, 50),
                                (50, 40, (49.0, 39.0, 50.0, 40.0), 4, 4), (80, 80, (3.0, 3.0, 35.0, 35.0), 32, 32)]:
        CASES.append((w, h, channels, box, ow, oh))

here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "pil_resize.txt"), "w") as out:
    for n, (w, h, c, box, ow, oh) in enumerate(CASES):
        for name, resample in (("bilinear", Image.BILINEAR), ("bicubic", Image.BICUBIC)):
            for kind in ("noise", "smooth"):
                seed = 17 + n
                src = Image.frombytes("L" if c == 1 else "RGB", (w, h), pixels(kind, seed, w * h * c))
                data = src.resize((ow, oh), resample, box=box).tobytes()
                out.write("%s %d %d %d %d | %r %r %r %r | %s | %d %d | %016x | %s\n" %
                          (kind, seed, w, h, c, *box, name, ow, oh, fnv(data), data[:8].hex()))
