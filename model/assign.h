// Ground truth -> training targets (spec/data.md 8.2-8.4).
#ifndef EDT_MODEL_ASSIGN_H
#define EDT_MODEL_ASSIGN_H

#include "model/anchors.h"

typedef struct edt_assigner edt_assigner; // per-thread scratch, grows to the largest image seen

edt_status edt_assigner_create(const edt_anchors *anchors, bool reference_defects, edt_error *err,
                               edt_assigner **out_assigner);
void edt_assigner_destroy(edt_assigner *assigner);

// boxes [n_boxes,4] ymin,xmin,ymax,xmax in network pixels, labels 1-based as stored. Writes all
// anchors' targets: cls [T] (label-1, background -1), box [T,4] (ty,tx,th,tw; 0 where unmatched).
// n_boxes 0 is legal. Cost O(T + sum of candidate anchors); no allocation in the steady state.
edt_status edt_assign(edt_assigner *assigner, const float *boxes, const int64_t *labels,
                      int64_t n_boxes, int32_t *out_cls, float *out_box, float *out_num_positives,
                      edt_error *err);

#endif
