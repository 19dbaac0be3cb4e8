// See coco_segmentation.h.
#include "dataio/coco_segmentation.h"

#include <inttypes.h>

#include "core/json_pull.h"

typedef struct reader {
    edt_json_pull pull;
    int64_t h, w, out_h, out_w;
    edt_arena *arena;
    edt_rle *masks; // of the items so far
    size_t n_masks, capacity;
    bool are_boxes;
    bool keeps_size; // of run-length masks
} reader;

static edt_status fail_memory(edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a mask");
}

// Room for one more item of `item_bytes`; lists grow by doubling, old ones stay in the arena.
static void *grow(edt_arena *arena, void *items, size_t n, size_t *capacity, size_t item_bytes)
{
    if (n < *capacity) {
        return items;
    }
    const size_t wanted = *capacity > 0 ? 2 * *capacity : 16;
    void *grown = edt_arena_alloc(arena, wanted * item_bytes);
    if (grown != NULL) {
        if (n > 0) {
            memcpy(grown, items, n * item_bytes);
        }
        *capacity = wanted;
    }
    return grown;
}

static edt_status add_mask(reader *r, const edt_rle *mask, edt_error *err)
{
    r->masks = grow(r->arena, r->masks, r->n_masks, &r->capacity, sizeof *r->masks);
    if (r->masks == NULL) {
        return fail_memory(err);
    }
    r->masks[r->n_masks++] = *mask;
    return EDT_OK;
}

// After its '['.
static edt_status read_polygon(reader *r, edt_error *err)
{
    double *xy = NULL;
    size_t n = 0;
    size_t capacity = 0;
    const double scale[2] = {(double)r->out_w / (double)r->w, (double)r->out_h / (double)r->h};
    const bool is_scaled = r->out_w != r->w || r->out_h != r->h;
    for (;;) {
        bool more;
        EDT_TRY(edt_json_pull_next_item(&r->pull, err, &more));
        if (!more) {
            break;
        }
        double value;
        EDT_TRY(edt_json_pull_expect_f64(&r->pull, err, &value));
        xy = grow(r->arena, xy, n, &capacity, sizeof *xy);
        if (xy == NULL) {
            return fail_memory(err);
        }
        xy[n] = is_scaled ? value * scale[n % 2] : value;
        ++n;
    }
    if (r->n_masks == 0) {
        r->are_boxes = n == 4;
    }
    if (n % 2 != 0 || n < 4 || r->are_boxes != (n == 4)) {
        EDT_FAIL(
            err, EDT_ERR_INVALID,
            "item %zu has %zu numbers: polygons have 6 or more, an even number, and lists of "
            "boxes only items of 4",
            r->n_masks, n);
    }
    edt_rle mask;
    EDT_TRY(r->are_boxes
                ? edt_rle_from_box(xy, r->out_h, r->out_w, r->arena, err, &mask)
                : edt_rle_from_polygon(xy, n / 2, r->out_h, r->out_w, r->arena, err, &mask));
    return add_mask(r, &mask, err);
}

static edt_status read_counts(reader *r, edt_error *err, edt_text *out_text,
                              uint32_t **out_counts, size_t *out_n)
{
    edt_json_event event;
    EDT_TRY(edt_json_pull_next(&r->pull, err, &event));
    if (event == EDT_JSON_STRING) {
        *out_text = r->pull.text;
        return EDT_OK;
    }
    if (event != EDT_JSON_ARRAY_BEGIN) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "'counts' is %s: expected numbers or text",
                 edt_json_event_name(event));
    }
    size_t capacity = 0;
    *out_text = (edt_text){0};
    *out_n = 0;
    for (;;) {
        bool more;
        EDT_TRY(edt_json_pull_next_item(&r->pull, err, &more));
        if (!more) {
            return EDT_OK;
        }
        int64_t value;
        EDT_TRY(edt_json_pull_expect_i64(&r->pull, err, &value));
        *out_counts = grow(r->arena, *out_counts, *out_n, &capacity, sizeof **out_counts);
        if (*out_counts == NULL) {
            return fail_memory(err);
        }
        if (value < 0 || value > UINT32_MAX) {
            EDT_FAIL(err, EDT_ERR_INVALID, "'counts' holds %" PRId64, value);
        }
        (*out_counts)[(*out_n)++] = (uint32_t)value;
    }
}

// After its '{'.
static edt_status read_runs(reader *r, edt_error *err)
{
    int64_t size[3] = {0};
    int n_size = 0;
    bool has_counts = false;
    edt_text text = {0};
    uint32_t *counts = NULL;
    size_t n_counts = 0;
    for (;;) {
        edt_text key;
        bool more;
        EDT_TRY(edt_json_pull_next_key(&r->pull, err, &key, &more));
        if (!more) {
            break;
        }
        if (edt_text_is(key, "counts")) {
            counts = NULL;
            EDT_TRY(read_counts(r, err, &text, &counts, &n_counts));
            has_counts = true;
        } else if (edt_text_is(key, "size")) {
            EDT_TRY(edt_json_pull_expect(&r->pull, EDT_JSON_ARRAY_BEGIN, err));
            n_size = 0;
            for (bool item = true; item;) {
                EDT_TRY(edt_json_pull_next_item(&r->pull, err, &item));
                if (item) {
                    EDT_TRY(edt_json_pull_expect_i64(&r->pull, err, &size[n_size]));
                    n_size += n_size < 2;
                }
            }
        } else {
            EDT_TRY(edt_json_pull_skip_value(&r->pull, err, NULL));
        }
    }
    if (!has_counts || n_size != 2) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "field '%s' is missing", !has_counts ? "counts" : "size");
    }
    const int64_t h = r->keeps_size ? size[0] : r->h, w = r->keeps_size ? size[1] : r->w;
    if (size[0] != h || size[1] != w) {
        EDT_FAIL(err, EDT_ERR_INVALID,
                 "'size' is %" PRId64 " x %" PRId64 " (height x width), the image's is %" PRId64
                 " x %" PRId64,
                 size[0], size[1], r->h, r->w);
    }
    edt_rle mask;
    EDT_TRY(text.data != NULL ? edt_rle_from_text(text, h, w, r->arena, err, &mask)
                              : edt_rle_from_counts(counts, n_counts, h, w, err, &mask));
    if (r->keeps_size) {
        return add_mask(r, &mask, err);
    }
    if (r->out_h != r->h || r->out_w != r->w) {
        EDT_TRY(edt_rle_resize(&mask, r->out_h, r->out_w, r->arena, err, &mask));
    }
    return add_mask(r, &mask, err);
}

static edt_status read_list(reader *r, edt_error *err)
{
    for (;;) {
        bool more;
        EDT_TRY(edt_json_pull_next_item(&r->pull, err, &more));
        if (!more) {
            break;
        }
        edt_json_event event;
        EDT_TRY(edt_json_pull_next(&r->pull, err, &event));
        if (event == EDT_JSON_ARRAY_BEGIN) {
            EDT_TRY(read_polygon(r, err));
        } else if (event == EDT_JSON_OBJECT_BEGIN) {
            EDT_TRY(read_runs(r, err));
        } else {
            EDT_FAIL(err, EDT_ERR_FORMAT, "item %zu is %s: expected a polygon [x, y, ...]",
                     r->n_masks, edt_json_event_name(event));
        }
    }
    if (r->n_masks == 0) {
        EDT_FAIL(err, EDT_ERR_INVALID, "the list is empty");
    }
    return EDT_OK;
}

static edt_status read_value(reader *r, edt_error *err)
{
    edt_json_event event;
    EDT_TRY(edt_json_pull_next(&r->pull, err, &event));
    if (event == EDT_JSON_ARRAY_BEGIN) {
        EDT_TRY(read_list(r, err));
    } else if (event == EDT_JSON_OBJECT_BEGIN) {
        EDT_TRY(read_runs(r, err));
    } else {
        EDT_FAIL(err, EDT_ERR_FORMAT, "expected polygons or a run-length mask, found %s",
                 edt_json_event_name(event));
    }
    return edt_json_pull_expect(&r->pull, EDT_JSON_END, err);
}

static edt_status read_all(reader *r, edt_text json, edt_error *err, edt_rle *out_mask)
{
    const edt_span text = {(const uint8_t *)json.data, json.n_bytes};
    edt_json_pull_init(&r->pull, text,
                       (edt_json_pull_options){.allow_nan = true, .arena = r->arena});
    edt_status status = read_value(r, err);
    edt_json_pull_deinit(&r->pull);
    if (status == EDT_OK) {
        status = edt_rle_merge(r->masks, r->n_masks, false, r->arena, err, out_mask);
    }
    return status;
}

edt_status edt_coco_segmentation_read(edt_text json, int64_t height, int64_t width,
                                      int64_t out_h, int64_t out_w, edt_arena *arena,
                                      edt_error *err, edt_rle *out_mask)
{
    reader r = {.h = height, .w = width, .out_h = out_h, .out_w = out_w, .arena = arena};
    return read_all(&r, json, err, out_mask);
}

edt_status edt_coco_segmentation_read_own(edt_text json, int64_t height, int64_t width,
                                          edt_arena *arena, edt_error *err, edt_rle *out_mask)
{
    reader r = {.h = height,
                .w = width,
                .out_h = height,
                .out_w = width,
                .arena = arena,
                .keeps_size = true};
    return read_all(&r, json, err, out_mask);
}
