// Candidate selection, decoding, suppression per mode, ordering, clipping and scaling for one
// image at a time. See postprocess.h.
#include "model/post_priv.h"

#include <math.h>
#include <string.h>

#include "model/box_coder.h"

enum {
    // What a thread takes at a time.
    ANCHORS_PER_PIECE = 1024,
    CANDIDATES_PER_PIECE = 256
};

static float sigmoid(float logit)
{
    return 1.0F / (1.0F + expf(-logit));
}

static int64_t level_anchors(const edt_anchors *anchors, int level)
{
    return anchors->level_h[level] * anchors->level_w[level] * anchors->per_cell;
}

static void select_best(edt_post *post)
{
    const edt_anchors *anchors = post->anchors;
    const int n_levels = anchors->max_level - anchors->min_level + 1;
    int64_t n[EDT_SELECTION_MAX_RUNS];
    for (int l = 0; l < n_levels; ++l) {
        n[l] = level_anchors(anchors, anchors->min_level + l) * post->num_classes;
    }
    edt_selection_run(&post->selection, post->backend, post->cls_logits, n, n_levels);
    post->n = post->selection.n;
}

// The first maximum of a row. Eight running maxima keep the loop free of a chain of compares.
static int64_t first_maximum(const float *row, int64_t n)
{
    float best = row[0];
    int64_t i = 0;
    if (n >= 8) {
        float lane[8];
        memcpy(lane, row, sizeof lane);
        for (i = 8; i + 8 <= n; i += 8) {
            for (int k = 0; k < 8; ++k) {
                lane[k] = row[i + k] > lane[k] ? row[i + k] : lane[k];
            }
        }
        for (int k = 0; k < 8; ++k) {
            best = lane[k] > best ? lane[k] : best;
        }
    }
    for (; i < n; ++i) {
        best = row[i] > best ? row[i] : best;
    }
    for (i = 0; i + 8 <= n; i += 8) {
        int any = 0;
        for (int k = 0; k < 8; ++k) {
            any |= row[i + k] == best;
        }
        if (any) {
            break;
        }
    }
    for (; i < n; ++i) {
        if (row[i] == best) {
            return i;
        }
    }
    return 0; // NaN
}

// Candidates [first, first + ANCHORS_PER_PIECE) are the anchors of these numbers.
static void select_per_anchor(void *ctx, int worker, int64_t piece)
{
    (void)worker;
    edt_post *post = ctx;
    const edt_anchors *anchors = post->anchors;
    const int64_t n_classes = post->num_classes;
    const int64_t first = piece * ANCHORS_PER_PIECE;
    const int64_t last = first + ANCHORS_PER_PIECE;
    for (int level = anchors->min_level; level <= anchors->max_level; ++level) {
        const int64_t begin = anchors->level_offset[level];
        const int64_t end = begin + level_anchors(anchors, level);
        const float *rows = post->cls_logits[level - anchors->min_level];
        for (int64_t a = begin > first ? begin : first; a < end && a < last; ++a) {
            const float *row = rows + (a - begin) * n_classes;
            const int64_t c = first_maximum(row, n_classes);
            post->anchor[a] = (int32_t)a;
            post->cls[a] = (int32_t)c;
            post->score[a] = sigmoid(row[c]);
        }
    }
}

static void decode_candidate(edt_post *post, int64_t i)
{
    const edt_anchors *anchors = post->anchors;
    const int64_t a = post->anchor[i];
    int level = anchors->min_level;
    while (level < anchors->max_level && a >= anchors->level_offset[level + 1]) {
        ++level;
    }
    const float *code =
        post->box_codes[level - anchors->min_level] + 4 * (a - anchors->level_offset[level]);
    edt_box_decode(anchors->boxes + 4 * a, code, post->box + 4 * i);
}

// Scores of selected candidates and their boxes; those whose score cannot pass are left out
// where that is certain.
static void decode_piece(void *ctx, int worker, int64_t piece)
{
    (void)worker;
    edt_post *post = ctx;
    const bool all = post->numpy || post->mode == EDT_POST_COMBINED;
    const int64_t first = piece * CANDIDATES_PER_PIECE;
    for (int64_t i = first; i < post->n && i < first + CANDIDATES_PER_PIECE; ++i) {
        if (!post->per_anchor) {
            const uint64_t key = post->selection.keys[i];
            const int64_t index = edt_topk_index(key);
            post->anchor[i] = (int32_t)(index / post->num_classes);
            post->cls[i] = (int32_t)(index % post->num_classes);
            post->score[i] = sigmoid(edt_topk_value(key));
        }
        if (i == 0 || all || post->score[i] > post->v5.score_thresh) {
            decode_candidate(post, i);
        }
    }
}

static void share(edt_post *post, int64_t n, int64_t n_per_piece, edt_backend_share_fn *fn)
{
    edt_backend_share(post->backend, 0, (n + n_per_piece - 1) / n_per_piece, fn, post);
}

static void find_candidates(edt_post *post)
{
    if (post->per_anchor) {
        post->n = post->anchors->n;
        share(post, post->n, ANCHORS_PER_PIECE, select_per_anchor);
    } else {
        select_best(post);
    }
    share(post, post->n, CANDIDATES_PER_PIECE, decode_piece);
}

static void keep(edt_post *post, const float *box, float score, int64_t label)
{
    post->kept[post->n_kept++] = (edt_detection){
        .ymin = box[0],
        .xmin = box[1],
        .ymax = box[2],
        .xmax = box[3],
        .score = score,
        .label = (int32_t)label,
    };
}

// Suppression of n boxes in place `at` of the scratch, that of class number `i_class`.
static int64_t suppress(edt_post *post, const float *box, const float *score, int64_t n,
                        int64_t at, int64_t i_class)
{
    edt_nms_item *items = post->items + at;
    int32_t *picked = post->picked + at;
    float *picked_score = post->picked_score + at;
    if (post->numpy) {
        return edt_nms_numpy(box, score, n, &post->np, items, picked, picked_score);
    }
    return edt_nms_v5(box, score, n, &post->v5, items,
                      post->nms_boxes + edt_post_nms_boxes_at(at, i_class), picked,
                      picked_score);
}

static void run_global(edt_post *post)
{
    const int64_t n = suppress(post, post->box, post->score, post->n, 0, 0);
    for (int64_t i = 0; i < n; ++i) {
        const int64_t c = post->picked[i];
        keep(post, post->box + 4 * c, post->picked_score[i], post->cls[c] + 1);
    }
}

static void group_by_class(edt_post *post)
{
    int64_t *end = post->class_end;
    memset(end, 0, (size_t)post->num_classes * sizeof *end);
    for (int64_t i = 0; i < post->n; ++i) {
        ++end[post->cls[i]];
    }
    int64_t start = 0;
    for (int64_t c = 0; c < post->num_classes; ++c) {
        const int64_t count = end[c];
        end[c] = start;
        start += count;
    }
    for (int64_t i = 0; i < post->n; ++i) {
        post->by_class[end[post->cls[i]]++] = (int32_t)i;
    }
}

static int64_t class_begin(const edt_post *post, int64_t c)
{
    return c > 0 ? post->class_end[c - 1] : 0;
}

static int64_t largest_class(const edt_post *post)
{
    int64_t largest = 0;
    for (int64_t c = 1; c < post->num_classes; ++c) {
        if (post->class_end[c] - class_begin(post, c) >
            post->class_end[largest] - class_begin(post, largest)) {
            largest = c;
        }
    }
    return largest;
}

// The largest class comes first, so that no thread begins it when the others are done.
static void suppress_class(void *ctx, int worker, int64_t i)
{
    (void)worker;
    edt_post *post = ctx;
    const int64_t c = i == 0 ? post->largest_class : i <= post->largest_class ? i - 1 : i;
    const int64_t from = class_begin(post, c), n = post->class_end[c] - from;
    float *box = post->class_box + 4 * from, *score = post->class_score + from;
    for (int64_t k = 0; k < n; ++k) {
        const int64_t candidate = post->by_class[from + k];
        score[k] = post->score[candidate];
        memcpy(box + 4 * k, post->box + 4 * candidate, 4 * sizeof(float));
    }
    post->n_picked[c] = n == 0 ? 0 : suppress(post, box, score, n, from, c);
}

static void run_per_class(edt_post *post)
{
    group_by_class(post);
    post->largest_class = largest_class(post);
    edt_backend_share(post->backend, 0, post->num_classes, suppress_class, post);
    for (int64_t c = 0; c < post->num_classes; ++c) {
        const int64_t from = class_begin(post, c);
        for (int64_t i = from; i < from + post->n_picked[c]; ++i) {
            keep(post, post->class_box + 4 * (from + post->picked[i]), post->picked_score[i],
                 c + 1);
        }
    }
}

// Every anchor is a candidate of every class. `box` of candidate i is anchor i's here.
static void run_combined(edt_post *post)
{
    const edt_anchors *anchors = post->anchors;
    for (int64_t c = 0; c < post->num_classes; ++c) {
        int64_t n = 0;
        for (int level = anchors->min_level; level <= anchors->max_level; ++level) {
            const float *logit = post->cls_logits[level - anchors->min_level] + c;
            const int64_t n_level = level_anchors(anchors, level);
            for (int64_t i = 0; i < n_level; ++i) {
                post->class_score[n++] = sigmoid(logit[i * post->num_classes]);
            }
        }
        const int64_t n_picked = suppress(post, post->box, post->class_score, n, 0, 0);
        for (int64_t i = 0; i < n_picked; ++i) {
            keep(post, post->box + 4 * (int64_t)post->picked[i], post->picked_score[i], c + 1);
        }
    }
}

static float clip(float value, float limit)
{
    return value < 0 ? 0.0F : value > limit ? limit : value;
}

// Orders what was kept, pads to max_output rows, clips and scales.
static void write_rows(edt_post *post, float image_scale, edt_detection *out,
                       int64_t *out_n_valid)
{
    const int64_t n = post->n_kept < post->max_output ? post->n_kept : post->max_output;
    // The global mode comes ordered; for the others ties keep the order of classes.
    for (int64_t i = 0; i < post->n_kept; ++i) {
        post->order[i] = edt_topk_key(post->kept[i].score, (uint32_t)i);
    }
    edt_topk_sort(post->order, post->order_scratch, post->n_kept);
    edt_detection padding = {.score = post->numpy ? -1e5F : 0.0F};
    if (post->mode == EDT_POST_COMBINED) {
        padding.label = 1;
    } else if (post->mode == EDT_POST_GLOBAL && post->n > 0) {
        padding = (edt_detection){post->box[0], post->box[1], post->box[2],
                                  post->box[3], 0.0F,         post->cls[0] + 1};
    }
    const float h = (float)post->anchors->image_h, w = (float)post->anchors->image_w;
    for (int64_t i = 0; i < post->max_output; ++i) {
        edt_detection d = i < n ? post->kept[edt_topk_index(post->order[i])] : padding;
        if (post->mode != EDT_POST_PER_CLASS) {
            d.ymin = clip(d.ymin, h);
            d.xmin = clip(d.xmin, w);
            d.ymax = clip(d.ymax, h);
            d.xmax = clip(d.xmax, w);
        }
        d.ymin *= image_scale;
        d.xmin *= image_scale;
        d.ymax *= image_scale;
        d.xmax *= image_scale;
        out[i] = d;
    }
    *out_n_valid = n;
}

edt_status edt_post_run_shared(edt_post *post, edt_backend *backend, const float *const *cls,
                               const float *const *box, float image_scale,
                               edt_detection *out_detections, int64_t *out_n_valid,
                               edt_error *err)
{
    if (!(image_scale > 0)) {
        EDT_FAIL(err, EDT_ERR_INVALID, "post-processing: image scale %g must be positive",
                 (double)image_scale);
    }
    post->backend = backend;
    post->cls_logits = cls;
    post->box_codes = box;
    find_candidates(post);
    post->n_kept = 0;
    switch (post->mode) {
    case EDT_POST_PER_CLASS: run_per_class(post); break;
    case EDT_POST_GLOBAL: run_global(post); break;
    case EDT_POST_COMBINED: run_combined(post); break;
    }
    write_rows(post, image_scale, out_detections, out_n_valid);
    return EDT_OK;
}

edt_status edt_post_run(edt_post *post, const float *const *cls, const float *const *box,
                        float image_scale, edt_detection *out_detections, int64_t *out_n_valid,
                        edt_error *err)
{
    return edt_post_run_shared(post, NULL, cls, box, image_scale, out_detections, out_n_valid,
                               err);
}

edt_post_candidates edt_post_get_candidates(const edt_post *post)
{
    return (edt_post_candidates){
        .n = post->n, .boxes = post->box, .scores = post->score, .classes = post->cls};
}

void edt_detections_flip(edt_detection *detections, int64_t n, float image_scale,
                         int64_t network_w)
{
    const float width = image_scale * (float)network_w;
    for (int64_t i = 0; i < n; ++i) {
        const float xmin = detections[i].xmin;
        detections[i].xmin = width - detections[i].xmax;
        detections[i].xmax = width - xmin;
    }
}
