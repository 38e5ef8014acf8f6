/* A 5 x 7 bitmap font of printable ASCII, for captions. */
#ifndef VT_INPUT_FONT_H
#define VT_INPUT_FONT_H

#include "image/image.h"

enum { FONT_WIDTH = 5, FONT_HEIGHT = 7, FONT_GAP = 1 };

/* Write `text` with its top left corner at (x, y) >= 0, every channel set to `level`. Characters that would pass
 * x + width or the picture's edges are left out; other bytes than printable ASCII become '?'. */
void font_draw(struct image *image, int x, int y, int width, const char *text, uint8_t level);

#endif
