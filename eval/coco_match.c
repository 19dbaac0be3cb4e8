// Matching of all detections to the ground truth: threads take images and match group by group
// (coco_group.h) in the order that coco_table.h makes.
#include <string.h>

#include "eval/coco_table.h"

enum { IMAGES_PER_RANGE = 32 };

typedef struct matcher {
    edt_coco_work *work;
    edt_coco_table table;
    edt_coco_walker *walkers; // per thread
} matcher;

static edt_status match_pairing(void *ctx, edt_coco_walker *walker,
                                const edt_coco_pairing *pairing, edt_error *err)
{
    const matcher *m = ctx;
    edt_coco_match_row *out = m->work->matches + pairing->i_dt;
    EDT_TRY(edt_coco_group_match(&walker->group, m->work, pairing->items, pairing->n_kept,
                                 pairing->gt_begin, pairing->gt_end, out, err));
    for (int64_t i = 0; i < pairing->n_dt; ++i) {
        out[i].category = i < pairing->n_kept ? (int32_t)pairing->k : -1;
    }
    return EDT_OK;
}

static edt_status match_images(void *ctx, int i_worker, int64_t begin, int64_t end,
                               edt_error *err)
{
    matcher *m = ctx;
    for (int64_t i = begin; i < end; ++i) {
        EDT_TRY(edt_coco_walk_image(&m->table, &m->walkers[i_worker], i, false, match_pairing,
                                    m, err));
    }
    return EDT_OK;
}

edt_status edt_coco_match_table(edt_coco_work *work, const edt_coco_table *table, int n_threads,
                                edt_error *err)
{
    edt_status status = EDT_OK;
    matcher m = {.work = work, .table = *table};
    m.walkers = edt_mem_calloc(EDT_MEM_EVAL, (size_t)n_threads, sizeof *m.walkers);
    work->n_matches = table->n;
    work->matches = edt_mem_alloc(EDT_MEM_EVAL, (size_t)table->n * sizeof *work->matches);
    if (m.walkers == NULL || work->matches == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for matching %lld detections",
                               (long long)table->n);
        goto fail;
    }
    for (int i = 0; i < n_threads; ++i) {
        EDT_TRY_GOTO(edt_coco_walker_init(&m.walkers[i], work->gt, err));
    }
    EDT_TRY_GOTO(edt_coco_run_ranges(work->gt->n_images, IMAGES_PER_RANGE, n_threads,
                                     match_images, &m, err));
fail:
    for (int i = 0; m.walkers != NULL && i < n_threads; ++i) {
        edt_coco_walker_deinit(&m.walkers[i]);
    }
    edt_mem_free(m.walkers);
    return status;
}

edt_status edt_coco_count_positives(edt_coco_work *work, edt_error *err)
{
    const edt_coco_gt *gt = work->gt;
    const int n_areas = work->pass.n_areas;
    const int64_t n_k = work->params->ignore_categories ? 1 : work->n_categories;
    edt_mem_free(work->n_positives);
    work->n_positives =
        edt_mem_calloc(EDT_MEM_EVAL, (size_t)(n_k * n_areas), sizeof *work->n_positives);
    if (work->n_positives == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %lld categories", (long long)n_k);
    }
    for (int64_t i_image = 0; i_image < gt->n_images; ++i_image) {
        for (int64_t i = gt->image_begin[i_image];
             work->is_evaluated[i_image] && i < gt->image_begin[i_image + 1]; ++i) {
            const int64_t chosen = work->k_of[gt->category[i]];
            const int64_t k = work->params->ignore_categories && chosen >= 0 ? 0 : chosen;
            for (int a = 0; a < n_areas && k >= 0 && !gt->is_crowd[i]; ++a) {
                work->n_positives[k * n_areas + a] +=
                    !edt_coco_is_outside(&work->pass, gt->area[i], a);
            }
        }
    }
    return EDT_OK;
}

edt_status edt_coco_count_objects(const edt_coco_work *work, edt_coco_result *result,
                                  edt_error *err)
{
    const edt_coco_gt *gt = work->gt;
    result->n_objects =
        edt_arena_calloc(&result->names, (size_t)result->n_k, sizeof *result->n_objects);
    if (result->n_objects == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %lld categories", (long long)result->n_k);
    }
    for (int64_t i_image = 0; i_image < gt->n_images; ++i_image) {
        if (work->is_evaluated[i_image] == 0) {
            continue;
        }
        for (uint32_t i = gt->image_begin[i_image]; i < gt->image_begin[i_image + 1]; ++i) {
            const int32_t k = work->k_of[gt->category[i]];
            if (k >= 0 && gt->is_crowd[i] == 0) {
                ++result->n_objects[result->params.ignore_categories ? 0 : k];
            }
        }
    }
    return EDT_OK;
}
