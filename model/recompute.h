// Memory for time (hparam grad_checkpoint): inner values of segments are not kept for the
// backward pass but computed again in it. Segments are marked where the network is built
// (edt_graph_segment_begin).
#ifndef EDT_MODEL_RECOMPUTE_H
#define EDT_MODEL_RECOMPUTE_H

#include "model/graph.h"

// Rewrites a graph that edt_autodiff has completed and that had n_forward nodes before: where a
// backward node reads an inner value of a segment, the forward nodes that it takes to make that
// value come once more before it, marked `backward` and `recomputed`, and it reads their
// values. Kept are the values that cross a segment's border, named outputs, and what is a
// vector or a single cell per picture (statistics, squeezed maps). The same ops on the same
// inputs give the same gradients to the last bit; moving statistics still move once, in the
// later of the two.
edt_status edt_recompute(edt_graph *graph, int n_forward, edt_error *err);

#endif
