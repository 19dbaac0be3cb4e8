// Candidate selection, decoding, suppression per mode, ordering, clipping and scaling for one
// image at a time. See postprocess.h.
#include "model/postprocess.h"

#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "model/box_coder.h"
#include "model/nms.h"
#include "model/topk.h"

enum { MAX_OUTPUT = 1 << 20 };

struct edt_post {
    const edt_anchors *anchors; // borrowed
    edt_post_mode mode;
    bool numpy;
    edt_nms_options v5;
    edt_nms_numpy_options np;
    int64_t num_classes;
    int64_t max_output;
    int64_t max_candidates; // of one image
    edt_topk topk;          // n_keep 0: one candidate per anchor

    int64_t n; // candidates of the current image
    int32_t *anchor, *cls;
    float *score, *box;
    // One class's candidates, in candidate order.
    int64_t *class_end; // [num_classes] end of each class in by_class
    int32_t *by_class;  // candidate indices grouped by class
    float *class_score, *class_box;
    edt_nms_item *items;
    int32_t *picked;
    float *picked_score;
    // What suppression kept, all classes.
    int64_t n_kept, cap_kept;
    edt_detection *kept;
    uint64_t *order, *order_scratch;
};

static bool is_text(const char *text, const char *what)
{
    return text != NULL && strcmp(text, what) == 0;
}

// 0 in the configuration stands for None and, as in the reference, for 0.
static double or_default(double value, double fallback)
{
    return value != 0.0 ? value : fallback;
}

static edt_status take_settings(edt_post *post, const edt_hparams *hp, edt_error *err)
{
    const edt_nms_configs *c = &hp->nms_configs;
    const bool gaussian = is_text(c->method, "gaussian");
    const bool linear = is_text(c->method, "linear"), diou = is_text(c->method, "diou");
    const bool hard = c->method == NULL || c->method[0] == '\0' || is_text(c->method, "hard");
    if (!gaussian && !linear && !diou && !hard) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "nms_configs.method '%s' is not known: use gaussian or hard, or with "
                 "nms_configs.pyfunc=true also linear or diou",
                 c->method);
    }
    post->numpy = c->pyfunc && post->mode == EDT_POST_PER_CLASS;
    if ((linear || diou) && !post->numpy && post->mode != EDT_POST_COMBINED) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "nms_configs.method '%s' exists for suppression per class with "
                 "nms_configs.pyfunc=true only; use gaussian or hard",
                 c->method);
    }
    if (c->max_output_size < 1 || c->max_output_size > MAX_OUTPUT || c->max_nms_inputs < 0) {
        EDT_FAIL(
            err, EDT_ERR_USAGE,
            "nms_configs.max_output_size %lld, max_nms_inputs %lld: want 1 to %d, and 0 (the "
            "maximum per anchor) or more",
            (long long)c->max_output_size, (long long)c->max_nms_inputs, MAX_OUTPUT);
    }
    post->max_output = c->max_output_size;
    const bool soft = gaussian && post->mode != EDT_POST_COMBINED;
    post->v5 = (edt_nms_options){
        .iou_thresh = soft || post->mode == EDT_POST_COMBINED
                          ? 0.5F
                          : (float)or_default(c->iou_thresh, 0.5),
        .score_thresh = (float)or_default(c->score_thresh, soft ? 0.001 : -INFINITY),
        .sigma = soft ? (float)(or_default(c->sigma, 0.5) / 2) : 0.0F,
        .max_output = post->max_output,
    };
    post->np = (edt_nms_numpy_options){
        .method = gaussian ? EDT_NMS_NUMPY_GAUSSIAN
                  : linear ? EDT_NMS_NUMPY_LINEAR
                  : diou   ? EDT_NMS_NUMPY_DIOU
                           : EDT_NMS_NUMPY_HARD,
        .iou_thresh = (float)or_default(c->iou_thresh, linear ? 0.3 : 0.5),
        .score_thresh = (float)or_default(c->score_thresh, 0.001),
        .sigma = (float)or_default(c->sigma, 0.5),
    };
    return EDT_OK;
}

static edt_status allocate(edt_post *post, int64_t max_inputs, edt_error *err)
{
    const int64_t n_anchors = post->anchors->n;
    const int64_t n_all = n_anchors * post->num_classes;
    if (n_all > UINT32_MAX) {
        EDT_FAIL(err, EDT_ERR_USAGE, "%lld anchors with %lld classes are too many",
                 (long long)n_anchors, (long long)post->num_classes);
    }
    const bool all_anchors = max_inputs == 0 || post->mode == EDT_POST_COMBINED;
    post->max_candidates = all_anchors ? n_anchors : max_inputs < n_all ? max_inputs : n_all;
    const size_t n = (size_t)post->max_candidates;
    // Of each class at most max_output are kept, except by the numpy methods.
    int64_t kept = post->num_classes * post->max_output;
    if (post->mode != EDT_POST_COMBINED && (kept > post->max_candidates || post->numpy)) {
        kept = post->max_candidates;
    }
    post->cap_kept = kept;
    post->anchor = edt_mem_calloc(EDT_MEM_EVAL, n, sizeof *post->anchor);
    post->cls = edt_mem_calloc(EDT_MEM_EVAL, n, sizeof *post->cls);
    post->score = edt_mem_calloc(EDT_MEM_EVAL, n, sizeof *post->score);
    post->box = edt_mem_calloc(EDT_MEM_EVAL, n, 4 * sizeof *post->box);
    post->class_end =
        edt_mem_calloc(EDT_MEM_EVAL, (size_t)post->num_classes, sizeof *post->class_end);
    post->by_class = edt_mem_calloc(EDT_MEM_EVAL, n, sizeof *post->by_class);
    post->class_score = edt_mem_calloc(EDT_MEM_EVAL, n, sizeof *post->class_score);
    post->class_box = edt_mem_calloc(EDT_MEM_EVAL, n, 4 * sizeof *post->class_box);
    post->items = edt_mem_calloc(EDT_MEM_EVAL, n, sizeof *post->items);
    post->picked = edt_mem_calloc(EDT_MEM_EVAL, n, sizeof *post->picked);
    post->picked_score = edt_mem_calloc(EDT_MEM_EVAL, n, sizeof *post->picked_score);
    post->kept = edt_mem_calloc(EDT_MEM_EVAL, (size_t)kept, sizeof *post->kept);
    post->order = edt_mem_calloc(EDT_MEM_EVAL, (size_t)kept, sizeof *post->order);
    post->order_scratch =
        edt_mem_calloc(EDT_MEM_EVAL, (size_t)kept, sizeof *post->order_scratch);
    if (post->anchor == NULL || post->cls == NULL || post->score == NULL || post->box == NULL ||
        post->class_end == NULL || post->by_class == NULL || post->class_score == NULL ||
        post->class_box == NULL || post->items == NULL || post->picked == NULL ||
        post->picked_score == NULL || post->kept == NULL || post->order == NULL ||
        post->order_scratch == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "post-processing: out of memory for %zu candidates", n);
    }
    return all_anchors ? EDT_OK : edt_topk_init(&post->topk, post->max_candidates, err);
}

edt_status edt_post_create(const edt_hparams *hp, const edt_anchors *anchors,
                           edt_post_mode mode, edt_error *err, edt_post **out_post)
{
    if (hp->num_classes < 1 || hp->num_classes > INT32_MAX) {
        EDT_FAIL(err, EDT_ERR_USAGE, "num_classes %lld: must be at least 1",
                 (long long)hp->num_classes);
    }
    edt_post *post = edt_mem_calloc(EDT_MEM_EVAL, 1, sizeof *post);
    if (post == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "post-processing: out of memory");
    }
    post->anchors = anchors;
    post->mode = mode;
    post->num_classes = hp->num_classes;
    edt_status status = EDT_OK;
    EDT_TRY_GOTO(take_settings(post, hp, err));
    EDT_TRY_GOTO(allocate(post, hp->nms_configs.max_nms_inputs, err));
    *out_post = post;
    return EDT_OK;
fail:
    edt_post_destroy(post);
    return status;
}

void edt_post_destroy(edt_post *post)
{
    if (post == NULL) {
        return;
    }
    edt_topk_deinit(&post->topk);
    edt_mem_free(post->anchor);
    edt_mem_free(post->cls);
    edt_mem_free(post->score);
    edt_mem_free(post->box);
    edt_mem_free(post->class_end);
    edt_mem_free(post->by_class);
    edt_mem_free(post->class_score);
    edt_mem_free(post->class_box);
    edt_mem_free(post->items);
    edt_mem_free(post->picked);
    edt_mem_free(post->picked_score);
    edt_mem_free(post->kept);
    edt_mem_free(post->order);
    edt_mem_free(post->order_scratch);
    edt_mem_free(post);
}

bool edt_post_describe(const edt_post *post, edt_detect_attrs *out_attrs)
{
    if (post->numpy || post->mode == EDT_POST_COMBINED) {
        return false;
    }
    *out_attrs = (edt_detect_attrs){
        .global = post->mode == EDT_POST_GLOBAL,
        .num_classes = post->num_classes,
        .anchors_per_cell = post->anchors->per_cell,
        .max_candidates = post->topk.n_keep,
        .max_output = post->max_output,
        .iou_thresh = post->v5.iou_thresh,
        .score_thresh = post->v5.score_thresh,
        .sigma = post->v5.sigma,
        .clip_h = (float)post->anchors->image_h,
        .clip_w = (float)post->anchors->image_w,
    };
    return true;
}

static float sigmoid(float logit)
{
    return 1.0F / (1.0F + expf(-logit));
}

static int64_t level_anchors(const edt_anchors *anchors, int level)
{
    return anchors->level_h[level] * anchors->level_w[level] * anchors->per_cell;
}

static void select_best(edt_post *post, const float *const *cls)
{
    const edt_anchors *anchors = post->anchors;
    edt_topk_begin(&post->topk);
    for (int level = anchors->min_level; level <= anchors->max_level; ++level) {
        edt_topk_push(&post->topk, cls[level - anchors->min_level],
                      level_anchors(anchors, level) * post->num_classes,
                      (uint32_t)(anchors->level_offset[level] * post->num_classes));
    }
    edt_topk_finish(&post->topk);
    post->n = post->topk.n;
    for (int64_t i = 0; i < post->n; ++i) {
        const uint64_t key = post->topk.keys[i];
        const int64_t index = edt_topk_index(key);
        post->anchor[i] = (int32_t)(index / post->num_classes);
        post->cls[i] = (int32_t)(index % post->num_classes);
        post->score[i] = sigmoid(edt_topk_value(key));
    }
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
    for (i = 0; i < n; ++i) {
        if (row[i] == best) {
            return i;
        }
    }
    return 0; // NaN
}

static void select_per_anchor(edt_post *post, const float *const *cls)
{
    const edt_anchors *anchors = post->anchors;
    const int64_t n_classes = post->num_classes;
    post->n = 0;
    for (int level = anchors->min_level; level <= anchors->max_level; ++level) {
        const float *row = cls[level - anchors->min_level];
        const int64_t n = level_anchors(anchors, level);
        for (int64_t i = 0; i < n; ++i, row += n_classes) {
            const int64_t c = first_maximum(row, n_classes);
            post->anchor[post->n] = (int32_t)post->n;
            post->cls[post->n] = (int32_t)c;
            post->score[post->n++] = sigmoid(row[c]);
        }
    }
}

// Decodes candidates; those whose score cannot pass are left out where that is certain.
static void decode(edt_post *post, const float *const *box)
{
    const edt_anchors *anchors = post->anchors;
    const bool all = post->numpy || post->mode == EDT_POST_COMBINED;
    for (int64_t i = 0; i < post->n; ++i) {
        if (i > 0 && !all && !(post->score[i] > post->v5.score_thresh)) {
            continue;
        }
        const int64_t a = post->anchor[i];
        int level = anchors->min_level;
        while (level < anchors->max_level && a >= anchors->level_offset[level + 1]) {
            ++level;
        }
        const float *code =
            box[level - anchors->min_level] + 4 * (a - anchors->level_offset[level]);
        edt_box_decode(anchors->boxes + 4 * a, code, post->box + 4 * i);
    }
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

static int64_t suppress(edt_post *post, const float *box, const float *score, int64_t n)
{
    if (post->numpy) {
        return edt_nms_numpy(box, score, n, &post->np, post->items, post->picked,
                             post->picked_score);
    }
    return edt_nms_v5(box, score, n, &post->v5, post->items, post->picked, post->picked_score);
}

static void run_global(edt_post *post)
{
    const int64_t n = suppress(post, post->box, post->score, post->n);
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

static void run_per_class(edt_post *post)
{
    group_by_class(post);
    int64_t from = 0;
    for (int64_t c = 0; c < post->num_classes; ++c) {
        const int64_t n = post->class_end[c] - from;
        for (int64_t i = 0; i < n; ++i) {
            const int64_t candidate = post->by_class[from + i];
            post->class_score[i] = post->score[candidate];
            memcpy(post->class_box + 4 * i, post->box + 4 * candidate, 4 * sizeof(float));
        }
        from = post->class_end[c];
        const int64_t n_picked =
            n == 0 ? 0 : suppress(post, post->class_box, post->class_score, n);
        for (int64_t i = 0; i < n_picked; ++i) {
            keep(post, post->class_box + 4 * (int64_t)post->picked[i], post->picked_score[i],
                 c + 1);
        }
    }
}

// Every anchor is a candidate of every class. `box` of candidate i is anchor i's here.
static void run_combined(edt_post *post, const float *const *cls)
{
    const edt_anchors *anchors = post->anchors;
    for (int64_t c = 0; c < post->num_classes; ++c) {
        int64_t n = 0;
        for (int level = anchors->min_level; level <= anchors->max_level; ++level) {
            const float *logit = cls[level - anchors->min_level] + c;
            const int64_t n_level = level_anchors(anchors, level);
            for (int64_t i = 0; i < n_level; ++i) {
                post->class_score[n++] = sigmoid(logit[i * post->num_classes]);
            }
        }
        const int64_t n_picked = suppress(post, post->box, post->class_score, n);
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

edt_status edt_post_run(edt_post *post, const float *const *cls, const float *const *box,
                        float image_scale, edt_detection *out_detections, int64_t *out_n_valid,
                        edt_error *err)
{
    if (!(image_scale > 0)) {
        EDT_FAIL(err, EDT_ERR_INVALID, "post-processing: image scale %g must be positive",
                 (double)image_scale);
    }
    if (post->topk.n_keep > 0) {
        select_best(post, cls);
    } else {
        select_per_anchor(post, cls);
    }
    decode(post, box);
    post->n_kept = 0;
    switch (post->mode) {
    case EDT_POST_PER_CLASS: run_per_class(post); break;
    case EDT_POST_GLOBAL: run_global(post); break;
    case EDT_POST_COMBINED: run_combined(post, cls); break;
    }
    write_rows(post, image_scale, out_detections, out_n_valid);
    return EDT_OK;
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
