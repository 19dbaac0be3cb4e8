// Which nodes a feature network cell has (spec/model.md 2.4): the built-in lists or fpn_config.
#ifndef EDT_MODEL_FPN_NODES_H
#define EDT_MODEL_FPN_NODES_H

#include "backend/op.h"
#include "core/hparams.h"

// All cells of a network have the same nodes and the same method of fusion.
typedef struct edt_fpn_plan {
    edt_fuse_method method;
    int n;
    edt_fpn_node nodes[EDT_HPARAMS_MAX_FPN_NODES];
} edt_fpn_plan;

// fpn_config as it is, else the list of fpn_name for the levels of `hp`. EDT_ERR_USAGE for
// unknown names and for nodes that cannot be.
edt_status edt_fpn_plan_create(const edt_hparams *hp, edt_error *err, edt_fpn_plan *out_plan);

#endif
