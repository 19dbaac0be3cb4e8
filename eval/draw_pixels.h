// What a segmentation head says about a picture, as colours over it.
#ifndef EDT_EVAL_DRAW_PIXELS_H
#define EDT_EVAL_DRAW_PIXELS_H

#include "core/error.h"
#include "dataio/draw.h"
#include "model/efficientdet.h"

// In place: halves every pixel with the colour of the class that its place in `logits`
// [mask_h,mask_w,mask_classes] of `model` has; class 0, the background, stays. image_scale:
// pixels of the picture per pixel of the network's. EDT_ERR_NOMEM.
edt_status edt_draw_pixels(const edt_model *model, const float *logits, float image_scale,
                           const edt_image *image, edt_error *err);

#endif
