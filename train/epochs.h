// When a run ends an epoch, evaluates and writes a checkpoint: pure functions of the step, so
// that a run started again does as the one before would have (spec/train.md 2.2, 2.5, 16).
#ifndef EDT_TRAIN_EPOCHS_H
#define EDT_TRAIN_EPOCHS_H

#include "core/hparams.h"
#include "train/schedule.h"

typedef struct edt_epochs {
    int64_t n;               // num_epochs, the last one may be a part
    int64_t total_steps;     // the step that ends it
    int64_t examples, batch; // of an epoch, of a step, over all ranks
    int64_t whole_steps; // of an epoch with semantics=tf2; 0: tf1, where they need not be whole
    int64_t map_freq;    // epochs between evaluations
    int64_t save_steps;  // steps between checkpoints
    bool saves_epochs;   // at the end of each epoch, too
} edt_epochs;

// `examples` of an epoch and `batch` as for edt_schedule_init. EDT_ERR_USAGE for a save_freq
// that is neither "epoch" nor a number of steps from 1 on.
edt_status edt_epochs_init(edt_epochs *epochs, const edt_hparams *hp,
                           const edt_schedule *schedule, int64_t examples, int64_t batch,
                           int64_t save_checkpoints_steps, edt_error *err);

// The step that ends epoch `e`, the first one being 1; 0 for e = 0.
int64_t edt_epochs_end(const edt_epochs *epochs, int64_t e);
// Whether mode train_and_eval evaluates after epoch `e`: tf1 after each one, tf2 after every
// map_freq-th; both after the last step.
bool edt_epochs_evaluates(const edt_epochs *epochs, int64_t e);
// How many evaluations mode train_and_eval makes after `step`.
int64_t edt_epochs_count_evaluations(const edt_epochs *epochs, int64_t step);
// Whether a checkpoint is due after so many steps, besides that of the end of a run.
bool edt_epochs_saves(const edt_epochs *epochs, int64_t step);

// The number of steps that save_freq gives, 0 for "epoch", -1 for anything else.
int64_t edt_epochs_parse_save_freq(const char *save_freq);

#endif
