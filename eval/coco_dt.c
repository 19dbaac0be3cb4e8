// Detections: a list of blocks that grows without copying, read from COCO result files or added
// one by one, and written back as a result file.
#include <math.h>
#include <string.h>

#include "core/file.h"
#include "core/strbuf.h"
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

void edt_coco_dt_clear(edt_coco_dt *dt)
{
    while (dt->first != NULL) {
        edt_coco_dt_block *next = dt->first->next;
        edt_mem_free(dt->first->masks);
        edt_mem_free(dt->first);
        dt->first = next;
    }
    edt_coco_mask_pool_deinit(&dt->mask_pool);
    edt_arena_deinit(&dt->scratch);
    *dt = (edt_coco_dt){0};
}

void edt_coco_dt_destroy(edt_coco_dt *dt)
{
    if (dt != NULL) {
        edt_coco_dt_clear(dt);
        edt_mem_free(dt);
    }
}

int64_t edt_coco_dt_count(const edt_coco_dt *dt)
{
    return dt->n;
}

// Copies what fits into the last block, so that a list of many small parts does not become one
// of nearly empty blocks. False: nothing is copied.
static bool pack(edt_coco_dt *dt, const edt_coco_dt *from)
{
    edt_coco_dt_block *to = dt->last;
    const edt_coco_dt_block *block = from->first;
    if (to == NULL || block == NULL || block->next != NULL ||
        block->n > EDT_COCO_BLOCK_ITEMS - to->n || block->area_kind != to->area_kind ||
        (block->masks != NULL) != (to->masks != NULL)) {
        return false;
    }
    memcpy(to->items + to->n, block->items, (size_t)block->n * sizeof block->items[0]);
    if (to->masks != NULL) {
        memcpy(to->masks + to->n, block->masks, (size_t)block->n * sizeof(block->masks[0]));
    }
    to->n += block->n;
    dt->n += block->n;
    return true;
}

void edt_coco_dt_join(edt_coco_dt *dt, edt_coco_dt *from)
{
    edt_coco_mask_pool_join(&dt->mask_pool, &from->mask_pool);
    if (!pack(dt, from) && from->first != NULL) {
        if (dt->last != NULL) {
            dt->last->next = from->first;
        } else {
            dt->first = from->first;
        }
        dt->last = from->last;
        dt->n += from->n;
        dt->n_blocks += from->n_blocks;
        from->first = NULL;
    }
    edt_coco_dt_clear(from);
}

static edt_coco_dt_block *add_block(edt_coco_dt *dt, edt_coco_area_kind kind, bool has_masks)
{
    edt_coco_dt_block *block = edt_mem_alloc(EDT_MEM_EVAL, sizeof *block);
    if (block == NULL) {
        return NULL;
    }
    block->next = NULL;
    block->n = 0;
    block->area_kind = kind;
    block->masks = NULL;
    if (has_masks) {
        block->masks =
            edt_mem_alloc(EDT_MEM_EVAL, EDT_COCO_BLOCK_ITEMS * sizeof(*block->masks));
        if (block->masks == NULL) {
            edt_mem_free(block);
            return NULL;
        }
    }
    if (dt->last != NULL) {
        dt->last->next = block;
    } else {
        dt->first = block;
    }
    dt->last = block;
    ++dt->n_blocks;
    return block;
}

edt_coco_detection *edt_coco_dt_append(edt_coco_dt *dt, edt_coco_area_kind kind,
                                       const edt_coco_mask *mask)
{
    edt_coco_dt_block *block = dt->last;
    if (block == NULL || block->n == EDT_COCO_BLOCK_ITEMS || block->area_kind != kind ||
        (block->masks != NULL) != (mask != NULL)) {
        block = add_block(dt, kind, mask != NULL);
        if (block == NULL) {
            return NULL;
        }
    }
    if (mask != NULL) {
        block->masks[block->n] = mask;
    }
    ++dt->n;
    return &block->items[block->n++];
}

edt_status edt_coco_dt_add_f32(edt_coco_dt *dt, int64_t image_id, int64_t category_id,
                               const float bbox_xywh[4], float score, edt_error *err)
{
    edt_coco_detection *added = edt_coco_dt_append(dt, EDT_COCO_AREA_F32, NULL);
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

edt_status edt_coco_dt_add(edt_coco_dt *dt, const edt_coco_detection *detection,
                           const edt_rle *mask, edt_error *err)
{
    const edt_coco_mask *kept = NULL;
    if (mask != NULL) {
        if (dt->scratch.block_bytes == 0) {
            edt_arena_init(&dt->scratch, EDT_MEM_EVAL, 0);
        }
        EDT_TRY(edt_coco_mask_add(&dt->mask_pool, &dt->scratch, mask, err, &kept));
    }
    edt_coco_detection *added =
        edt_coco_dt_append(dt, kept != NULL ? EDT_COCO_AREA_MASK : EDT_COCO_AREA_F64, kept);
    if (added == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %lld detections", (long long)dt->n + 1);
    }
    *added = *detection;
    return EDT_OK;
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

// As the reference rounds the numbers of a test-dev file: boxes to hundredths in f64, scores to
// thousandths in f32 (spec/eval_infer_export.md 2.5).
static edt_coco_detection rounded(const edt_coco_detection *det)
{
    edt_coco_detection out = *det;
    for (int i = 0; i < 4; ++i) {
        out.bbox[i] = nearbyint(det->bbox[i] * 100) / 100;
    }
    out.score = (double)(nearbyintf((float)det->score * 1000.0F) / 1000.0F);
    return out;
}

static void put_detection(edt_strbuf *out, const edt_coco_dt_block *block, int64_t i,
                          bool is_test_dev)
{
    const edt_coco_detection row = is_test_dev ? rounded(&block->items[i]) : block->items[i];
    const edt_coco_detection *det = &row;
    edt_strbuf_printf(out, "{\"image_id\": %lld, \"category_id\": %lld, \"bbox\": [",
                      (long long)det->image_id, (long long)det->category_id);
    for (int k = 0; k < 4; ++k) {
        edt_strbuf_puts(out, k > 0 ? ", " : "");
        put_f64(out, det->bbox[k]);
    }
    edt_strbuf_puts(out, "], \"score\": ");
    put_f64(out, det->score);
    if (block->masks != NULL) {
        const edt_coco_mask *mask = block->masks[i];
        edt_strbuf_printf(out, ", \"segmentation\": {\"size\": [%u, %u], \"counts\": \"",
                          mask->h, mask->w);
        for (uint32_t k = 0; k < mask->n_bytes; ++k) {
            // The only byte of the text that JSON escapes.
            edt_strbuf_append(out, "\\", mask->text[k] == '\\');
            edt_strbuf_append(out, &mask->text[k], 1);
        }
        edt_strbuf_puts(out, "\"}");
    }
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

static edt_status write_rows(const edt_coco_dt *dt, const char *path, bool is_test_dev,
                             edt_error *err)
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
            put_detection(&out, block, i, is_test_dev);
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

edt_status edt_coco_dt_write_json(const edt_coco_dt *dt, const char *path, edt_error *err)
{
    return write_rows(dt, path, false, err);
}

edt_status edt_coco_dt_write_test_dev(const edt_coco_dt *dt, const char *path, edt_error *err)
{
    return write_rows(dt, path, true, err);
}
