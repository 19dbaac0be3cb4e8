// Mosaic: four pictures in one (spec/augment.md 9). The split is drawn first, from the size of
// the result alone; then either the reference's stand-alone algorithm (f32, boxes per tile) or
// the loader's form (u8, objects merged) makes the picture.
//
// A loader draws `edt_mosaic_draw` for the network's input size, opens the sample and its
// three partners, and calls `edt_mosaic_compose`; the result takes the sample's place before
// GridMask, AutoAugment, mirroring and jitter.
#ifndef EDT_AUGMENT_MOSAIC_H
#define EDT_AUGMENT_MOSAIC_H

#include "augment/draws.h"
#include "augment/mix_buffers.h"
#include "augment/objects.h"
#include "augment/pixel_op.h"
#include "core/arena.h"

enum { EDT_MOSAIC_TILES = 4, EDT_MOSAIC_MIN_PERCENT = 25 };

// Tiles 0 and 1 lie left of `column`, 0 and 2 above `row`; 1 is below 0, 2 right of 0.
typedef struct edt_mosaic_split {
    int64_t out_h, out_w; // whole picture
    int64_t row, column;  // first row and column of the lower and right tiles
} edt_mosaic_split;

// Two integer draws: row, then column. No tile is smaller than min_percent (1 to 49) of a side,
// rounded down; out_h and out_w must be 4 or more.
edt_mosaic_split edt_mosaic_draw(int64_t out_h, int64_t out_w, int64_t min_percent,
                                 const edt_draws *draws);
// The rectangle of tile 0 to 3.
edt_region edt_mosaic_tile(const edt_mosaic_split *split, int i_tile);

// The loader's form. `images` may differ in size; each fills its tile (the aspect ratio is not
// kept). Boxes are moved with the pixels, clipped to their tile and normalised to the whole;
// those without an area are dropped; labels, is_crowd and area stay as they are. Order: tile
// by tile. The picture lies in `buffers` until their next mosaic, the objects in `arena`.
// EDT_ERR_NOMEM.
edt_status edt_mosaic_compose(edt_mix_buffers *buffers,
                              const edt_image images[static EDT_MOSAIC_TILES],
                              const edt_objects objects[static EDT_MOSAIC_TILES],
                              const edt_mosaic_split *split, edt_arena *arena, edt_error *err,
                              edt_image *out_image, edt_objects *out_objects);

// The reference's algorithm on images [4,h,w,3]: f32 levels [out_h,out_w,3], not rounded.
edt_status edt_mosaic_reference(edt_mix_buffers *buffers, const uint8_t *images, int64_t h,
                                int64_t w, const edt_mosaic_split *split, edt_error *err,
                                float *out_image);
// Its boxes [n,4] xmin,ymin,xmax,ymax in pixels of picture i_tile (h x w) -> pixels of the
// mosaic; neither clipped nor filtered.
void edt_mosaic_reference_boxes(const edt_mosaic_split *split, int i_tile, int64_t h, int64_t w,
                                const int32_t *boxes, int64_t n_boxes, double *out_boxes);

#endif
