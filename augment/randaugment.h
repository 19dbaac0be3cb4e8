// RandAugment as the reference has it for detection: one of ten operations at a fixed magnitude
// (spec/augment.md 7.1; Cubuk et al., "RandAugment", 2019).
#ifndef EDT_AUGMENT_RANDAUGMENT_H
#define EDT_AUGMENT_RANDAUGMENT_H

#include "augment/policy_step.h"

// Draws, in the reference's order: the operation's number; then, for each of the ten in turn, a
// probability, a sign where it has one, and for the chosen one its own numbers. The reference
// ignores the probability and runs at magnitude 15; `corrected` uses it (one more draw, before
// the operation's own numbers) and magnitude 10, and the caller does not wrap thresholds.
// EDT_ERR_NOMEM.
edt_status edt_randaugment_draw(edt_augment_scene *scene, bool corrected, edt_error *err);

#endif
