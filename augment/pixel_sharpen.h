// Sharpness (spec/augment.md 4): a 3x3 smoothing as the degenerate picture of a blend.
#ifndef EDT_AUGMENT_PIXEL_SHARPEN_H
#define EDT_AUGMENT_PIXEL_SHARPEN_H

#include <stddef.h>

#include "augment/pixel_kernels.h"

// Floats of scratch for a region of w columns.
size_t edt_sharpen_scratch(int64_t w);
// In place; regions below 3x3 stay as they are.
void edt_sharpen(const edt_pixel_kernels *kernels, float factor, const edt_image *region,
                 float *scratch);

#endif
