/* Normal numbers from uniform ones, one draw each: by the inverse of the normal distribution function, so that an
 * element depends on its own draw only and truncation needs no rejection loop. */
#ifndef VT_TENSOR_NORMAL_H
#define VT_TENSOR_NORMAL_H

/* P(Z < x) for a standard normal Z. */
double normal_cdf(double x);
/* Its inverse for 0 < p < 1; relative error about 1e-16 (Wichura 1988, algorithm AS 241, PPND16). */
double normal_quantile(double p);
/* The normal number in [-cut, cut] (in sigmas) that belongs to a uniform in [0, 1); cut may be large. */
double normal_truncated(double uniform, double cut);

#endif
