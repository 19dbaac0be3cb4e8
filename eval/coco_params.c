// The parameters of an evaluation with their defaults, and their division into passes.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval/coco_priv.h"

enum { N_THRESHOLDS = 10, N_RECALLS = 101, N_AREAS = 4 };

// Both ends belong to the range, so an object of area 1024 is small and medium.
static const edt_coco_area_range usual_areas[N_AREAS] = {
    {"all", 0, 1e10}, {"small", 0, 1024}, {"medium", 1024, 9216}, {"large", 9216, 1e10}};

static int compare_ints(const void *a, const void *b)
{
    const int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

static edt_status no_memory(edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the parameters of the evaluation");
}

static edt_status resolve_max_dets(int *max_dets, edt_error *err)
{
    int n = EDT_COCO_MOST_MAX_DETS;
    while (n > 0 && max_dets[n - 1] == 0) {
        --n;
    }
    if (n == 0) {
        max_dets[0] = 1;
        max_dets[1] = 10;
        max_dets[2] = 100;
        n = 3;
    }
    qsort(max_dets, (size_t)n, sizeof *max_dets, compare_ints);
    if (max_dets[0] < 1) {
        EDT_FAIL(err, EDT_ERR_INVALID, "max_dets %d: must be at least 1", max_dets[0]);
    }
    return EDT_OK;
}

// Copies the list, or what NumPy's linspace(first, last, n_usual) gives.
static edt_status resolve_list(const char *what, const double *given, int64_t n_given,
                               int n_usual, double first, double last, edt_arena *arena,
                               edt_error *err, const double **out_list, int64_t *out_n)
{
    const int64_t n = n_given > 0 ? n_given : n_usual;
    double *list = edt_arena_calloc(arena, (size_t)n, sizeof *list);
    if (list == NULL) {
        return no_memory(err);
    }
    // Its step is a rounded double and its last value is set.
    const double step = (last - first) / (n_usual - 1);
    for (int64_t i = 0; i < n; ++i) {
        list[i] = n_given > 0 ? given[i] : i == n - 1 ? last : (double)i * step + first;
        if (!(list[i] >= 0 && list[i] <= 1)) {
            EDT_FAIL(err, EDT_ERR_INVALID, "%s threshold %g: allowed are 0 to 1", what,
                     list[i]);
        }
    }
    *out_list = list;
    *out_n = n;
    return EDT_OK;
}

static edt_status resolve_areas(edt_coco_params *params, edt_arena *arena, edt_error *err)
{
    const edt_coco_area_range *given = params->n_areas > 0 ? params->areas : usual_areas;
    const int64_t n = params->n_areas > 0 ? params->n_areas : N_AREAS;
    edt_coco_area_range *areas = edt_arena_calloc(arena, (size_t)n, sizeof *areas);
    if (areas == NULL) {
        return no_memory(err);
    }
    for (int64_t i = 0; i < n; ++i) {
        areas[i] = given[i];
        areas[i].label = edt_arena_strdup(arena, given[i].label != NULL ? given[i].label : "");
        if (areas[i].label == NULL) {
            return no_memory(err);
        }
        if (isnan(areas[i].low) || isnan(areas[i].high)) {
            EDT_FAIL(err, EDT_ERR_INVALID, "area range '%s': NaN is no bound", areas[i].label);
        }
        for (int64_t j = 0; j < i; ++j) {
            if (strcmp(areas[j].label, areas[i].label) == 0) {
                EDT_FAIL(err, EDT_ERR_INVALID, "two area ranges have the label '%s'",
                         areas[i].label);
            }
        }
    }
    params->areas = areas;
    params->n_areas = n;
    return EDT_OK;
}

static edt_status copy_ids(const int64_t **ids, int64_t n, edt_arena *arena, edt_error *err)
{
    int64_t *copy = edt_arena_calloc(arena, (size_t)n, sizeof *copy);
    if (copy == NULL) {
        return no_memory(err);
    }
    for (int64_t i = 0; i < n; ++i) {
        copy[i] = (*ids)[i];
    }
    *ids = n > 0 ? copy : NULL;
    return EDT_OK;
}

edt_status edt_coco_params_resolve(const edt_coco_params *given, edt_arena *arena,
                                   edt_error *err, edt_coco_params *out_params)
{
    edt_coco_params params = *given;
    if (params.n_threads < 0) {
        EDT_FAIL(err, EDT_ERR_INVALID, "%d threads; 0 stands for all cores", params.n_threads);
    }
    EDT_TRY(resolve_max_dets(params.max_dets, err));
    EDT_TRY(resolve_list("IoU", params.iou_thresholds, params.n_iou_thresholds, N_THRESHOLDS,
                         0.5, 0.95, arena, err, &params.iou_thresholds,
                         &params.n_iou_thresholds));
    EDT_TRY(resolve_list("recall", params.recall_thresholds, params.n_recall_thresholds,
                         N_RECALLS, 0, 1, arena, err, &params.recall_thresholds,
                         &params.n_recall_thresholds));
    EDT_TRY(resolve_areas(&params, arena, err));
    EDT_TRY(copy_ids(&params.image_ids, params.n_image_ids, arena, err));
    EDT_TRY(copy_ids(&params.category_ids, params.n_category_ids, arena, err));
    *out_params = params;
    return EDT_OK;
}

bool edt_coco_pass_set(const edt_coco_params *params, int64_t i_pass, edt_coco_pass *out_pass)
{
    const int64_t n_t = params->n_iou_thresholds;
    const int64_t per_row = (n_t + EDT_COCO_PASS_THRESHOLDS - 1) / EDT_COCO_PASS_THRESHOLDS;
    edt_coco_pass pass = {
        .first_threshold = i_pass % per_row * EDT_COCO_PASS_THRESHOLDS,
        .first_area = i_pass / per_row * EDT_COCO_PASS_AREAS,
        .lowest = 1,
    };
    if (pass.first_area >= params->n_areas) {
        return false;
    }
    while (pass.n_thresholds < EDT_COCO_PASS_THRESHOLDS &&
           pass.first_threshold + pass.n_thresholds < n_t) {
        const double given = params->iou_thresholds[pass.first_threshold + pass.n_thresholds];
        const double threshold = given < 1 - 1e-10 ? given : 1 - 1e-10;
        pass.thresholds[pass.n_thresholds++] = threshold;
        pass.lowest = threshold < pass.lowest ? threshold : pass.lowest;
    }
    while (pass.n_areas < EDT_COCO_PASS_AREAS &&
           pass.first_area + pass.n_areas < params->n_areas) {
        const edt_coco_area_range *area = &params->areas[pass.first_area + pass.n_areas];
        pass.areas[pass.n_areas][0] = area->low;
        pass.areas[pass.n_areas][1] = area->high;
        ++pass.n_areas;
    }
    *out_pass = pass;
    return true;
}
