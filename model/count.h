// Size of a network as the literature counts it (spec/model.md 9).
#ifndef EDT_MODEL_COUNT_H
#define EDT_MODEL_COUNT_H

#include "model/graph.h"

typedef struct edt_model_count {
    int n_variables;      // trainable ones and moving statistics
    int64_t n_trainable;  // elements
    int64_t n_moving;     // elements of moving statistics
    int64_t forward_macs; // multiply-accumulates of convolutions, one run of the forward part
} edt_model_count;

void edt_count_graph(const edt_graph *graph, edt_model_count *out_count);

#endif
