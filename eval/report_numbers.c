// The numbers of an evaluation's report as JSON and CSV; see eval_report.h. What is undefined
// is null in JSON and an empty cell in CSV.
#include <inttypes.h>
#include <math.h>

#include "core/path.h"
#include "eval/report_priv.h"
#include "eval/results_json.h"

static edt_status write_text(const edt_report *r, const char *name, edt_strbuf *text,
                             edt_error *err)
{
    const char *path = edt_path_join(r->arena, r->dir, name);
    edt_status status = EDT_OK;
    if (path == NULL || text->failed) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for %s", name);
    } else {
        status = edt_file_write(path, text->text, text->n_bytes, err);
    }
    edt_strbuf_deinit(text);
    return status;
}

static void put_cell(edt_strbuf *out, double x)
{
    char text[32];
    edt_strbuf_append(out, ",", 1);
    if (isfinite(x)) {
        edt_strbuf_append(out, text, edt_format_f64(x, text));
    }
}

// -1 says that something is undefined.
static void put_number(edt_strbuf *out, double x)
{
    put_cell(out, x > -1 ? x : NAN);
}

// In quotes, those inside doubled.
static void put_name(edt_strbuf *out, const char *name)
{
    edt_strbuf_append(out, "\"", 1);
    for (; *name != '\0'; ++name) {
        edt_strbuf_append(out, *name == '"' ? "\"\"" : name, *name == '"' ? 2 : 1);
    }
    edt_strbuf_append(out, "\"", 1);
}

static edt_status write_classes(const edt_report *r, edt_error *err)
{
    edt_strbuf out = {0};
    edt_strbuf_puts(&out, "id,class,objects,detections,AP,AP50,AP75,AR,best_F1,"
                          "best_F1_score,best_F1_precision,best_F1_recall\n");
    for (int64_t k = 0; k < r->curves->n_classes; ++k) {
        const edt_coco_class_numbers *of = &r->curves->classes[k];
        edt_strbuf_printf(&out, "%" PRId64 ",", of->id);
        put_name(&out, of->name);
        edt_strbuf_printf(&out, ",%" PRId64 ",%" PRId64, of->n_objects, of->n_detections);
        put_number(&out, of->ap);
        put_number(&out, of->ap50);
        put_number(&out, of->ap75);
        put_number(&out, of->ar);
        put_cell(&out, of->best.f1);
        put_cell(&out, of->best.score);
        put_cell(&out, of->best.precision);
        put_cell(&out, of->best.recall);
        edt_strbuf_puts(&out, "\n");
    }
    return write_text(r, "classes.csv", &out, err);
}

static edt_status write_precision(const edt_report *r, edt_error *err)
{
    const edt_coco_curves *c = r->curves;
    edt_strbuf out = {0};
    char text[32];
    edt_strbuf_puts(&out, "iou,recall,mean");
    for (int64_t k = 0; k < c->n_classes; ++k) {
        edt_strbuf_append(&out, ",", 1);
        put_name(&out, c->classes[k].name);
    }
    edt_strbuf_puts(&out, "\n");
    for (int64_t i = 0; i < c->n_thresholds * c->n_recalls; ++i) {
        edt_strbuf_append(&out, text,
                          edt_format_f64(c->iou_thresholds[i / c->n_recalls], text));
        put_cell(&out, c->recalls[i % c->n_recalls]);
        put_number(&out, c->precision[c->n_classes * c->n_thresholds * c->n_recalls + i]);
        for (int64_t k = 0; k < c->n_classes; ++k) {
            put_number(&out, c->precision[k * c->n_thresholds * c->n_recalls + i]);
        }
        edt_strbuf_puts(&out, "\n");
    }
    return write_text(r, "precision_recall.csv", &out, err);
}

static edt_status write_confusion(const edt_report *r, edt_error *err)
{
    const edt_coco_curves *c = r->curves;
    const int64_t side = c->n_classes + 1;
    edt_strbuf out = {0};
    if (c->confusion == NULL) {
        return EDT_OK;
    }
    edt_strbuf_puts(&out, "object \\ detection");
    for (int64_t k = 0; k < side; ++k) {
        edt_strbuf_append(&out, ",", 1);
        put_name(&out, k < c->n_classes ? c->classes[k].name : "(missed)");
    }
    edt_strbuf_puts(&out, "\n");
    for (int64_t i = 0; i < side; ++i) {
        put_name(&out, i < c->n_classes ? c->classes[i].name : "(nothing there)");
        for (int64_t k = 0; k < side; ++k) {
            edt_strbuf_printf(&out, ",%" PRId64, c->confusion[i * side + k]);
        }
        edt_strbuf_puts(&out, "\n");
    }
    return write_text(r, "confusion.csv", &out, err);
}

static edt_status write_scores(const edt_report *r, edt_error *err)
{
    const edt_coco_curves *c = r->curves;
    const double range = c->score_high - c->score_low;
    edt_strbuf out = {0};
    char text[32];
    edt_strbuf_puts(&out, "score_from,score_to,true_positives,false_positives\n");
    for (int i = 0; i < EDT_COCO_CURVES_BINS; ++i) {
        const double from = c->score_low + range * i / EDT_COCO_CURVES_BINS;
        edt_strbuf_append(&out, text, edt_format_f64(from, text));
        put_cell(&out, c->score_low + range * (i + 1) / EDT_COCO_CURVES_BINS);
        edt_strbuf_printf(&out, ",%" PRId64 ",%" PRId64 "\n", c->true_bins[i],
                          c->false_bins[i]);
    }
    EDT_TRY(write_text(r, "scores.csv", &out, err));
    edt_strbuf_puts(&out, "score,precision,recall,F1\n");
    for (int i = 0; i < EDT_COCO_CURVES_POINTS; ++i) {
        const edt_coco_operating_point *p = &c->points[i];
        edt_strbuf_append(&out, text, edt_format_f64(p->score, text));
        put_cell(&out, p->precision);
        put_cell(&out, p->recall);
        put_cell(&out, p->f1);
        edt_strbuf_puts(&out, "\n");
    }
    return write_text(r, "thresholds.csv", &out, err);
}

static void put_best(edt_json_writer *out, const edt_coco_operating_point *best)
{
    edt_json_key(out, "best_F1");
    edt_json_begin_object(out);
    edt_json_key(out, "F1");
    edt_json_f64_or_null(out, best->f1);
    edt_json_key(out, "score");
    edt_json_f64_or_null(out, best->score);
    edt_json_key(out, "precision");
    edt_json_f64_or_null(out, best->precision);
    edt_json_key(out, "recall");
    edt_json_f64_or_null(out, best->recall);
    edt_json_end_object(out);
}

static void put_confusion(edt_json_writer *out, const edt_coco_curves *c)
{
    const int64_t side = c->n_classes + 1;
    edt_json_key(out, "confusion");
    edt_json_begin_object(out);
    edt_json_put_f64(out, "iou", 0.5);
    edt_json_key(out, "score");
    edt_json_f64_or_null(out, c->confusion_score);
    edt_json_put_text(out, "rows",
                      "classes of objects in the order of \"classes\", last: "
                      "detections without an object");
    edt_json_put_text(out, "columns", "classes of detections, last: objects that were missed");
    edt_json_key(out, "counts");
    edt_json_begin_array(out);
    for (int64_t i = 0; i < side; ++i) {
        edt_json_begin_array(out);
        for (int64_t k = 0; k < side; ++k) {
            edt_json_i64(out, c->confusion[i * side + k]);
        }
        edt_json_end_array(out);
    }
    edt_json_end_array(out);
    edt_json_end_object(out);
}

static edt_status write_json(const edt_report *r, edt_error *err)
{
    const edt_coco_curves *c = r->curves;
    const double *stats = edt_coco_result_stats(r->result);
    edt_json_writer out = {0};
    edt_text text;
    edt_json_begin_object(&out);
    edt_json_key(&out, "stats");
    edt_json_begin_object(&out);
    for (int i = 0; i < EDT_COCO_N_STATS; ++i) {
        edt_json_put_f64(&out, edt_coco_stat_names[i], stats[i]);
    }
    edt_json_end_object(&out);
    edt_json_put_i64(&out, "images", edt_coco_result_n_images(r->result));
    edt_json_put_i64(&out, "objects", c->whole.n_objects);
    edt_json_put_i64(&out, "detections", c->whole.n_detections);
    put_best(&out, &c->whole.best);
    edt_json_key(&out, "classes");
    edt_json_begin_array(&out);
    for (int64_t k = 0; k < c->n_classes; ++k) {
        const edt_coco_class_numbers *of = &c->classes[k];
        edt_json_begin_object(&out);
        edt_json_put_i64(&out, "id", of->id);
        edt_json_put_text(&out, "name", of->name);
        edt_json_put_i64(&out, "objects", of->n_objects);
        edt_json_put_i64(&out, "detections", of->n_detections);
        edt_json_put_f64(&out, "AP", of->ap);
        edt_json_put_f64(&out, "AP50", of->ap50);
        edt_json_put_f64(&out, "AP75", of->ap75);
        edt_json_put_f64(&out, "AR", of->ar);
        put_best(&out, &of->best);
        edt_json_end_object(&out);
    }
    edt_json_end_array(&out);
    if (c->confusion != NULL) {
        put_confusion(&out, c);
    }
    if (r->errors != NULL) {
        edt_json_key(&out, "errors");
        edt_error_breakdown_put_json(r->errors, &out);
    }
    edt_json_end_object(&out);
    const char *path = edt_path_join(r->arena, r->dir, "numbers.json");
    edt_status status = edt_json_writer_finish(&out, err, &text);
    if (status == EDT_OK && path == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for numbers.json");
    }
    if (status == EDT_OK) {
        status = edt_file_write(path, text.data, text.n_bytes, err);
    }
    edt_json_writer_deinit(&out);
    return status;
}

edt_status edt_report_write_numbers(const edt_report *report, edt_error *err)
{
    EDT_TRY(write_classes(report, err));
    EDT_TRY(write_precision(report, err));
    EDT_TRY(write_confusion(report, err));
    EDT_TRY(write_scores(report, err));
    return write_json(report, err);
}
