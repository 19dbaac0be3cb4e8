// Where a picture lands on the network's canvas: scale, jitter and crop (spec/data.md 7.4). All
// arithmetic is f32 with truncation, exactly as the reference has it: the long side may come
// out one pixel short, and trained checkpoints expect that.
#ifndef EDT_AUGMENT_GEOMETRY_H
#define EDT_AUGMENT_GEOMETRY_H

#include <stdint.h>

#include "core/error.h"

typedef struct edt_scale_params {
    int64_t out_h, out_w;       // canvas
    float scale;                // original pixels * scale = scaled pixels
    float image_scale;          // 1 / scale
    int64_t scaled_h, scaled_w; // size of the whole picture after scaling
    int64_t offset_y, offset_x; // first row and column of the crop in the scaled picture
} edt_scale_params;

// The part of the canvas that the picture covers, from the top left corner; the rest is
// padding.
static inline int64_t edt_scale_valid_h(const edt_scale_params *p)
{
    const int64_t left = p->scaled_h - p->offset_y;
    return left < p->out_h ? left : p->out_h;
}
static inline int64_t edt_scale_valid_w(const edt_scale_params *p)
{
    const int64_t left = p->scaled_w - p->offset_x;
    return left < p->out_w ? left : p->out_w;
}

// Evaluation and inference: the whole picture, aspect ratio kept. EDT_ERR_INVALID when a side
// vanishes (an aspect ratio above the canvas size).
edt_status edt_scale_params_eval(int64_t image_h, int64_t image_w, int64_t out_h, int64_t out_w,
                                 edt_error *err, edt_scale_params *out_params);

// Uniform numbers in [0,1) of one training sample, in the order of drawing.
typedef struct edt_jitter_draws {
    float scale, offset_y, offset_x;
} edt_jitter_draws;

// Training: the scale is drawn from [jitter_min, jitter_max) relative to target_h x target_w,
// the crop origin uniformly where the scaled picture exceeds the canvas. Errors as above.
edt_status edt_scale_params_train(int64_t image_h, int64_t image_w, int64_t out_h,
                                  int64_t out_w, int64_t target_h, int64_t target_w,
                                  float jitter_min, float jitter_max, edt_jitter_draws draws,
                                  edt_error *err, edt_scale_params *out_params);

#endif
