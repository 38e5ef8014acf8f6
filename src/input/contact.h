/* What the model sees, for people: a contact sheet of a filled slot, and its exact pixels as files (verb `preview`). */
#ifndef VT_INPUT_CONTACT_H
#define VT_INPUT_CONTACT_H

#include "base/status.h"
#include "image/image.h"
#include "input/loader.h"

struct contact_desc {
    int image_size, channels;      /* of the slot's pictures */
    const struct dataset *dataset; /* class names; NULL: labels are shown as numbers */
    int columns;                   /* 0: as many as make the sheet about square */
};

/* Draw the valid rows of a slot as a grid, small pictures enlarged by a whole factor, the labels under each. Overwrites
 * `sheet`. VT_E_LIMIT when the sheet would pass IMAGE_MAX_SIDE. */
VT_MUST_CHECK vt_status contact_sheet(const struct slot *slot, const struct contact_desc *desc, struct image *sheet);
/* The caption of one row: "tench", "7", "cat 0.70, dog 0.30", "unlabelled". */
void contact_caption(const struct slot *slot, int row, const struct dataset *dataset, char *text, size_t bytes);

/* Write every valid row as DIR/<position, 12 digits>.ppm (or .pgm when grey). DIR exists. */
VT_MUST_CHECK vt_status contact_dump(const struct slot *slot, const struct contact_desc *desc, const char *dir);

#endif
