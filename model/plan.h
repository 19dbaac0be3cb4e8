// Memory of activations: which nodes need to run at all, how long each value lives, and where
// in one block it lies so that values that never live together share bytes.
#ifndef EDT_MODEL_PLAN_H
#define EDT_MODEL_PLAN_H

#include "model/graph.h"

typedef struct edt_plan {
    int n_values;
    int64_t *offset; // bytes into the block, by value; -1: not a planned value
    int64_t block_bytes;
    int64_t naive_bytes; // without sharing
} edt_plan;

// Sets dead[i] for nodes whose results nobody reads: no named output, no parameter gradient and
// no in-place operand (moving statistics) depends on them. Nodes already dead stay so.
edt_status edt_plan_mark_dead(const edt_graph *graph, const edt_node *nodes, bool *dead,
                              edt_error *err);

// `nodes` are the graph's own or a rewritten copy of the same length (model/fuse.h). Named
// outputs keep their memory until the end of the run.
edt_status edt_plan_create(const edt_graph *graph, const edt_node *nodes, const bool *dead,
                           edt_error *err, edt_plan *out_plan);
void edt_plan_deinit(edt_plan *plan);

#endif
