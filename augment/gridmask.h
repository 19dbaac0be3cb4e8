// GridMask: a turned grid of bars through which the picture is seen; the squares between them
// are painted over (spec/augment.md 8; Chen et al., "GridMask Data Augmentation", 2020). Boxes
// stay as they are.
#ifndef EDT_AUGMENT_GRIDMASK_H
#define EDT_AUGMENT_GRIDMASK_H

#include "augment/policy_step.h"

// Draws, in the reference's order: period, row and column offset, angle, and whether the mask
// is used; only then an operation is noted. A picture so small that the period is 0 has no
// mask, and nothing after the period is drawn. The reference weighs height and width unequally
// and draws angle and use from normal distributions; `corrected` takes 0.3 to 0.5 of the
// shorter side, uniform draws of +-10 degrees and of one half, and paints grey. EDT_ERR_NOMEM.
edt_status edt_gridmask_draw(edt_augment_scene *scene, bool corrected, edt_error *err);

#endif
