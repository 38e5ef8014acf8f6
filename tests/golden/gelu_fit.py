"""Fits of backend/cpu/activation.inc: f(x) = x p(x^2) / q(x^2) on [0, limit], minimax by Lawson's reweighting of the
linearised least squares, for Phi(x) - 1/2 and (x Phi(x))' - 1/2. Prints coefficients and the largest error in fp32.
Needs mpmath. Run by hand: python3 tests/golden/gelu_fit.py"""
import struct
from mpmath import mp, mpf, erf, sqrt, exp, pi, cos, matrix, lu_solve

mp.dps = 40
NODES, ROUNDS, DEGREE = 150, 25, 5


def cdf(x):
    return erf(x / sqrt(mpf(2))) / 2


def slope(x):
    return cdf(x) + x * exp(-x * x / 2) / sqrt(2 * pi)


def value(coefficients, t):
    return sum(c * t**k for k, c in enumerate(coefficients))


def fit(f, limit):
    x = [limit * (1 - cos(pi * (i + mpf(1) / 2) / NODES)) / 2 for i in range(NODES)]
    t = [(v / limit)**2 for v in x]
    h = [f(v) / v for v in x]
    below, weight, size = [mpf(1)] * NODES, [mpf(1)] * NODES, 2 * DEGREE + 1
    for _ in range(ROUNDS):
        a, b = matrix(size, size), matrix(size, 1)
        for i in range(NODES):
            row = [t[i]**k for k in range(DEGREE + 1)] + [-h[i] * t[i]**k for k in range(1, DEGREE + 1)]
            scale = weight[i] * (x[i] / below[i])**2
            for r in range(size):
                for c in range(size):
                    a[r, c] += scale * row[r] * row[c]
                b[r] += scale * row[r] * h[i]
        solution = list(lu_solve(a, b))
        p, q = solution[:DEGREE + 1], [mpf(1)] + solution[DEGREE + 1:]
        below = [value(q, v) for v in t]
        error = [abs(x[i] * (value(p, t[i]) / below[i] - h[i])) for i in range(NODES)]
        weight = [w * (e / max(error) + mpf(1) / 1000) for w, e in zip(weight, error)]
        weight = [w * NODES / sum(weight) for w in weight]
    return [c / limit**(2 * k) for k, c in enumerate(p)], [c / limit**(2 * k) for k, c in enumerate(q)]


def f32(x):
    return struct.unpack("f", struct.pack("f", float(x)))[0]


def horner(coefficients, t):
    total = 0.0
    for c in reversed(coefficients):
        total = f32(total * t + f32(c))
    return total


def worst(f, limit, p, q):
    errors = []
    for i in range(1, 2001):
        x = mpf(8) * i / 2000
        y = f32(min(x, limit))
        t = f32(y * y)
        errors.append(abs(f32(f32(horner(p, t) / horner(q, t)) * y) - f(x)))
    return max(errors)


for name, f, limit in (("Phi - 1/2", cdf, mpf("5.3")), ("(x Phi)' - 1/2", slope, mpf("5.5"))):
    p, q = fit(f, limit)
    print(name, "limit", float(limit), "largest error %.2e" % worst(f, limit, p, q))
    print("  p", ["%.9g" % float(c) for c in p])
    print("  q", ["%.9g" % float(c) for c in q])
