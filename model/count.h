// Size of a network as the literature counts it (spec/model.md 9).
//
// The published "FLOPs" of EfficientDet are half of what TensorFlow's graph profiler counted in
// the graph of the network, its variables' initialisers included: two for each
// multiply-accumulate of a convolution, one for each element of a bias, of an addition, of a
// product or quotient, of the input of a mean, for each cell of a pooling window, one per
// element for swish (its product; the sigmoid does not count), and one or two per random
// initial value. Batch norm counts nothing.
#ifndef EDT_MODEL_COUNT_H
#define EDT_MODEL_COUNT_H

#include "model/graph.h"

typedef struct edt_model_count {
    int n_variables;      // trainable ones and moving statistics
    int64_t n_trainable;  // elements
    int64_t n_moving;     // elements of moving statistics
    int64_t forward_macs; // multiply-accumulates of convolutions, one run of the forward part
    int64_t profiled;     // what the profiler counts; published FLOPs are half of it
} edt_model_count;

// The share of one node of the forward part, of one variable.
int64_t edt_count_profiled_node(const edt_graph *graph, int i_node);
int64_t edt_count_profiled_variable(const edt_param *param);

void edt_count_graph(const edt_graph *graph, edt_model_count *out_count);

#endif
