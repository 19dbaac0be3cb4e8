// One training step: batch -> forward, losses, backward, update. Owns the training graph, the
// parameters and the optimizer; knows nothing of files, loaders or time. On a backend with
// streams steps are queued while the device works on the one before, replayed from one
// recording, and their values come back when they are asked for; other backends carry a step
// out at once, by the same calls.
#ifndef EDT_TRAIN_STEP_H
#define EDT_TRAIN_STEP_H

#include "core/hparams.h"
#include "dataio/batch.h"
#include "dist/comm.h"
#include "model/efficientdet.h"
#include "model/exec.h"
#include "model/params.h"
#include "train/loss_scale.h"
#include "train/loss_watch.h"
#include "train/schedule.h"

typedef struct edt_step edt_step;

typedef struct edt_step_options {
    edt_dtype real; // of activations: EDT_DTYPE_F32; BF16 and F16 (mixed precision, variables
                    // stay f32) where the backend has them; F64 on `ref` (goldens)
    int64_t batch_size; // rows of this rank's batches; with hparam accumulate_steps they go
                        // through the network in so many parts (it must divide them)
    edt_slot_format slot_format;
    bool drop_connect;
    uint64_t seed; // of drop connect
    edt_schedule schedule;
    edt_comm *comm;    // borrowed until destroy; NULL: one rank
    int bn_ranks;      // batch norm synchronised over so many ranks; 0: not (edt_model_options)
    double loss_scale; // dynamic loss scaling from this value on; 0: none
    bool capture;      // backends with streams: record the step once and replay it
} edt_step_options;

// Values of one step, over all ranks; losses precede the update.
typedef struct edt_step_metrics {
    double loss, det_loss, cls_loss, box_loss, box_iou_loss, reg_l2_loss;
    double seg_loss; // mean over the pixels that have a class
    double learning_rate;
    double raw_gradient_norm, gradient_norm; // before and after clipping
    double num_positives;
    double loss_scale; // after the step; 0: no loss scaling
    bool finite; // false: a loss or gradient was NaN or infinite and nothing was updated; on a
                 // backend without streams moving statistics neither, so that the step was not
                 // taken at all. With loss scaling that is how the scale is found, not a defect
} edt_step_metrics;

// What the steps since the last collect have come to.
typedef struct edt_step_report {
    int64_t n_steps;
    int64_t last_step; // global_step of the newest; `last` are its values
    edt_step_metrics last;
    int64_t n_not_finite;     // steps that are not `finite`
    int64_t first_not_finite; // global_step of the first of them, -1: none; `first_bad` are its
                              // values
    edt_step_metrics first_bad;
    const int64_t
        *bad_source_ids; // of that step's batch (its valid rows), until the next collect
    int64_t n_bad_source_ids;
    int64_t n_bad_losses; // steps whose det_loss was not finite: with streams, moving
                          // statistics are spoilt
    double worst_z;       // of the losses, see loss_watch.h; its step and loss
    int64_t worst_step;
    double worst_loss;
} edt_step_report;

// Builds everything for one batch shape. `hp` and `backend` are borrowed until destroy.
// Parameters start at 0: initialise or restore them through edt_step_params before the first
// run.
edt_status edt_step_create(const edt_hparams *hp, edt_backend *backend,
                           const edt_step_options *options, edt_error *err,
                           edt_step **out_step);
void edt_step_destroy(edt_step *step);
// Gives up the recording of a step, without waiting for the device: before edt_comm_abort of a
// device communicator whose sums it holds. The next step records anew. NULL is fine.
void edt_step_drop_capture(edt_step *step);

edt_params *edt_step_params(edt_step *step);
const edt_model *edt_step_model(const edt_step *step);
edt_exec *edt_step_exec(edt_step *step);
const bool *edt_step_frozen(const edt_step *step); // [n_params]
const edt_step_options *edt_step_get_options(const edt_step *step);
// The seed of drop connect, where a checkpoint brings its own.
void edt_step_set_seed(edt_step *step, uint64_t seed);
// See edt_optimizer_complete_ema: call it before the averages are read from outside.
edt_status edt_step_complete_ema(edt_step *step, edt_error *err);

// Loss scaling, where a checkpoint keeps it; scale 0 without.
edt_status edt_step_get_loss_scale(edt_step *step, edt_error *err,
                                   edt_loss_scale_state *out_state);
edt_status edt_step_set_loss_scale(edt_step *step, edt_loss_scale_state state, edt_error *err);

// The moving normaliser (positives_momentum > 0), where a checkpoint keeps it; 0: new.
float edt_step_get_moving_normalizer(const edt_step *step);
void edt_step_set_moving_normalizer(edt_step *step, float value);
// The watch over the losses, where a checkpoint keeps it.
edt_loss_watch edt_step_get_loss_watch(const edt_step *step);
void edt_step_set_loss_watch(edt_step *step, edt_loss_watch watch);

// Takes a step with `batch`, which must be left alone until edt_step_take_done gives it back.
// global_step counts from 0. At least one row must be valid (with several ranks: on one of
// them); rows past batch->n_valid must be a training loader's padding (anchors EDT_CLS_IGNORED;
// else EDT_ERR_INVALID): they add nothing to losses and gradients. All ranks call it together.
// The parameters count as changed when it returns; reading them waits for the device. No
// allocation after the first three calls.
edt_status edt_step_submit(edt_step *step, const edt_batch *batch, int64_t global_step,
                           edt_error *err);
// The oldest batch that was submitted and is no longer needed, NULL when there is none. With
// `wait` the host waits until the oldest one is; NULL then means that none is out. At most
// three are.
edt_status edt_step_take_done(edt_step *step, bool wait, edt_error *err,
                              const edt_batch **out_batch);
// Waits for all steps submitted and tells what they came to; n_steps is 0 when there were none.
edt_status edt_step_collect(edt_step *step, edt_error *err, edt_step_report *out_report);
// Submit, collect and give the batch back in one call.
edt_status edt_step_run(edt_step *step, const edt_batch *batch, int64_t global_step,
                        edt_error *err, edt_step_metrics *out_metrics);

// Where something that is not finite shows first in a step.
typedef struct edt_step_fault {
    int i_node; // of the graph, in the order in which they run; -1: in none of them
    char text[512];
} edt_step_fault;
// Takes the last step again, with the inputs that are still there and without its update, and
// looks at each value that a node makes. Leaves parameters and statistics alone. All ranks call
// it together; several GPUs are only told that it does not work there. Slow, and it allocates.
edt_status edt_step_find_fault(edt_step *step, edt_error *err, edt_step_fault *out_fault);

// What training will need, computed from the graphs alone (train --plan).
typedef struct edt_step_plan {
    edt_plan_summary graph;
    int64_t param_bytes, gradient_bytes, slot_bytes, ema_bytes;
    int64_t low_bytes;   // 16-bit copy of the parameters
    int64_t input_bytes; // of the graph, and of the batch beside it where accumulate_steps > 1
    int64_t total_bytes;
    int64_t n_parameters; // trainable
    int64_t forward_macs; // per image, convolutions
    int64_t again_macs;   // of a run of the graph, computed again for grad_checkpoint
} edt_step_plan;
edt_status edt_step_make_plan(const edt_hparams *hp, const edt_step_options *options,
                              edt_error *err, edt_step_plan *out_plan);

#endif
