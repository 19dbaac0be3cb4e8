// The EfficientNet backbones b0-b8, l2 and lite0-lite4, with their own block table or the one
// of backbone_config: scaling rules and the graph down to the endpoints P1..P5 (spec/model.md
// 1). The classifier head is never built.
#ifndef EDT_MODEL_EFFICIENTNET_H
#define EDT_MODEL_EFFICIENTNET_H

#include "core/hparams.h"
#include "model/layers.h"

enum { EDT_BACKBONE_MAX_BLOCKS = 256, EDT_BACKBONE_LEVELS = 5 };

typedef struct edt_mbconv {
    int kernel, stride, expand;
    int64_t c_in, c_out;    // declared filters (trap of lite3 and lite4: spec/model.md 1.2)
    int64_t c_squeezed;     // filters inside squeeze-excite; 0: none
    bool fused;             // one convolution instead of expansion and depthwise convolution
    bool without_depthwise; // an expansion with `kernel`, then a projection with `stride`
    bool skip;
    double survival; // of drop connect; 1 without skip
    int endpoint;    // i: the block's output is P_i; 0: none
} edt_mbconv;

typedef struct edt_backbone {
    char name[32];
    int64_t stem_filters;
    int n_blocks;
    int top_level;   // P_i exist up to this one
    int n_drop_rows; // blocks with survival < 1
    edt_mbconv blocks[EDT_BACKBONE_MAX_BLOCKS];
} edt_backbone;

// Of hp's backbone_name and backbone_config. EDT_ERR_USAGE lists the known names, or says what
// is wrong with the blocks: levels must come in order, each with half the size of the one
// before, up to the fifth or max_level.
edt_status edt_backbone_plan(const edt_hparams *hp, edt_error *err, edt_backbone *out_backbone);

// Appends the network on `image` [N,H,W,3]; out_endpoints[i] is P_i for i 1..top_level and
// EDT_NO_VALUE above, [0] the image.
void edt_backbone_build(edt_layers *layers, const edt_backbone *backbone, edt_value_id image,
                        edt_value_id out_endpoints[EDT_BACKBONE_LEVELS + 1]);

#endif
