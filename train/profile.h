// Timelines of some steps (flag --profile): <model_dir>/timeline-<step>.json in Chrome's trace
// format, ops by name where steps are carried out at once (spec/train.md 2.8).
#ifndef EDT_TRAIN_PROFILE_H
#define EDT_TRAIN_PROFILE_H

#include "train/training.h"

// Before a step is taken: begins a timeline where one is due, of two steps: the third and
// fourth of this program (by when libraries have set themselves up), and those that end at
// each thousandth step. Of rank 0.
edt_status edt_profile_before(edt_training *run, edt_error *err);
// After a step: whether its values must be waited for, so that the timeline holds all of it.
bool edt_profile_waits(const edt_training *run);
// After a step and its values: ends a timeline. `is_last`: no further step follows.
edt_status edt_profile_after(edt_training *run, bool is_last, edt_error *err);

#endif
