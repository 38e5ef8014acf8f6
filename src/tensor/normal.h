/* Normal numbers from uniform ones, one draw each: by the inverse of the normal distribution function, so that an
 * element depends on its own draw only and truncation needs no rejection loop. */
#ifndef VT_TENSOR_NORMAL_H
#define VT_TENSOR_NORMAL_H

/* P(Z < x) for a standard normal Z. */
double normal_cdf(double x);
/* Its inverse for 0 < p < 1; relative error about 1e-16 (Wichura 1988, algorithm AS 241, PPND16). */
double normal_quantile(double p);

/* A normal distribution cut to [-cut, cut] (in sigmas; may be large). */
struct normal_cut {
    double cut, low, mass; /* probability below -cut, and of what is kept */
};
struct normal_cut normal_cut(double cut);
/* The number of the cut distribution that belongs to a uniform in [0, 1). */
double normal_truncated(const struct normal_cut *distribution, double uniform);

#endif
