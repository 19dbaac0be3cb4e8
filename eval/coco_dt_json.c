// Reads COCO result files. The first row decides what kind of file it is, as in pycocotools'
// loadRes; rows are then read in pieces on several threads (coco_items.h).
#include <string.h>

#include "core/file.h"
#include "eval/coco_items.h"
#include "eval/coco_priv.h"
#include "eval/coco_row_form.h"

typedef struct reader {
    const edt_coco_gt *gt;
    edt_coco_dt *dt;
    bool is_mask_file;      // segmentation without a bbox in the first row
    bool is_box_file;       // a bbox in the first row
    edt_coco_row_form form; // of the first row, where it is made of numbers alone
} reader;

enum { HAS_IMAGE = 1, HAS_CATEGORY = 2, HAS_SCORE = 4, HAS_BBOX = 8, HAS_MASK = 16 };

typedef struct row {
    edt_coco_detection det;
    edt_span mask; // the text of `segmentation`
    unsigned has;
    bool is_empty_box; // "bbox": []
} row;

static edt_status read_key(const reader *r, edt_json_pull *pull, edt_text key, row *d,
                           edt_error *err)
{
    if (edt_text_is(key, "image_id")) {
        d->has |= HAS_IMAGE;
        EDT_TRY(edt_json_pull_expect_i64(pull, err, &d->det.image_id));
        if (edt_coco_id_map_find(&r->gt->images, d->det.image_id) < 0) {
            return edt_json_pull_fail(pull, EDT_ERR_MISMATCH, err,
                                      "image %lld is not in the ground truth; do both files "
                                      "belong to the same data set?",
                                      (long long)d->det.image_id);
        }
        return EDT_OK;
    }
    if (edt_text_is(key, "category_id")) {
        d->has |= HAS_CATEGORY;
        return edt_json_pull_expect_i64(pull, err, &d->det.category_id);
    }
    if (edt_text_is(key, "bbox")) {
        d->has |= HAS_BBOX;
        return edt_coco_read_bbox(pull, err, d->det.bbox, &d->is_empty_box);
    }
    if (edt_text_is(key, "score")) {
        d->has |= HAS_SCORE;
        return edt_json_pull_expect_f64(pull, err, &d->det.score);
    }
    if (edt_text_is(key, "segmentation")) {
        d->has |= HAS_MASK;
        return edt_json_pull_skip_value(pull, err, &d->mask);
    }
    return edt_json_pull_skip_value(pull, err, NULL);
}

static edt_status read_keys(const reader *r, edt_json_pull *pull, row *d, edt_error *err)
{
    d->has = 0;
    d->is_empty_box = false;
    EDT_TRY(edt_json_pull_expect(pull, EDT_JSON_OBJECT_BEGIN, err));
    for (;;) {
        edt_text key;
        bool more;
        EDT_TRY(edt_json_pull_next_key(pull, err, &key, &more));
        if (!more) {
            d->has &= d->is_empty_box ? ~(unsigned)HAS_BBOX : ~0u;
            return EDT_OK;
        }
        EDT_TRY(read_key(r, pull, key, d, err));
    }
}

// The mask of a row: its own, else its box.
static edt_status make_mask(const reader *r, edt_coco_dt *dt, const row *d, edt_error *err,
                            const edt_coco_mask **out_mask)
{
    const int32_t image = edt_coco_id_map_find(&r->gt->images, d->det.image_id);
    const uint32_t *size = r->gt->image_size[image];
    if (dt->scratch.block_bytes == 0) {
        edt_arena_init(&dt->scratch, EDT_MEM_EVAL, 0);
    }
    return (d->has & HAS_MASK) != 0
               ? edt_coco_mask_read(&dt->mask_pool, &dt->scratch, d->mask, size[0], size[1],
                                    err, out_mask)
               : edt_coco_mask_from_box(&dt->mask_pool, &dt->scratch, d->det.bbox, size[0],
                                        size[1], err, out_mask);
}

// The bytes of a row that has the form of the first one and a known image, or 0.
static size_t read_by_form(const reader *r, edt_span text, edt_coco_detection *out_det)
{
    const size_t n_bytes = edt_coco_row_form_read(&r->form, text, out_det);
    return n_bytes > 0 && edt_coco_id_map_find(&r->gt->images, out_det->image_id) >= 0 ? n_bytes
                                                                                       : 0;
}

static edt_status read_detection(void *ctx, void *sink, edt_json_pull *pull, edt_error *err)
{
    static const char *const names[] = {"image_id", "category_id", "score", "bbox",
                                        "segmentation"};
    const reader *r = ctx;
    edt_coco_dt *dt = sink;
    row d;
    const size_t n_bytes = read_by_form(r, edt_json_pull_ahead(pull), &d.det);
    if (n_bytes > 0) {
        edt_coco_detection *det = edt_coco_dt_append(dt, EDT_COCO_AREA_F64, NULL);
        if (det == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for detections");
        }
        *det = d.det;
        edt_json_pull_end_value(pull, n_bytes);
        return EDT_OK;
    }
    EDT_TRY(read_keys(r, pull, &d, err));
    const unsigned needed = HAS_IMAGE | HAS_CATEGORY | HAS_SCORE |
                            (r->is_mask_file ? (unsigned)HAS_MASK : (unsigned)HAS_BBOX);
    for (int i = 0; i < 5; ++i) {
        if ((needed & ~d.has & 1u << i) != 0) {
            return edt_json_pull_fail(
                pull, EDT_ERR_FORMAT, err, "no \"%s\" in this detection%s", names[i],
                1u << i == HAS_MASK   ? "; the first row has no bbox, so every row needs a mask"
                : 1u << i != HAS_BBOX ? ""
                : r->is_box_file      ? "; the first row has a bbox, so every row needs one"
                                      : "; it needs a bbox or a segmentation");
        }
    }
    const edt_coco_mask *mask = NULL;
    if (r->is_mask_file || r->gt->iou_type == EDT_COCO_SEGM) {
        edt_error words = {0};
        const edt_status status = make_mask(r, dt, &d, &words, &mask);
        if (status != EDT_OK) {
            return edt_json_pull_fail(pull, status, err, "segmentation: %s", words.text);
        }
    }
    edt_coco_detection *added =
        edt_coco_dt_append(dt, r->is_mask_file ? EDT_COCO_AREA_MASK : EDT_COCO_AREA_F64, mask);
    if (added == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for detections");
    }
    *added = d.det;
    for (int i = 0; i < 4 && (d.has & HAS_BBOX) == 0; ++i) {
        added->bbox[i] = (double)mask->box[i];
    }
    return EDT_OK;
}

static edt_status take_blocks(void *ctx, void *sink, edt_error *err)
{
    (void)err;
    edt_coco_dt_join(((reader *)ctx)->dt, sink);
    return EDT_OK;
}

static void drop_blocks(void *sink)
{
    edt_coco_dt_clear(sink);
}

// Looks ahead into the first row. What is wrong with it is found when it is read.
static void find_kind(reader *r, const edt_json_pull *pull, edt_span text)
{
    const size_t at = edt_json_pull_tell(pull);
    edt_json_pull ahead;
    bool more = false;
    row d = {0};
    edt_json_pull_init_items(&ahead, (edt_span){text.data + at, text.n_bytes - at},
                             (edt_json_pull_options){.allow_nan = true});
    if (edt_json_pull_next_item(&ahead, NULL, &more) == EDT_OK && more) {
        if (r->gt->iou_type == EDT_COCO_BBOX) {
            edt_coco_row_form_learn(&r->form, edt_json_pull_ahead(&ahead));
        }
        if (read_keys(r, &ahead, &d, NULL) == EDT_OK) {
            r->is_mask_file = (d.has & (HAS_BBOX | HAS_MASK)) == HAS_MASK;
            r->is_box_file = (d.has & HAS_BBOX) != 0;
        }
    }
    edt_json_pull_deinit(&ahead);
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
    edt_coco_dt_clear(r->dt);
    find_kind(r, pull, text);
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
