#!/usr/bin/env python3
"""Golden of convert/position_resize: torch's antialiased bicubic interpolation, which timm's resample_abs_pos_embed uses.

Usage: python3 tests/golden/position_resize.py tests/golden/position_resize.safetensors
The source table is the formula of vit.py under the name "grid", read as [from, from, 3].
"""
import sys
import numpy as np
import torch
from safetensors.numpy import save_file
from vit import splitmix

WIDTH = 3
out = {}
for source, target in ((14, 24), (14, 7), (7, 14), (3, 5), (24, 14), (16, 10), (1, 4), (4, 1)):
    u = (splitmix("grid", source * source * WIDTH) >> np.uint64(11)).astype(np.float64) * 2.0**-53 - 0.5
    grid = torch.from_numpy(u.astype(np.float32)).reshape(1, source, source, WIDTH).permute(0, 3, 1, 2).double()
    resized = torch.nn.functional.interpolate(grid, size=(target, target), mode="bicubic", antialias=True)
    out[f"{source}to{target}"] = resized.permute(0, 2, 3, 1)[0].numpy().astype(np.float32).copy()
try:
    from timm.layers import resample_abs_pos_embed
    table = torch.cat([torch.zeros(1, 1, WIDTH, dtype=torch.float64), grid.permute(0, 2, 3, 1).reshape(1, -1, WIDTH)], 1)
    timm = resample_abs_pos_embed(table, [target, target])
    assert np.allclose(timm[0, 1:].reshape(target, target, WIDTH), resized.permute(0, 2, 3, 1)[0], atol=1e-6)
    print("agrees with timm's resample_abs_pos_embed")
except ImportError:
    print("timm not installed: not cross-checked")
save_file(out, sys.argv[1])
