// The quality of one predicted box against its target, in double; shared by both builds of
// IOU_LOSS and by tests.
#ifndef EDT_BACKEND_REF_REF_IOU_PAIR_H
#define EDT_BACKEND_REF_REF_IOU_PAIR_H

#include "backend/op.h"

// Loss 1 - quality of two boxes ymin,xmin,ymax,xmax and its gradient with respect to `pred`
// (spec/train.md 4.4). An empty target gives loss 0 and gradient 0. CIoU's v is a constant of
// the prediction unless v_gradient is set.
double edt_ref_iou_pair_loss(edt_iou_loss_kind kind, bool v_gradient, const double pred[4],
                             const double target[4], double out_grad[4]);

#endif
