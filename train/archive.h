// The best checkpoint by AP, kept apart from the rolling ones (spec/train.md 2.6): archive/
// holds it, backup/ the one before, best_objective.txt its value at full precision,
// archive/best_eval.txt what the evaluation said.
#ifndef EDT_TRAIN_ARCHIVE_H
#define EDT_TRAIN_ARCHIVE_H

#include "core/error.h"

// Copies the checkpoint into model_dir/archive when `objective` is at least the best so far.
// `eval_text`: contents of best_eval.txt, NULL: none.
edt_status edt_archive_best(const char *model_dir, const char *prefix, double objective,
                            const char *eval_text, edt_error *err);

#endif
