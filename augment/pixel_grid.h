// GridMask's pixels (spec/augment.md 8): the rotated mask is evaluated where a row crosses the
// edges of its bars, never made.
#ifndef EDT_AUGMENT_PIXEL_GRID_H
#define EDT_AUGMENT_PIXEL_GRID_H

#include <stddef.h>

#include "augment/pixel_kernels.h"

// Bytes of scratch, aligned for int32_t.
size_t edt_grid_scratch(const edt_grid *grid);
void edt_grid_fill(const edt_grid *grid, uint8_t level, const edt_image *region, void *scratch);

#endif
