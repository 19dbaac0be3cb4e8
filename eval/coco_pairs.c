// See coco_pairs.h. The evaluator's own table of detections is walked as if there were no
// categories; overlaps are computed by the functions that its matching uses.
#include "eval/coco_pairs.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval/coco_table.h"

typedef struct pairer {
    const edt_coco_pairs_options *options;
    edt_coco_work work;
    const int32_t *class_of; // category index of the gt -> class, -1: not evaluated
    edt_coco_pairs_fn *fn;
    void *ctx;
    edt_arena arena; // of one image
} pairer;

static edt_status no_memory(edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the pairs of an image");
}

static edt_status mask_overlaps(pairer *p, const edt_coco_mask *dt, const int64_t *gt,
                                int64_t n_gt, edt_coco_runs *runs, double *iou, edt_error *err)
{
    const edt_coco_gt *all = p->work.gt;
    edt_coco_runs of_dt = {0};
    for (int64_t i = 0; i < n_gt; ++i) {
        const edt_coco_mask *mask = all->masks[gt[i]];
        uint32_t most;
        iou[i] = 0;
        if (!edt_coco_mask_may_meet(dt, mask, &most) || dt->h != mask->h || dt->w != mask->w) {
            continue;
        }
        if (of_dt.at == NULL) {
            EDT_TRY(edt_coco_mask_unpack(dt, &p->arena, err, &of_dt));
        }
        if (runs[i].at == NULL) {
            EDT_TRY(edt_coco_mask_unpack(mask, &p->arena, err, &runs[i]));
        }
        iou[i] = edt_coco_mask_ratio(edt_coco_runs_common(&of_dt, &runs[i]), dt, mask,
                                     all->is_crowd[gt[i]] != 0);
    }
    return EDT_OK;
}

static edt_status overlaps(pairer *p, const edt_coco_scored *items, int64_t n_dt,
                           const int64_t *gt, int64_t n_gt, const uint8_t *is_crowd,
                           double *iou, edt_error *err)
{
    double(*boxes)[4] = edt_arena_calloc(&p->arena, (size_t)n_gt, sizeof *boxes);
    edt_coco_runs *runs = edt_arena_calloc(&p->arena, (size_t)n_gt, sizeof *runs);
    if (boxes == NULL || runs == NULL) {
        return no_memory(err);
    }
    for (int64_t i = 0; i < n_gt; ++i) {
        memcpy(boxes[i], p->work.gt->bbox[gt[i]], sizeof boxes[i]);
    }
    for (int64_t d = 0; d < n_dt; ++d) {
        if (p->work.params->iou_type == EDT_COCO_SEGM) {
            EDT_TRY(mask_overlaps(p, items[d].mask, gt, n_gt, runs, iou + d * n_gt, err));
        } else if (edt_coco_box_overlaps(items[d].bbox, (const double(*)[4])boxes, is_crowd,
                                         n_gt, iou + d * n_gt)) {
            for (int64_t i = 0; i < n_gt; ++i) {
                iou[d * n_gt + i] = isnan(iou[d * n_gt + i]) ? 0 : iou[d * n_gt + i];
            }
        }
    }
    return EDT_OK;
}

// The walk puts equal scores in the order of classes; here the order of the list counts.
static int compare_items(const void *a, const void *b)
{
    const edt_coco_scored *x = a, *y = b;
    if (x->score != y->score) {
        return x->score > y->score ? -1 : 1;
    }
    return x->slot < y->slot ? -1 : x->slot > y->slot;
}

static edt_status pair_image(void *ctx, edt_coco_walker *walker,
                             const edt_coco_pairing *pairing, edt_error *err)
{
    (void)walker;
    pairer *p = ctx;
    const edt_coco_gt *gt = p->work.gt;
    const int64_t n_all = pairing->gt_end - pairing->gt_begin;
    int64_t n_dt = 0, n_gt = 0;
    while (n_dt < pairing->n_dt && pairing->items[n_dt].score >= p->options->min_score) {
        ++n_dt; // stops at NaN, which comes last
    }
    edt_arena_reset(&p->arena);
    edt_coco_scored *items = edt_arena_calloc(&p->arena, (size_t)n_dt, sizeof *items);
    if (items == NULL) {
        return no_memory(err);
    }
    for (int64_t i = 0; i < n_dt; ++i) {
        items[i] = pairing->items[i];
    }
    qsort(items, (size_t)n_dt, sizeof *items, compare_items);
    if (p->options->max_dets > 0 && n_dt > p->options->max_dets) {
        n_dt = p->options->max_dets;
    }
    int64_t *objects = edt_arena_calloc(&p->arena, (size_t)n_all, sizeof *objects);
    int32_t *gt_class = edt_arena_calloc(&p->arena, (size_t)n_all, sizeof *gt_class);
    uint8_t *is_crowd = edt_arena_calloc(&p->arena, (size_t)n_all, 1);
    int32_t *dt_class = edt_arena_calloc(&p->arena, (size_t)n_dt, sizeof *dt_class);
    double *dt_score = edt_arena_calloc(&p->arena, (size_t)n_dt, sizeof *dt_score);
    double *iou = edt_arena_calloc(&p->arena, (size_t)n_dt * (size_t)n_all, sizeof *iou);
    if (objects == NULL || gt_class == NULL || is_crowd == NULL || dt_class == NULL ||
        dt_score == NULL || iou == NULL) {
        return no_memory(err);
    }
    for (int64_t i = pairing->gt_begin; i < pairing->gt_end; ++i) {
        const int32_t of = p->class_of[gt->category[i]];
        if (of >= 0) {
            objects[n_gt] = i;
            gt_class[n_gt] = of;
            is_crowd[n_gt++] = gt->is_crowd[i];
        }
    }
    for (int64_t i = 0; i < n_dt; ++i) {
        dt_class[i] = p->class_of[items[i].category];
        dt_score[i] = items[i].score;
    }
    EDT_TRY(overlaps(p, items, n_dt, objects, n_gt, is_crowd, iou, err));
    const edt_coco_pairs pairs = {.image_id = gt->image_ids[pairing->i_image],
                                  .n_dt = n_dt,
                                  .n_gt = n_gt,
                                  .dt_score = dt_score,
                                  .dt_class = dt_class,
                                  .gt_class = gt_class,
                                  .gt_is_crowd = is_crowd,
                                  .iou = iou};
    return n_dt > 0 || n_gt > 0 ? p->fn(p->ctx, &pairs, err) : EDT_OK;
}

edt_status edt_coco_pairs_walk(const edt_coco_gt *gt, const edt_coco_dt *dt,
                               const edt_coco_pairs_options *options, edt_coco_pairs_fn *fn,
                               void *ctx, edt_error *err)
{
    edt_status status = EDT_OK;
    edt_coco_table table = {0};
    edt_coco_walker walker = {0};
    edt_coco_result *result = NULL;
    edt_coco_params params = *options->params;
    int32_t *class_of = NULL;
    pairer p = {.options = options, .fn = fn, .ctx = ctx};
    memset(params.max_dets, 0, sizeof params.max_dets);
    params.max_dets[0] = INT_MAX;
    edt_arena_init(&p.arena, EDT_MEM_EVAL, 0);
    // Classes are numbered with categories; the walk goes without.
    params.ignore_categories = false;
    EDT_TRY_GOTO(edt_coco_work_init(&p.work, gt, &params, err, &result));
    class_of = edt_mem_alloc(EDT_MEM_EVAL, (size_t)gt->n_categories * sizeof *class_of);
    if (class_of == NULL) {
        status = no_memory(err);
        goto fail;
    }
    memcpy(class_of, p.work.k_of, (size_t)gt->n_categories * sizeof *class_of);
    p.class_of = class_of;
    edt_coco_work_deinit(&p.work);
    edt_coco_result_destroy(result);
    result = NULL;
    params.ignore_categories = true;
    EDT_TRY_GOTO(edt_coco_work_init(&p.work, gt, &params, err, &result));
    EDT_TRY_GOTO(
        edt_coco_table_init(&table, &p.work, dt, p.work.n_threads, p.work.is_evaluated, err));
    EDT_TRY_GOTO(edt_coco_walker_init(&walker, gt, err));
    for (int64_t i = 0; i < gt->n_images; ++i) {
        if (p.work.is_evaluated[i]) {
            EDT_TRY_GOTO(edt_coco_walk_image(&table, &walker, i, true, pair_image, &p, err));
        }
    }
fail:
    edt_coco_walker_deinit(&walker);
    edt_coco_table_deinit(&table);
    edt_coco_work_deinit(&p.work);
    edt_coco_result_destroy(result);
    edt_mem_free(class_of);
    edt_arena_deinit(&p.arena);
    return status;
}
