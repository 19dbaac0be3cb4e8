// What can be told before training: memory and work of the chosen settings, size of the data
// set, and the facts that a user should see at the start of a run.
#ifndef EDT_TRAIN_PREFLIGHT_H
#define EDT_TRAIN_PREFLIGHT_H

#include "train/step.h"

// EDT_ERR_UNSUPPORTED naming the first hparam whose value asks for what training does not do: a
// setting is honoured or refused, never taken and forgotten. `device` as in edt_train_options.
edt_status edt_preflight_check_hparams(const edt_hparams *hp, const char *device,
                                       edt_error *err);

// Records in the shards, by their framing alone.
edt_status edt_preflight_count_records(const char *file_pattern, edt_error *err,
                                       int64_t *out_n);

// train --plan: bytes per part, on stdout, and the largest batch that fits in this machine's
// memory, where that is the device's. Needs no device. `eval_bytes` are those of an evaluation
// beside training on `eval_device`, 0: none.
edt_status edt_preflight_print_plan(const edt_hparams *hp, const edt_step_options *options,
                                    const char *device, const char *eval_device,
                                    int64_t eval_bytes, edt_error *err);

// Log lines at the start: data set, steps, learning rate as scaled by the batch.
// `options` are of one rank, batch_size of all.
void edt_preflight_log_start(const edt_hparams *hp, const edt_step_options *options,
                             int64_t batch_size, int64_t n_records, int64_t examples_per_epoch,
                             int64_t first_step);

// How much var_freeze_expr leaves to be trained; nothing where that is all. frozen[n_params].
void edt_preflight_log_frozen(const edt_params *params, const bool *frozen);

#endif
