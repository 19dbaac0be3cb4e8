// The projective warp with nearest neighbours (spec/augment.md 5.1), in f32 as the reference
// computes it. Shifts and shears move whole runs of pixels in place.
#ifndef EDT_AUGMENT_PIXEL_WARP_H
#define EDT_AUGMENT_PIXEL_WARP_H

#include <stddef.h>

#include "augment/pixel_kernels.h"

enum { EDT_WARP_FILL = 128 };

// Bytes of scratch, aligned for int32_t, for pictures of w columns.
size_t edt_warp_scratch(int64_t w);
// Warps `region` in place by op->a and op->b when they are a shift or a shear; false when they
// are not, and nothing is done.
bool edt_warp_in_place(const edt_pixel_kernels *kernels, const edt_pixel_op *op,
                       const edt_image *region, void *scratch);
// Any warp, from `source` to another place of the same size.
void edt_warp(const edt_pixel_kernels *kernels, const edt_pixel_op *op, const edt_image *source,
              const edt_image *out_region, void *scratch);

#endif
