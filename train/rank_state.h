// What ranks must have in common: that they start from the same state, and one set of moving
// statistics before anybody reads them (hparam sync_bn=stats).
#ifndef EDT_TRAIN_RANK_STATE_H
#define EDT_TRAIN_RANK_STATE_H

#include "dist/comm.h"
#include "model/params.h"
#include "train/state.h"

// EDT_ERR_MISMATCH on every rank, naming the first one that differs from rank 0 and in what:
// settings, step, position in the data, data set or weights. All ranks call it together, after
// they restored or initialised.
edt_status edt_rank_state_compare(edt_comm *comm, const edt_hparams *hp,
                                  const edt_params *params, const edt_train_state *state,
                                  edt_error *err);

// Puts the mean over ranks into the moving means and variances, and into their shadows. Sums
// and means are taken in double and rounded once. All ranks call it together.
edt_status edt_rank_state_average_statistics(edt_comm *comm, edt_params *params,
                                             edt_error *err);

#endif
