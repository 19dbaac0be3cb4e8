// Evaluation as the trainer does it: with the reference's evaluation settings, results printed,
// kept in metrics and archived when best (spec/train.md 2.2, 2.6).
#ifndef EDT_TRAIN_EVAL_LOOP_H
#define EDT_TRAIN_EVAL_LOOP_H

#include "eval/evaluate.h"
#include "train/event_summaries.h"
#include "train/metrics.h"
#include "train/trainer.h"

typedef struct edt_eval_loop edt_eval_loop;

// Whether evaluations have losses: those of test-dev have no ground truth.
bool edt_eval_loop_has_losses(const edt_train_options *options);

// `params` NULL: stand-alone (mode eval), on `backend`; else the trainer's, whose averages are
// used.
edt_status edt_eval_loop_create(const edt_hparams *hp, const edt_train_options *options,
                                edt_backend *backend, edt_params *params, edt_error *err,
                                edt_eval_loop **out_loop);
void edt_eval_loop_destroy(edt_eval_loop *loop);

// Where evaluations are shown beside metrics (borrowed; NULL: nowhere). edt_eval_loop_run opens
// its own.
void edt_eval_loop_set_summaries(edt_eval_loop *loop, edt_summaries *summaries);

// All calls are made by all ranks of options->comm together; they share the pictures, and rank
// 0 prints and writes.

// Evaluates the weights now in the parameters, prints the twelve lines on stdout, appends to
// `metrics` (may be NULL), and archives checkpoint `prefix` (may be NULL) when its AP is the
// best.
edt_status edt_eval_loop_once(edt_eval_loop *loop, int64_t step, const char *prefix,
                              edt_metrics *metrics, edt_error *err);

// The two halves of the above, for an evaluation beside training (eval_beside.h). The first one
// touches nothing but the loop's predictor, its backend and the files to evaluate, and may run
// on a thread of its own, where `cancel` ends it; the second one prints and writes, and takes
// the evaluation.
edt_status edt_eval_loop_compute(edt_eval_loop *loop, const atomic_bool *cancel, edt_error *err,
                                 edt_evaluation *out_evaluation);
edt_status edt_eval_loop_publish(edt_eval_loop *loop, int64_t step, const char *prefix,
                                 edt_metrics *metrics, edt_evaluation *evaluation,
                                 edt_error *err);

// Stand-alone: puts the averages of checkpoint `prefix`, or its values where there are none,
// into the loop's own parameters.
edt_status edt_eval_loop_load(edt_eval_loop *loop, const char *prefix, edt_error *err);
// What is evaluated; to be written between evaluations only.
edt_params *edt_eval_loop_params(edt_eval_loop *loop);

// Mode eval: loads and evaluates the latest checkpoint of model_dir, then waits for newer ones
// as the flags say, until `total_steps` is reached or a checkpoint's name carries no step.
edt_status edt_eval_loop_run(edt_eval_loop *loop, int64_t total_steps, edt_error *err);

#endif
