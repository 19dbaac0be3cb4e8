// The EfficientNet backbones b0-b8, l2 and lite0-lite4: scaling rules, block table and the
// graph down to the endpoints P1..P5 (spec/model.md 1). The classifier head is never built.
#ifndef EDT_MODEL_EFFICIENTNET_H
#define EDT_MODEL_EFFICIENTNET_H

#include "model/layers.h"

enum { EDT_BACKBONE_MAX_BLOCKS = 96, EDT_BACKBONE_LEVELS = 5 };

typedef struct edt_mbconv {
    int kernel, stride, expand;
    int64_t c_in, c_out; // declared filters (trap of lite3 and lite4: spec/model.md 1.2)
    bool skip;
    double survival; // of drop connect; 1 without skip
    int endpoint;    // i: the block's output is P_i; 0: none
} edt_mbconv;

typedef struct edt_backbone {
    char name[32];
    int64_t stem_filters;
    bool squeeze_excite;
    int n_blocks;
    int n_drop_rows; // blocks with survival < 1
    edt_mbconv blocks[EDT_BACKBONE_MAX_BLOCKS];
} edt_backbone;

// EDT_ERR_USAGE lists the known names.
edt_status edt_backbone_plan(const char *name, edt_error *err, edt_backbone *out_backbone);

// Appends the network on `image` [N,H,W,3]; out_endpoints[i] is P_i for i 1..5, [0] the image.
void edt_backbone_build(edt_layers *layers, const edt_backbone *backbone, edt_value_id image,
                        edt_value_id out_endpoints[EDT_BACKBONE_LEVELS + 1]);

#endif
