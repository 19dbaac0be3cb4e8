// Reading side of coco_json.h: one pass of the pull parser over the text. A field of the wrong
// type is read over and remembered, so that the item can be named, counted and left out.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/json_pull.h"
#include "dataio/coco_json_priv.h"

enum { MAX_PROBLEM = 400, FORGET_BYTES = 8 << 20 };

typedef struct reader {
    edt_json_pull pull;
    edt_coco_json *coco;
    edt_convert_report *report;
    const char *path;
    unsigned what;
    edt_id_map image_ids, category_ids, annotation_ids;
    bool has_images, has_categories, has_annotations;
    // The last annotation waits until the next one is read, while its id's place in the large
    // map comes from memory.
    edt_coco_annotation row;
    edt_coco_caption caption;
    int64_t row_id;
    bool has_row, has_row_id;
    size_t n_forgotten;        // bytes of the file whose pages were given back
    char problem[MAX_PROBLEM]; // first complaint about the current item; empty: none
} reader;

static edt_status push_row(edt_coco_table *rows, const void *row, size_t row_bytes,
                           edt_error *err)
{
    if (rows->n == rows->capacity) {
        const int64_t capacity = rows->capacity > 0 ? 2 * rows->capacity : 256;
        void *grown = edt_mem_realloc(EDT_MEM_TEXT, rows->rows, (size_t)capacity * row_bytes);
        if (grown == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %" PRId64 " annotations", capacity);
        }
        rows->rows = grown;
        rows->capacity = capacity;
    }
    memcpy((char *)rows->rows + (size_t)rows->n++ * row_bytes, row, row_bytes);
    return EDT_OK;
}

static void complain(reader *r, const char *what)
{
    if (r->problem[0] == '\0') {
        char path[200];
        (void)snprintf(r->problem, sizeof r->problem, "%s: %s",
                       edt_json_pull_path(&r->pull, path, sizeof path), what);
    }
}

// A value of another type than wanted: complains and reads over it.
static edt_status refuse(reader *r, edt_json_event event, const char *expected, edt_error *err)
{
    char what[100];
    (void)snprintf(what, sizeof what, "expected %s, found %s", expected,
                   edt_json_event_name(event));
    complain(r, what);
    if (event == EDT_JSON_OBJECT_BEGIN || event == EDT_JSON_ARRAY_BEGIN) {
        return edt_json_pull_skip_rest(&r->pull, err);
    }
    return EDT_OK;
}

static edt_status take_i64(reader *r, edt_error *err, int64_t *out_value, bool *out_has)
{
    edt_json_event event;
    EDT_TRY(edt_json_pull_next(&r->pull, err, &event));
    if (event == EDT_JSON_NUMBER) {
        if (edt_json_pull_get_i64(&r->pull, NULL, out_value) == EDT_OK) {
            *out_has = true;
            return EDT_OK;
        }
        complain(r, "the number is not a 64-bit integer");
        return EDT_OK;
    }
    return refuse(r, event, "an integer", err);
}

static edt_status take_f64(reader *r, edt_error *err, double *out_value, bool *out_has)
{
    edt_json_event event;
    EDT_TRY(edt_json_pull_next(&r->pull, err, &event));
    if (event == EDT_JSON_NUMBER) {
        if (edt_json_pull_get_f64(&r->pull, NULL, out_value) == EDT_OK &&
            isfinite(*out_value)) {
            *out_has = true;
            return EDT_OK;
        }
        complain(r, "the number is not finite");
        return EDT_OK;
    }
    return refuse(r, event, "a number", err);
}

static edt_status take_text(reader *r, edt_error *err, edt_text *out_text, bool *out_has)
{
    edt_json_event event;
    EDT_TRY(edt_json_pull_next(&r->pull, err, &event));
    if (event == EDT_JSON_STRING) {
        *out_text = r->pull.text;
        *out_has = true;
        return EDT_OK;
    }
    return refuse(r, event, "text", err);
}

// 0, 1, true or false.
static edt_status take_flag(reader *r, edt_error *err, int64_t *out_value, bool *out_has)
{
    edt_json_event event;
    EDT_TRY(edt_json_pull_next(&r->pull, err, &event));
    if (event == EDT_JSON_TRUE || event == EDT_JSON_FALSE) {
        *out_value = event == EDT_JSON_TRUE;
        *out_has = true;
        return EDT_OK;
    }
    if (event == EDT_JSON_NUMBER &&
        edt_json_pull_get_i64(&r->pull, NULL, out_value) == EDT_OK) {
        *out_has = true;
        return EDT_OK;
    }
    return refuse(r, event, "0, 1, true or false", err);
}

static edt_status take_box(reader *r, edt_error *err, double box[4], bool *out_has)
{
    edt_json_event event;
    EDT_TRY(edt_json_pull_next(&r->pull, err, &event));
    if (event != EDT_JSON_ARRAY_BEGIN) {
        return refuse(r, event, "[x, y, width, height]", err);
    }
    int n = 0;
    int n_good = 0;
    for (;;) {
        bool more;
        EDT_TRY(edt_json_pull_next_item(&r->pull, err, &more));
        if (!more) {
            break;
        }
        double value = 0;
        bool has = false;
        EDT_TRY(take_f64(r, err, &value, &has));
        n_good += has;
        if (n < 4) {
            box[n] = value;
        }
        ++n;
    }
    if (n != 4) {
        complain(r, "expected four numbers [x, y, width, height]");
    }
    *out_has = n == 4 && n_good == 4;
    return EDT_OK;
}

// Says which field is missing, if one is, and hands the item's first problem to the report.
static edt_status finish_item(reader *r, const char *const *names, const bool *has,
                              int n_fields, edt_error *err, bool *out_good)
{
    for (int i = 0; i < n_fields; ++i) {
        if (!has[i]) {
            char what[60];
            (void)snprintf(what, sizeof what, "field '%s' is missing", names[i]);
            complain(r, what);
        }
    }
    *out_good = r->problem[0] == '\0';
    if (*out_good) {
        return EDT_OK;
    }
    return edt_convert_report_bad(r->report, EDT_BAD_FIELD, -1, err, "'%s': %s", r->path,
                                  r->problem);
}

// The next item of a list, which should be an object: `*out_object` tells whether its keys
// follow.
static edt_status next_object(reader *r, edt_error *err, bool *out_more, bool *out_object)
{
    r->problem[0] = '\0';
    EDT_TRY(edt_json_pull_next_item(&r->pull, err, out_more));
    if (*out_more) {
        edt_json_event event;
        EDT_TRY(edt_json_pull_next(&r->pull, err, &event));
        *out_object = event == EDT_JSON_OBJECT_BEGIN;
        if (!*out_object) {
            EDT_TRY(refuse(r, event, "an object", err));
        }
    }
    return EDT_OK;
}

static edt_status read_image(reader *r, bool is_object, int64_t i_entry, edt_error *err)
{
    static const char *const names[] = {"id", "file_name", "height", "width"};
    edt_coco_image image = {.i_entry = i_entry};
    const bool all = (r->what & EDT_COCO_IMAGES) != 0;
    bool has[4] = {false, !all, !all, !all};
    for (bool more = is_object; more;) {
        edt_text key;
        EDT_TRY(edt_json_pull_next_key(&r->pull, err, &key, &more));
        if (!more) {
            break;
        }
        if (edt_text_is(key, "id")) {
            EDT_TRY(take_i64(r, err, &image.id, &has[0]));
        } else if (all && edt_text_is(key, "file_name")) {
            EDT_TRY(take_text(r, err, &image.file_name, &has[1]));
        } else if (all && edt_text_is(key, "height")) {
            EDT_TRY(take_i64(r, err, &image.height, &has[2]));
        } else if (all && edt_text_is(key, "width")) {
            EDT_TRY(take_i64(r, err, &image.width, &has[3]));
        } else {
            EDT_TRY(edt_json_pull_skip_value(&r->pull, err, NULL));
        }
    }
    if (all && has[1] && has[2] && has[3]) {
        if (image.height <= 0 || image.width <= 0) {
            complain(r, "height and width must be positive");
        }
        if (image.file_name.n_bytes == 0 ||
            memchr(image.file_name.data, '\0', image.file_name.n_bytes) != NULL) {
            complain(r, "file_name is empty or holds a zero byte");
        }
    }
    bool good;
    EDT_TRY(finish_item(r, names, has, 4, err, &good));
    if (!good) {
        return EDT_OK;
    }
    int64_t first;
    EDT_TRY(edt_id_map_add(&r->image_ids, image.id, i_entry, err, &first));
    if (first != i_entry) {
        return edt_convert_report_bad(r->report, EDT_BAD_DUPLICATE_IMAGE, -1, err,
                                      "'%s': images[%" PRId64 "] has the id %" PRId64
                                      " of images[%" PRId64 "]",
                                      r->path, i_entry, image.id, first);
    }
    return push_row(&r->coco->images, &image, sizeof image, err);
}

static edt_status read_category(reader *r, bool is_object, edt_error *err)
{
    static const char *const names[] = {"id", "name"};
    edt_coco_class category = {0};
    bool has[2] = {false, false};
    for (bool more = is_object; more;) {
        edt_text key;
        EDT_TRY(edt_json_pull_next_key(&r->pull, err, &key, &more));
        if (!more) {
            break;
        }
        if (edt_text_is(key, "id")) {
            EDT_TRY(take_i64(r, err, &category.id, &has[0]));
        } else if (edt_text_is(key, "name")) {
            EDT_TRY(take_text(r, err, &category.name, &has[1]));
        } else {
            EDT_TRY(edt_json_pull_skip_value(&r->pull, err, NULL));
        }
    }
    bool good;
    EDT_TRY(finish_item(r, names, has, 2, err, &good));
    if (!good) {
        return EDT_OK;
    }
    if (edt_id_map_get(&r->category_ids, category.id) >= 0) {
        edt_convert_report_note(r->report, EDT_NOTE_CATEGORY_TWICE, 1);
    }
    EDT_TRY(edt_id_map_set(&r->category_ids, category.id, r->coco->categories.n, err));
    return push_row(&r->coco->categories, &category, sizeof category, err);
}

// Puts the annotation that waits into the tables.
static edt_status add_annotation(reader *r, edt_error *err)
{
    if (!r->has_row) {
        return EDT_OK;
    }
    r->has_row = false;
    if (r->has_row_id) {
        int64_t first;
        EDT_TRY(edt_id_map_add(&r->annotation_ids, r->row_id, r->row.i_entry, err, &first));
        if (first != r->row.i_entry) {
            return edt_convert_report_bad(r->report, EDT_BAD_DUPLICATE_ANNOTATION, -1, err,
                                          "'%s': annotations[%" PRId64 "] has the id %" PRId64
                                          " of annotations[%" PRId64 "]",
                                          r->path, r->row.i_entry, r->row_id, first);
        }
    }
    if ((r->what & EDT_COCO_INSTANCES) != 0) {
        EDT_TRY(push_row(&r->coco->annotations, &r->row, sizeof r->row, err));
    }
    if ((r->what & EDT_COCO_CAPTIONS) != 0) {
        EDT_TRY(push_row(&r->coco->captions, &r->caption, sizeof r->caption, err));
    }
    return EDT_OK;
}

static edt_status read_annotation(reader *r, bool is_object, int64_t i_entry, edt_error *err)
{
    static const char *const names[] = {"image_id", "bbox",    "category_id", "iscrowd",
                                        "area",     "caption", "segmentation"};
    enum { N_FIELDS = sizeof names / sizeof *names };
    const bool boxes = (r->what & EDT_COCO_INSTANCES) != 0;
    const bool texts = (r->what & EDT_COCO_CAPTIONS) != 0;
    const bool masks = (r->what & EDT_COCO_MASKS) != 0;
    bool has[N_FIELDS] = {false, !boxes, !boxes, !boxes, !boxes, !texts, !masks};
    edt_coco_annotation row = {.i_entry = i_entry};
    edt_coco_caption caption = {0};
    int64_t id = 0;
    bool has_id = false;
    double box[4] = {0};
    for (bool more = is_object; more;) {
        edt_text key;
        EDT_TRY(edt_json_pull_next_key(&r->pull, err, &key, &more));
        if (!more) {
            break;
        }
        if (edt_text_is(key, "id")) {
            EDT_TRY(take_i64(r, err, &id, &has_id));
        } else if (edt_text_is(key, "image_id")) {
            EDT_TRY(take_i64(r, err, &row.image_id, &has[0]));
        } else if (boxes && edt_text_is(key, "bbox")) {
            EDT_TRY(take_box(r, err, box, &has[1]));
        } else if (boxes && edt_text_is(key, "category_id")) {
            EDT_TRY(take_i64(r, err, &row.category_id, &has[2]));
        } else if (boxes && edt_text_is(key, "iscrowd")) {
            EDT_TRY(take_flag(r, err, &row.is_crowd, &has[3]));
        } else if (boxes && edt_text_is(key, "area")) {
            EDT_TRY(take_f64(r, err, &row.area, &has[4]));
        } else if (texts && edt_text_is(key, "caption")) {
            EDT_TRY(take_text(r, err, &caption.text, &has[5]));
        } else if (masks && edt_text_is(key, "segmentation")) {
            edt_span raw;
            EDT_TRY(edt_json_pull_skip_value(&r->pull, err, &raw));
            row.segmentation = (edt_text){(const char *)raw.data, raw.n_bytes};
            has[6] = true;
        } else {
            EDT_TRY(edt_json_pull_skip_value(&r->pull, err, NULL));
        }
    }
    EDT_TRY(add_annotation(r, err));
    bool good;
    EDT_TRY(finish_item(r, names, has, N_FIELDS, err, &good));
    if (good) {
        row.x = box[0];
        row.y = box[1];
        row.w = box[2];
        row.h = box[3];
        caption.image_id = row.image_id;
        r->row = row;
        r->caption = caption;
        r->row_id = id;
        r->has_row = true;
        r->has_row_id = has_id;
        if (has_id) {
            edt_id_map_prefetch(&r->annotation_ids, id);
        }
    }
    return EDT_OK;
}

typedef enum list_kind { IMAGES, CATEGORIES, ANNOTATIONS } list_kind;

static edt_status read_list(reader *r, list_kind kind, bool *has, edt_error *err)
{
    if (*has) {
        return edt_json_pull_fail(&r->pull, EDT_ERR_FORMAT, err, "this list is given twice");
    }
    *has = true;
    EDT_TRY(edt_json_pull_expect(&r->pull, EDT_JSON_ARRAY_BEGIN, err));
    for (int64_t i = 0;; ++i) {
        bool more;
        bool is_object = false;
        EDT_TRY(next_object(r, err, &more, &is_object));
        if (!more) {
            return add_annotation(r, err);
        }
        // What has been read comes back from the file when a text in it is asked for.
        const size_t n_read = edt_json_pull_tell(&r->pull);
        if (n_read - r->n_forgotten >= FORGET_BYTES) {
            edt_mapped_file_forget(&r->coco->file, r->n_forgotten, n_read);
            r->n_forgotten = n_read;
        }
        switch (kind) {
        case IMAGES: EDT_TRY(read_image(r, is_object, i, err)); break;
        case CATEGORIES: EDT_TRY(read_category(r, is_object, err)); break;
        case ANNOTATIONS: EDT_TRY(read_annotation(r, is_object, i, err)); break;
        }
    }
}

static edt_status read_root(reader *r, edt_error *err)
{
    const bool annotated = (r->what & (EDT_COCO_INSTANCES | EDT_COCO_CAPTIONS)) != 0;
    EDT_TRY(edt_json_pull_expect(&r->pull, EDT_JSON_OBJECT_BEGIN, err));
    for (;;) {
        edt_text key;
        bool more;
        EDT_TRY(edt_json_pull_next_key(&r->pull, err, &key, &more));
        if (!more) {
            break;
        }
        if (edt_text_is(key, "images")) {
            EDT_TRY(read_list(r, IMAGES, &r->has_images, err));
        } else if ((r->what & EDT_COCO_INSTANCES) != 0 && edt_text_is(key, "categories")) {
            EDT_TRY(read_list(r, CATEGORIES, &r->has_categories, err));
        } else if (annotated && edt_text_is(key, "annotations")) {
            EDT_TRY(read_list(r, ANNOTATIONS, &r->has_annotations, err));
        } else {
            EDT_TRY(edt_json_pull_skip_value(&r->pull, err, NULL));
        }
    }
    EDT_TRY(edt_json_pull_expect(&r->pull, EDT_JSON_END, err));
    const char *missing = !r->has_images                     ? "images"
                          : annotated && !r->has_annotations ? "annotations"
                          : (r->what & EDT_COCO_INSTANCES) != 0 && !r->has_categories
                              ? "categories"
                              : NULL;
    if (missing != NULL) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "there is no list '%s'; is this a COCO %s file?", missing,
                 (r->what & EDT_COCO_INSTANCES) != 0  ? "instances"
                 : (r->what & EDT_COCO_CAPTIONS) != 0 ? "captions"
                                                      : "image info");
    }
    return EDT_OK;
}

// Categories may stand after the annotations in the file, so they are looked up at the end.
static edt_status resolve_categories(reader *r, edt_error *err)
{
    edt_coco_table *annotations = &r->coco->annotations;
    edt_coco_annotation *rows = annotations->rows;
    int64_t n = 0;
    for (int64_t i = 0; i < annotations->n; ++i) {
        const int64_t i_category = edt_id_map_get(&r->category_ids, rows[i].category_id);
        if (i_category >= 0) {
            rows[n] = rows[i];
            rows[n++].i_category = (int32_t)i_category;
            continue;
        }
        EDT_TRY(edt_convert_report_bad(r->report, EDT_BAD_CATEGORY, -1, err,
                                       "'%s': annotations[%" PRId64 "].category_id: %" PRId64
                                       " is none of the %" PRId64 " categories",
                                       r->path, rows[i].i_entry, rows[i].category_id,
                                       r->coco->categories.n));
    }
    annotations->n = n;
    return EDT_OK;
}

edt_status edt_coco_json_read(edt_coco_json *coco, edt_span text, const char *path,
                              unsigned what, edt_convert_report *report, edt_error *err)
{
    reader r = {.coco = coco, .report = report, .path = path, .what = what};
    edt_json_pull_init(&r.pull, text,
                       (edt_json_pull_options){.allow_nan = true, .arena = &coco->arena});
    edt_status status = text.n_bytes > 0
                            ? read_root(&r, err)
                            : edt_error_set(err, EDT_ERR_FORMAT, "the file is empty");
    if (status == EDT_OK) {
        status = resolve_categories(&r, err);
    } else if (status != EDT_ERR_INVALID) {
        (void)edt_error_add_context(err, status, "'%s'", path);
    }
    edt_json_pull_deinit(&r.pull);
    edt_id_map_deinit(&r.image_ids);
    edt_id_map_deinit(&r.category_ids);
    edt_id_map_deinit(&r.annotation_ids);
    return status;
}
