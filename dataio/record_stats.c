// See record_stats.h.
#include "dataio/record_stats.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "dataio/example.h"
#include "dataio/jpeg_probe.h"
#include "dataio/label_names.h"
#include "dataio/labels.h"
#include "dataio/record_scan.h"

struct edt_stats_report {
    edt_stats stats;
    edt_stats_class *classes;
    int64_t *last_image; // [n_classes] number of the last record counted in n_images
    int64_t capacity;
    edt_id_map index; // label to its class
    edt_label_names *names;
};

typedef struct record_result {
    bool good;
    edt_example example; // texts and boxes
    int64_t height, width;
} record_result;

static const double side_limits[EDT_STATS_N_SIDES - 1] = {8, 16, 32, 64, 96, 192, 384};
static const double share_limits[EDT_STATS_N_SHARES - 1] = {
    1.0 / 64, 1.0 / 32, 1.0 / 16, 1.0 / 8, 1.0 / 4, 1.0 / 2, 3.0 / 4};
static const double aspect_limits[EDT_STATS_N_ASPECTS - 1] = {0.25, 0.5, 0.8, 1.25, 2, 4};
static const double per_image_limits[EDT_STATS_N_PER_IMAGE - 1] = {1,  2,  5,   10,
                                                                   20, 50, 100, 200};
static const char *const side_names[EDT_STATS_N_SIDES] = {
    "below 8",  "8 to 16",   "16 to 32",   "32 to 64",
    "64 to 96", "96 to 192", "192 to 384", "384 and more"};
static const char *const share_names[EDT_STATS_N_SHARES] = {
    "below 1/64", "1/64 to 1/32", "1/32 to 1/16", "1/16 to 1/8",
    "1/8 to 1/4", "1/4 to 1/2",   "1/2 to 3/4",   "3/4 and more"};
static const char *const aspect_names[EDT_STATS_N_ASPECTS] = {
    "below 1:4",  "1:4 to 1:2", "1:2 to 4:5",  "4:5 to 5:4",
    "5:4 to 2:1", "2:1 to 4:1", "4:1 and more"};
static const char *const per_image_names[EDT_STATS_N_PER_IMAGE] = {
    "none",     "1",        "2 to 4",     "5 to 9",      "10 to 19",
    "20 to 49", "50 to 99", "100 to 199", "200 and more"};

static int bucket(const double *limits, int n_limits, double value)
{
    int i = 0;
    while (i < n_limits && value >= limits[i]) {
        ++i;
    }
    return i;
}

// See edt_scan_spec.
static edt_status read_record(void *ctx, int worker, edt_scan_item *item, edt_error *err)
{
    (void)ctx, (void)worker;
    record_result *r = item->result;
    const edt_status status = edt_example_decode(
        item->payload, EDT_EXAMPLE_TEXTS | EDT_EXAMPLE_MASKS, item->arena, err, &r->example);
    if (status == EDT_ERR_NOMEM) {
        return status;
    }
    r->good = status == EDT_OK;
    r->height = r->good ? r->example.height : -1;
    r->width = r->good ? r->example.width : -1;
    edt_image_header header;
    if (r->good && (r->height < 1 || r->width < 1)) {
        const bool known = edt_jpeg_probe(r->example.encoded, NULL, &header) == EDT_OK;
        r->height = known ? header.height : -1;
        r->width = known ? header.width : -1;
    }
    return EDT_OK;
}

static edt_status get_class(edt_stats_report *report, int64_t label, edt_error *err,
                            int64_t *out_i)
{
    int64_t i = edt_id_map_get(&report->index, label);
    if (i < 0) {
        i = report->stats.n_classes;
        if (i == report->capacity) {
            const int64_t capacity = i > 0 ? 2 * i : 128;
            edt_stats_class *classes = edt_mem_realloc(EDT_MEM_MISC, report->classes,
                                                       (size_t)capacity * sizeof *classes);
            report->classes = classes != NULL ? classes : report->classes;
            int64_t *last = edt_mem_realloc(EDT_MEM_MISC, report->last_image,
                                            (size_t)capacity * sizeof *last);
            report->last_image = last != NULL ? last : report->last_image;
            if (classes == NULL || last == NULL) {
                EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %" PRId64 " classes", capacity);
            }
            report->capacity = capacity;
        }
        EDT_TRY(edt_id_map_set(&report->index, label, i, err));
        report->classes[i] = (edt_stats_class){.label = label};
        report->last_image[i] = -1;
        ++report->stats.n_classes;
    }
    *out_i = i;
    return EDT_OK;
}

static edt_status count_box(edt_stats_report *report, const record_result *r, int64_t k,
                            edt_error *err)
{
    edt_stats *s = &report->stats;
    const float *box = &r->example.boxes[4 * k];
    const double h = (double)box[2] - (double)box[0], w = (double)box[3] - (double)box[1];
    int64_t i = 0;
    EDT_TRY(get_class(report, r->example.labels[k], err, &i));
    edt_stats_class *c = &report->classes[i];
    ++c->n_boxes;
    ++s->n_boxes;
    c->n_crowd += r->example.is_crowd[k];
    s->n_crowd += r->example.is_crowd[k];
    c->n_images += report->last_image[i] != s->n_records;
    report->last_image[i] = s->n_records;
    if (k < r->example.n_texts) {
        const edt_span text = r->example.texts[k];
        const char *other;
        EDT_TRY(edt_label_names_add(report->names, c->label,
                                    (edt_text){(const char *)text.data, text.n_bytes}, err,
                                    &other));
    }
    if (!(h > 0 && w > 0)) {
        return EDT_OK;
    }
    ++s->share[bucket(share_limits, EDT_STATS_N_SHARES - 1, sqrt(h * w))];
    if (r->height > 0) {
        const double height = h * (double)r->height, width = w * (double)r->width;
        const double side = sqrt(height * width);
        ++s->side[bucket(side_limits, EDT_STATS_N_SIDES - 1, side)];
        ++s->aspect[bucket(aspect_limits, EDT_STATS_N_ASPECTS - 1, width / height)];
        c->n_small += side < 32;
        c->n_medium += side >= 32 && side < 96;
        c->n_large += side >= 96;
        c->side_sum += side;
        ++s->n_boxes_sized;
    }
    return EDT_OK;
}

// See edt_scan_spec.
static edt_status take_record(void *ctx, const edt_scan_item *item, edt_error *err)
{
    edt_stats_report *report = ctx;
    edt_stats *s = &report->stats;
    const record_result *r = item->result;
    s->n_files += item->kind == EDT_SCAN_FILE_END;
    if (item->kind != EDT_SCAN_RECORD) {
        s->n_unreadable += item->kind != EDT_SCAN_FILE_END;
        return EDT_OK;
    }
    if (!r->good) {
        ++s->n_unreadable;
        return EDT_OK;
    }
    for (int64_t k = 0; k < r->example.n_boxes; ++k) {
        EDT_TRY(count_box(report, r, k, err));
    }
    const int64_t n = r->example.n_boxes;
    ++s->n_records;
    ++s->per_image[bucket(per_image_limits, EDT_STATS_N_PER_IMAGE - 1, (double)n)];
    s->n_without_boxes += n == 0;
    s->most_boxes = n > s->most_boxes ? n : s->most_boxes;
    s->n_captions += r->example.n_captions;
    s->n_masks += r->example.n_masks;
    s->payload_bytes += item->payload.n_bytes;
    if (r->height > 0) {
        const int64_t h = r->height, w = r->width;
        s->min_height = s->n_sized == 0 || h < s->min_height ? h : s->min_height;
        s->max_height = h > s->max_height ? h : s->max_height;
        s->min_width = s->n_sized == 0 || w < s->min_width ? w : s->min_width;
        s->max_width = w > s->max_width ? w : s->max_width;
        s->height_sum += (double)h;
        s->width_sum += (double)w;
        ++s->picture_aspect[bucket(aspect_limits, EDT_STATS_N_ASPECTS - 1,
                                   (double)w / (double)h)];
        ++s->n_sized;
    }
    return EDT_OK;
}

static int compare_labels(const void *a, const void *b)
{
    const edt_stats_class *x = a, *y = b;
    return (x->label > y->label) - (x->label < y->label);
}

edt_status edt_stats_run(const edt_stats_options *options, edt_error *err,
                         edt_stats_report **out_report)
{
    edt_stats_report *report = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *report);
    if (report == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the tables");
    }
    const edt_scan_spec spec = {.paths = options->paths,
                                .n_files = options->n_files,
                                .n_threads = options->n_threads,
                                .progress = options->show_progress ? "stats" : NULL,
                                .result_bytes = sizeof(record_result),
                                .ctx = report,
                                .work = read_record,
                                .consume = take_record};
    edt_status status = edt_label_names_create(err, &report->names);
    if (status == EDT_OK) {
        status = edt_record_scan(&spec, err);
    }
    if (status != EDT_OK) {
        edt_stats_report_destroy(report);
        return status;
    }
    for (int64_t i = 0; i < report->stats.n_classes; ++i) {
        edt_stats_class *c = &report->classes[i];
        const char *name =
            options->labels != NULL ? edt_labels_find(options->labels, c->label) : NULL;
        name = name != NULL ? name : edt_label_names_find(report->names, c->label);
        c->name = name != NULL ? name : "";
    }
    if (report->stats.n_classes > 0) {
        qsort(report->classes, (size_t)report->stats.n_classes, sizeof *report->classes,
              compare_labels);
    }
    report->stats.classes = report->classes;
    *out_report = report;
    return EDT_OK;
}

void edt_stats_report_destroy(edt_stats_report *report)
{
    if (report != NULL) {
        edt_label_names_destroy(report->names);
        edt_id_map_deinit(&report->index);
        edt_mem_free(report->classes);
        edt_mem_free(report->last_image);
        edt_mem_free(report);
    }
}

const edt_stats *edt_stats_get(const edt_stats_report *report)
{
    return &report->stats;
}

static void put_table_json(edt_json_writer *json, const char *key, const char *const *names,
                           const int64_t *counts, int n)
{
    edt_json_key(json, key);
    edt_json_begin_object(json);
    for (int i = 0; i < n; ++i) {
        edt_json_put_i64(json, names[i], counts[i]);
    }
    edt_json_end_object(json);
}

static double mean(double sum, int64_t n)
{
    return n > 0 ? sum / (double)n : 0.0;
}

void edt_stats_write_json(const edt_stats *s, edt_json_writer *json)
{
    edt_json_begin_object(json);
    edt_json_put_i64(json, "files", s->n_files);
    edt_json_put_i64(json, "records", s->n_records);
    edt_json_put_i64(json, "unreadable", s->n_unreadable);
    edt_json_put_i64(json, "payload_bytes", (int64_t)s->payload_bytes);
    edt_json_put_i64(json, "boxes", s->n_boxes);
    edt_json_put_i64(json, "crowd", s->n_crowd);
    edt_json_put_i64(json, "records_without_boxes", s->n_without_boxes);
    edt_json_put_i64(json, "most_boxes", s->most_boxes);
    edt_json_put_i64(json, "masks", s->n_masks);
    edt_json_put_i64(json, "captions", s->n_captions);
    edt_json_put_i64(json, "min_height", s->min_height);
    edt_json_put_i64(json, "max_height", s->max_height);
    edt_json_put_f64(json, "mean_height", mean(s->height_sum, s->n_sized));
    edt_json_put_i64(json, "min_width", s->min_width);
    edt_json_put_i64(json, "max_width", s->max_width);
    edt_json_put_f64(json, "mean_width", mean(s->width_sum, s->n_sized));
    edt_json_key(json, "classes");
    edt_json_begin_array(json);
    for (int64_t i = 0; i < s->n_classes; ++i) {
        const edt_stats_class *c = &s->classes[i];
        edt_json_begin_object(json);
        edt_json_put_i64(json, "label", c->label);
        edt_json_put_text(json, "name", c->name);
        edt_json_put_i64(json, "boxes", c->n_boxes);
        edt_json_put_i64(json, "records", c->n_images);
        edt_json_put_i64(json, "crowd", c->n_crowd);
        edt_json_put_i64(json, "small", c->n_small);
        edt_json_put_i64(json, "medium", c->n_medium);
        edt_json_put_i64(json, "large", c->n_large);
        edt_json_put_f64(json, "mean_side",
                         mean(c->side_sum, c->n_small + c->n_medium + c->n_large));
        edt_json_end_object(json);
    }
    edt_json_end_array(json);
    put_table_json(json, "boxes_per_record", per_image_names, s->per_image,
                   EDT_STATS_N_PER_IMAGE);
    put_table_json(json, "box_side_pixels", side_names, s->side, EDT_STATS_N_SIDES);
    put_table_json(json, "box_side_share", share_names, s->share, EDT_STATS_N_SHARES);
    put_table_json(json, "box_aspect", aspect_names, s->aspect, EDT_STATS_N_ASPECTS);
    put_table_json(json, "picture_aspect", aspect_names, s->picture_aspect,
                   EDT_STATS_N_ASPECTS);
    edt_json_end_object(json);
}

static void put_table(edt_strbuf *out, const char *title, const char *const *names,
                      const int64_t *counts, int n)
{
    int64_t total = 0, most = 1;
    for (int i = 0; i < n; ++i) {
        total += counts[i];
        most = counts[i] > most ? counts[i] : most;
    }
    edt_strbuf_printf(out, "\n%s\n", title);
    for (int i = 0; i < n; ++i) {
        static const char bar[] = "########################################";
        const double share = total > 0 ? 100.0 * (double)counts[i] / (double)total : 0;
        edt_strbuf_printf(out, "  %-13s %9" PRId64 " %5.1f%%  %.*s\n", names[i], counts[i],
                          share, (int)((40 * counts[i] + most - 1) / most), bar);
    }
}

void edt_stats_write_text(const edt_stats *s, edt_strbuf *out)
{
    edt_strbuf_printf(out,
                      "%" PRId64 " records in %" PRId64 " files, %.1f MB; %" PRId64
                      " boxes of %" PRId64 " classes (%" PRId64 " crowd), %" PRId64
                      " records without boxes\n",
                      s->n_records, s->n_files, (double)s->payload_bytes / 1e6, s->n_boxes,
                      s->n_classes, s->n_crowd, s->n_without_boxes);
    if (s->n_unreadable > 0) {
        edt_strbuf_printf(out, "%" PRId64 " things could not be read: --verify tells more\n",
                          s->n_unreadable);
    }
    if (s->n_masks + s->n_captions > 0) {
        edt_strbuf_printf(out, "%" PRId64 " instance masks, %" PRId64 " captions\n", s->n_masks,
                          s->n_captions);
    }
    if (s->n_sized > 0) {
        edt_strbuf_printf(out,
                          "heights %" PRId64 " to %" PRId64 " (mean %.0f), widths %" PRId64
                          " to %" PRId64 " (mean %.0f) pixels\n",
                          s->min_height, s->max_height, mean(s->height_sum, s->n_sized),
                          s->min_width, s->max_width, mean(s->width_sum, s->n_sized));
    }
    edt_strbuf_printf(out,
                      "\nclasses (small, medium, large: box area below 32x32, below 96x96 "
                      "pixels, above; side: mean square root of the area)\n"
                      "  %6s %-20s %9s %6s %8s %7s %9s %9s %9s %6s\n",
                      "label", "name", "boxes", "share", "records", "crowd", "small", "medium",
                      "large", "side");
    for (int64_t i = 0; i < s->n_classes; ++i) {
        const edt_stats_class *c = &s->classes[i];
        edt_strbuf_printf(out,
                          "  %6" PRId64 " %-20s %9" PRId64 " %5.1f%% %8" PRId64 " %7" PRId64
                          " %9" PRId64 " %9" PRId64 " %9" PRId64 " %6.0f\n",
                          c->label, c->name, c->n_boxes,
                          s->n_boxes > 0 ? 100.0 * (double)c->n_boxes / (double)s->n_boxes
                                         : 0.0,
                          c->n_images, c->n_crowd, c->n_small, c->n_medium, c->n_large,
                          mean(c->side_sum, c->n_small + c->n_medium + c->n_large));
    }
    put_table(out, "boxes per record", per_image_names, s->per_image, EDT_STATS_N_PER_IMAGE);
    put_table(out, "box side, pixels (square root of the area)", side_names, s->side,
              EDT_STATS_N_SIDES);
    put_table(out, "box side, share of the picture's (square root of the share of its area)",
              share_names, s->share, EDT_STATS_N_SHARES);
    put_table(out, "box shape, width : height", aspect_names, s->aspect, EDT_STATS_N_ASPECTS);
    put_table(out, "picture shape, width : height", aspect_names, s->picture_aspect,
              EDT_STATS_N_ASPECTS);
}
