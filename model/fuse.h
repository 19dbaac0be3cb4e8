// Rewriting chains of nodes into fused ops where a backend has them. In inference:
//   [SCALE_CHANNELS ->] CONV2D [+ bias] -> BN_INFER [-> ADD residual]  becomes CONV2D_BN_ACT
//   DEPTHWISE -> BN_INFER [-> GLOBAL_AVG_POOL]                         becomes DEPTHWISE_BN_ACT
//   CONV2D_BN_ACT -> DEPTHWISE_BN_ACT              becomes CONV2D_DEPTHWISE_BN_ACT
// In training, of squeeze-and-excitation's gradient:
//   SCALE_CHANNELS_BWD + GLOBAL_AVG_POOL_BWD -> BN_TRAIN_BWD  becomes BN_TRAIN_BWD of dy and
//   the gate
#ifndef EDT_MODEL_FUSE_H
#define EDT_MODEL_FUSE_H

#include "backend/backend.h"
#include "model/graph.h"

// `nodes` is a copy of the graph's nodes and is rewritten in place: the fused op takes the
// position of the chain's last node (a pool is done where the batch norm was), the others
// become dead. A value that is a named output or has another reader is never swallowed.
edt_status edt_fuse_nodes(const edt_graph *graph, const edt_backend *backend, edt_node *nodes,
                          bool *dead, edt_error *err, int *out_n_fused);

#endif
