"""Writes safetensors_dtypes.safetensors with the format's own library: every dtype the reader takes.
Needs: pip install safetensors==0.4.5 numpy. Run: python3 safetensors_dtypes.py"""
import os
import numpy as np
from safetensors import serialize

half = np.array([0, 1, -2, 65504, 2.0**-14, 2.0**-24, -(2.0**-15), np.inf, -np.inf, np.nan, 0.333251953125], np.float16)
single = np.arange(12, dtype=np.float32).reshape(2, 3, 2) / 7
double = np.array([[1 / 3, -1e-40, 1e300]], np.float64)
brain = (np.array([1.5, -0.0078125, 3e38, 0], np.float32).view(np.uint32) >> 16).astype(np.uint16)
tensors = {
    "double": ("float64", double),
    "half": ("float16", half),
    "brain": ("bfloat16", brain),
    "blocks.0.attn.qkv.weight": ("float32", single),
    "scalar": ("float32", np.array(2.5, np.float32)),
    "empty": ("float32", np.zeros((0, 4), np.float32)),
    "count": ("int64", np.array([1, -(2**40)], np.int64)),
    "mask": ("bool", np.array([True, False, True])),
}
data = serialize({k: {"dtype": d, "shape": list(a.shape), "data": a.tobytes()} for k, (d, a) in tensors.items()},
                 metadata={"format": "pt", "note": "a \"quoted\" é"})
open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "safetensors_dtypes.safetensors"), "wb").write(data)
