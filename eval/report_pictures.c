// The pictures of an evaluation's report; see eval_report.h.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/path.h"
#include "core/thread.h"
#include "dataio/plot.h"
#include "eval/coco_priv.h"
#include "eval/report_priv.h"

enum {
    MOST_LINES = 10,     // of one chart
    MOST_BARS = 120,     // classes; half of them the best, half the worst
    MOST_CONFUSED = 100, // classes of a matrix
};

static edt_status no_memory(edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the pictures of the evaluation");
}

static const char *picture_path(const edt_report *r, const char *name, const char *suffix)
{
    return edt_arena_printf(r->arena, "%s/%s.%s", r->dir, name, suffix);
}

static edt_status write_chart(const edt_report *r, const edt_plot_chart *chart,
                              const char *name, edt_error *err)
{
    const char *png = picture_path(r, name, "png"), *svg = picture_path(r, name, "svg");
    if (png == NULL || svg == NULL) {
        return no_memory(err);
    }
    EDT_TRY(edt_plot_write_chart(chart, png, err));
    return edt_plot_write_chart(chart, svg, err);
}

static edt_status write_bars(const edt_report *r, const edt_plot_bars *bars, const char *name,
                             edt_error *err)
{
    const char *png = picture_path(r, name, "png"), *svg = picture_path(r, name, "svg");
    if (png == NULL || svg == NULL) {
        return no_memory(err);
    }
    EDT_TRY(edt_plot_write_bars(bars, png, err));
    return edt_plot_write_bars(bars, svg, err);
}

// One line per IoU threshold, light to dark, of the class in row k of the precisions (the last
// row: mean over classes).
static edt_status draw_precision(const edt_report *r, edt_arena *arena, int64_t k,
                                 const edt_plot_chart *frame, const char *path, edt_error *err)
{
    const edt_coco_curves *c = r->curves;
    const int64_t n_t = c->n_thresholds, n_r = c->n_recalls;
    const int64_t n_lines = n_t < MOST_LINES ? n_t : MOST_LINES;
    edt_plot_line *lines = edt_arena_calloc(arena, (size_t)n_lines, sizeof *lines);
    if (lines == NULL) {
        return no_memory(err);
    }
    for (int64_t i = 0; i < n_lines; ++i) {
        const int64_t t = n_lines < n_t ? i * (n_t - 1) / (n_lines - 1) : i;
        const double *precision = c->precision + (k * n_t + t) * n_r;
        const double part = n_lines > 1 ? (double)i / (double)(n_lines - 1) : 1;
        double sum = 0;
        for (int64_t p = 0; p < n_r; ++p) {
            sum += precision[p];
        }
        lines[i] = (edt_plot_line){
            .name =
                edt_arena_printf(arena, "%.2f   %.3f", c->iou_thresholds[t], sum / (double)n_r),
            .x = c->recalls,
            .y = precision,
            .n = n_r,
            .rgb = edt_plot_ramp(0.3 + 0.7 * part),
        };
        if (lines[i].name == NULL) {
            return no_memory(err);
        }
    }
    edt_plot_chart chart = *frame;
    chart.x = (edt_plot_axis){.label = "recall", .low = 0, .high = 1};
    chart.y = (edt_plot_axis){.label = "precision", .low = 0, .high = 1};
    chart.lines = lines;
    chart.n_lines = n_lines;
    chart.legend_title = "IoU    AP";
    return edt_plot_write_chart(&chart, path, err);
}

static edt_status draw_all_classes(const edt_report *r, edt_error *err)
{
    const edt_coco_curves *c = r->curves;
    const edt_plot_chart frame = {
        .head = {.title = "Precision and recall, mean over classes",
                 .subtitle = edt_arena_printf(
                     r->arena,
                     "AP %.3f · AP50 %.3f · AP75 %.3f · all areas, %d detections "
                     "per image and class",
                     c->whole.ap, c->whole.ap50, c->whole.ap75,
                     edt_coco_result_params(r->result)->max_dets[r->result->n_max_dets - 1])},
    };
    const char *png = picture_path(r, "precision_recall", "png");
    const char *svg = picture_path(r, "precision_recall", "svg");
    if (frame.head.subtitle == NULL || png == NULL || svg == NULL) {
        return no_memory(err);
    }
    EDT_TRY(draw_precision(r, r->arena, c->n_classes, &frame, png, err));
    return draw_precision(r, r->arena, c->n_classes, &frame, svg, err);
}

// Compares classes through their AP; the classes are those of the report.
typedef struct ranked {
    double ap;
    int64_t k;
} ranked;

static int compare_ranked(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    return x->ap != y->ap ? (x->ap < y->ap) - (x->ap > y->ap) : (x->k > y->k) - (x->k < y->k);
}

edt_status edt_report_sort_classes(const edt_report *report, edt_error *err,
                                   const int64_t **out_classes, int64_t *out_n)
{
    const edt_coco_curves *c = report->curves;
    ranked *list = edt_arena_calloc(report->arena, (size_t)c->n_classes, sizeof *list);
    int64_t *classes = edt_arena_calloc(report->arena, (size_t)c->n_classes, sizeof *classes);
    int64_t n = 0;
    if (list == NULL || classes == NULL) {
        return no_memory(err);
    }
    for (int64_t k = 0; k < c->n_classes; ++k) {
        if (c->classes[k].ap > -1) {
            list[n++] = (ranked){c->classes[k].ap, k};
        }
    }
    qsort(list, (size_t)n, sizeof *list, compare_ranked);
    for (int64_t i = 0; i < n; ++i) {
        classes[i] = list[i].k;
    }
    *out_classes = classes;
    *out_n = n;
    return EDT_OK;
}

static edt_status draw_ap(const edt_report *r, edt_error *err)
{
    const edt_coco_curves *c = r->curves;
    const int64_t *sorted;
    int64_t n;
    EDT_TRY(edt_report_sort_classes(r, err, &sorted, &n));
    // Between the best and the worst of many stands a row of dots.
    const int64_t n_bars = n <= MOST_BARS ? n : MOST_BARS + 1;
    edt_plot_bar *bars = edt_arena_calloc(r->arena, (size_t)n_bars, sizeof *bars);
    const char *note =
        n <= MOST_BARS
            ? edt_arena_printf(r->arena,
                               "%" PRId64 " of %" PRId64 " classes have objects · mean %.3f", n,
                               c->n_classes, c->whole.ap)
            : edt_arena_printf(r->arena,
                               "the best and worst %d of %" PRId64
                               " classes with objects · mean of all %.3f",
                               MOST_BARS / 2, n, c->whole.ap);
    if (bars == NULL || note == NULL) {
        return no_memory(err);
    }
    for (int64_t i = 0; i < n_bars; ++i) {
        const bool is_many = n > MOST_BARS;
        if (is_many && i == MOST_BARS / 2) {
            bars[i] = (edt_plot_bar){.name = "…", .value = NAN};
            continue;
        }
        const int64_t at = is_many && i > MOST_BARS / 2 ? n - n_bars + i : i;
        const edt_coco_class_numbers *of = &c->classes[sorted[at]];
        bars[i] = (edt_plot_bar){
            .name = of->name,
            .value = of->ap,
            .text = edt_arena_printf(r->arena, "%.3f   (%" PRId64 " object%s)", of->ap,
                                     of->n_objects, of->n_objects == 1 ? "" : "s"),
            .rgb = EDT_PLOT_BLUE};
        if (bars[i].text == NULL) {
            return no_memory(err);
        }
    }
    const edt_coco_params *params = edt_coco_result_params(r->result);
    const edt_plot_bars chart = {
        .head = {.title = "AP per class", .subtitle = note},
        .axis = {.label =
                     params->n_iou_thresholds > 1
                         ? edt_arena_printf(
                               r->arena, "AP at IoU %.2f to %.2f", params->iou_thresholds[0],
                               params->iou_thresholds[params->n_iou_thresholds - 1])
                         : edt_arena_printf(r->arena, "AP at IoU %.2f",
                                            params->iou_thresholds[0]),
                 .low = 0,
                 .high = 1},
        .bars = bars,
        .n_bars = n_bars};
    return write_bars(r, &chart, "ap_per_class", err);
}

// The classes of the matrix: those with anything in row or column; of too many those with the
// most errors, in the order of ids.
static edt_status choose_confused(const edt_report *r, edt_error *err, int64_t **out_classes,
                                  int64_t *out_n, int64_t *out_all)
{
    const edt_coco_curves *c = r->curves;
    const int64_t side = c->n_classes + 1;
    ranked *list = edt_arena_calloc(r->arena, (size_t)side, sizeof *list);
    uint8_t *chosen = edt_arena_calloc(r->arena, (size_t)side, 1);
    int64_t *classes = edt_arena_calloc(r->arena, (size_t)side, sizeof *classes);
    int64_t n = 0, n_chosen = 0;
    if (list == NULL || chosen == NULL || classes == NULL) {
        return no_memory(err);
    }
    for (int64_t k = 0; k < c->n_classes; ++k) {
        int64_t n_any = 0, n_wrong = 0;
        for (int64_t i = 0; i < side; ++i) {
            const int64_t both = c->confusion[k * side + i] + c->confusion[i * side + k];
            n_any += both;
            n_wrong += i != k ? both : 0;
        }
        if (n_any > 0) {
            list[n++] = (ranked){(double)n_wrong, k};
        }
    }
    *out_all = n;
    qsort(list, (size_t)n, sizeof *list, compare_ranked);
    for (int64_t i = 0; i < n && i < MOST_CONFUSED; ++i) {
        chosen[list[i].k] = 1;
    }
    for (int64_t k = 0; k < c->n_classes; ++k) {
        if (chosen[k]) {
            classes[n_chosen++] = k;
        }
    }
    *out_classes = classes;
    *out_n = n_chosen;
    return EDT_OK;
}

static edt_status draw_confusion(const edt_report *r, edt_error *err)
{
    const edt_coco_curves *c = r->curves;
    const int64_t side = c->n_classes + 1;
    int64_t *classes = NULL, n = 0, n_all = 0;
    if (c->confusion == NULL) {
        return EDT_OK;
    }
    EDT_TRY(choose_confused(r, err, &classes, &n, &n_all));
    classes[n] = c->n_classes; // background
    const size_t cells = (size_t)(n + 1) * (size_t)(n + 1);
    double *values = edt_arena_calloc(r->arena, cells, sizeof *values);
    const char **rows = edt_arena_calloc(r->arena, (size_t)n + 1, sizeof *rows);
    const char **columns = edt_arena_calloc(r->arena, (size_t)n + 1, sizeof *columns);
    const char *which = n < n_all ? edt_arena_printf(r->arena,
                                                     " · %" PRId64 " of %" PRId64
                                                     " classes, those with the most errors",
                                                     n, n_all)
                                  : "";
    if (values == NULL || rows == NULL || columns == NULL || which == NULL) {
        return no_memory(err);
    }
    for (int64_t i = 0; i <= n; ++i) {
        const int64_t *counts = c->confusion + classes[i] * side;
        int64_t sum = 0;
        rows[i] = i < n ? c->classes[classes[i]].name : "(nothing there)";
        columns[i] = i < n ? c->classes[classes[i]].name : "(missed)";
        for (int64_t k = 0; k < side; ++k) {
            sum += counts[k];
        }
        for (int64_t k = 0; k <= n; ++k) {
            values[i * (n + 1) + k] = sum > 0 ? (double)counts[classes[k]] / (double)sum : NAN;
        }
    }
    const edt_plot_heat heat = {
        .head = {.title = "Confusion matrix",
                 .subtitle = edt_arena_printf(r->arena,
                                              "IoU 0.50, score ≥ %.3f; rows add up to 100 %%%s",
                                              c->confusion_score, which)},
        .row_label = "class of the object",
        .column_label = "class of the detection",
        .scale_label = "% of the row",
        .row_names = rows,
        .column_names = columns,
        .n_rows = n + 1,
        .n_columns = n + 1,
        .values = values,
        .is_last_apart = true};
    const char *png = picture_path(r, "confusion", "png");
    const char *svg = picture_path(r, "confusion", "svg");
    if (heat.head.subtitle == NULL || png == NULL || svg == NULL) {
        return no_memory(err);
    }
    EDT_TRY(edt_plot_write_heat(&heat, png, err));
    return edt_plot_write_heat(&heat, svg, err);
}

static edt_status draw_scores(const edt_report *r, edt_error *err)
{
    const edt_coco_curves *c = r->curves;
    double edges[EDT_COCO_CURVES_BINS + 1];
    double counts[2][EDT_COCO_CURVES_BINS];
    int64_t n_true = 0, n_false = 0;
    for (int i = 0; i <= EDT_COCO_CURVES_BINS; ++i) {
        edges[i] = c->score_low + (c->score_high - c->score_low) * i / EDT_COCO_CURVES_BINS;
    }
    for (int i = 0; i < EDT_COCO_CURVES_BINS; ++i) {
        counts[0][i] = (double)c->false_bins[i];
        counts[1][i] = (double)c->true_bins[i];
        n_false += c->false_bins[i];
        n_true += c->true_bins[i];
    }
    const edt_plot_line lines[2] = {
        {.name = edt_arena_printf(r->arena, "false positives (%" PRId64 ")", n_false),
         .x = edges,
         .y = counts[0],
         .n = EDT_COCO_CURVES_BINS,
         .is_steps = true,
         .rgb = EDT_PLOT_VERMILION},
        {.name = edt_arena_printf(r->arena, "true positives (%" PRId64 ")", n_true),
         .x = edges,
         .y = counts[1],
         .n = EDT_COCO_CURVES_BINS,
         .is_steps = true,
         .rgb = EDT_PLOT_BLUE}};
    const edt_plot_chart chart = {
        .head = {.title = "Scores of true and false positives",
                 .subtitle = "IoU 0.50, all classes; counts on a logarithmic scale"},
        .width = 780,
        .x = {.label = "score", .low = c->score_low, .high = c->score_high},
        .y = {.label = "detections", .is_log = true},
        .lines = lines,
        .n_lines = 2};
    if (lines[0].name == NULL || lines[1].name == NULL) {
        return no_memory(err);
    }
    return write_chart(r, &chart, "scores", err);
}

static edt_status draw_thresholds(const edt_report *r, edt_error *err)
{
    enum { N = EDT_COCO_CURVES_POINTS };
    const edt_coco_curves *c = r->curves;
    const edt_coco_operating_point *best = &c->whole.best;
    double *xy = edt_arena_calloc(r->arena, 4 * (size_t)N, sizeof *xy);
    const char *text = edt_arena_printf(r->arena, "F1 %.3f at %.3f", best->f1, best->score);
    const char *note = edt_arena_printf(
        r->arena,
        "IoU 0.50, all classes · best F1 %.3f at score %.3f: precision %.3f, recall %.3f",
        best->f1, best->score, best->precision, best->recall);
    if (xy == NULL || text == NULL || note == NULL) {
        return no_memory(err);
    }
    for (int i = 0; i < N; ++i) {
        xy[i] = c->points[i].score;
        xy[N + i] = c->points[i].precision;
        xy[2 * N + i] = c->points[i].recall;
        xy[3 * N + i] = c->points[i].f1;
    }
    const edt_plot_line lines[3] = {
        {.name = "precision", .x = xy, .y = xy + N, .n = N, .rgb = EDT_PLOT_BLUE},
        {.name = "recall", .x = xy, .y = xy + 2 * N, .n = N, .rgb = EDT_PLOT_VERMILION},
        {.name = "F1", .x = xy, .y = xy + 3 * N, .n = N, .rgb = EDT_PLOT_GREEN, .width = 2.4}};
    const edt_plot_mark mark = {best->score, best->f1, text, EDT_PLOT_GREEN};
    const edt_plot_chart chart = {
        .head = {.title = "Precision, recall and F1 against the score threshold",
                 .subtitle = isnan(best->f1) ? "IoU 0.50, all classes; nothing to find" : note},
        .x = {.label = "score from which detections are kept",
              .low = c->score_low,
              .high = c->score_high},
        .y = {.low = 0, .high = 1},
        .lines = lines,
        .n_lines = 3,
        .marks = &mark,
        .n_marks = isnan(best->f1) ? 0 : 1};
    return write_chart(r, &chart, "thresholds", err);
}

static edt_status draw_errors(const edt_report *r, edt_error *err)
{
    const edt_error_breakdown *e = r->errors;
    edt_plot_bar bars[EDT_ERRORS_N_KINDS + 2];
    if (e == NULL) {
        return EDT_OK;
    }
    for (int i = 0; i < EDT_ERRORS_N_KINDS + 2; ++i) {
        const bool is_kind = i < EDT_ERRORS_N_KINDS, is_fp = i == EDT_ERRORS_N_KINDS;
        const double gain = is_kind ? e->gain[i]
                            : is_fp ? e->gain_false_positives
                                    : e->gain_false_negatives;
        const int64_t n = is_kind ? e->count[i]
                          : is_fp ? e->n_false_positives
                                  : e->n_false_negatives;
        bars[i] = (edt_plot_bar){
            .name = is_kind ? edt_error_kind_names[i]
                    : is_fp ? "all false positives"
                            : "all false negatives",
            .value = 100 * gain,
            .text = edt_arena_printf(r->arena, "%.2f   (%" PRId64 ")", 100 * gain, n),
            .rgb = is_kind ? EDT_PLOT_BLUE : EDT_PLOT_GRAY};
        if (bars[i].text == NULL) {
            return no_memory(err);
        }
    }
    const edt_plot_bars chart = {
        .head = {.title = "What errors cost",
                 .subtitle = edt_arena_printf(
                     r->arena,
                     "AP at IoU %.2f is %.2f; bars: gained by mending one kind alone (count)",
                     e->foreground_iou, 100 * e->ap)},
        .axis = {.label = "points of AP"},
        .bars = bars,
        .n_bars = EDT_ERRORS_N_KINDS + 2};
    return chart.head.subtitle != NULL ? write_bars(r, &chart, "errors", err) : no_memory(err);
}

edt_status edt_report_write_pictures(const edt_report *report, edt_error *err)
{
    EDT_TRY(draw_all_classes(report, err));
    EDT_TRY(draw_ap(report, err));
    EDT_TRY(draw_confusion(report, err));
    EDT_TRY(draw_scores(report, err));
    EDT_TRY(draw_thresholds(report, err));
    return draw_errors(report, err);
}

static edt_status draw_classes(void *ctx, int i_worker, int64_t begin, int64_t end,
                               edt_error *err)
{
    (void)i_worker;
    const edt_report *r = ctx;
    edt_status status = EDT_OK;
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_EVAL, 0);
    for (int64_t k = begin; status == EDT_OK && k < end; ++k) {
        const edt_coco_class_numbers *of = &r->curves->classes[k];
        if (!(of->ap > -1)) {
            continue;
        }
        edt_arena_reset(&arena);
        const char *path =
            edt_arena_printf(&arena, "%s/classes/%" PRId64 ".png", r->dir, of->id);
        const edt_plot_chart frame = {
            .head = {.title = of->name,
                     .subtitle = edt_arena_printf(&arena,
                                                  "AP %.3f · AP50 %.3f · AP75 %.3f · %" PRId64
                                                  " objects, %" PRId64 " detections",
                                                  of->ap, of->ap50, of->ap75, of->n_objects,
                                                  of->n_detections)},
            .width = 560,
            .height = 380};
        status = path == NULL || frame.head.subtitle == NULL
                     ? no_memory(err)
                     : draw_precision(r, &arena, k, &frame, path, err);
    }
    edt_arena_deinit(&arena);
    return status;
}

edt_status edt_report_write_classes(const edt_report *report, edt_error *err)
{
    const char *folder = edt_arena_printf(report->arena, "%s/classes", report->dir);
    const int n_given = edt_coco_result_params(report->result)->n_threads;
    if (folder == NULL) {
        return no_memory(err);
    }
    EDT_TRY(edt_path_mkdirs(folder, err));
    edt_report copy = *report;
    return edt_coco_run_ranges(report->curves->n_classes, 4,
                               n_given > 0 ? n_given : edt_thread_cpu_count(), draw_classes,
                               &copy, err);
}
