// AutoAugment: one sub-policy of a policy on one picture (spec/augment.md 2; Zoph et al.,
// "Learning Data Augmentation Strategies for Object Detection", ECCV 2020).
#ifndef EDT_AUGMENT_AUTOAUGMENT_H
#define EDT_AUGMENT_AUTOAUGMENT_H

#include "augment/policy_step.h"

// Draws, in the reference's order: the signs of all operations of all sub-policies that have
// one, the sub-policy, then for each of its operations whether it runs (drawn but always true
// for those per box) and its own numbers. EDT_ERR_NOMEM.
edt_status edt_autoaugment_draw(edt_augment_scene *scene, const edt_policy *policy,
                                edt_error *err);

#endif
