// See eval_report.h: puts the report together and writes its page.
#include "eval/eval_report.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/path.h"
#include "eval/coco_priv.h"
#include "eval/report_priv.h"

enum { MOST_CONFUSIONS = 20 };

// A class that is often taken for another.
typedef struct confusion {
    int64_t truth, found, n;
} confusion;

static const char style[] =
    ":root{--bg:#f4f5f7;--card:#fff;--text:#1d2330;--dim:#667085;--line:#e1e4ea}"
    "*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--text);"
    "font:14px/1.45 system-ui,-apple-system,'Segoe UI',sans-serif}"
    "header,main,footer{max-width:1560px;margin:0 auto;padding:0 24px}"
    "header{padding-top:28px}h1{margin:0 0 4px;font-size:24px;font-weight:650}"
    "h2{margin:26px 0 10px;font-size:18px;font-weight:650}"
    "p{margin:0 0 12px;color:var(--dim);overflow-wrap:anywhere}a{color:#0072b2}"
    ".tiles{display:grid;gap:10px;grid-template-columns:repeat(6,minmax(0,1fr))}"
    "@media(max-width:900px){.tiles{grid-template-columns:repeat(3,minmax(0,1fr))}}"
    ".tile{background:var(--card);border:1px solid var(--line);border-radius:10px;"
    "padding:10px 14px}.tile b{display:block;font-size:22px;font-weight:650;"
    "font-variant-numeric:tabular-nums}.tile span{color:var(--dim);font-size:12px}"
    ".grid{display:grid;gap:16px;grid-template-columns:repeat(auto-fit,minmax(520px,1fr));"
    "align-items:start}.small{grid-template-columns:repeat(auto-fill,minmax(360px,1fr))}"
    "figure{margin:0;background:#fff;border:1px solid var(--line);border-radius:10px;"
    "overflow:auto;padding:6px}figure img{display:block;max-width:100%;height:auto;"
    "margin:0 auto}figcaption{padding:2px 10px 6px;color:#667085;font-size:12px}"
    "table{border-collapse:collapse;background:var(--card);font-variant-numeric:tabular-nums;"
    "border:1px solid var(--line)}td,th{padding:3px 10px;text-align:right;"
    "border-top:1px solid var(--line)}th{font-weight:500;color:var(--dim)}"
    "td:first-child,th:first-child,.text{text-align:left}.scroll{overflow-x:auto}"
    "footer{padding-top:20px;padding-bottom:36px;color:var(--dim)}";

static void put_tile(edt_strbuf *page, const char *name, double value, const char *what)
{
    if (value > -1) {
        edt_strbuf_printf(page, "<div class=\"tile\">%s<b>%.3f</b><span>%s</span></div>\n",
                          name, value, what);
    } else {
        edt_strbuf_printf(page, "<div class=\"tile\">%s<b>–</b><span>%s</span></div>\n", name,
                          what);
    }
}

// "small", "medium" and "large" may stand for other ranges than COCO's.
static void describe_area(const edt_coco_params *params, const char *label, const char *usual,
                          double low, double high, char *out, size_t n_bytes)
{
    for (int64_t i = 0; i < params->n_areas; ++i) {
        const edt_coco_area_range *range = &params->areas[i];
        if (strcmp(range->label, label) == 0 && (range->low != low || range->high != high)) {
            (void)snprintf(out, n_bytes, "area %g to %g", range->low, range->high);
            return;
        }
    }
    (void)snprintf(out, n_bytes, "%s", usual);
}

static void describe_limit(const edt_coco_params *params, int i, char *out, size_t n_bytes)
{
    if (params->max_dets[i] > 0) {
        (void)snprintf(out, n_bytes, "best detection%s: %d per image",
                       params->max_dets[i] == 1 ? "" : "s", params->max_dets[i]);
    } else {
        (void)snprintf(out, n_bytes, "no such limit of detections");
    }
}

static void put_tiles(const edt_report *r, edt_strbuf *page)
{
    static const char *const names[EDT_COCO_N_STATS] = {
        "AP", "AP50", "AP75", "AP small", "AP medium", "AP large",
        "AR", "AR",   "AR",   "AR small", "AR medium", "AR large"};
    static const char *const what[3] = {"mean over IoU", "IoU 0.50", "IoU 0.75"};
    static const struct {
        const char *label, *usual;
        double low, high;
    } areas[3] = {{"small", "area up to 32²", 0, 1024},
                  {"medium", "area 32² to 96²", 1024, 9216},
                  {"large", "area from 96²", 9216, 1e10}};
    const double *stats = edt_coco_result_stats(r->result);
    const edt_coco_params *params = edt_coco_result_params(r->result);
    edt_strbuf_puts(page, "<div class=\"tiles\">\n");
    for (int i = 0; i < EDT_COCO_N_STATS; ++i) {
        char text[64];
        if (i < 3) {
            (void)snprintf(text, sizeof text, "%s", what[i]);
        } else if (i >= 6 && i < 9) {
            describe_limit(params, i - 6, text, sizeof text);
        } else {
            describe_area(params, areas[i % 3].label, areas[i % 3].usual, areas[i % 3].low,
                          areas[i % 3].high, text, sizeof text);
        }
        put_tile(page, names[i], stats[i], text);
    }
    edt_strbuf_puts(page, "</div>\n");
}

static void put_figure(edt_strbuf *page, const char *name, const char *text)
{
    edt_strbuf_printf(page,
                      "<figure><a href=\"%s.png\"><img src=\"%s.png\" alt=\"%s\"></a>"
                      "<figcaption>%s <a href=\"%s.svg\">SVG</a></figcaption></figure>\n",
                      name, name, name, text, name);
}

static int compare_confusions(const void *a, const void *b)
{
    const confusion *x = a, *y = b;
    if (x->n != y->n) {
        return x->n < y->n ? 1 : -1;
    }
    return x->truth != y->truth ? (x->truth > y->truth) - (x->truth < y->truth)
                                : (x->found > y->found) - (x->found < y->found);
}

static edt_status put_confusions(const edt_report *r, edt_strbuf *page, edt_error *err)
{
    const edt_coco_curves *c = r->curves;
    const int64_t k = c->n_classes, side = k + 1;
    int64_t n = 0, n_any = 0;
    for (int64_t i = 0; i < side * side; ++i) {
        n_any += c->confusion[i] > 0;
    }
    confusion *list = edt_arena_calloc(r->arena, (size_t)n_any, sizeof *list);
    if (list == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the page of the evaluation");
    }
    for (int64_t i = 0; i < k * k; ++i) {
        const confusion one = {i / k, i % k, c->confusion[i / k * side + i % k]};
        if (one.truth != one.found && one.n > 0) {
            list[n++] = one;
        }
    }
    qsort(list, (size_t)n, sizeof *list, compare_confusions);
    edt_strbuf_puts(page, "<h2>Most frequent confusions</h2>\n");
    if (n == 0) {
        edt_strbuf_puts(page, "<p>None at this score.</p>\n");
        return EDT_OK;
    }
    edt_strbuf_puts(page, "<table><tr><th>object</th><th class=\"text\">taken for</th>"
                          "<th>times</th><th>of its objects</th></tr>\n");
    for (int64_t i = 0; i < n && i < MOST_CONFUSIONS; ++i) {
        int64_t all = 0;
        for (int64_t j = 0; j < side; ++j) {
            all += c->confusion[list[i].truth * side + j];
        }
        edt_strbuf_puts(page, "<tr><td>");
        edt_strbuf_put_html(page, c->classes[list[i].truth].name);
        edt_strbuf_puts(page, "</td><td class=\"text\">");
        edt_strbuf_put_html(page, c->classes[list[i].found].name);
        edt_strbuf_printf(page, "</td><td>%" PRId64 "</td><td>%.1f %%</td></tr>\n", list[i].n,
                          100.0 * (double)list[i].n / (double)all);
    }
    edt_strbuf_puts(page, "</table>\n");
    return EDT_OK;
}

static void put_cell(edt_strbuf *page, double value)
{
    if (value > -1) { // neither -1 nor NaN
        edt_strbuf_printf(page, "<td>%.3f</td>", value);
    } else {
        edt_strbuf_puts(page, "<td>–</td>");
    }
}

static edt_status put_classes(const edt_report *r, edt_strbuf *page, edt_error *err)
{
    const int64_t *sorted;
    int64_t n;
    EDT_TRY(edt_report_sort_classes(r, err, &sorted, &n));
    edt_strbuf_puts(page,
                    "<h2>Classes</h2>\n<div class=\"scroll\"><table><tr><th>class</th>"
                    "<th>objects</th><th>detections</th><th>AP</th><th>AP50</th><th>AP75</th>"
                    "<th>AR</th><th>best F1</th><th>at score</th><th>precision</th>"
                    "<th>recall</th></tr>\n");
    for (int64_t i = 0; i < n; ++i) {
        const edt_coco_class_numbers *of = &r->curves->classes[sorted[i]];
        edt_strbuf_printf(page, "<tr><td><a href=\"classes/%" PRId64 ".png\">", of->id);
        edt_strbuf_put_html(page, of->name);
        edt_strbuf_printf(page, "</a></td><td>%" PRId64 "</td><td>%" PRId64 "</td>",
                          of->n_objects, of->n_detections);
        put_cell(page, of->ap);
        put_cell(page, of->ap50);
        put_cell(page, of->ap75);
        put_cell(page, of->ar);
        put_cell(page, of->best.f1);
        put_cell(page, of->best.score);
        put_cell(page, of->best.precision);
        put_cell(page, of->best.recall);
        edt_strbuf_puts(page, "</tr>\n");
    }
    edt_strbuf_puts(page, "</table></div>\n<h2>Precision and recall of each class</h2>\n"
                          "<div class=\"grid small\">\n");
    for (int64_t i = 0; i < n; ++i) {
        const edt_coco_class_numbers *of = &r->curves->classes[sorted[i]];
        edt_strbuf_printf(page,
                          "<figure><img loading=\"lazy\" width=\"560\" height=\"380\" "
                          "src=\"classes/%" PRId64 ".png\" alt=\"",
                          of->id);
        edt_strbuf_put_html(page, of->name);
        edt_strbuf_puts(page, "\"></figure>\n");
    }
    edt_strbuf_puts(page, "</div>\n");
    return EDT_OK;
}

static void put_head(const edt_report *r, edt_strbuf *page)
{
    const edt_coco_params *params = edt_coco_result_params(r->result);
    edt_strbuf_printf(page,
                      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                      "<meta name=\"viewport\" content=\"width=device-width\">"
                      "<title>Evaluation</title><style>%s</style></head>\n<body><header>"
                      "<h1>Evaluation of %s</h1><p>",
                      style, params->iou_type == EDT_COCO_SEGM ? "masks" : "boxes");
    if (r->dt_name != NULL) {
        edt_strbuf_put_html(page, r->dt_name);
    }
    if (r->gt_name != NULL) {
        edt_strbuf_puts(page, r->dt_name != NULL ? " against " : "");
        edt_strbuf_put_html(page, r->gt_name);
    }
    edt_strbuf_printf(page,
                      "%s%" PRId64 " images, %" PRId64 " objects, %" PRId64
                      " detections of %" PRId64 " classes</p></header>\n<main>\n",
                      r->dt_name != NULL || r->gt_name != NULL ? "<br>" : "",
                      edt_coco_result_n_images(r->result), r->curves->whole.n_objects,
                      edt_coco_result_n_detections(r->result), r->curves->n_classes);
}

static edt_status put_page(const edt_report *r, edt_strbuf *page, edt_error *err)
{
    const bool has_classes = !edt_coco_result_params(r->result)->ignore_categories;
    const bool has_confusion = r->curves->confusion != NULL;
    put_head(r, page);
    put_tiles(r, page);
    edt_strbuf_puts(page, "<h2>Curves</h2>\n<div class=\"grid\">\n");
    put_figure(page, "precision_recall",
               "Highest precision at each recall. <a href=\"precision_recall.csv\">CSV</a>");
    put_figure(page, "thresholds",
               "Where to cut: the score with the best balance is marked. "
               "<a href=\"thresholds.csv\">CSV</a>");
    put_figure(page, "scores",
               "How well scores tell right from wrong. <a href=\"scores.csv\">CSV</a>");
    if (r->errors != NULL) {
        put_figure(
            page, "errors",
            "In the manner of TIDE. Class: right place, wrong class; location: right "
            "class, IoU 0.1 to 0.5; both: neither; duplicate: of an object that a better "
            "detection has; background: IoU below 0.1; missed: objects without a "
            "detection. Gains do not add up, as AP is no sum. "
            "<a href=\"numbers.json\">JSON</a>");
    }
    edt_strbuf_puts(page, "</div>\n<h2>Classes compared</h2>\n<div class=\"grid\">\n");
    put_figure(page, "ap_per_class", "<a href=\"classes.csv\">CSV</a>");
    if (has_confusion) {
        put_figure(page, "confusion",
                   "Bottom row: detections where nothing is; right column: objects that were "
                   "missed. <a href=\"confusion.csv\">CSV</a>");
    }
    edt_strbuf_puts(page, "</div>\n");
    if (has_confusion) {
        EDT_TRY(put_confusions(r, page, err));
    }
    if (has_classes) {
        EDT_TRY(put_classes(r, page, err));
    }
    edt_strbuf_puts(page, "</main><footer>All numbers: <a href=\"numbers.json\">numbers.json"
                          "</a></footer></body></html>\n");
    return EDT_OK;
}

static edt_status write_page(const edt_report *r, edt_error *err)
{
    edt_strbuf page = {0};
    const char *path = edt_path_join(r->arena, r->dir, "index.html");
    edt_status status = put_page(r, &page, err);
    if (status == EDT_OK && (page.failed || path == NULL)) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for the page of the evaluation");
    }
    if (status == EDT_OK) {
        status = edt_file_write(path, page.text, page.n_bytes, err);
    }
    edt_strbuf_deinit(&page);
    return status;
}

edt_status edt_eval_report_write(const edt_coco_gt *gt, const edt_coco_dt *dt,
                                 const edt_coco_result *result,
                                 const edt_eval_report_options *options, edt_error *err)
{
    edt_status status = EDT_OK;
    edt_coco_curves *curves = NULL;
    edt_error_breakdown errors;
    edt_arena arena;
    const edt_coco_params *params = edt_coco_result_params(result);
    edt_report report = {.dir = options->dir,
                         .gt_name = options->gt_name,
                         .dt_name = options->dt_name,
                         .result = result,
                         .arena = &arena};
    edt_arena_init(&arena, EDT_MEM_EVAL, 0);
    EDT_TRY_GOTO(edt_path_mkdirs(options->dir, err));
    EDT_TRY_GOTO(edt_coco_curves_create(gt, dt, result, NULL, err, &curves));
    report.curves = curves;
    if (!params->ignore_categories) {
        EDT_TRY_GOTO(edt_error_breakdown_make(gt, dt, params, NULL, err, &errors));
        report.errors = &errors;
    }
    EDT_TRY_GOTO(edt_report_write_pictures(&report, err));
    EDT_TRY_GOTO(edt_report_write_classes(&report, err));
    EDT_TRY_GOTO(edt_report_write_numbers(&report, err));
    EDT_TRY_GOTO(write_page(&report, err));
fail:
    edt_coco_curves_destroy(curves);
    edt_arena_deinit(&arena);
    return status;
}
