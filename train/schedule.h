// Learning rate as a pure function of the step (spec/train.md 2.1, 6; reference: det_model_fn.py,
// tf2/train_lib.py). Evaluated in f32 like the reference's.
#ifndef EDT_TRAIN_SCHEDULE_H
#define EDT_TRAIN_SCHEDULE_H

#include "core/hparams.h"

typedef enum edt_lr_method {
    EDT_LR_COSINE,
    EDT_LR_POLYNOMIAL,
    EDT_LR_STEPWISE,
    EDT_LR_CONSTANT,
} edt_lr_method;

// Read-only after init.
typedef struct edt_schedule {
    edt_lr_method method;
    double base_lr;   // learning_rate * batch / 64
    double warmup_lr; // start of the warm-up
    double power;
    int64_t warmup_steps, first_drop_step, second_drop_step;
    int64_t decay_steps; // the schedule's own total: int(num_epochs * steps_per_epoch)
    double steps_per_epoch; // real under semantics=tf1, whole under tf2
    int64_t total_steps;    // where training stops
} edt_schedule;

// `batch_size` and `examples_per_epoch` are global, over all ranks. EDT_ERR_USAGE when a method is
// unknown, an epoch has no step, or the warm-up does not fit.
edt_status edt_schedule_init(edt_schedule *schedule, const edt_hparams *hp, int64_t batch_size,
                             int64_t examples_per_epoch, edt_error *err);

// Learning rate of step i, the first one being 0. Any i >= 0.
double edt_schedule_lr(const edt_schedule *schedule, int64_t step);

// Decay of the moving averages at the update that follows step i (train.md 8): grows from 2/11
// (tf1) or 1/10 (tf2) towards `max_decay`.
double edt_ema_decay(double max_decay, int64_t step, bool tf2_semantics);

#endif
