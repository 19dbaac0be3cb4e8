// The `segmentation` of a COCO annotation as one mask: polygons, a run-length mask with counts
// as numbers or as text, or a list of these. Forms that pycocotools refuses for annotations
// that are no crowd (spec/data.md 13, #10) are taken too.
#ifndef EDT_DATAIO_COCO_SEGMENTATION_H
#define EDT_DATAIO_COCO_SEGMENTATION_H

#include "core/arena.h"
#include "core/error.h"
#include "core/span.h"
#include "dataio/rle_mask.h"

// `json` is the value's text; height and width are the image's. A list whose first item has
// four numbers is one of boxes x, y, width, height, as in pycocotools. out_h and out_w are the
// size of the mask to make: polygons are scaled and drawn, run-length masks resized. Results
// live in the arena. EDT_ERR_FORMAT or EDT_ERR_INVALID says what is wrong with the value,
// EDT_ERR_NOMEM.
edt_status edt_coco_segmentation_read(edt_text json, int64_t height, int64_t width,
                                      int64_t out_h, int64_t out_w, edt_arena *arena,
                                      edt_error *err, edt_rle *out_mask);

// As pycocotools' annToRLE: polygons are drawn at the image's size (unknown where height or
// width is below 1: EDT_ERR_INVALID), run-length masks keep their own.
edt_status edt_coco_segmentation_read_own(edt_text json, int64_t height, int64_t width,
                                          edt_arena *arena, edt_error *err, edt_rle *out_mask);

#endif
