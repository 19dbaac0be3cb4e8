// Copy-paste: objects of a partner put into the picture at another place (Ghiasi et al.,
// "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation", CVPR
// 2021), at their own scale, along their masks where there are any.
//
// A loader knows both sizes and the partner's objects from the record, draws the plan, and,
// when something was chosen, decodes both pictures and pastes; the result takes the sample's
// place.
#ifndef EDT_AUGMENT_COPY_PASTE_H
#define EDT_AUGMENT_COPY_PASTE_H

#include "augment/draws.h"
#include "augment/mix_buffers.h"
#include "augment/objects.h"
#include "augment/pixel_op.h"
#include "core/arena.h"

typedef struct edt_paste {
    int64_t object;  // row of the partner's objects
    edt_region from; // its box in the partner, grown to whole pixels
    int64_t y, x;    // where the region's first row and column go in the picture
} edt_paste;

typedef struct edt_copy_paste_plan {
    int64_t n;
    const edt_paste *pastes; // in the arena; later ones lie over earlier ones
} edt_copy_paste_plan;

// For each object of the partner that is no crowd, has an area and fits into h x w: one uniform
// draw, chosen below 0.5; if chosen two integer draws, row and column, anywhere inside the
// picture. EDT_ERR_NOMEM.
edt_status edt_copy_paste_draw(int64_t h, int64_t w, int64_t partner_h, int64_t partner_w,
                               const edt_objects *partner_objects, const edt_draws *draws,
                               edt_arena *arena, edt_error *err, edt_copy_paste_plan *out_plan);

// Pastes into `image`, whose pixels are overwritten. `masks` has one entry per paste of the
// plan, u8 [from.h, from.w], not zero on the object; NULL takes the whole region of each. Objects of which more than 70 % (of the box; of a pasted one: of its pixels)
// lies under pasted pixels are removed, the others keep their box. The rest of `objects` and
// the pasted ones lie in `arena`, in this order; `out_objects` may be
// `objects`. EDT_ERR_NOMEM.
edt_status edt_copy_paste_apply(edt_mix_buffers *buffers, const edt_image *image,
                                const edt_objects *objects, const edt_image *partner,
                                const edt_objects *partner_objects, const uint8_t *const *masks,
                                const edt_copy_paste_plan *plan, edt_arena *arena,
                                edt_error *err, edt_objects *out_objects);

#endif
