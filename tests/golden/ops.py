"""Writes ops.txt: forward values and input gradients of the ops that have formulas, from torch in float64.

One block per op: lines "name values...", inputs first. Inputs are multiples of 1/64 so that they are exact in fp32.
Run: python ops.py > ops.txt   (needs torch)
"""
import torch
import torch.nn.functional as F

generator = torch.Generator().manual_seed(5)


def values(*shape):
    return (torch.randn(*shape, generator=generator) * 64).round().double().div(64).requires_grad_(True)


def row(name, tensor):
    print(name, *("%.12g" % v for v in tensor.detach().double().flatten().tolist()))


def rows(**tensors):
    for name, tensor in tensors.items():
        row(name, tensor)


x, w, b = values(3, 4), values(5, 4), values(5)
pre = F.linear(x, w, b)
rows(x=x, w=w, b=b, pre=pre, gelu_erf=F.gelu(pre), gelu_tanh=F.gelu(pre, approximate="tanh"), tanh=torch.tanh(pre))

q, k, v, d_o = values(2, 2, 3, 4), values(2, 2, 3, 4), values(2, 2, 3, 4), values(2, 2, 3, 4)
o = F.scaled_dot_product_attention(q, k, v)
dq, dk, dv = torch.autograd.grad(o, (q, k, v), d_o)
rows(q=q, k=k, v=v, d_o=d_o, o=o, lse=torch.logsumexp(q @ k.transpose(-1, -2) / 2, -1), dq=dq, dk=dk, dv=dv)

x, delta, ls, weight, bias, dy = values(4, 6), values(4, 6), values(6), values(6), values(6), values(4, 6)
y = F.layer_norm(x + ls * delta, (6,), weight, bias, eps=0.01)
dx, ddelta, dls, dweight, dbias = torch.autograd.grad(y, (x, delta, ls, weight, bias), dy)
rows(x=x, delta=delta, ls=ls, weight=weight, bias=bias, dy=dy, y=y, dx=dx, ddelta=ddelta, dls=dls, dweight=dweight, dbias=dbias)

# Rows: one label; two weighted labels; labels as ids with weights, built dense for torch.
logits = values(3, 5)
ids, weights = [[4, -1], [1, 2], [0, 3]], [[1.0, 0.0], [0.75, 0.25], [0.5, 0.5]]
target = torch.zeros(3, 5, dtype=torch.float64)
for i in range(3):
    for j in range(2):
        if ids[i][j] >= 0:
            target[i, ids[i][j]] += weights[i][j]
softmax = F.cross_entropy(logits, target, reduction="none", label_smoothing=0.125)
(dsoftmax,) = torch.autograd.grad(softmax.sum() / 8, logits)
smoothed = target * (1 - 0.125) + 0.125 / 5
sigmoid = F.binary_cross_entropy_with_logits(logits, smoothed, reduction="none").sum(-1)
(dsigmoid,) = torch.autograd.grad(sigmoid.sum() / 8, logits)
rows(logits=logits, label_id=torch.tensor(ids), label_weight=torch.tensor(weights), softmax=softmax, dsoftmax=dsoftmax,
     sigmoid=sigmoid, dsigmoid=dsigmoid)
