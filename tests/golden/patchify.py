"""Writes patchify.txt: mixup, CutMix and random erasing as timm does them to normalised pictures, in fp32, cut into patches
by torch's unfold. timm draws its own lambdas, boxes and noise; here they are handed to it, and noted.

Two boxes have no say in timm (they come from lambda, inside the picture), so those of CutMix are timm's own draws. The noise
is the normal quantile (torch.special.ndtri, double) of the words of an independent Philox.
Run: python patchify.py > patchify.txt   (needs torch and timm)
"""
import contextlib
import random
import sys

import numpy
import torch
import torch.nn.functional as F

with contextlib.redirect_stdout(sys.stderr):  # what an import has to say is no value
    from timm.data import mixup, random_erasing

from input_draws import Draws

B, H, W, C, P = 6, 6, 8, 3, 2
SEED, PURPOSE, POSITION = 0x123456789ABCDEF, 77, 5_000_000_000
MEAN, STD = (0.5, 0.25, 0.375), (0.25, 0.5, 0.125)
LAMBDA = (0.625, 1.0, 0.3, 0.3, 0.9, 0.1)  # of row i with row B - 1 - i
CUTMIX = (False, False, True, True, False, True)


def row(name, values):
    print(name, *("%.9g" % v for v in numpy.asarray(values).flatten().tolist()))


def patches(x):
    return F.unfold(x, P, stride=P).transpose(1, 2)


def mixed(x, cutmix):
    """timm's per-element mode; returns what it makes of x, and its boxes (x0, y0, x1, y1; empty = none)."""
    boxes = numpy.zeros((B, 4), dtype=int)
    mixer = mixup.Mixup(mode="elem")
    mixer._params_per_elem = lambda count: (numpy.array(LAMBDA, dtype=numpy.float32), numpy.array(cutmix))
    drawn, original = [], mixup.cutmix_bbox_and_lam

    def note(*args, **kwargs):
        drawn.append(original(*args, **kwargs)[0])
        return drawn[-1], 0.5

    mixup.cutmix_bbox_and_lam = note
    x = x.clone()
    mixer._mix_elem(x)
    mixup.cutmix_bbox_and_lam = original
    rows = [i for i in range(B) if cutmix[i] and LAMBDA[i] != 1]
    for i, (top, bottom, left, right) in zip(rows, drawn):
        boxes[i] = left, top, right, bottom
    return x, boxes


def erased(x, noise):
    """timm's eraser with probability 1; noise: what fills it, cut from where the box is, or None for zero."""
    boxes, x = [], x.clone()
    for b in range(B):
        before = x[b].clone()
        marker = torch.full_like(before, float("nan"))
        random.seed(100 + b)
        random_erasing._get_pixels = lambda per_pixel, rand_color, size, dtype, device: torch.full(size, float("nan"))
        random_erasing.RandomErasing(probability=1, device="cpu")(x[b])
        ys, xs = torch.nonzero(torch.isnan(x[b, 0]), as_tuple=True)
        boxes.append((xs.min().item(), ys.min().item(), xs.max().item() + 1, ys.max().item() + 1))
        fill = torch.zeros_like(marker) if noise is None else noise[b]
        x[b] = torch.where(torch.isnan(x[b]), fill, before)
    return x, boxes


def philox_noise():
    words = [[Draws(SEED, PURPOSE, POSITION + 17 * b).word(e) for e in range(H * W * C)] for b in range(B)]
    uniform = ((torch.tensor(words, dtype=torch.float64) / 256).floor() + 0.5) / 2**24
    return torch.special.ndtri(uniform).reshape(B, H, W, C).permute(0, 3, 1, 2).float()


numpy.random.seed(14)
generator = torch.Generator().manual_seed(6)
images = torch.randint(0, 256, (B, H, W, C), generator=generator, dtype=torch.uint8)
mean, std = (torch.tensor(v).view(1, C, 1, 1) for v in (MEAN, STD))
x = (images.permute(0, 3, 1, 2).float() / 255 - mean) / std  # as timm's loader, which scales both by 255

row("images", images)
row("lambda", LAMBDA)
row("mixup", patches(mixed(x, [False] * B)[0]))
both, cutmix = mixed(x, CUTMIX)
row("cutmix", cutmix)
row("both", patches(both))
zero, erase = erased(x, None)
row("erase", erase)
row("zero", patches(zero))
row("all", patches(erased(both, philox_noise())[0]))
