// The segmentation head: from the coarsest level of the feature network to classes of pixels at
// twice the size of the finest (spec/model.md 3.2).
#ifndef EDT_MODEL_SEGMENTATION_HEAD_H
#define EDT_MODEL_SEGMENTATION_HEAD_H

#include "model/bifpn.h"

// EDT_ERR_USAGE, with the nearest sizes that fit, where a level is not twice the next one.
edt_status edt_segmentation_head_check(const edt_hparams *hp, const edt_pyramid_sizes *sizes,
                                       edt_error *err);

// Logits [N,2h,2w,seg_num_classes], h and w of min_level; features[min_level..max_level] as
// edt_bifpn_build leaves them.
edt_value_id edt_segmentation_head_build(edt_layers *layers, const edt_hparams *hp,
                                         const edt_value_id features[EDT_MAX_LEVEL + 1]);

#endif
