// The class of every pixel of a sample, from the masks of its record's objects, placed as the
// picture is: what a segmentation head learns (spec/train.md 13).
#ifndef EDT_DATAIO_SAMPLE_MASK_H
#define EDT_DATAIO_SAMPLE_MASK_H

#include "augment/geometry.h"
#include "core/arena.h"
#include "dataio/example.h"
#include "dataio/image_decode.h"
#include "dataio/preprocess.h"

// Where the picture of a sample lies on the canvas.
typedef struct edt_sample_place {
    int64_t h, w; // of the picture
    const edt_scale_params *scale;
    bool flipped;
} edt_sample_place;

// Classes of mask_h x mask_w pixels that cover the canvas, each the one of the picture's pixel
// nearest to its centre: the label of the object there, of several the smallest (by area); 0
// where there is none; EDT_MASK_IGNORED outside the picture and where there is nothing but a
// crowd. EDT_ERR_INVALID for a record that has objects and no masks, EDT_ERR_FORMAT for a mask
// of another size than the picture or that cannot be decoded, EDT_ERR_NOMEM.
edt_status edt_sample_mask_make(const edt_preprocess_config *config, const edt_example *example,
                                const edt_sample_place *place, edt_image_decoder *decoder,
                                edt_arena *arena, edt_error *err, int32_t *out_mask);

#endif
