// What a training run shows in TensorBoard and when: pictures of batches, detections on
// sample_image, histograms. Of rank 0; nothing on others and in probes.
#ifndef EDT_TRAIN_RUN_EVENTS_H
#define EDT_TRAIN_RUN_EVENTS_H

#include "train/training.h"

// Opens run->summaries and, with hparam sample_image, the picture; the state has been resumed.
edt_status edt_run_events_open(edt_training *run, edt_error *err);
// `succeeded`: how the run ended.
void edt_run_events_close(edt_training *run, bool succeeded);

// Whether training batches must carry their ground truth.
bool edt_run_events_wants_groundtruth(const edt_training *run);

// Before the step global_step + 1 is taken with `batch`: its pictures, where they are due (the
// first step and every img_summary_steps).
edt_status edt_run_events_batch(edt_training *run, const edt_batch *batch, edt_error *err);
// After step global_step: histograms (every histogram_steps) and the sample image (every
// img_summary_steps).
edt_status edt_run_events_step(edt_training *run, edt_error *err);
// The sample image at an evaluation, where this step has not drawn it.
edt_status edt_run_events_sample(edt_training *run, edt_error *err);

#endif
