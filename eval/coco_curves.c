// See coco_curves.h.
#include "eval/coco_curves.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "eval/coco_confusion.h"
#include "eval/coco_matches.h"

static const double iou_of_scores = 0.5;

// A detection that counts.
typedef struct scored {
    double score;
    int32_t label;
    bool is_true;
} scored;

typedef struct maker {
    edt_coco_curves *curves;
    edt_coco_class_numbers *classes;
    scored *scores; // all, best first
    int64_t n_scores;
} maker;

static edt_status no_memory(edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the curves");
}

static int compare_scores(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    return (x->score < y->score) - (x->score > y->score);
}

static int64_t find_area(const edt_coco_params *params)
{
    for (int64_t i = 0; i < params->n_areas; ++i) {
        if (strcmp(params->areas[i].label, "all") == 0) {
            return i;
        }
    }
    return 0;
}

// The rows of the result's precision at one area and limit, and the mean over classes.
static edt_status take_precision(maker *m, const edt_coco_result *result, edt_error *err)
{
    const edt_coco_arrays a = edt_coco_result_arrays(result);
    const edt_coco_params *params = edt_coco_result_params(result);
    edt_coco_curves *c = m->curves;
    const int64_t area = find_area(params), n_cells = a.n_thresholds * a.n_recalls;
    double *precision = edt_arena_calloc(
        &c->arena, (size_t)(a.n_categories + 1) * (size_t)n_cells, sizeof *precision);
    double *ious = edt_arena_calloc(&c->arena, (size_t)a.n_thresholds, sizeof *ious);
    double *recalls = edt_arena_calloc(&c->arena, (size_t)a.n_recalls, sizeof *recalls);
    if (precision == NULL || ious == NULL || recalls == NULL) {
        return no_memory(err);
    }
    for (int64_t i = 0; i < n_cells; ++i) {
        double sum = 0;
        int64_t n = 0;
        for (int64_t k = 0; k < a.n_categories; ++k) {
            const int64_t at = (i * a.n_categories + k) * a.n_areas + area;
            const double p = a.precision[at * a.n_max_dets + a.n_max_dets - 1];
            precision[k * n_cells + i] = p;
            sum += p > -1 ? p : 0;
            n += p > -1;
        }
        precision[a.n_categories * n_cells + i] = n > 0 ? sum / (double)n : -1;
    }
    memcpy(ious, params->iou_thresholds, (size_t)a.n_thresholds * sizeof *ious);
    memcpy(recalls, params->recall_thresholds, (size_t)a.n_recalls * sizeof *recalls);
    c->n_thresholds = a.n_thresholds;
    c->n_recalls = a.n_recalls;
    c->iou_thresholds = ious;
    c->recalls = recalls;
    c->precision = precision;
    return EDT_OK;
}

static void take_stats(edt_coco_class_numbers *to, const double stats[EDT_COCO_N_STATS])
{
    to->ap = stats[0];
    to->ap50 = stats[1];
    to->ap75 = stats[2];
    to->ar = stats[8];
    to->best = (edt_coco_operating_point){NAN, NAN, NAN, NAN};
}

static edt_status take_classes(maker *m, const edt_coco_result *result, edt_error *err)
{
    edt_coco_curves *c = m->curves;
    const bool all = edt_coco_result_params(result)->ignore_categories;
    int64_t n;
    const edt_coco_category *categories = edt_coco_result_categories(result, &n);
    c->n_classes = all ? 1 : n;
    m->classes = edt_arena_calloc(&c->arena, (size_t)c->n_classes, sizeof *m->classes);
    if (m->classes == NULL) {
        return no_memory(err);
    }
    for (int64_t k = 0; k < c->n_classes; ++k) {
        double stats[EDT_COCO_N_STATS];
        edt_coco_result_category_stats(result, k, stats);
        const char *name = all ? "all classes" : categories[k].name;
        m->classes[k].id = all ? -1 : categories[k].id;
        m->classes[k].name = edt_arena_strdup(&c->arena, name != NULL ? name : "");
        if (m->classes[k].name == NULL) {
            return no_memory(err);
        }
        take_stats(&m->classes[k], stats);
    }
    c->classes = m->classes;
    c->whole = (edt_coco_class_numbers){.id = -1, .name = "all classes"};
    take_stats(&c->whole, edt_coco_result_stats(result));
    return EDT_OK;
}

// Which detections are right at the IoU of scores.
static edt_status take_scores(maker *m, const edt_coco_gt *gt, const edt_coco_dt *dt,
                              const edt_coco_result *result, edt_error *err)
{
    static const edt_coco_area_range whole = {"all", 0, 1e10};
    edt_coco_params params = *edt_coco_result_params(result);
    edt_coco_matches *matches = NULL;
    params.iou_thresholds = &iou_of_scores;
    params.n_iou_thresholds = 1;
    params.areas = &whole;
    params.n_areas = 1;
    EDT_TRY(edt_coco_match(gt, dt, &params, err, &matches));
    const int64_t n_groups = edt_coco_matches_count(matches);
    int64_t n = 0;
    for (int64_t i = 0; i < n_groups; ++i) {
        n += edt_coco_matches_get(matches, i).n_dt;
    }
    m->scores = edt_mem_alloc(EDT_MEM_EVAL, (size_t)n * sizeof *m->scores);
    for (int64_t i = 0; m->scores != NULL && i < n_groups; ++i) {
        const edt_coco_match_group group = edt_coco_matches_get(matches, i);
        edt_coco_class_numbers *of = &m->classes[group.i_category];
        for (int64_t g = 0; g < group.n_gt; ++g) {
            of->n_objects += group.gt_ignore[g] == 0;
        }
        for (int64_t d = 0; d < group.n_dt; ++d) {
            if (group.dt_ignore[d] == 0 && !isnan(group.dt_score[d])) {
                ++of->n_detections;
                m->scores[m->n_scores++] = (scored){.score = group.dt_score[d],
                                                    .label = (int32_t)group.i_category,
                                                    .is_true = group.dt_match[d] >= 0};
            }
        }
    }
    edt_coco_matches_destroy(matches);
    if (m->scores == NULL) {
        return no_memory(err);
    }
    qsort(m->scores, (size_t)m->n_scores, sizeof *m->scores, compare_scores);
    for (int64_t k = 0; k < m->curves->n_classes; ++k) {
        m->curves->whole.n_objects += m->classes[k].n_objects;
        m->curves->whole.n_detections += m->classes[k].n_detections;
    }
    return EDT_OK;
}

static edt_coco_operating_point make_point(double score, int64_t n_true, int64_t n,
                                           int64_t n_objects)
{
    edt_coco_operating_point p = {score, NAN, NAN, NAN};
    if (n > 0) {
        p.precision = (double)n_true / (double)n;
    }
    if (n_objects > 0) {
        p.recall = (double)n_true / (double)n_objects;
    }
    if (n + n_objects > 0) {
        // 2 P R / (P + R), defined where P is not as well.
        p.f1 = 2 * (double)n_true / (double)(n + n_objects);
    }
    return p;
}

typedef struct running {
    int64_t n, n_true;
    double score; // of the last detection
} running;

static void keep_best(edt_coco_class_numbers *of, const running *r)
{
    if (r->n > 0 && of->n_objects > 0) {
        const edt_coco_operating_point p = make_point(r->score, r->n_true, r->n, of->n_objects);
        if (!(p.f1 <= of->best.f1)) {
            of->best = p;
        }
    }
}

// Candidates for the best F1 are the places where the score changes; detections with equal
// scores are kept together.
static edt_status find_best(maker *m, edt_error *err)
{
    edt_coco_curves *c = m->curves;
    running *per_class =
        edt_mem_calloc(EDT_MEM_EVAL, (size_t)c->n_classes + 1, sizeof *per_class);
    if (per_class == NULL) {
        return no_memory(err);
    }
    running *whole = &per_class[c->n_classes];
    for (int64_t i = 0; i < m->n_scores; ++i) {
        const scored *s = &m->scores[i];
        running *r = &per_class[s->label];
        if (r->n > 0 && s->score != r->score) {
            keep_best(&m->classes[s->label], r);
        }
        if (whole->n > 0 && s->score != whole->score) {
            keep_best(&c->whole, whole);
        }
        *r = (running){r->n + 1, r->n_true + s->is_true, s->score};
        *whole = (running){whole->n + 1, whole->n_true + s->is_true, s->score};
    }
    for (int64_t k = 0; k < c->n_classes; ++k) {
        keep_best(&m->classes[k], &per_class[k]);
    }
    keep_best(&c->whole, whole);
    edt_mem_free(per_class);
    return EDT_OK;
}

static edt_status make_curves_of_scores(maker *m, edt_error *err)
{
    edt_coco_curves *c = m->curves;
    const size_t n_bins = EDT_COCO_CURVES_BINS;
    int64_t *true_bins = edt_arena_calloc(&c->arena, n_bins, sizeof *true_bins);
    int64_t *false_bins = edt_arena_calloc(&c->arena, n_bins, sizeof *false_bins);
    edt_coco_operating_point *points =
        edt_arena_calloc(&c->arena, EDT_COCO_CURVES_POINTS, sizeof *points);
    if (true_bins == NULL || false_bins == NULL || points == NULL) {
        return no_memory(err);
    }
    c->score_low = 0;
    c->score_high = 1;
    for (int64_t i = 0; i < m->n_scores; ++i) {
        if (isfinite(m->scores[i].score)) {
            c->score_low = fmin(c->score_low, m->scores[i].score);
            c->score_high = fmax(c->score_high, m->scores[i].score);
        }
    }
    const double range = c->score_high - c->score_low;
    for (int64_t i = 0; i < m->n_scores; ++i) {
        const double part = (m->scores[i].score - c->score_low) / range;
        const double bin = floor(fmin(1, fmax(0, part)) * EDT_COCO_CURVES_BINS);
        ++(m->scores[i].is_true ? true_bins : false_bins)[(int)fmin(bin, n_bins - 1)];
    }
    int64_t n = 0, n_true = 0;
    for (int i = EDT_COCO_CURVES_POINTS - 1; i >= 0; --i) {
        const double score =
            c->score_low + range * (double)i / (double)(EDT_COCO_CURVES_POINTS - 1);
        while (n < m->n_scores && m->scores[n].score >= score) {
            n_true += m->scores[n++].is_true;
        }
        points[i] = make_point(score, n_true, n, c->whole.n_objects);
    }
    c->true_bins = true_bins;
    c->false_bins = false_bins;
    c->points = points;
    return EDT_OK;
}

static edt_status make_confusion(maker *m, const edt_coco_gt *gt, const edt_coco_dt *dt,
                                 const edt_coco_result *result,
                                 const edt_coco_curves_options *options, edt_error *err)
{
    edt_coco_curves *c = m->curves;
    const edt_coco_params *params = edt_coco_result_params(result);
    const size_t side = (size_t)c->n_classes + 1;
    c->confusion_score = isnan(c->whole.best.score) ? c->score_low : c->whole.best.score;
    if (options != NULL && options->has_confusion_score) {
        c->confusion_score = options->confusion_score;
    }
    if (params->ignore_categories || c->n_classes > EDT_COCO_CURVES_MOST_CONFUSED) {
        return EDT_OK;
    }
    int64_t *counts = edt_arena_calloc(&c->arena, side * side, sizeof *counts);
    if (counts == NULL) {
        return no_memory(err);
    }
    c->confusion = counts;
    return edt_coco_confusion_count(gt, dt, params, iou_of_scores, c->confusion_score,
                                    c->n_classes, counts, err);
}

edt_status edt_coco_curves_create(const edt_coco_gt *gt, const edt_coco_dt *dt,
                                  const edt_coco_result *result,
                                  const edt_coco_curves_options *options, edt_error *err,
                                  edt_coco_curves **out_curves)
{
    edt_status status = EDT_OK;
    maker m = {.curves = edt_mem_calloc(EDT_MEM_EVAL, 1, sizeof *m.curves)};
    if (m.curves == NULL) {
        return no_memory(err);
    }
    edt_arena_init(&m.curves->arena, EDT_MEM_EVAL, 0);
    EDT_TRY_GOTO(take_precision(&m, result, err));
    EDT_TRY_GOTO(take_classes(&m, result, err));
    EDT_TRY_GOTO(take_scores(&m, gt, dt, result, err));
    EDT_TRY_GOTO(find_best(&m, err));
    EDT_TRY_GOTO(make_curves_of_scores(&m, err));
    EDT_TRY_GOTO(make_confusion(&m, gt, dt, result, options, err));
    *out_curves = m.curves;
    m.curves = NULL;
fail:
    edt_mem_free(m.scores);
    edt_coco_curves_destroy(m.curves);
    return status;
}

void edt_coco_curves_destroy(edt_coco_curves *curves)
{
    if (curves != NULL) {
        edt_arena_deinit(&curves->arena);
        edt_mem_free(curves);
    }
}
