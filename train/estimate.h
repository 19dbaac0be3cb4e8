// How long a run would take, from a short probe of it (flag --estimate).
#ifndef EDT_TRAIN_ESTIMATE_H
#define EDT_TRAIN_ESTIMATE_H

#include "train/training.h"

// Takes some steps with batches of the loader, the state left as it was but for the weights in
// memory, and prints on stdout: seconds per step, images per second, share of waiting for
// data, the time the steps that are left would take, and where evaluations follow epochs,
// theirs, from a probe of the first pictures. Writes no file. All ranks call it together; rank
// 0 prints.
edt_status edt_estimate_run(edt_training *run, edt_error *err);

#endif
