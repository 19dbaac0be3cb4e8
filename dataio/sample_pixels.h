// The pixels of one sample on their way into the slot: decoded or mixed, through the plan of
// operations, into the resizer, by the cheapest way that gives the same bytes.
#ifndef EDT_DATAIO_SAMPLE_PIXELS_H
#define EDT_DATAIO_SAMPLE_PIXELS_H

#include "augment/augmenter.h"
#include "augment/resize.h"
#include "core/arena.h"
#include "dataio/sample_picture.h"

// Everything is borrowed.
typedef struct edt_pixel_path {
    edt_sample_picture *picture; // open
    const edt_image *mixed;      // used instead, and written to; NULL: none
    int64_t h, w;                // of either
    const edt_augment_plan *plan;
    edt_pixel_scratch *scratch; // may be NULL when the plan is empty
    const edt_scale_params *scale;
    bool flip;
    const edt_normalize *normalize; // NULL: a u8 canvas
    edt_resizer *resizer;
} edt_pixel_path;

// Writes the whole canvas of path->scale. Rows that no output needs are not decoded, bands of
// rows flow through while they are in the cache where the plan allows it. The decoder's errors,
// EDT_ERR_NOMEM. *out_resize_seconds is what the resizer took of it.
edt_status edt_sample_pixels_run(const edt_pixel_path *path, edt_arena *arena, edt_error *err,
                                 void *out_canvas, double *out_resize_seconds);

#endif
