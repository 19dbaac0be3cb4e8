// Settings of post-processing from the hparams, and its scratch. See postprocess.h.
#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "model/post_priv.h"

enum { MAX_OUTPUT = 1 << 20 };

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
    post->n_picked =
        edt_mem_calloc(EDT_MEM_EVAL, (size_t)post->num_classes, sizeof *post->n_picked);
    post->by_class = edt_mem_calloc(EDT_MEM_EVAL, n, sizeof *post->by_class);
    post->class_score = edt_mem_calloc(EDT_MEM_EVAL, n, sizeof *post->class_score);
    post->class_box = edt_mem_calloc(EDT_MEM_EVAL, n, 4 * sizeof *post->class_box);
    post->items = edt_mem_calloc(EDT_MEM_EVAL, n, sizeof *post->items);
    post->nms_boxes = edt_mem_calloc(
        EDT_MEM_EVAL, (size_t)edt_post_nms_boxes_at(post->max_candidates, post->num_classes),
        sizeof *post->nms_boxes);
    post->picked = edt_mem_calloc(EDT_MEM_EVAL, n, sizeof *post->picked);
    post->picked_score = edt_mem_calloc(EDT_MEM_EVAL, n, sizeof *post->picked_score);
    post->kept = edt_mem_calloc(EDT_MEM_EVAL, (size_t)kept, sizeof *post->kept);
    post->order = edt_mem_calloc(EDT_MEM_EVAL, (size_t)kept, sizeof *post->order);
    post->order_scratch =
        edt_mem_calloc(EDT_MEM_EVAL, (size_t)kept, sizeof *post->order_scratch);
    if (post->anchor == NULL || post->cls == NULL || post->score == NULL || post->box == NULL ||
        post->class_end == NULL || post->n_picked == NULL || post->nms_boxes == NULL ||
        post->by_class == NULL || post->class_score == NULL || post->class_box == NULL ||
        post->items == NULL || post->picked == NULL || post->picked_score == NULL ||
        post->kept == NULL || post->order == NULL || post->order_scratch == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "post-processing: out of memory for %zu candidates", n);
    }
    post->per_anchor = all_anchors;
    return all_anchors ? EDT_OK
                       : edt_selection_init(&post->selection, post->max_candidates, n_all, err);
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
    edt_selection_deinit(&post->selection);
    edt_mem_free(post->anchor);
    edt_mem_free(post->cls);
    edt_mem_free(post->score);
    edt_mem_free(post->box);
    edt_mem_free(post->class_end);
    edt_mem_free(post->n_picked);
    edt_mem_free(post->by_class);
    edt_mem_free(post->class_score);
    edt_mem_free(post->class_box);
    edt_mem_free(post->items);
    edt_mem_free(post->nms_boxes);
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
        .max_candidates = post->per_anchor ? 0 : post->max_candidates,
        .max_output = post->max_output,
        .iou_thresh = post->v5.iou_thresh,
        .score_thresh = post->v5.score_thresh,
        .sigma = post->v5.sigma,
        .clip_h = (float)post->anchors->image_h,
        .clip_w = (float)post->anchors->image_w,
    };
    return true;
}
