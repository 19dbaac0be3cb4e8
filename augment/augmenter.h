// GridMask, AutoAugment and RandAugment of one picture (spec/augment.md 1-8), decided before
// its pixels are there: the size of the picture, its boxes and the draws give the list of pixel
// operations and the new boxes.
#ifndef EDT_AUGMENT_AUGMENTER_H
#define EDT_AUGMENT_AUGMENTER_H

#include "augment/draws.h"
#include "augment/objects.h"
#include "augment/pixel_op.h"
#include "augment/policies.h"
#include "core/arena.h"
#include "core/hparams.h"

// From the hparams; plain data.
typedef struct edt_augment_config {
    const edt_policy *policy; // NULL: none
    bool randaug;
    bool grid_mask;
    // Corrections of spec/augment.md 11, off by default.
    bool drop_outside;        // boxes that left the picture are removed, not kept as strips
    bool randaug_corrected;   // probabilities used, magnitude 10, no wrap of the threshold
    bool grid_mask_corrected; // uniform draws, equal periods for both axes, grey squares
} edt_augment_config;

// EDT_ERR_USAGE for an unknown policy.
edt_status edt_augment_configure(const edt_hparams *hp, edt_error *err,
                                 edt_augment_config *out_config);
// Whether there is anything to draw.
bool edt_augment_is_on(const edt_augment_config *config);

// What shall happen to one picture.
typedef struct edt_augment_plan {
    int64_t n_ops;
    const edt_pixel_op *ops;  // in the arena
    bool needs_whole_picture; // false: edt_augment_plan_cut may be used
} edt_augment_plan;

// Draws the plan for a picture of h x w pixels and moves, and with drop_outside removes,
// `objects` (rows are compacted in order). Nothing is drawn when all is off. EDT_ERR_NOMEM.
edt_status edt_augment_plan_draw(const edt_augment_config *config, int64_t h, int64_t w,
                                 const edt_draws *draws, edt_arena *arena, edt_error *err,
                                 edt_objects *objects, edt_augment_plan *out_plan);

// The operations for rows y .. y+n_rows-1 alone, as if they were a picture: regions cut and
// moved, in `out_ops` [plan->n_ops]; returns how many. Only for plans that do not need the
// whole picture; the rows come out as they would in the whole.
int64_t edt_augment_plan_cut(const edt_augment_plan *plan, int64_t y, int64_t n_rows,
                             edt_pixel_op *out_ops);

#endif
