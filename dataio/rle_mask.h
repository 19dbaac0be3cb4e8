// COCO's run-length masks, with the rasteriser and the text form of pycocotools (cocodataset/
// cocoapi, common/maskApi.c): equal input gives equal runs. Pixels are counted column by
// column. Results live in the arena given. Pictures have at most 2^31 - 1 pixels.
#ifndef EDT_DATAIO_RLE_MASK_H
#define EDT_DATAIO_RLE_MASK_H

#include <stdbool.h>

#include "core/arena.h"
#include "core/error.h"
#include "core/span.h"

typedef struct edt_rle {
    int64_t h, w;
    size_t n; // runs
    const uint32_t
        *counts; // lengths of runs of 0 and 1 in turn, first of 0; they sum up to h w
} edt_rle;

// The polygon x0,y0,x1,y1... of n_points >= 1 points, in pixels; parts outside the picture are
// cut off. EDT_ERR_INVALID for coordinates that are not finite or beyond 1e8, EDT_ERR_NOMEM.
edt_status edt_rle_from_polygon(const double *xy, size_t n_points, int64_t h, int64_t w,
                                edt_arena *arena, edt_error *err, edt_rle *out_rle);
// A box x, y, width, height.
edt_status edt_rle_from_box(const double xywh[4], int64_t h, int64_t w, edt_arena *arena,
                            edt_error *err, edt_rle *out_rle);
// Takes counts as they are (borrowed). EDT_ERR_INVALID unless they sum up to h w.
edt_status edt_rle_from_counts(const uint32_t *counts, size_t n, int64_t h, int64_t w,
                               edt_error *err, edt_rle *out_rle);
// The compressed form, ASCII text. EDT_ERR_FORMAT, EDT_ERR_INVALID.
edt_status edt_rle_from_text(edt_text text, int64_t h, int64_t w, edt_arena *arena,
                             edt_error *err, edt_rle *out_rle);
// From pixels in rows, [h,w]; any value but 0 is 1.
edt_status edt_rle_from_pixels(const uint8_t *pixels, int64_t h, int64_t w, edt_arena *arena,
                               edt_error *err, edt_rle *out_rle);

edt_status edt_rle_to_text(const edt_rle *rle, edt_arena *arena, edt_error *err,
                           edt_text *out_text);
// Sets the pixels of the mask to 1 in rows, [h,w], and leaves the others.
void edt_rle_to_pixels(const edt_rle *rle, uint8_t *pixels);

// Union or intersection of n >= 1 masks of one size (EDT_ERR_MISMATCH).
edt_status edt_rle_merge(const edt_rle *rles, size_t n, bool intersect, edt_arena *arena,
                         edt_error *err, edt_rle *out_rle);
// The mask at another size; each pixel takes its value from the nearest one.
edt_status edt_rle_resize(const edt_rle *rle, int64_t h, int64_t w, edt_arena *arena,
                          edt_error *err, edt_rle *out_rle);

int64_t edt_rle_area(const edt_rle *rle);
// ymin,xmin,ymax,xmax in pixels, the last row and column not included; zeros for an empty mask.
void edt_rle_box(const edt_rle *rle, int64_t out_box[4]);

#endif
