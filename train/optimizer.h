// The optimizer as one backend op over the flat parameter arenas: which variables move, decay
// and are averaged, and the per-semantics constants (spec/train.md 4.5, 5.1, 7, 8, 9.1).
#ifndef EDT_TRAIN_OPTIMIZER_H
#define EDT_TRAIN_OPTIMIZER_H

#include "core/hparams.h"
#include "model/params.h"

typedef struct edt_optimizer edt_optimizer;

// Per parameter: true where `var_freeze_expr` matches from the start of "<name>:0" (an extended
// POSIX regular expression; Python-only syntax such as (?i) is refused). NULL or empty freezes
// nothing. out_frozen has n_params entries. A warning is logged when nothing matched.
edt_status edt_freeze_select(const char *var_freeze_expr, int n_params,
                             const char *const *names, const bool *trainable, edt_error *err,
                             bool *out_frozen);

// Adds the arenas that the update needs (gradients, slots, EMA) to `params`, whose backend runs
// the op. frozen[n_params]. `params` must outlive the optimizer.
edt_status edt_optimizer_create(edt_params *params, const edt_hparams *hp, const bool *frozen,
                                edt_error *err, edt_optimizer **out_optimizer);
// As edt_optimizer_create with device memory of the caller (borrowed): `stats` for the
// statistics, EDT_OPTIMIZER_STATS elements of the parameters' type; `scale` for dynamic loss
// scaling (backend/ op.h, OPTIMIZER), f32[2], or NULL for none.
edt_status edt_optimizer_create_on(edt_params *params, const edt_hparams *hp,
                                   const bool *frozen, void *stats, void *scale, edt_error *err,
                                   edt_optimizer **out_optimizer);
void edt_optimizer_destroy(edt_optimizer *optimizer);

// L2, clipping, update and averages from the gradients now in `params`; `step` counts from 0.
// out_stats[EDT_OPTIMIZER_STATS] as in backend/op.h. Bumps params->version when it updated.
edt_status edt_optimizer_run(edt_optimizer *optimizer, double learning_rate, int64_t step,
                             edt_error *err, double *out_stats);

// The two halves of edt_optimizer_run, for a step that runs on a device while the host goes on:
// the values of a step for edt_backend_table.begin, and the op alone, without begin, download
// and a new params->version.
edt_run_ctx edt_optimizer_context(const edt_optimizer *optimizer, double learning_rate,
                                  int64_t step);
edt_status edt_optimizer_queue(edt_optimizer *optimizer, const edt_run_ctx *ctx,
                               edt_error *err);
// The segments of the op, one per parameter; the optimizer's.
const edt_param_segment *edt_optimizer_segments(const edt_optimizer *optimizer);
// Takes gradients from `device` (borrowed, a whole arena) and not from `params`.
void edt_optimizer_use_gradients(edt_optimizer *optimizer, void *device);
// Reads the statistics as the device has them now.
edt_status edt_optimizer_read_stats(const edt_optimizer *optimizer, edt_error *err,
                                    double *out_stats);

// Gives the parameters that the optimizer does not average (tf2: moving statistics and frozen
// variables) their plain values as averages, so that the EMA arena is a complete set of
// weights. Before evaluating with or saving averages; nothing to do under tf1.
edt_status edt_optimizer_complete_ema(edt_optimizer *optimizer, edt_error *err);

#endif
