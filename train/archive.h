// The best checkpoint by AP, kept apart from the rolling ones (spec/train.md 2.6): archive/ holds it,
// backup/ the one before, best_objective.txt its value at full precision.
#ifndef EDT_TRAIN_ARCHIVE_H
#define EDT_TRAIN_ARCHIVE_H

#include "core/error.h"

// Copies the checkpoint into model_dir/archive when `objective` is at least the best so far.
edt_status edt_archive_best(const char *model_dir, const char *prefix, double objective,
                            edt_error *err);

#endif
