// Pixel levels -> network numbers: (x - mean) / std per channel in f32 with a true division,
// and scale_range (spec/data.md 7.3 step 5, 7.7).
#ifndef EDT_AUGMENT_NORMALIZE_H
#define EDT_AUGMENT_NORMALIZE_H

#include <stdbool.h>

#include "core/hparams.h"

typedef struct edt_normalize {
    float mean[3], stddev[3]; // R,G,B
    bool scale_range;
    float level[3][256]; // (x - mean) / std of each level, before scale_range
} edt_normalize;

// From mean_rgb, stddev_rgb (one value or three) and scale_range. EDT_ERR_USAGE for other
// counts, values that are not finite or a zero deviation. Warns when scale_range meets mean/std
// other than 0/1, which gives a nearly constant picture.
edt_status edt_normalize_init(const edt_hparams *hp, edt_error *err,
                              edt_normalize *out_normalize);

// The last step of the pipeline, padding included: x * 2 / 255 - 1.
static inline float edt_normalize_range(float x)
{
    return x * 2.0f / 255.0f - 1.0f;
}

// What padding becomes: 0, or -1 with scale_range.
static inline float edt_normalize_padding(const edt_normalize *normalize)
{
    return normalize->scale_range ? edt_normalize_range(0.0f) : 0.0f;
}

#endif
