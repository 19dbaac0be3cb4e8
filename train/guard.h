// What the trainer makes of the values of its steps: one that is not finite is explained, kept
// as a file and passed over, up to a budget; a loss far above those before gets a line.
#ifndef EDT_TRAIN_GUARD_H
#define EDT_TRAIN_GUARD_H

#include "train/training.h"

// Judges the steps collected last. `batch` is the one of the last step. All ranks call it
// together and come to the same verdict. EDT_ERR_NUMERIC: the run ends, with its last
// checkpoint from before. *out_skipped: some step updated nothing.
edt_status edt_guard_judge(edt_training *run, const edt_step_report *report,
                           const edt_batch *batch, edt_error *err, bool *out_skipped);

#endif
