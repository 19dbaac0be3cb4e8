// The pair of numbers of dynamic loss scaling on the device (spec: gradients of a float16
// network underflow unless the loss is scaled up): the losses multiply by the first, the
// optimizer divides by it and moves both on (backend/op.h, OPTIMIZER).
#ifndef EDT_TRAIN_LOSS_SCALE_H
#define EDT_TRAIN_LOSS_SCALE_H

#include "backend/backend.h"

// What a checkpoint keeps. scale 0: no loss scaling.
typedef struct edt_loss_scale_state {
    float scale;
    float n_good; // steps with finite gradients since the scale last changed
} edt_loss_scale_state;


// `device` is f32[2] of the backend.
edt_status edt_loss_scale_set(edt_backend *backend, void *device, edt_loss_scale_state state,
                              edt_error *err);
edt_status edt_loss_scale_get(edt_backend *backend, const void *device, edt_error *err,
                              edt_loss_scale_state *out_state);

#endif
