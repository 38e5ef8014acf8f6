/* Resize of a learned position table to another grid, as timm's resample_abs_pos_embed: bicubic (Keys 1981, a = -0.5)
 * with antialiasing, which is torch.nn.functional.interpolate(mode="bicubic", antialias=True, align_corners=False). */
#ifndef VT_CONVERT_POSITION_RESIZE_H
#define VT_CONVERT_POSITION_RESIZE_H

/* source [from, from, width] -> target [to, to, width]; sums in double. Overwrites target, which must not alias source.
 */
void position_resize(const float *source, int from, int to, int width, float *target);

#endif
