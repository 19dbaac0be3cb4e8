// See voc_metric.h. Detections are matched image by image, which is all that their order
// matters for, and then put into one order for the curve.
#include "eval/voc_metric.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "eval/coco_table.h"

typedef struct row {
    double score;
    uint32_t slot; // rises with the place in the list
    int32_t label;
    bool is_true;
} row;

typedef struct evaluation {
    edt_coco_work work;
    double iou;
    edt_voc_class *classes;
    row *rows; // that count, up to the number of detections
    int64_t n_rows;
    bool *is_taken; // by object of the ground truth
    double *precision, *recall;
} evaluation;

static edt_status no_memory(edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the VOC metric");
}

static double overlap(const double a[4], const double b[4])
{
    const double w = fmin(a[0] + a[2], b[0] + b[2]) - fmax(a[0], b[0]) + 1;
    const double h = fmin(a[1] + a[3], b[1] + b[3]) - fmax(a[1], b[1]) + 1;
    if (!(w > 0) || !(h > 0)) {
        return 0;
    }
    return w * h / ((a[2] + 1) * (a[3] + 1) + (b[2] + 1) * (b[3] + 1) - w * h);
}

static edt_status match_group(void *ctx, edt_coco_walker *walker,
                              const edt_coco_pairing *pairing, edt_error *err)
{
    (void)walker;
    (void)err;
    evaluation *e = ctx;
    const edt_coco_gt *gt = e->work.gt;
    edt_voc_class *of = &e->classes[pairing->k];
    for (int64_t g = pairing->gt_begin; g < pairing->gt_end; ++g) {
        if (e->work.k_of[gt->category[g]] >= 0) {
            ++*(gt->is_crowd[g] ? &of->n_difficult : &of->n_objects);
        }
    }
    of->n_detections += pairing->n_dt;
    for (int64_t d = 0; d < pairing->n_dt; ++d) {
        const edt_coco_scored *item = &pairing->items[d];
        double best = -INFINITY;
        int64_t match = -1;
        for (int64_t g = pairing->gt_begin; g < pairing->gt_end; ++g) {
            const bool is_chosen = e->work.k_of[gt->category[g]] >= 0;
            const double iou = is_chosen ? overlap(item->bbox, gt->bbox[g]) : 0;
            if (is_chosen && iou > best) {
                best = iou;
                match = g;
            }
        }
        const bool is_hit = match >= 0 && best >= e->iou;
        if (is_hit && gt->is_crowd[match]) {
            continue;
        }
        const bool is_true = is_hit && !e->is_taken[match];
        if (is_true) {
            e->is_taken[match] = true;
        }
        e->rows[e->n_rows++] = (row){.score = item->score,
                                     .slot = item->slot,
                                     .label = (int32_t)pairing->k,
                                     .is_true = is_true};
    }
    return EDT_OK;
}

static int compare_rows(const void *a, const void *b)
{
    const row *x = a, *y = b;
    if (x->label != y->label) {
        return x->label < y->label ? -1 : 1;
    }
    const bool x_first = x->score > y->score || (isnan(y->score) && !isnan(x->score));
    const bool y_first = y->score > x->score || (isnan(x->score) && !isnan(y->score));
    if (x_first != y_first) {
        return x_first ? -1 : 1;
    }
    return x->slot < y->slot ? -1 : x->slot > y->slot;
}

// Recalls are multiples of 0.1 as the ports of the kit to other languages have them, some of
// which are not the nearest number: a recall of 3/5 does not reach 6 * 0.1.
static double ap_11_points(const double *precision, const double *recall, int64_t n)
{
    double sum = 0;
    for (int i = 0; i <= 10; ++i) {
        const double at = i * 0.1;
        double best = 0;
        for (int64_t k = 0; k < n; ++k) {
            best = recall[k] >= at ? fmax(best, precision[k]) : best;
        }
        sum += best / 11;
    }
    return sum;
}

static double ap_all_points(double *precision, const double *recall, int64_t n)
{
    double sum = 0, before = 0;
    for (int64_t k = n - 1; k > 0; --k) {
        precision[k - 1] = fmax(precision[k - 1], precision[k]);
    }
    for (int64_t k = 0; k < n; ++k) {
        sum += (recall[k] - before) * precision[k];
        before = recall[k];
    }
    return sum;
}

static void summarize_class(evaluation *e, edt_voc_rule rule, const row *rows, int64_t n,
                            edt_voc_class *of)
{
    int64_t n_true = 0;
    for (int64_t i = 0; i < n; ++i) {
        n_true += rows[i].is_true;
        e->precision[i] = (double)n_true / (double)(i + 1);
        e->recall[i] = of->n_objects > 0 ? (double)n_true / (double)of->n_objects : 0;
    }
    of->precision = n > 0 ? e->precision[n - 1] : -1;
    of->recall = of->n_objects > 0 ? (double)n_true / (double)of->n_objects : -1;
    of->ap = of->n_objects == 0     ? -1
             : rule == EDT_VOC_2007 ? ap_11_points(e->precision, e->recall, n)
                                    : ap_all_points(e->precision, e->recall, n);
}

static void summarize(evaluation *e, edt_voc_result *result)
{
    int64_t begin = 0, n_means = 0;
    double sum = 0;
    qsort(e->rows, (size_t)e->n_rows, sizeof *e->rows, compare_rows);
    for (int64_t k = 0; k < result->n_classes; ++k) {
        int64_t end = begin;
        while (end < e->n_rows && e->rows[end].label == k) {
            ++end;
        }
        summarize_class(e, result->rule, e->rows + begin, end - begin, &e->classes[k]);
        if (e->classes[k].n_objects > 0) {
            sum += e->classes[k].ap;
            ++n_means;
        }
        begin = end;
    }
    result->mean_ap = n_means > 0 ? sum / (double)n_means : -1;
}

static edt_status name_classes(const edt_coco_result *of, bool all, edt_voc_result *result,
                               edt_error *err, edt_voc_class **out_classes)
{
    int64_t n;
    const edt_coco_category *categories = edt_coco_result_categories(of, &n);
    result->n_classes = all ? 1 : n;
    edt_voc_class *classes =
        edt_arena_calloc(&result->arena, (size_t)result->n_classes, sizeof *classes);
    if (classes == NULL) {
        return no_memory(err);
    }
    for (int64_t k = 0; k < result->n_classes; ++k) {
        const char *name = all ? "all classes" : categories[k].name;
        classes[k].id = all ? -1 : categories[k].id;
        classes[k].name = edt_arena_strdup(&result->arena, name != NULL ? name : "");
        if (classes[k].name == NULL) {
            return no_memory(err);
        }
    }
    result->classes = classes;
    *out_classes = classes;
    return EDT_OK;
}

edt_status edt_voc_evaluate(const edt_coco_gt *gt, const edt_coco_dt *dt,
                            const edt_voc_params *params, edt_error *err,
                            edt_voc_result **out_result)
{
    edt_status status = EDT_OK;
    edt_coco_params coco = params->coco != NULL ? *params->coco : (edt_coco_params){0};
    evaluation e = {.iou = params->iou > 0 ? params->iou : 0.5};
    edt_coco_table table = {0};
    edt_coco_walker walker = {0};
    edt_coco_result *chosen = NULL;
    const size_t n_dt = (size_t)edt_coco_dt_count(dt);
    edt_voc_result *result = edt_mem_calloc(EDT_MEM_EVAL, 1, sizeof *result);
    if (result == NULL) {
        return no_memory(err);
    }
    edt_arena_init(&result->arena, EDT_MEM_EVAL, 0);
    result->rule = params->rule;
    result->iou = e.iou;
    memset(coco.max_dets, 0, sizeof coco.max_dets);
    coco.max_dets[0] = INT_MAX;
    coco.iou_type = EDT_COCO_BBOX;
    EDT_TRY_GOTO(edt_coco_work_init(&e.work, gt, &coco, err, &chosen));
    EDT_TRY_GOTO(name_classes(chosen, coco.ignore_categories, result, err, &e.classes));
    e.rows = edt_mem_alloc(EDT_MEM_EVAL, n_dt * sizeof *e.rows);
    e.precision = edt_mem_alloc(EDT_MEM_EVAL, n_dt * sizeof *e.precision);
    e.recall = edt_mem_alloc(EDT_MEM_EVAL, n_dt * sizeof *e.recall);
    e.is_taken = edt_mem_calloc(EDT_MEM_EVAL, (size_t)gt->image_begin[gt->n_images], 1);
    if (e.rows == NULL || e.precision == NULL || e.recall == NULL || e.is_taken == NULL) {
        status = no_memory(err);
        goto fail;
    }
    EDT_TRY_GOTO(
        edt_coco_table_init(&table, &e.work, dt, e.work.n_threads, e.work.is_evaluated, err));
    EDT_TRY_GOTO(edt_coco_walker_init(&walker, gt, err));
    for (int64_t i = 0; i < gt->n_images; ++i) {
        if (e.work.is_evaluated[i]) {
            EDT_TRY_GOTO(edt_coco_walk_image(&table, &walker, i, true, match_group, &e, err));
        }
    }
    summarize(&e, result);
    *out_result = result;
    result = NULL;
fail:
    edt_coco_walker_deinit(&walker);
    edt_coco_table_deinit(&table);
    edt_coco_work_deinit(&e.work);
    edt_coco_result_destroy(chosen);
    edt_mem_free(e.rows);
    edt_mem_free(e.precision);
    edt_mem_free(e.recall);
    edt_mem_free(e.is_taken);
    edt_voc_result_destroy(result);
    return status;
}

void edt_voc_result_destroy(edt_voc_result *result)
{
    if (result != NULL) {
        edt_arena_deinit(&result->arena);
        edt_mem_free(result);
    }
}

static void print_number(FILE *out, double x)
{
    if (x > -1) {
        (void)fprintf(out, " %9.4f", x);
    } else {
        (void)fprintf(out, " %9s", "-");
    }
}

void edt_voc_print(const edt_voc_result *result, FILE *out)
{
    (void)fprintf(out, "%8s  %-24s %9s %9s %9s %9s %9s %9s\n", "id", "class", "AP", "recall",
                  "precision", "objects", "difficult", "detected");
    for (int64_t k = 0; k < result->n_classes; ++k) {
        const edt_voc_class *of = &result->classes[k];
        (void)fprintf(out, "%8lld  %-24s", (long long)of->id, of->name);
        print_number(out, of->ap);
        print_number(out, of->recall);
        print_number(out, of->precision);
        (void)fprintf(out, " %9lld %9lld %9lld\n", (long long)of->n_objects,
                      (long long)of->n_difficult, (long long)of->n_detections);
    }
    (void)fprintf(out, "\n Mean AP (VOC %s, IoU %.2f) =",
                  result->rule == EDT_VOC_2007 ? "2007, 11 points" : "2010, every point",
                  result->iou);
    print_number(out, result->mean_ap);
    (void)fprintf(out, "\n");
}

edt_status edt_voc_write_json(const edt_voc_result *result, const char *path, edt_error *err)
{
    edt_json_writer out = {.indent = 1};
    edt_text text;
    edt_json_begin_object(&out);
    edt_json_put_text(&out, "metric", result->rule == EDT_VOC_2007 ? "voc2007" : "voc2010");
    edt_json_put_f64(&out, "iou", result->iou);
    edt_json_put_f64(&out, "mAP", result->mean_ap);
    edt_json_key(&out, "per_class");
    edt_json_begin_array(&out);
    for (int64_t k = 0; k < result->n_classes; ++k) {
        const edt_voc_class *of = &result->classes[k];
        edt_json_begin_object(&out);
        edt_json_put_i64(&out, "id", of->id);
        edt_json_put_text(&out, "name", of->name);
        edt_json_put_f64(&out, "AP", of->ap);
        edt_json_put_f64(&out, "recall", of->recall);
        edt_json_put_f64(&out, "precision", of->precision);
        edt_json_put_i64(&out, "objects", of->n_objects);
        edt_json_put_i64(&out, "difficult", of->n_difficult);
        edt_json_put_i64(&out, "detections", of->n_detections);
        edt_json_end_object(&out);
    }
    edt_json_end_array(&out);
    edt_json_end_object(&out);
    edt_status status = edt_json_writer_finish(&out, err, &text);
    if (status == EDT_OK) {
        status = edt_file_write(path, text.data, text.n_bytes, err);
    }
    edt_json_writer_deinit(&out);
    return status;
}
