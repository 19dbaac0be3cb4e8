// One evaluation from parameters to result: checks, matching, accumulation, summary.
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/thread.h"
#include "eval/coco_priv.h"

static int compare_ints(const void *a, const void *b)
{
    const int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

static edt_status resolve(const edt_coco_params *given, edt_coco_params *params, edt_error *err)
{
    static const int usual[EDT_COCO_N_MAX_DETS] = {1, 10, 100};
    *params = *given;
    int *max_dets = params->max_dets;
    if (max_dets[0] == 0 && max_dets[1] == 0 && max_dets[2] == 0) {
        memcpy(max_dets, usual, sizeof usual);
    }
    qsort(max_dets, EDT_COCO_N_MAX_DETS, sizeof *max_dets, compare_ints);
    if (max_dets[0] < 1) {
        EDT_FAIL(err, EDT_ERR_INVALID, "max_dets %d: must be at least 1", max_dets[0]);
    }
    if (params->n_threads < 0) {
        EDT_FAIL(err, EDT_ERR_INVALID, "%d threads; 0 stands for all cores", params->n_threads);
    }
    if (params->n_category_ids > 0 && params->ignore_categories) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "a choice of categories and ignoring categories exclude each other");
    }
    return EDT_OK;
}

// Which categories of the ground truth are evaluated, and at which place of the result.
static edt_status choose_categories(const edt_coco_gt *gt, const edt_coco_params *params,
                                    int32_t *k_of, int64_t *out_n, edt_error *err)
{
    const bool all = params->n_category_ids == 0;
    memset(k_of, all ? 0 : 0xFF, (size_t)gt->n_categories * sizeof *k_of);
    for (int64_t i = 0; i < params->n_category_ids; ++i) {
        const int32_t at = edt_coco_id_map_find(&gt->category_map, params->category_ids[i]);
        if (at < 0) {
            EDT_FAIL(err, EDT_ERR_NOT_FOUND, "the ground truth has no category with id %lld",
                     (long long)params->category_ids[i]);
        }
        k_of[at] = 0;
    }
    int64_t n = 0;
    for (int64_t i = 0; i < gt->n_categories; ++i) {
        if (k_of[i] == 0) {
            k_of[i] = (int32_t)n++;
        }
    }
    *out_n = n;
    return EDT_OK;
}

static edt_status create_result(const edt_coco_work *work, const edt_coco_dt *dt,
                                edt_error *err, edt_coco_result **out_result)
{
    const edt_coco_gt *gt = work->gt;
    edt_coco_result *result = edt_mem_calloc(EDT_MEM_EVAL, 1, sizeof *result);
    if (result == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the result");
    }
    edt_arena_init(&result->names, EDT_MEM_EVAL, 4096);
    *out_result = result;
    result->n_detections = dt->n;
    result->n_categories = work->n_categories;
    result->ignore_categories = work->params.ignore_categories;
    result->n_k = result->ignore_categories ? 1 : result->n_categories;
    memcpy(result->max_dets, work->params.max_dets, sizeof result->max_dets);
    result->categories = edt_arena_calloc(&result->names, (size_t)result->n_categories,
                                          sizeof *result->categories);
    if (result->categories == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the result");
    }
    for (int64_t i = 0; i < gt->n_categories; ++i) {
        if (work->k_of[i] >= 0) {
            const char *name = edt_arena_strdup(&result->names, gt->categories[i].name);
            result->categories[work->k_of[i]] =
                (edt_coco_category){.id = gt->categories[i].id, .name = name};
            if (name == NULL) {
                EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the result");
            }
        }
    }
    return EDT_OK;
}

edt_status edt_coco_evaluate(const edt_coco_gt *gt, const edt_coco_dt *dt,
                             const edt_coco_params *params, edt_error *err,
                             edt_coco_result **out_result)
{
    edt_status status = EDT_OK;
    edt_coco_work work = {.gt = gt};
    edt_coco_result *result = NULL;
    EDT_TRY(resolve(params, &work.params, err));
    work.n_threads = params->n_threads > 0 ? params->n_threads : edt_thread_cpu_count();
    int32_t *k_of = edt_mem_alloc(EDT_MEM_EVAL, (size_t)gt->n_categories * sizeof *k_of);
    if (k_of == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the evaluation");
    }
    work.k_of = k_of;
    EDT_TRY_GOTO(choose_categories(gt, &work.params, k_of, &work.n_categories, err));
    EDT_TRY_GOTO(create_result(&work, dt, err, &result));
    const double begin_s = edt_clock_now_s();
    EDT_TRY_GOTO(edt_coco_match_all(&work, dt, err));
    for (int64_t i = 0; i < gt->n_images; ++i) {
        result->n_images += work.is_evaluated[i];
    }
    const double matched_s = edt_clock_now_s();
    EDT_TRY_GOTO(edt_coco_accumulate(&work, result, err));
    EDT_TRY_GOTO(edt_coco_summarize(result, err));
    result->match_s = matched_s - begin_s;
    result->accumulate_s = edt_clock_now_s() - matched_s;
    *out_result = result;
    result = NULL;
fail:
    edt_coco_result_destroy(result);
    edt_mem_free(work.is_evaluated);
    edt_mem_free(work.matches);
    edt_mem_free(work.n_positives);
    edt_mem_free(k_of);
    return status;
}

void edt_coco_result_destroy(edt_coco_result *result)
{
    if (result != NULL) {
        edt_mem_free(result->precision);
        edt_mem_free(result->recall);
        edt_mem_free(result->scores);
        edt_arena_deinit(&result->names);
        edt_mem_free(result);
    }
}

const double *edt_coco_result_stats(const edt_coco_result *result)
{
    return result->stats;
}

const edt_coco_category *edt_coco_result_categories(const edt_coco_result *result,
                                                    int64_t *out_n)
{
    *out_n = result->n_categories;
    return result->categories;
}

edt_coco_arrays edt_coco_result_arrays(const edt_coco_result *result)
{
    return (edt_coco_arrays){.n_thresholds = EDT_COCO_N_THRESHOLDS,
                             .n_recalls = EDT_COCO_N_RECALLS,
                             .n_categories = result->n_k,
                             .n_areas = EDT_COCO_N_AREAS,
                             .n_max_dets = EDT_COCO_N_MAX_DETS,
                             .precision = result->precision,
                             .recall = result->recall,
                             .scores = result->scores};
}
