// One operation of a policy on one picture whose pixels are not there yet: its numbers are
// drawn, boxes are moved, and what happens to pixels is noted (spec/augment.md 3 to 6).
// augment/autoaugment.h and randaugment.h say which operations and when.
#ifndef EDT_AUGMENT_POLICY_STEP_H
#define EDT_AUGMENT_POLICY_STEP_H

#include "augment/draws.h"
#include "augment/objects.h"
#include "augment/pixel_op.h"
#include "augment/policies.h"
#include "core/arena.h"

// One picture while its plan is made. Zero `ops`, `n_ops` and `capacity` to begin with.
typedef struct edt_augment_scene {
    int64_t h, w; // pixels
    edt_objects *objects;
    const edt_draws *draws;
    edt_arena *arena;
    bool drop_outside;    // remove boxes that have left the picture
    bool wrap_thresholds; // Solarize's threshold is a u8, as in the reference's graphs
    edt_pixel_op *ops;    // in the arena
    int64_t n_ops, capacity;
} edt_augment_scene;

// Notes an operation on pixels. EDT_ERR_NOMEM.
edt_status edt_augment_scene_push(edt_augment_scene *scene, const edt_pixel_op *op,
                                  edt_error *err);

// Whether the operation has a direction, for which a sign is drawn.
bool edt_policy_op_is_signed(edt_policy_op op);
// Whether it works on each box by itself, with a third of its probability.
bool edt_policy_op_is_per_box(edt_policy_op op);
// True with probability p, from one uniform draw, as the reference rounds it.
bool edt_augment_happens(const edt_draws *draws, double p);

// Runs `step` with its argument's sign (ignored by operations without one). Draws: cutout row
// and column; for a cutout in a box the box first; for operations per box the order, then for
// each box whether it is treated and its own numbers. EDT_ERR_NOMEM.
edt_status edt_policy_step_draw(edt_augment_scene *scene, const edt_policy_step *step,
                                bool positive, edt_error *err);

#endif
