// Detections in the order in which they are matched: by image, within by category, within by
// falling score. A table sorts a list by image; a walker sorts the detections of one image
// after the other and shows them group by group with their objects.
#ifndef EDT_EVAL_COCO_TABLE_H
#define EDT_EVAL_COCO_TABLE_H

#include "eval/coco_group.h"

typedef struct edt_coco_table {
    const edt_coco_work *work;
    const edt_coco_dt_block **blocks;
    int64_t n_blocks;
    // By slot, which is a block's number and the place in it: index in the gt; category -1: not
    // evaluated.
    int32_t *image_of, *category_of;
    uint32_t *image_begin; // of `order`, by image
    uint32_t *order;       // slots of evaluated categories by image, in list order
    int64_t n;             // of `order`
} edt_coco_table;

// Looks up the ids of all detections on n_threads threads. Marks in is_seen (by image, or NULL)
// the wanted images that have detections. EDT_ERR_MISMATCH: an unknown image.
edt_status edt_coco_table_init(edt_coco_table *table, const edt_coco_work *work,
                               const edt_coco_dt *dt, int n_threads, uint8_t *is_seen,
                               edt_error *err);
void edt_coco_table_deinit(edt_coco_table *table);

// What one thread keeps from image to image. Zero-initialised is empty.
typedef struct edt_coco_walker {
    edt_coco_group group;
    int64_t capacity;
    edt_coco_scored *items, *room; // of an image, and for sorting
    int64_t *category_begin;       // categories + 2
} edt_coco_walker;

edt_status edt_coco_walker_init(edt_coco_walker *walker, const edt_coco_gt *gt, edt_error *err);
void edt_coco_walker_deinit(edt_coco_walker *walker);

// Detections and objects of one image and category, or of all categories as one.
typedef struct edt_coco_pairing {
    int64_t i_image;
    int64_t k;                    // category of the result
    const edt_coco_scored *items; // best first
    int64_t n_dt, n_kept;         // n_kept: no more than the greatest max_dets
    int64_t i_dt;                 // of the first among the detections of the table
    int64_t gt_begin, gt_end;
} edt_coco_pairing;

typedef edt_status edt_coco_pairing_fn(void *ctx, edt_coco_walker *walker,
                                       const edt_coco_pairing *pairing, edt_error *err);

// Calls fn for the groups of an image, by rising category. `with_empty`: also for those that
// have objects only.
edt_status edt_coco_walk_image(const edt_coco_table *table, edt_coco_walker *walker,
                               int64_t i_image, bool with_empty, edt_coco_pairing_fn *fn,
                               void *ctx, edt_error *err);

#endif
