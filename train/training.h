// One run of training, as the parts of the trainer share it: trainer.c builds it and decides
// what comes after what, training.c takes the steps.
#ifndef EDT_TRAIN_TRAINING_H
#define EDT_TRAIN_TRAINING_H

#include "dataio/loader.h"
#include "train/epochs.h"
#include "train/eval_beside.h"
#include "train/eval_loop.h"
#include "train/event_summaries.h"
#include "train/metrics.h"
#include "train/sample_image.h"
#include "train/state.h"
#include "train/step.h"
#include "train/target_maker.h"
#include "train/trainer.h"

// A timeline that is being recorded (train/profile.h).
typedef struct edt_training_profile {
    bool is_on;
    int64_t n_steps; // taken by this program
    int64_t ends_at;
    char path[1024];
} edt_training_profile;

typedef struct edt_training {
    const edt_hparams *hp;
    const edt_train_options *options;
    edt_arena arena;
    edt_comm *comm; // of the backend's memory; options->comm where that is the host's
    int n_threads;
    edt_backend *backend;
    edt_step *step;
    edt_loader *loader;
    edt_target_maker *targets;
    edt_metrics *metrics;
    edt_summaries *summaries; // rank 0's, NULL in a probe
    edt_sample_image *sample; // NULL: none
    int64_t sampled_step;     // that drew it last
    edt_eval_loop *eval;      // on the training's backend
    edt_eval_beside *beside;  // rank 0's, where evaluations are beside training
    edt_schedule schedule;
    edt_epochs epochs; // when it evaluates and saves
    edt_train_state state;
    int64_t saved_step; // of the newest checkpoint, -1: none
    int64_t n_empty;    // batches in a row without a usable sample (on_bad_sample=skip)
    int64_t examples_per_epoch;
    edt_step_metrics last; // of the newest step that was collected
    double loss_z;         // greatest one above EDT_LOSS_WATCH_Z since the last line of metrics
    int64_t high_step;     // the newest step with such a loss, -1: none
    const edt_batch *fake_batch; // --use_fake_data: the first one, for all steps
    edt_training_profile profile;
    bool has_stopped; // all ranks, on request
} edt_training;

// Whether this is the rank that writes files.
bool edt_training_writes(const edt_training *run);

// Before the state is read from outside (checkpoint, evaluation): averages are completed,
// moving statistics made the same on all ranks. All ranks call it together, as the next one.
edt_status edt_training_settle(edt_training *run, edt_error *err);

// Trains until global_step reaches `until`, or EDT_ERR_CANCELLED when the user interrupts
// before (a checkpoint is then written, and has_stopped set). `fixed_batch` NULL: batches from
// the loader.
edt_status edt_training_until(edt_training *run, int64_t until, const edt_batch *fixed_batch,
                              edt_error *err);

#endif
