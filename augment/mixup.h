// MixUp: two pictures laid over each other (Zhang et al., "mixup: Beyond Empirical Risk
// Minimization", 2018; for detection with all objects of both, Zhang et al., "Bag of Freebies
// for Training Object Detection Neural Networks", 2019). The picture keeps its size; the
// partner is scaled to fit into it, its aspect ratio kept.
//
// A loader knows both sizes from the headers, draws the plan, decodes both and blends; the
// result takes the sample's place.
#ifndef EDT_AUGMENT_MIXUP_H
#define EDT_AUGMENT_MIXUP_H

#include "augment/draws.h"
#include "augment/mix_buffers.h"
#include "augment/objects.h"
#include "augment/pixel_op.h"
#include "core/arena.h"

typedef struct edt_mixup_plan {
    edt_region place; // of the scaled partner in the picture
    int weight;       // of the picture in 256ths; the partner has the rest
} edt_mixup_plan;

// One uniform draw for the weight (0.4 to 0.6 of 256, the middle of the usual Beta
// distributions), one integer draw for the place along the axis that has room, none when there
// is none. All sides must be positive.
edt_mixup_plan edt_mixup_draw(int64_t h, int64_t w, int64_t partner_h, int64_t partner_w,
                              const edt_draws *draws);

// Blends `partner` into `image`, whose pixels are overwritten; outside the place they stay.
// The objects of both, those of `image` first, in `arena`; the partner's boxes are moved with
// its pixels and clipped to [0,1], those without an area are dropped. `out_objects` may be
// `objects`. EDT_ERR_NOMEM.
edt_status edt_mixup_blend(edt_mix_buffers *buffers, const edt_image *image,
                           const edt_objects *objects, const edt_image *partner,
                           const edt_objects *partner_objects, const edt_mixup_plan *plan,
                           edt_arena *arena, edt_error *err, edt_objects *out_objects);

#endif
