// See coco_notes.h. What a value of -1 means is decided by what the summary looks for
// (edt_coco_stat_rows); ids are looked up once more, as the evaluation keeps no counts.
#include "eval/coco_notes.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/strbuf.h"
#include "eval/coco_priv.h"

enum { SHOWN_IDS = 5, REASON_BYTES = 160 };

static edt_status add_note(edt_coco_notes *notes, edt_strbuf *text, edt_arena *arena,
                           edt_error *err)
{
    const char *kept = text->failed ? NULL : edt_arena_strdup(arena, text->text);
    edt_strbuf_clear(text);
    if (kept == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for notes on the result");
    }
    if (notes->n < EDT_COCO_MOST_NOTES) {
        notes->text[notes->n++] = kept;
    }
    return EDT_OK;
}

// Counts of what the detections refer to.
typedef struct census {
    int64_t n, n_unknown, n_nan;
    int64_t shown[SHOWN_IDS]; // the lowest unknown category ids
    int n_shown;
    bool has_more;           // unknown ids than are shown
    bool counts_from_zero;   // some detection that has a score is of category 0
    int64_t lowest, highest; // category id
    uint8_t *has_detections; // by image index
} census;

// Keeps the lowest ids, rising.
static void show_id(census *c, int64_t id)
{
    int at = 0;
    while (at < c->n_shown && c->shown[at] < id) {
        ++at;
    }
    if (at < c->n_shown && c->shown[at] == id) {
        return;
    }
    c->has_more |= c->n_shown == SHOWN_IDS;
    c->n_shown += c->n_shown < SHOWN_IDS;
    for (int i = c->n_shown - 1; i > at; --i) {
        c->shown[i] = c->shown[i - 1];
    }
    if (at < SHOWN_IDS) {
        c->shown[at] = id;
    }
}

static void count_detections(const edt_coco_gt *gt, const edt_coco_dt *dt, census *c)
{
    c->lowest = INT64_MAX;
    c->highest = INT64_MIN;
    for (const edt_coco_dt_block *block = dt->first; block != NULL; block = block->next) {
        for (int64_t i = 0; i < block->n; ++i) {
            const edt_coco_detection *det = &block->items[i];
            const int64_t id = det->category_id;
            const int32_t image = edt_coco_id_map_find(&gt->images, det->image_id);
            if (image >= 0) {
                c->has_detections[image] = 1;
            }
            ++c->n;
            c->n_nan += isnan(det->score);
            c->lowest = id < c->lowest ? id : c->lowest;
            c->highest = id > c->highest ? id : c->highest;
            c->counts_from_zero |= id == 0 && det->score > 0;
            if (edt_coco_id_map_find(&gt->category_map, id) < 0) {
                ++c->n_unknown;
                show_id(c, id);
            }
        }
    }
}

static void put_unknown(const census *c, int64_t n_categories, edt_strbuf *out)
{
    edt_strbuf_printf(out,
                      "%" PRId64 " of %" PRId64 " detections have a category that the ground "
                      "truth does not have, and were left out: id ",
                      c->n_unknown, c->n);
    for (int i = 0; i < c->n_shown; ++i) {
        edt_strbuf_printf(out, "%s%" PRId64, i > 0 ? ", " : "", c->shown[i]);
    }
    edt_strbuf_puts(out, c->has_more ? ", ..." : "");
    if (c->counts_from_zero && c->lowest == 0 && c->highest < n_categories) {
        edt_strbuf_puts(out, "; are they positions in a list of classes, instead of the "
                             "category ids of the ground truth?");
    }
}

// Images with objects that count, and those of them that no detection is for.
static void count_images(const edt_coco_gt *gt, const uint8_t *is_wanted,
                         const uint8_t *has_detections, int64_t *out_n, int64_t *out_n_bare)
{
    *out_n = 0;
    *out_n_bare = 0;
    for (int64_t i = 0; i < gt->n_images; ++i) {
        bool has_objects = false;
        for (uint32_t g = gt->image_begin[i]; g < gt->image_begin[i + 1]; ++g) {
            has_objects |= gt->is_crowd[g] == 0;
        }
        if (has_objects && (is_wanted == NULL || is_wanted[i] != 0)) {
            ++*out_n;
            *out_n_bare += has_detections[i] == 0;
        }
    }
}

// Whether any class has objects in any area range.
static bool has_objects(const edt_coco_result *result)
{
    const int64_t n = result->params.n_iou_thresholds * result->n_k * result->params.n_areas *
                      result->n_max_dets;
    for (int64_t i = 0; i < n; ++i) {
        if (result->recall[i] > -1) {
            return true;
        }
    }
    return false;
}

// Why number `i` is -1.
static void find_reason(const edt_coco_result *result, int i, char out[REASON_BYTES])
{
    const edt_coco_params *params = &result->params;
    const edt_coco_stat_row *row = &edt_coco_stat_rows[i];
    const edt_coco_area_range *area = NULL;
    bool has_limit = row->i_max_dets >= 0 && row->i_max_dets < result->n_max_dets;
    bool has_threshold = row->threshold <= 0;
    for (int m = 0; m < result->n_max_dets; ++m) {
        has_limit |= row->i_max_dets < 0 && params->max_dets[m] == 100;
    }
    for (int64_t t = 0; t < params->n_iou_thresholds; ++t) {
        has_threshold |= params->iou_thresholds[t] == row->threshold;
    }
    for (int64_t a = 0; a < params->n_areas; ++a) {
        area = strcmp(params->areas[a].label, row->area) == 0 ? &params->areas[a] : area;
    }
    if (!has_limit && row->i_max_dets < 0) {
        (void)snprintf(out, REASON_BYTES, "100 is not among the limits of detections");
    } else if (!has_limit) {
        (void)snprintf(out, REASON_BYTES, "there are only %d limits of detections",
                       result->n_max_dets);
    } else if (!has_threshold) {
        (void)snprintf(out, REASON_BYTES, "%g is not among the IoU thresholds", row->threshold);
    } else if (area == NULL) {
        (void)snprintf(out, REASON_BYTES, "no area range is called '%s'", row->area);
    } else if (!has_objects(result)) {
        (void)snprintf(out, REASON_BYTES,
                       "the evaluated images and categories have no objects (crowds aside)");
    } else {
        (void)snprintf(out, REASON_BYTES,
                       "no object of the evaluated images and categories (crowds aside) has an "
                       "area of %g to %g",
                       area->low, area->high);
    }
}

// A note for each reason, with all the numbers that it is the reason for.
static edt_status explain_undefined(const edt_coco_result *result, edt_strbuf *text,
                                    edt_arena *arena, edt_error *err, edt_coco_notes *notes)
{
    char reasons[EDT_COCO_N_STATS][REASON_BYTES];
    bool is_told[EDT_COCO_N_STATS];
    for (int i = 0; i < EDT_COCO_N_STATS; ++i) {
        is_told[i] = result->stats[i] > -1;
        if (!is_told[i]) {
            find_reason(result, i, reasons[i]);
        }
    }
    for (int i = 0; i < EDT_COCO_N_STATS; ++i) {
        if (is_told[i]) {
            continue;
        }
        int n = 0;
        for (int j = i; j < EDT_COCO_N_STATS; ++j) {
            if (!is_told[j] && strcmp(reasons[i], reasons[j]) == 0) {
                is_told[j] = true;
                edt_strbuf_printf(text, "%s%s", n++ > 0 ? ", " : "", edt_coco_stat_names[j]);
            }
        }
        edt_strbuf_printf(text, " %s -1: %s", n > 1 ? "are" : "is", reasons[i]);
        EDT_TRY(add_note(notes, text, arena, err));
    }
    return EDT_OK;
}

static edt_status mark_wanted(const edt_coco_gt *gt, const edt_coco_params *params,
                              edt_arena *arena, edt_error *err, uint8_t **out_wanted)
{
    uint8_t *wanted = edt_arena_calloc(arena, (size_t)gt->n_images, 1);
    if (wanted == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for notes on the result");
    }
    for (int64_t i = 0; i < params->n_image_ids; ++i) {
        wanted[edt_coco_id_map_find(&gt->images, params->image_ids[i])] = 1;
    }
    *out_wanted = wanted;
    return EDT_OK;
}

edt_status edt_coco_notes_make(const edt_coco_gt *gt, const edt_coco_dt *dt,
                               const edt_coco_result *result, edt_arena *arena, edt_error *err,
                               edt_coco_notes *out_notes)
{
    edt_status status = EDT_OK;
    edt_coco_notes notes = {0};
    edt_strbuf text = {0};
    census c = {0};
    uint8_t *wanted = NULL;
    int64_t n_images, n_bare;
    c.has_detections = edt_arena_calloc(arena, (size_t)gt->n_images, 1);
    if (c.has_detections == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for notes on the result");
    }
    if (result->params.n_image_ids > 0) {
        EDT_TRY(mark_wanted(gt, &result->params, arena, err, &wanted));
    }
    count_detections(gt, dt, &c);
    if (c.n_unknown > 0) {
        put_unknown(&c, gt->n_categories, &text);
        EDT_TRY_GOTO(add_note(&notes, &text, arena, err));
    }
    if (c.n_nan > 0) {
        edt_strbuf_printf(&text,
                          "%" PRId64 " of %" PRId64 " detections have NaN for a score; they "
                          "come last",
                          c.n_nan, c.n);
        EDT_TRY_GOTO(add_note(&notes, &text, arena, err));
    }
    count_images(gt, wanted, c.has_detections, &n_images, &n_bare);
    // Weak detectors find nothing in some; half of them looks like a file that was cut.
    if (2 * n_bare > n_images && !result->params.only_images_with_detections) {
        edt_strbuf_printf(&text,
                          "%" PRId64 " of %" PRId64 " images with objects have no detections; "
                          "are the detections complete?",
                          n_bare, n_images);
        EDT_TRY_GOTO(add_note(&notes, &text, arena, err));
    }
    EDT_TRY_GOTO(explain_undefined(result, &text, arena, err, &notes));
    *out_notes = notes;
fail:
    edt_strbuf_deinit(&text);
    return status;
}
