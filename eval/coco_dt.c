// Detections: a list of blocks that grows without copying, read from COCO result files or added
// one by one, and written back as a result file.
#include <math.h>
#include <string.h>

#include "core/file.h"
#include "core/strbuf.h"
#include "eval/coco_items.h"
#include "eval/coco_priv.h"

enum { WRITE_BYTES = 1 << 16 };

edt_status edt_coco_dt_create(edt_error *err, edt_coco_dt **out_dt)
{
    edt_coco_dt *dt = edt_mem_calloc(EDT_MEM_EVAL, 1, sizeof *dt);
    if (dt == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for detections");
    }
    *out_dt = dt;
    return EDT_OK;
}

static void drop_blocks(void *sink)
{
    edt_coco_dt *dt = sink;
    while (dt->first != NULL) {
        edt_coco_dt_block *next = dt->first->next;
        edt_mem_free(dt->first);
        dt->first = next;
    }
    *dt = (edt_coco_dt){0};
}

void edt_coco_dt_destroy(edt_coco_dt *dt)
{
    if (dt != NULL) {
        drop_blocks(dt);
        edt_mem_free(dt);
    }
}

int64_t edt_coco_dt_count(const edt_coco_dt *dt)
{
    return dt->n;
}

// A place at the end of the list, in a block of this kind; NULL when out of memory.
static edt_coco_detection *append(edt_coco_dt *dt, bool is_f32)
{
    edt_coco_dt_block *block = dt->last;
    if (block == NULL || block->n == EDT_COCO_BLOCK_ITEMS || block->is_f32 != is_f32) {
        block = edt_mem_alloc(EDT_MEM_EVAL, sizeof *block);
        if (block == NULL) {
            return NULL;
        }
        block->next = NULL;
        block->n = 0;
        block->is_f32 = is_f32;
        if (dt->last != NULL) {
            dt->last->next = block;
        } else {
            dt->first = block;
        }
        dt->last = block;
        ++dt->n_blocks;
    }
    ++dt->n;
    return &block->items[block->n++];
}

edt_status edt_coco_dt_add_f32(edt_coco_dt *dt, int64_t image_id, int64_t category_id,
                               const float bbox_xywh[4], float score, edt_error *err)
{
    edt_coco_detection *added = append(dt, true);
    if (added == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %lld detections", (long long)dt->n + 1);
    }
    *added = (edt_coco_detection){
        .image_id = image_id, .category_id = category_id, .score = (double)score};
    for (int i = 0; i < 4; ++i) {
        added->bbox[i] = (double)bbox_xywh[i];
    }
    return EDT_OK;
}

typedef struct reader {
    const edt_coco_gt *gt;
    edt_coco_dt *dt;
} reader;

enum { HAS_IMAGE = 1, HAS_CATEGORY = 2, HAS_BBOX = 4, HAS_SCORE = 8, HAS_MASK = 16 };

static edt_status read_key(const reader *r, edt_json_pull *pull, edt_text key,
                           edt_coco_detection *det, unsigned *has, edt_error *err)
{
    if (edt_text_is(key, "image_id")) {
        *has |= HAS_IMAGE;
        EDT_TRY(edt_json_pull_expect_i64(pull, err, &det->image_id));
        if (edt_coco_id_map_find(&r->gt->images, det->image_id) < 0) {
            return edt_json_pull_fail(pull, EDT_ERR_MISMATCH, err,
                                      "image %lld is not in the ground truth; do both files "
                                      "belong to the same data set?",
                                      (long long)det->image_id);
        }
        return EDT_OK;
    }
    if (edt_text_is(key, "category_id")) {
        *has |= HAS_CATEGORY;
        return edt_json_pull_expect_i64(pull, err, &det->category_id);
    }
    if (edt_text_is(key, "bbox")) {
        *has |= HAS_BBOX;
        return edt_coco_read_bbox(pull, err, det->bbox);
    }
    if (edt_text_is(key, "score")) {
        *has |= HAS_SCORE;
        return edt_json_pull_expect_f64(pull, err, &det->score);
    }
    *has |= edt_text_is(key, "segmentation") ? HAS_MASK : 0;
    return edt_json_pull_skip_value(pull, err, NULL);
}

static edt_status read_detection(void *ctx, void *sink, edt_json_pull *pull, edt_error *err)
{
    static const char *const names[] = {"image_id", "category_id", "bbox", "score"};
    const reader *r = ctx;
    edt_coco_detection det;
    unsigned has = 0;
    EDT_TRY(edt_json_pull_expect(pull, EDT_JSON_OBJECT_BEGIN, err));
    for (;;) {
        edt_text key;
        bool more;
        EDT_TRY(edt_json_pull_next_key(pull, err, &key, &more));
        if (!more) {
            break;
        }
        EDT_TRY(read_key(r, pull, key, &det, &has, err));
    }
    for (int i = 0; i < 4; ++i) {
        if ((has & 1u << i) == 0) {
            return edt_json_pull_fail(
                pull, EDT_ERR_FORMAT, err, "no \"%s\" in this detection%s", names[i],
                (1u << i == HAS_BBOX && (has & HAS_MASK) != 0)
                    ? "; it has a mask, and box evaluation needs a bbox in every detection"
                    : "");
        }
    }
    edt_coco_detection *added = append(sink, false);
    if (added == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for detections");
    }
    *added = det;
    return EDT_OK;
}

static edt_status take_blocks(void *ctx, void *sink, edt_error *err)
{
    (void)err;
    edt_coco_dt *dt = ((reader *)ctx)->dt, *more = sink;
    if (more->first == NULL) {
        return EDT_OK;
    }
    if (dt->last != NULL) {
        dt->last->next = more->first;
    } else {
        dt->first = more->first;
    }
    dt->last = more->last;
    dt->n += more->n;
    dt->n_blocks += more->n_blocks;
    *more = (edt_coco_dt){0};
    return EDT_OK;
}

static edt_status read_list(reader *r, edt_json_pull *pull, edt_span text, bool is_mapped,
                            edt_error *err)
{
    const edt_coco_items_spec items = {.n_threads = r->gt->n_threads,
                                       .allow_nan = true,
                                       .is_mapped = is_mapped,
                                       .sink_bytes = sizeof(edt_coco_dt),
                                       .ctx = r,
                                       .read = read_detection,
                                       .take = take_blocks,
                                       .drop = drop_blocks};
    drop_blocks(r->dt);
    return edt_coco_items_read(pull, text, &items, err);
}

static edt_status read_top(reader *r, edt_json_pull *pull, edt_span text, bool is_mapped,
                           edt_error *err)
{
    edt_json_event event;
    EDT_TRY(edt_json_pull_next(pull, err, &event));
    if (event == EDT_JSON_ARRAY_BEGIN) {
        EDT_TRY(read_list(r, pull, text, is_mapped, err));
    } else if (event == EDT_JSON_OBJECT_BEGIN) {
        bool found = false;
        for (;;) {
            edt_text key;
            bool more;
            EDT_TRY(edt_json_pull_next_key(pull, err, &key, &more));
            if (!more) {
                break;
            }
            if (edt_text_is(key, "annotations")) {
                found = true;
                EDT_TRY(edt_json_pull_expect(pull, EDT_JSON_ARRAY_BEGIN, err));
                EDT_TRY(read_list(r, pull, text, is_mapped, err));
            } else {
                EDT_TRY(edt_json_pull_skip_value(pull, err, NULL));
            }
        }
        if (!found) {
            EDT_FAIL(err, EDT_ERR_FORMAT, "no \"annotations\" list in this object");
        }
    } else {
        return edt_json_pull_fail(pull, EDT_ERR_FORMAT, err,
                                  "expected a list of detections or an object with "
                                  "\"annotations\", found %s",
                                  edt_json_event_name(event));
    }
    return edt_json_pull_expect(pull, EDT_JSON_END, err);
}

edt_status edt_coco_dt_parse(const char *source, edt_span text, bool is_mapped,
                             const edt_coco_gt *gt, edt_error *err, edt_coco_dt **out_dt)
{
    reader r = {.gt = gt};
    EDT_TRY(edt_coco_dt_create(err, &r.dt));
    edt_json_pull pull;
    edt_json_pull_init(&pull, text, (edt_json_pull_options){.allow_nan = true});
    const edt_status status = read_top(&r, &pull, text, is_mapped, err);
    edt_json_pull_deinit(&pull);
    if (status != EDT_OK) {
        edt_coco_dt_destroy(r.dt);
        return edt_error_add_context(err, status, "%s", source);
    }
    *out_dt = r.dt;
    return EDT_OK;
}

edt_status edt_coco_dt_open(const char *path, const edt_coco_gt *gt, edt_error *err,
                            edt_coco_dt **out_dt)
{
    edt_mapped_file file = {0};
    EDT_TRY_CTX(edt_mapped_file_open(path, err, &file), err, "detections");
    const edt_status status = edt_coco_dt_parse(path, file.span, true, gt, err, out_dt);
    edt_mapped_file_close(&file);
    return status;
}

// As Python's json writes floats, whole numbers and what is not finite included.
static void put_f64(edt_strbuf *out, double x)
{
    char text[32];
    if (!isfinite(x)) {
        edt_strbuf_puts(out, isnan(x) ? "NaN" : x > 0 ? "Infinity" : "-Infinity");
        return;
    }
    edt_strbuf_append(out, text, edt_format_f64(x, text));
}

static void put_detection(edt_strbuf *out, const edt_coco_detection *det)
{
    edt_strbuf_printf(out, "{\"image_id\": %lld, \"category_id\": %lld, \"bbox\": [",
                      (long long)det->image_id, (long long)det->category_id);
    for (int i = 0; i < 4; ++i) {
        edt_strbuf_puts(out, i > 0 ? ", " : "");
        put_f64(out, det->bbox[i]);
    }
    edt_strbuf_puts(out, "], \"score\": ");
    put_f64(out, det->score);
    edt_strbuf_puts(out, "}");
}

static edt_status flush(edt_strbuf *out, edt_atomic_file *file, edt_error *err)
{
    if (out->failed) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for writing detections");
    }
    EDT_TRY(edt_atomic_file_append(file, out->text, out->n_bytes, err));
    edt_strbuf_clear(out);
    return EDT_OK;
}

edt_status edt_coco_dt_write_json(const edt_coco_dt *dt, const char *path, edt_error *err)
{
    edt_strbuf out = {0};
    edt_atomic_file *file = NULL;
    EDT_TRY(edt_atomic_file_open(path, err, &file));
    edt_status status = EDT_OK;
    edt_strbuf_puts(&out, "[");
    bool is_first = true;
    for (const edt_coco_dt_block *block = dt->first; block != NULL; block = block->next) {
        for (int64_t i = 0; i < block->n; ++i) {
            edt_strbuf_puts(&out, is_first ? "" : ", ");
            is_first = false;
            put_detection(&out, &block->items[i]);
            if (out.n_bytes > WRITE_BYTES) {
                EDT_TRY_GOTO(flush(&out, file, err));
            }
        }
    }
    edt_strbuf_puts(&out, "]\n");
    EDT_TRY_GOTO(flush(&out, file, err));
    EDT_TRY_GOTO(edt_atomic_file_commit(file, err));
fail:
    edt_strbuf_deinit(&out);
    edt_atomic_file_close(file);
    return status;
}
