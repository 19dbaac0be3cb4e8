// The operations of augment/pixel_op.h written down as spec/augment.md states them, pixel by
// pixel: what every fast path is compared with.
#ifndef EDT_TESTS_SUPPORT_PIXEL_ORACLE_H
#define EDT_TESTS_SUPPORT_PIXEL_ORACLE_H

#include "augment/pixel_op.h"

// In place.
void pixel_oracle_run(const edt_image *image, const edt_pixel_op *op);
// Mask values of the region's pixels, h*w bytes.
void pixel_oracle_mask(const edt_grid *grid, int64_t h, int64_t w, uint8_t *out_mask);

#endif
