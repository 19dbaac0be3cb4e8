// What the ranks of a run add up during one step, started as soon as it is there: the
// normaliser before the losses, statistics of synchronised batch norm node by node, gradients
// in buckets while the backward pass goes on, the losses for the log.
#ifndef EDT_TRAIN_RANK_SUM_H
#define EDT_TRAIN_RANK_SUM_H

#include "dist/comm.h"
#include "model/exec.h"

typedef struct edt_rank_sum edt_rank_sum;

// Everything is borrowed until destroy. `norm` are the n_norm normalisers of the losses;
// `losses` are n_losses elements in one piece; both of the parameters' type, on the backend.
typedef struct edt_rank_sum_spec {
    const edt_graph *graph;
    edt_exec *exec;
    edt_params *params;
    edt_comm *comm;
    void *norm;
    int64_t n_norm;
    void *losses;
    int64_t n_losses;
    bool own_gradients; // normalisers and gradients stay those of this rank (train/replicas.h)
} edt_rank_sum_spec;

// Takes the executor's hook. EDT_ERR_UNSUPPORTED when the communicator cannot reach the
// backend's memory.
edt_status edt_rank_sum_create(const edt_rank_sum_spec *spec, edt_error *err,
                               edt_rank_sum **out_sum);
void edt_rank_sum_destroy(edt_rank_sum *sum); // NULL is fine

// Before each run of the graph, when the inputs are bound; and after the last one, before the
// optimizer. Of several runs that make one step the first sums the normaliser, and during the
// last one gradients are complete and go out.
edt_status edt_rank_sum_begin(edt_rank_sum *sum, bool first, bool last, edt_error *err);
edt_status edt_rank_sum_end(edt_rank_sum *sum, edt_error *err);

#endif
