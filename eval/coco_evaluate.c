// One evaluation from parameters to result: checks, matching, accumulation, summary.
#include <string.h>

#include "core/clock.h"
#include "core/thread.h"
#include "eval/coco_table.h"

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

static edt_status choose_images(const edt_coco_gt *gt, const edt_coco_params *params,
                                edt_error *err, uint8_t **out_is_wanted)
{
    uint8_t *is_wanted = edt_mem_calloc(EDT_MEM_EVAL, (size_t)gt->n_images, 1);
    if (is_wanted == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %lld images", (long long)gt->n_images);
    }
    for (int64_t i = 0; i < params->n_image_ids; ++i) {
        const int32_t at = edt_coco_id_map_find(&gt->images, params->image_ids[i]);
        if (at < 0) {
            edt_mem_free(is_wanted);
            EDT_FAIL(err, EDT_ERR_NOT_FOUND, "the ground truth has no image with id %lld",
                     (long long)params->image_ids[i]);
        }
        is_wanted[at] = 1;
    }
    *out_is_wanted = is_wanted;
    return EDT_OK;
}

// Everything but the numbers.
static edt_status create_result(const edt_coco_params *params, edt_error *err,
                                edt_coco_result **out_result)
{
    edt_coco_result *result = edt_mem_calloc(EDT_MEM_EVAL, 1, sizeof *result);
    if (result == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the result");
    }
    edt_arena_init(&result->names, EDT_MEM_EVAL, 4096);
    const edt_status status =
        edt_coco_params_resolve(params, &result->names, err, &result->params);
    if (status != EDT_OK) {
        edt_coco_result_destroy(result);
        return status;
    }
    while (result->n_max_dets < EDT_COCO_MOST_MAX_DETS &&
           result->params.max_dets[result->n_max_dets] > 0) {
        ++result->n_max_dets;
    }
    *out_result = result;
    return EDT_OK;
}

static edt_status name_categories(const edt_coco_work *work, edt_coco_result *result,
                                  edt_error *err)
{
    const edt_coco_gt *gt = work->gt;
    result->n_categories = work->n_categories;
    result->n_k = result->params.ignore_categories ? 1 : result->n_categories;
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

edt_status edt_coco_work_init(edt_coco_work *work, const edt_coco_gt *gt,
                              const edt_coco_params *params, edt_error *err,
                              edt_coco_result **out_result)
{
    edt_status status = EDT_OK;
    edt_coco_result *result = NULL;
    *work = (edt_coco_work){.gt = gt};
    if (params->iou_type == EDT_COCO_SEGM && gt->masks == NULL) {
        EDT_FAIL(err, EDT_ERR_INVALID,
                 "masks are to be compared, but the ground truth was read without them");
    }
    EDT_TRY(create_result(params, err, &result));
    work->params = &result->params;
    work->n_threads = params->n_threads > 0 ? params->n_threads : edt_thread_cpu_count();
    for (int i = 0; i < result->n_max_dets; ++i) {
        work->max_dets = result->params.max_dets[i];
    }
    work->k_of = edt_mem_alloc(EDT_MEM_EVAL, (size_t)gt->n_categories * sizeof *work->k_of);
    work->is_evaluated = edt_mem_calloc(EDT_MEM_EVAL, (size_t)gt->n_images, 1);
    if (work->k_of == NULL || work->is_evaluated == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for the evaluation");
        goto fail;
    }
    EDT_TRY_GOTO(choose_categories(gt, work->params, work->k_of, &work->n_categories, err));
    work->excludes = work->n_categories < gt->n_categories;
    EDT_TRY_GOTO(name_categories(work, result, err));
    if (params->n_image_ids > 0) {
        EDT_TRY_GOTO(choose_images(gt, params, err, &work->is_wanted));
    }
    for (int64_t i = 0; i < gt->n_images && !params->only_images_with_detections; ++i) {
        work->is_evaluated[i] = work->is_wanted == NULL || work->is_wanted[i] != 0;
    }
    *out_result = result;
    return EDT_OK;
fail:
    edt_coco_result_destroy(result);
    edt_coco_work_deinit(work);
    return status;
}

void edt_coco_work_deinit(edt_coco_work *work)
{
    edt_mem_free(work->k_of);
    edt_mem_free(work->is_wanted);
    edt_mem_free(work->is_evaluated);
    edt_mem_free(work->matches);
    edt_mem_free(work->n_positives);
    *work = (edt_coco_work){0};
}

edt_status edt_coco_evaluate(const edt_coco_gt *gt, const edt_coco_dt *dt,
                             const edt_coco_params *params, edt_error *err,
                             edt_coco_result **out_result)
{
    edt_status status = EDT_OK;
    edt_coco_work work;
    edt_coco_table table = {0};
    edt_coco_result *result = NULL;
    double at_s = edt_clock_now_s();
    EDT_TRY(edt_coco_work_init(&work, gt, params, err, &result));
    result->n_detections = dt->n;
    EDT_TRY_GOTO(
        edt_coco_table_init(&table, &work, dt, work.n_threads, work.is_evaluated, err));
    for (int64_t i_pass = 0; edt_coco_pass_set(work.params, i_pass, &work.pass); ++i_pass) {
        EDT_TRY_GOTO(edt_coco_match_table(&work, &table, work.n_threads, err));
        EDT_TRY_GOTO(edt_coco_count_positives(&work, err));
        const double matched_s = edt_clock_now_s();
        result->match_s += matched_s - at_s;
        EDT_TRY_GOTO(edt_coco_accumulate(&work, result, err));
        edt_mem_free(work.matches);
        work.matches = NULL;
        at_s = edt_clock_now_s();
        result->accumulate_s += at_s - matched_s;
    }
    EDT_TRY_GOTO(edt_coco_count_objects(&work, result, err));
    EDT_TRY_GOTO(edt_coco_summarize(result, err));
    for (int64_t i = 0; i < gt->n_images; ++i) {
        result->n_images += work.is_evaluated[i];
    }
    *out_result = result;
    result = NULL;
fail:
    edt_coco_table_deinit(&table);
    edt_coco_work_deinit(&work);
    edt_coco_result_destroy(result);
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

const edt_coco_params *edt_coco_result_params(const edt_coco_result *result)
{
    return &result->params;
}

int64_t edt_coco_result_n_images(const edt_coco_result *result)
{
    return result->n_images;
}

int64_t edt_coco_result_n_detections(const edt_coco_result *result)
{
    return result->n_detections;
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

int64_t edt_coco_result_category_objects(const edt_coco_result *result, int64_t i_category)
{
    return result->n_objects[i_category];
}

edt_coco_arrays edt_coco_result_arrays(const edt_coco_result *result)
{
    return (edt_coco_arrays){.n_thresholds = result->params.n_iou_thresholds,
                             .n_recalls = result->params.n_recall_thresholds,
                             .n_categories = result->n_k,
                             .n_areas = result->params.n_areas,
                             .n_max_dets = result->n_max_dets,
                             .precision = result->precision,
                             .recall = result->recall,
                             .scores = result->scores};
}
