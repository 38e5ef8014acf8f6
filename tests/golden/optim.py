"""Writes optim.txt: ten steps of torch.optim.AdamW and SGD behind clip_grad_norm_, in float64.

Hyperparameters are float32 values, as struct optim_hyper has them; gradients are float32 too. Two parameter groups have
their own learning rate and weight decay. Some steps are clipped and some are not.
Run: python optim.py > optim.txt   (needs torch)
"""
import torch

STEPS, SIZES = 10, (16, 9)
LR_SCALE, DECAY = (1.0, 0.5), (0.05, 0.0)


def f32(value):
    return float(torch.tensor(value, dtype=torch.float32))


def row(name, values):
    print(name, *("%.10g" % v for v in values))


def run(name, lr, clip, make):
    generator = torch.Generator().manual_seed(11)
    params = [torch.nn.Parameter(torch.randn(n, generator=generator).double()) for n in SIZES]
    groups = [dict(params=[p], lr=f32(lr) * f32(s), weight_decay=f32(d)) for p, s, d in zip(params, LR_SCALE, DECAY)]
    optimizer = make(groups)
    row(name + ".start", torch.cat([p.detach() for p in params]).tolist())
    for step in range(STEPS):
        for p in params:
            p.grad = (torch.randn(len(p), generator=generator) * (0.05 if step % 3 == 2 else 1.0)).double()
        row(name + ".grad", torch.cat([p.grad for p in params]).tolist())
        norm = torch.nn.utils.clip_grad_norm_(params, f32(clip)) if clip else torch.cat([p.grad for p in params]).norm()
        row(name + ".norm", [norm.item()])
        optimizer.step()
        row(name + ".param", torch.cat([p.detach() for p in params]).tolist())


run("adamw", 0.01, 1.0, lambda groups: torch.optim.AdamW(groups, betas=(f32(0.9), f32(0.999)), eps=f32(1e-8)))
run("adamw_noclip", 0.003, 0.0, lambda groups: torch.optim.AdamW(groups, betas=(f32(0.9), f32(0.95)), eps=f32(1e-6)))
run("sgd", 0.1, 1.0, lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=f32(0.9)))
run("nesterov", 0.1, 1.0, lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=f32(0.9), nesterov=True))
run("plain_sgd", 0.1, 0.0, lambda groups: torch.optim.SGD(groups, lr=0.1))
