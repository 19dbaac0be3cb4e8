// Anchor boxes of all levels (spec/model.md 4.1): computed in double, rounded once to f32.
#ifndef EDT_MODEL_ANCHORS_H
#define EDT_MODEL_ANCHORS_H

#include "core/hparams.h"

typedef struct edt_anchors {
    int64_t image_h, image_w;
    int min_level, max_level;
    int64_t per_cell; // A
    int64_t level_h[16], level_w[16]; // feature sizes by level number
    int64_t level_offset[16];         // first anchor of a level
    int64_t n;
    float *boxes; // [n,4] ymin,xmin,ymax,xmax, input pixels, not clipped; order level, y, x, scale, aspect
} edt_anchors;

edt_status edt_anchors_create(const edt_hparams *hp, edt_error *err, edt_anchors **out_anchors);
void edt_anchors_destroy(edt_anchors *anchors);

#endif
