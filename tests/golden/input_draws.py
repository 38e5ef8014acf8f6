#!/usr/bin/env python3
"""Writes tests/unit/input/golden_draws.h: crop boxes from an independent Philox and the published RandomResizedCrop and
Resize + CenterCrop formulas (timm, torchvision). Plain Python; run once, the result is stored."""
import math
import sys

MASK = 0xFFFFFFFF
DRAW_CROP, DRAW_FLIP = 3, 4


def philox(counter, key):
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & MASK, (a >> 32) ^ c[3] ^ k[1], a & MASK]
        k = [(k[0] + 0x9E3779B9) & MASK, (k[1] + 0xBB67AE85) & MASK]
    return c


class Draws:
    def __init__(self, seed, purpose, position):
        self.key = [seed & MASK, seed >> 32]
        self.stream = [purpose, position & MASK, position >> 32]

    def word(self, index):
        return philox([index // 4] + self.stream, self.key)[index % 4]

    def u64(self, index):
        return self.word(2 * index) << 32 | self.word(2 * index + 1)

    def uniform(self, index, low, high):
        return low + (high - low) * ((self.u64(index) >> 11) * 2.0 ** -53)

    def integer(self, index, low, high):
        return low + (self.u64(index) * (high - low + 1) >> 64)


def random_resized_crop(width, height, scale, ratio, draws):
    for attempt in range(10):
        area = draws.uniform(4 * attempt, *scale) * (width * height)
        aspect = math.exp(draws.uniform(4 * attempt + 1, math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top = draws.integer(4 * attempt + 2, 0, height - h)
            left = draws.integer(4 * attempt + 3, 0, width - w)
            return left, top, w, h
    w, h = width, height
    if width / height < ratio[0]:
        h = round(w / ratio[0])
    elif width / height > ratio[1]:
        w = round(h * ratio[1])
    return (width - w) // 2, (height - h) // 2, w, h


def centre(width, height, size, fraction):
    short = math.floor(size / fraction)
    w, h = (short, int(short * height / width)) if width < height else (int(short * width / height), short)
    return w, h, int(round((w - size) / 2.0)), int(round((h - size) / 2.0))


def main():
    out = open(sys.argv[1], "w")
    out.write("/* Written by tests/golden/input_draws.py. */\n")
    out.write("static const struct golden_crop {\n    uint64_t seed, position;\n    int width, height;\n"
              "    float scale_min;\n    int x, y, w, h, flip;\n} GOLDEN_CROPS[] = {\n")
    sizes = [(500, 375), (375, 500), (28, 28), (1, 1), (3, 900), (900, 3), (640, 479), (224, 224), (65500, 40), (5, 7)]
    for seed in (0, 42, 0xDEADBEEF12345678):
        for i, (width, height) in enumerate(sizes):
            for position in (i, 1281167 * 299 + i, 2 ** 40 + i):
                scale = (0.08, 0.25, 0.9)[position % 3]
                box = random_resized_crop(width, height, (scale, 1.0), (3 / 4, 4 / 3), Draws(seed, DRAW_CROP, position))
                flip = (Draws(seed, DRAW_FLIP, position).word(0) >> 8) * 2.0 ** -24 < 0.5
                out.write("    {0x%XULL, %dULL, %d, %d, %sf, %d, %d, %d, %d, %d},\n" %
                          ((seed, position, width, height, scale) + box + (flip,)))
    out.write("};\n\nstatic const struct golden_centre {\n    int width, height, size;\n    float fraction;\n"
              "    int resized_width, resized_height, left, top;\n} GOLDEN_CENTRES[] = {\n")
    for width, height in sizes[:5] + [(333, 500), (257, 256), (1023, 331)]:
        for size, fraction in ((224, 0.875), (224, 0.9), (224, 0.95), (384, 1.0), (28, 1.0), (32, 0.875)):
            out.write("    {%d, %d, %d, %sf, %d, %d, %d, %d},\n" %
                      ((width, height, size, fraction) + centre(width, height, size, fraction)))
    out.write("};\n")


if __name__ == "__main__":
    main()
