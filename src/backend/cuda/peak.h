#ifndef VT_BACKEND_CUDA_PEAK_H
#define VT_BACKEND_CUDA_PEAK_H

/* Datasheet rate of dense bf16 matrix products with fp32 sums, FLOP/s, of a GPU by the name its driver gives; 0 = not
 * in the table. Pure. */
double cuda_peak_flops(const char *name);

#endif
