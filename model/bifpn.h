// The feature network: extra levels above the backbone, then a chain of cells (spec/model.md
// 2).
#ifndef EDT_MODEL_BIFPN_H
#define EDT_MODEL_BIFPN_H

#include "core/hparams.h"
#include "model/fpn_nodes.h"
#include "model/layers.h"

enum { EDT_MAX_LEVEL = 15, EDT_BACKBONE_TOP_LEVEL = 5 };

typedef struct edt_pyramid_sizes {
    int min_level, max_level;
    int64_t h[EDT_MAX_LEVEL + 1], w[EDT_MAX_LEVEL + 1]; // by level, from 0 (the image)
} edt_pyramid_sizes;

// Levels' sizes for hp->image_size. EDT_ERR_USAGE with the smallest legal size where two levels
// cannot be joined (2.2).
edt_status edt_pyramid_sizes_compute(const edt_hparams *hp, edt_error *err,
                                     edt_pyramid_sizes *out_sizes);

// features[l]: for l min_level..5 the backbone's endpoint on entry, the last cell's output for
// min_level..max_level on return. `keep` makes extra levels and cells graph outputs.
void edt_bifpn_build(edt_layers *layers, const edt_hparams *hp, const edt_fpn_plan *plan,
                     const edt_pyramid_sizes *sizes, bool keep,
                     edt_value_id features[EDT_MAX_LEVEL + 1]);

#endif
