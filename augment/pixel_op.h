// Operations on the pixels of a picture, in u8 with the reference's f32 arithmetic
// (spec/augment.md 4, 5.1, 8). Everything random has been decided before (augment/augmenter.h):
// an augmentation is a list of these, run in order, each on its region. Nothing changes the
// picture's size.
#ifndef EDT_AUGMENT_PIXEL_OP_H
#define EDT_AUGMENT_PIXEL_OP_H

#include <stdbool.h>

#include "augment/image.h"
#include "core/error.h"

typedef enum edt_pixel_op_kind {
    EDT_PIXEL_BRIGHTNESS,    // blend(0, v, factor)
    EDT_PIXEL_COLOR,         // blend(gray, v, factor)
    EDT_PIXEL_CONTRAST,      // blend(mean of gray over the region, v, factor)
    EDT_PIXEL_SHARPNESS,     // blend(smooth, v, factor); regions below 3x3 stay as they are
    EDT_PIXEL_AUTO_CONTRAST, // over the region, per channel
    EDT_PIXEL_EQUALIZE,      // over the region, per channel
    EDT_PIXEL_POSTERIZE,     // keeps the `amount` highest bits; 0 keeps one
    EDT_PIXEL_SOLARIZE,      // v < amount ? v : 255 - v; amount 0..256
    EDT_PIXEL_SOLARIZE_ADD,  // v < 128 ? min(v + amount, 255) : v; amount >= 0
    EDT_PIXEL_FILL,          // all channels become `amount`
    EDT_PIXEL_MIRROR,        // left to right
    EDT_PIXEL_WARP,          // nearest neighbour, 128 outside the region
    EDT_PIXEL_GRID_MASK,     // the squares between the bars become `amount`
} edt_pixel_op_kind;

// Part of a picture in pixels, inside it and not empty.
typedef struct edt_region {
    int64_t y, x, h, w;
} edt_region;

// The mask of spec/augment.md 8 before it is rotated: a square of `size`, rows
// [period*i + row_offset, ... + bar) and such columns are kept. It is rotated by `angle`
// (radians, f32 as the reference has it) and its centre is laid over the region. size >= 1,
// period >= 1, 0 <= bar, offsets >= 0.
typedef struct edt_grid {
    int64_t size, period, bar, row_offset, column_offset;
    float angle;
} edt_grid;

typedef struct edt_pixel_op {
    edt_pixel_op_kind kind;
    edt_region region;
    float factor;   // BRIGHTNESS, COLOR, CONTRAST, SHARPNESS; up to a million
    int32_t amount; // POSTERIZE, SOLARIZE, SOLARIZE_ADD, FILL, GRID_MASK
    // WARP, in the region's coordinates: output (x, y) shows input
    // (a[0]*x + a[1]*y + a[2], b[0]*x + b[1]*y + b[2]), rounded half away from zero.
    float a[3], b[3];
    edt_grid grid; // GRID_MASK
} edt_pixel_op;

// Buffers of one thread; they grow to the largest picture seen, then nothing is allocated.
typedef struct edt_pixel_scratch edt_pixel_scratch;
edt_status edt_pixel_scratch_create(edt_error *err, edt_pixel_scratch **out_scratch);
void edt_pixel_scratch_destroy(edt_pixel_scratch *scratch); // NULL is fine

// Runs the operations on `image`, whose pixels are overwritten. The result is `image` itself or
// lies in the scratch until its next use; its size is the same. O(pixels) per operation.
// EDT_ERR_NOMEM; EDT_ERR_UNSUPPORTED for a picture of 2 GiB or more.
edt_status edt_pixel_ops_run(edt_pixel_scratch *scratch, const edt_image *image,
                             const edt_pixel_op *ops, int64_t n_ops, edt_error *err,
                             edt_image *out_image);

#endif
