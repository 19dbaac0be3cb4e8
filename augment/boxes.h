// Boxes through the geometry of one sample (spec/data.md 7.3 step 6, 7.6). Boxes are
// ymin,xmin,ymax,xmax.
#ifndef EDT_AUGMENT_BOXES_H
#define EDT_AUGMENT_BOXES_H

#include <stdbool.h>
#include <stdint.h>

#include "augment/geometry.h"

// Mirrors normalised boxes [n,4] left to right, in place.
void edt_boxes_flip(float *boxes, int64_t n_boxes);

// Normalised boxes [n,4] -> network pixels: scaled, moved to the crop, clipped to the canvas
// [0, out-1] and filtered. A box stays when both sides are positive; with `reference_defects`
// when its area is not zero, so that inverted boxes and NaN pass as they do in the reference.
// Writes the kept boxes to out_boxes [n,4] (may be `boxes` itself) and the old number of each
// to out_kept [n]; returns how many were kept.
int64_t edt_boxes_to_network(const edt_scale_params *params, const float *boxes,
                             int64_t n_boxes, bool reference_defects, float *out_boxes,
                             int64_t *out_kept);

#endif
