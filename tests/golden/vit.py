#!/usr/bin/env python3
"""Goldens of the model room: logits, losses and parameter gradients of a ViT written in plain PyTorch, in double precision.

Usage: python3 tests/golden/vit.py tests/golden/vit     (needs torch, numpy, safetensors; timm for the cross-check)

Weights, pixels and labels are formulas of (name, element) computed on both sides, so only results are stored. Draws come
from a second implementation of Philox4x32-10. With timm installed, the plain ViT is first checked against timm's.
"""
import sys
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

M64 = np.uint64(0xFFFFFFFFFFFFFFFF)


def splitmix(name, count):
    """Element i of a name: splitmix64 of FNV-1a(name) + (i + 1) * golden ratio."""
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    with np.errstate(over="ignore"):
        x = np.uint64(h) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def formula_weight(name, shape):
    count = int(np.prod(shape))
    u = (splitmix(name, count) >> np.uint64(11)).astype(np.float64) * 2.0**-53 - 0.5
    if name in ("cls_token", "pos_embed"):
        value = u
    elif "norm" in name and name.endswith("weight"):
        value = 1 + 0.4 * u
    elif name.endswith("bias"):
        value = 0.2 * u
    else:
        value = u * (3.5 / np.sqrt(count / shape[0]))
    return value.astype(np.float32).reshape(shape)


def philox_uniform(seed, purpose, position, count):
    """count uniforms of one stream: 24 bits each, in element order."""
    blocks = (count + 3) // 4
    c = [np.arange(blocks, dtype=np.uint64)] + [np.full(blocks, v, np.uint64)
                                                for v in (purpose, position & 0xFFFFFFFF, position >> 32)]
    k0, k1, low = seed & 0xFFFFFFFF, seed >> 32, np.uint64(0xFFFFFFFF)
    for _ in range(10):
        p0, p1 = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(p1 >> np.uint64(32)) ^ c[1] ^ np.uint64(k0), p1 & low, (p0 >> np.uint64(32)) ^ c[3] ^ np.uint64(k1), p0 & low]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    words = np.stack(c, 1).reshape(-1)[:count]
    return (words >> np.uint64(8)).astype(np.float64) * 2.0**-24


POS, ATTN, PROJ, MLP, OUT, PATH_ATTN, PATH_MLP = 16, 17, 18, 19, 20, 21, 22


class Config:
    image, patch, channels, width, depth, heads, mlp, classes, batch = 16, 4, 3, 32, 2, 4, 48, 10, 4
    cls_token, pool, pre_logits, qkv_bias, gelu, loss, smoothing = True, "cls", 0, True, "none", "softmax", 0.1
    dropout = pos_dropout = attention_dropout = drop_path = 0.0
    eps, seed, labels = 1e-6, 20260117, 2
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def __init__(self, **options):
        self.__dict__.update(options)
        self.patches = (self.image // self.patch) ** 2
        self.tokens = self.patches + self.cls_token

    def shapes(self):
        D, C = self.width, self.channels
        shapes = {"cls_token": (1, 1, D)} if self.cls_token else {}
        shapes |= {"pos_embed": (1, self.tokens, D), "patch_embed.proj.weight": (D, C, self.patch, self.patch),
                   "patch_embed.proj.bias": (D,)}
        linear = lambda name, out, inp, bias=True: {name + ".weight": (out, inp)} | ({name + ".bias": (out,)} if bias else {})
        norm = lambda name: {name + ".weight": (D,), name + ".bias": (D,)}
        for i in range(self.depth):
            b = f"blocks.{i}."
            shapes |= norm(b + "norm1") | linear(b + "attn.qkv", 3 * D, D, self.qkv_bias) | linear(b + "attn.proj", D, D)
            shapes |= norm(b + "norm2") | linear(b + "mlp.fc1", self.mlp, D) | linear(b + "mlp.fc2", D, self.mlp)
        shapes |= norm("norm")
        if self.pre_logits:
            shapes |= linear("pre_logits.fc", self.pre_logits, D)
        return shapes | linear("head", self.classes, self.pre_logits or D)

    def positions(self):
        return [(1 << 33) + 1000003 * b + 17 for b in range(self.batch)]

    def images(self):
        n = self.batch * self.image * self.image * self.channels
        u8 = (splitmix("images", n) >> np.uint64(56)).astype(np.float64).reshape(self.batch, self.image, self.image, -1)
        mean, std = (np.float32(np.array(v[: self.channels])).astype(np.float64) for v in (self.mean, self.std))
        return torch.from_numpy((u8 / 255 - mean) / std).permute(0, 3, 1, 2)

    def targets(self):
        t = torch.zeros(self.batch, self.classes, dtype=torch.float64)
        for b in range(self.batch):
            t[b, (7 * b + 3) % self.classes] += 0.75
            t[b, (7 * b + 5) % self.classes] += 0.25
        return t * (1 - float(np.float32(self.smoothing))) + float(np.float32(self.smoothing)) / self.classes

    def row_weight(self):
        return torch.tensor([0.0 if self.batch > 2 and b == 2 else 1.0 for b in range(self.batch)], dtype=torch.float64)


def drop(config, x, purpose, layer, rate, whole=False):
    """x [B, ...] with elements (or, for drop-path, whole rows) dropped by our draws."""
    if rate == 0:
        return x
    rate = float(np.float32(rate))
    count = 1 if whole else x[0].numel()
    keep = [torch.from_numpy(philox_uniform(config.seed, purpose | layer << 8, p, count) >= rate) for p in config.positions()]
    keep = torch.stack(keep).to(x.dtype)
    shape = (x.shape[0],) + (1,) * (x.dim() - 1) if whole else x.shape
    return x * keep.reshape(shape) / (1 - rate)


def vit(config, w, images):
    c, B, D = config, images.shape[0], config.width
    x = F.conv2d(images, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=c.patch).flatten(2).transpose(1, 2)
    if c.cls_token:
        x = torch.cat([w["cls_token"].expand(B, -1, -1).to(x.dtype), x], 1)
    x = drop(c, x + w["pos_embed"], POS, 0, c.pos_dropout)
    for i in range(c.depth):
        get = lambda name: w.get(f"blocks.{i}.{name}")
        path = float(np.float32(c.drop_path) * np.float32(i) / np.float32(max(c.depth - 1, 1)))
        y = F.layer_norm(x, (D,), get("norm1.weight"), get("norm1.bias"), c.eps)
        qkv = F.linear(y, get("attn.qkv.weight"), get("attn.qkv.bias"))
        q, k, v = qkv.reshape(B, c.tokens, 3, c.heads, D // c.heads).permute(2, 0, 3, 1, 4)
        p = (q @ k.transpose(-2, -1) * (D // c.heads) ** -0.5).softmax(-1)
        # Of the last block a class-token pool reads one query: its draws are numbered by that query alone.
        read = 1 if c.pool == "cls" and i == c.depth - 1 else c.tokens
        p = torch.cat([drop(c, p[:, :, :read], ATTN, i, c.attention_dropout), p[:, :, read:]], 2)
        o = (p.to(v.dtype) @ v).transpose(1, 2).reshape(B, c.tokens, D)
        y = drop(c, F.linear(o, get("attn.proj.weight"), get("attn.proj.bias")), PROJ, i, c.dropout)
        x = x + drop(c, y, PATH_ATTN, i, path, whole=True)
        y = F.layer_norm(x, (D,), get("norm2.weight"), get("norm2.bias"), c.eps)
        y = F.gelu(F.linear(y, get("mlp.fc1.weight"), get("mlp.fc1.bias")), approximate=c.gelu)
        y = F.linear(drop(c, y, MLP, i, c.dropout), get("mlp.fc2.weight"), get("mlp.fc2.bias"))
        x = x + drop(c, drop(c, y, OUT, i, c.dropout), PATH_MLP, i, path, whole=True)
    x = F.layer_norm(x, (D,), w["norm.weight"], w["norm.bias"], c.eps)
    x = x[:, 0] if c.pool == "cls" else x[:, int(c.cls_token):].mean(1)
    if c.pre_logits:
        x = torch.tanh(F.linear(x, w["pre_logits.fc.weight"], w["pre_logits.fc.bias"]))
    return F.linear(x, w["head.weight"], w["head.bias"])


def run(config, autocast=False):
    """(logits, row losses, {name: gradient}) of the loss summed over valid rows / batch."""
    dtype = torch.float32 if autocast else torch.float64
    w = {n: torch.from_numpy(formula_weight(n, s)).to(dtype).requires_grad_() for n, s in config.shapes().items()}
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        logits = vit(config, w, config.images().to(dtype))
    z, t = logits.double(), config.targets()
    if config.loss == "softmax":
        rows = -(t * z.log_softmax(-1)).sum(-1)
    else:
        rows = F.binary_cross_entropy_with_logits(z, t, reduction="none").sum(-1)
    (rows * config.row_weight()).sum().div(config.batch).backward()
    return z.detach(), rows.detach() * config.row_weight(), {n: v.grad.double() for n, v in w.items()}


def check_against_timm():
    try:
        import timm
    except ImportError:
        return print("timm not installed: plain ViT not cross-checked")
    c = Config(image=32, patch=8, mlp=128)
    kwargs = dict(img_size=c.image, patch_size=c.patch, embed_dim=c.width, depth=c.depth, num_heads=c.heads, num_classes=c.classes)
    model = timm.models.VisionTransformer(**kwargs).double().eval()
    weights = {n: torch.from_numpy(formula_weight(n, s)).double() for n, s in c.shapes().items()}
    model.load_state_dict(weights, strict=True)
    ours, theirs = vit(c, weights, c.images()), model(c.images())
    assert (ours - theirs).abs().max() < 1e-12 * theirs.abs().max(), "plain ViT differs from timm"
    print("plain ViT agrees with timm", timm.__version__)


def relative_rms(a, b):
    return float((a - b).norm() / b.norm())


def project(name, grad):
    """Norm and four signed sums of a gradient, for models too large to store."""
    g = grad.reshape(-1).numpy()
    signs = splitmix("sign." + name, g.size)
    sums = [float(np.sum(np.where((signs >> np.uint64(60 + j)) & np.uint64(1), g, -g))) for j in range(4)]
    return [float(np.linalg.norm(g))] + sums


CASES = {
    "cls": Config(),
    "gap": Config(pool="mean", pre_logits=20, gelu="tanh", qkv_bias=False, loss="sigmoid", channels=1),
    "gap_nocls": Config(pool="mean", cls_token=False, heads=2, smoothing=0.0),
    "drop": Config(depth=3, width=24, dropout=0.1, pos_dropout=0.15, attention_dropout=0.2, drop_path=0.4),
    "drop_cls": Config(width=40, heads=5, mlp=56, pre_logits=12, qkv_bias=False, gelu="tanh", dropout=0.2, drop_path=0.5),
}
B16 = Config(image=224, patch=16, width=768, depth=12, heads=12, mlp=3072, classes=1000, batch=2)


def f32(values):
    return np.ascontiguousarray(np.asarray(values, dtype=np.float32))


def main(folder):
    check_against_timm()
    for name, config in CASES.items():
        logits, rows, grads = run(config)
        out = {"logits": f32(logits), "row_loss": f32(rows)} | {"grad." + n: f32(g) for n, g in grads.items()}
        if config.dropout == 0:
            low_logits, _, low = run(config, autocast=True)
            cat = lambda g: torch.cat([v.reshape(-1) for v in g.values()])
            out["torch_bf16"] = f32([relative_rms(low_logits, logits), relative_rms(cat(low), cat(grads))])
            print(name, "bf16 autocast deviation", out["torch_bf16"])
        save_file(out, f"{folder}/{name}.safetensors")
    logits, rows, grads = run(B16)
    low_logits, _, _ = run(B16, autocast=True)
    out = {"logits": f32(logits), "row_loss": f32(rows), "torch_bf16": f32([relative_rms(low_logits, logits), 0])}
    out |= {"grad." + n: f32(project(n, g)) for n, g in grads.items()}
    print("b16 bf16 autocast deviation", out["torch_bf16"])
    save_file(out, f"{folder}/b16.safetensors")


if __name__ == "__main__":
    main(sys.argv[1])
