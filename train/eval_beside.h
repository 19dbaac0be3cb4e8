// Evaluation beside training: a thread of its own evaluates a copy of the weights, with a
// backend, a network, a loader and threads of its own, while training takes the steps of the
// next epoch. What it finds is published (log, table, metrics.jsonl, TensorBoard, archive) by
// the training thread, so that the files of a run have one writer. Every call is made by that
// thread, on rank 0 alone: other ranks train on.
#ifndef EDT_TRAIN_EVAL_BESIDE_H
#define EDT_TRAIN_EVAL_BESIDE_H

#include "train/eval_loop.h"

typedef struct edt_eval_beside edt_eval_beside;

// Whether the options ask for it. --overfit_one_batch, which people add to the command of their
// run, evaluates its batch alone.
bool edt_eval_beside_wanted(const edt_train_options *options);

// Backend options->eval_device with options->eval_threads threads and everything an evaluation
// allocates on it. "cuda" takes the device behind those of the ranks of this machine. `options`
// are the run's, borrowed. EDT_ERR_USAGE where no processor or device is left.
edt_status edt_eval_beside_create(const edt_hparams *hp, const edt_train_options *options,
                                  edt_error *err, edt_eval_beside **out_beside);
// Cancels what is under way and drops it. NULL is fine.
void edt_eval_beside_destroy(edt_eval_beside *beside);
// See edt_eval_loop_set_summaries.
void edt_eval_beside_set_summaries(edt_eval_beside *beside, edt_summaries *summaries);

// Copies the averages of the trainer's `params`, or its values where there are none, and begins
// to evaluate them as `step`; `prefix`: the checkpoint that holds them. Nothing may be under
// way.
edt_status edt_eval_beside_start(edt_eval_beside *beside, const edt_params *params,
                                 int64_t step, const char *prefix, edt_error *err);
// The same with the weights of checkpoint `prefix`.
edt_status edt_eval_beside_start_checkpoint(edt_eval_beside *beside, int64_t step,
                                            const char *prefix, edt_error *err);

// From a start to the collect that follows. NULL is fine: false.
bool edt_eval_beside_is_under_way(const edt_eval_beside *beside);
// The checkpoint that is evaluated, without its directory: it must stay until its evaluation is
// published. NULL: none.
const char *edt_eval_beside_checkpoint(const edt_eval_beside *beside);
// Waits up to `seconds` (< 0: for ever) for the end of what is under way; whether it has come.
bool edt_eval_beside_wait(edt_eval_beside *beside, double seconds);
// Waits for the end of what is under way and publishes it, or returns its error, with nothing
// written. EDT_ERR_CANCELLED: by an interrupt.
edt_status edt_eval_beside_collect(edt_eval_beside *beside, edt_metrics *metrics,
                                   edt_error *err);
// For the end of a run that was interrupted, when the checkpoint has been written: ends what is
// under way after the batch at hand, and publishes it where it had come to its end.
edt_status edt_eval_beside_cancel(edt_eval_beside *beside, edt_metrics *metrics,
                                  edt_error *err);

// Bytes that edt_eval_beside_create will hold on options->eval_device at most, without
// workspaces of kernels (train --plan): what the device's fused kernels spare is counted. Needs
// no device.
edt_status edt_eval_beside_plan(const edt_hparams *hp, const edt_train_options *options,
                                edt_error *err, int64_t *out_n_bytes);

#endif
