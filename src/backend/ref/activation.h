/* The activations and their derivatives at x. */
#ifndef VT_BACKEND_REF_ACTIVATION_H
#define VT_BACKEND_REF_ACTIVATION_H

#include <math.h>

#include "backend/ops.h"

static const double GELU_TANH_SCALE = 0.79788456080286535588; /* sqrt(2/pi) */
static const double GELU_TANH_CUBIC = 0.044715;

static inline double activation_value(enum activation act, double x)
{
    switch (act) {
    case ACT_GELU_ERF: /* x Phi(x) */
        return 0.5 * x * erfc(-x * 0.70710678118654752440);
    case ACT_GELU_TANH:
        return 0.5 * x * (1 + tanh(GELU_TANH_SCALE * (x + GELU_TANH_CUBIC * x * x * x)));
    case ACT_TANH:
        return tanh(x);
    default:
        return x;
    }
}

static inline double activation_slope(enum activation act, double x)
{
    switch (act) {
    case ACT_GELU_ERF: /* Phi(x) + x phi(x) */
        return 0.5 * erfc(-x * 0.70710678118654752440) + x * 0.39894228040143267794 * exp(-0.5 * x * x);
    case ACT_GELU_TANH: {
        double t = tanh(GELU_TANH_SCALE * (x + GELU_TANH_CUBIC * x * x * x));
        return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * GELU_TANH_SCALE * (1 + 3 * GELU_TANH_CUBIC * x * x);
    }
    case ACT_TANH: {
        double t = tanh(x);
        return 1 - t * t;
    }
    default:
        return 1;
    }
}

#endif
