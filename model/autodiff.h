// Reverse-mode differentiation on the graph: appends backward nodes for every node on a path from
// a trainable, wanted parameter to one of the seeds.
#ifndef EDT_MODEL_AUTODIFF_H
#define EDT_MODEL_AUTODIFF_H

#include "model/graph.h"

// d(total)/d(value) is `grad` (usually dlogits of a loss op).
typedef struct edt_grad_seed {
    edt_value_id value;
    edt_value_id grad;
} edt_grad_seed;

// wants[i_param] false: no gradient for that parameter (frozen). NULL: all trainable ones.
// Afterwards params[i].grad is set (PARAM_GRAD values; each gradient complete after the run; the
// first writer overwrites unless `accumulate`, which makes all writers add, for micro-steps whose
// caller zeroes the gradient arena).
edt_status edt_autodiff(edt_graph *graph, int n_seeds, const edt_grad_seed *seeds,
                        const bool *wants, bool accumulate, edt_error *err);

#endif
