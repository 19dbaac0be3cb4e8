// Masks as the evaluator keeps them: COCO's compressed text, about a third of the size of run
// lengths, with box and area beside it, so that most pairs of masks need not be unpacked to
// know that they do not overlap. The overlaps are those of pycocotools' maskApi.c, counted in
// integers.
#ifndef EDT_EVAL_COCO_MASK_H
#define EDT_EVAL_COCO_MASK_H

#include "core/arena.h"
#include "core/error.h"
#include "core/span.h"
#include "dataio/rle_mask.h"

typedef struct edt_coco_mask {
    uint32_t h, w;   // of the picture
    uint32_t box[4]; // x, y, width, height; zeros for an empty mask
    uint32_t area, n_bytes;
    char text[];
} edt_coco_mask;

// Memory for many masks that are freed together. Zero-initialised is empty.
typedef struct edt_coco_mask_pool {
    struct edt_coco_mask_chunk *first, *last; // the last is being filled
} edt_coco_mask_pool;

// Moves all masks of `from`, in constant time; pointers to them stay valid.
void edt_coco_mask_pool_join(edt_coco_mask_pool *pool, edt_coco_mask_pool *from);
void edt_coco_mask_pool_deinit(edt_coco_mask_pool *pool);

// A copy of `rle`. `scratch` is reset.
edt_status edt_coco_mask_add(edt_coco_mask_pool *pool, edt_arena *scratch, const edt_rle *rle,
                             edt_error *err, const edt_coco_mask **out_mask);
// The mask of a `segmentation` value; height and width are the image's, 0 where unknown.
// `scratch` is reset.
edt_status edt_coco_mask_read(edt_coco_mask_pool *pool, edt_arena *scratch, edt_span json,
                              int64_t height, int64_t width, edt_error *err,
                              const edt_coco_mask **out_mask);
// The box x, y, width, height as a polygon.
edt_status edt_coco_mask_from_box(edt_coco_mask_pool *pool, edt_arena *scratch,
                                  const double xywh[4], int64_t height, int64_t width,
                                  edt_error *err, const edt_coco_mask **out_mask);

// An unpacked mask: pixel positions, column by column, where runs of ones begin and end.
typedef struct edt_coco_runs {
    size_t n;           // runs
    const uint32_t *at; // begin and end of each; [2 n]
} edt_coco_runs;

// The runs live in the arena. EDT_ERR_NOMEM.
edt_status edt_coco_mask_unpack(const edt_coco_mask *mask, edt_arena *arena, edt_error *err,
                                edt_coco_runs *out_runs);
// Pixels of both.
uint32_t edt_coco_runs_common(const edt_coco_runs *a, const edt_coco_runs *b);

// Whether two masks may have common pixels, and the greatest number of them that their boxes
// and areas allow. False for masks of different pictures as well.
static inline bool edt_coco_mask_may_meet(const edt_coco_mask *a, const edt_coco_mask *b,
                                          uint32_t *out_most)
{
    const uint32_t left = a->box[0] > b->box[0] ? a->box[0] : b->box[0];
    const uint32_t top = a->box[1] > b->box[1] ? a->box[1] : b->box[1];
    const uint32_t right_a = a->box[0] + a->box[2], right_b = b->box[0] + b->box[2];
    const uint32_t right = right_a < right_b ? right_a : right_b;
    const uint32_t bottom_a = a->box[1] + a->box[3], bottom_b = b->box[1] + b->box[3];
    const uint32_t bottom = bottom_a < bottom_b ? bottom_a : bottom_b;
    if (right <= left || bottom <= top) {
        return false;
    }
    uint32_t most = (right - left) * (bottom - top);
    most = a->area < most ? a->area : most;
    *out_most = b->area < most ? b->area : most;
    return true;
}

// Intersection over union, or for a crowd over the area of the detection, of integer counts.
static inline double edt_coco_mask_ratio(uint32_t common, const edt_coco_mask *dt,
                                         const edt_coco_mask *gt, bool is_crowd)
{
    const uint32_t whole = is_crowd ? dt->area : dt->area + gt->area - common;
    return common == 0 ? 0 : (double)common / (double)whole;
}

#endif
