// Mode train_and_eval: epochs, each followed by an evaluation, in turn or side by side, and
// when to end early (spec/train.md 2.2).
#ifndef EDT_TRAIN_TRAIN_AND_EVAL_H
#define EDT_TRAIN_TRAIN_AND_EVAL_H

#include "train/training.h"

// Evaluates the weights of the step reached on the training's backend. All ranks together.
edt_status edt_train_and_eval_evaluate(edt_training *run, edt_error *err);

// Trains to the end of the schedule or until early_stop_evals says stop. All ranks together.
edt_status edt_train_and_eval_run(edt_training *run, edt_error *err);

#endif
