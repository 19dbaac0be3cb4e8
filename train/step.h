// One training step: batch -> forward, losses, backward, update. Owns the training graph, the
// parameters and the optimizer; knows nothing of files, loaders or time.
#ifndef EDT_TRAIN_STEP_H
#define EDT_TRAIN_STEP_H

#include "core/hparams.h"
#include "dataio/batch.h"
#include "model/efficientdet.h"
#include "model/exec.h"
#include "model/params.h"
#include "train/schedule.h"

typedef struct edt_step edt_step;

typedef struct edt_step_options {
    edt_dtype real;     // EDT_DTYPE_F32; EDT_DTYPE_F64 on `ref` (goldens)
    int64_t batch_size; // rows of this rank's batches
    edt_slot_format slot_format;
    bool drop_connect;
    uint64_t seed;      // of drop connect
    edt_schedule schedule;
} edt_step_options;

// Values of one step; losses precede the update.
typedef struct edt_step_metrics {
    double loss, det_loss, cls_loss, box_loss, box_iou_loss, reg_l2_loss;
    double learning_rate;
    double raw_gradient_norm, gradient_norm; // before and after clipping
    double num_positives;
    bool finite; // false: a loss or gradient was NaN or infinite and nothing was updated
} edt_step_metrics;

// Builds everything for one batch shape. `hp` and `backend` are borrowed until destroy. Parameters
// start at 0: initialise or restore them through edt_step_params before the first run.
edt_status edt_step_create(const edt_hparams *hp, edt_backend *backend,
                           const edt_step_options *options, edt_error *err, edt_step **out_step);
void edt_step_destroy(edt_step *step);

edt_params *edt_step_params(edt_step *step);
const edt_model *edt_step_model(const edt_step *step);
edt_exec *edt_step_exec(edt_step *step);
const bool *edt_step_frozen(const edt_step *step); // [n_params]
// The seed of drop connect, where a checkpoint brings its own.
void edt_step_set_seed(edt_step *step, uint64_t seed);
// See edt_optimizer_complete_ema: call it before the averages are read from outside.
edt_status edt_step_complete_ema(edt_step *step, edt_error *err);

// global_step counts from 0. At least one row must be valid; rows past batch->n_valid must be a
// training loader's padding (anchors EDT_CLS_IGNORED; else EDT_ERR_INVALID): they add nothing to
// losses and gradients. No allocation.
edt_status edt_step_run(edt_step *step, const edt_batch *batch, int64_t global_step, edt_error *err,
                        edt_step_metrics *out_metrics);

// What training will need, computed from the graphs alone (train --plan).
typedef struct edt_step_plan {
    edt_plan_summary graph;
    int64_t param_bytes, gradient_bytes, slot_bytes, ema_bytes;
    int64_t total_bytes;
    int64_t n_parameters; // trainable
    int64_t forward_macs; // per image, convolutions
} edt_step_plan;
edt_status edt_step_make_plan(const edt_hparams *hp, const edt_step_options *options,
                              edt_error *err, edt_step_plan *out_plan);

#endif
