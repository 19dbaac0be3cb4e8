// DETECT the plain way, for one picture after the other: candidates sorted by a total order,
// greedy suppression that looks for the best waiting candidate by reading all of them, rows
// sorted in the end. Everything in float, as spec/eval_infer_export.md 1 states it.
#include <stdlib.h>
#include <string.h>

#include "backend/ref/ref_priv.h"

typedef struct candidate {
    float logit, score, box[4];
    int64_t index; // breaks ties: of the logit, or of the anchor
    int32_t cls;
    int64_t begin; // kept boxes before this one have decayed it
    bool waits;
} candidate;

typedef struct kept_box {
    float score;
    int64_t order, candidate;
} kept_box;

typedef struct picture {
    const edt_op_desc *desc;
    int64_t image, n_anchors;
    int n_levels;
    void *const *in;
    candidate *candidates; // one per logit, or per anchor
    int64_t n;
    int64_t *group; // [n] kept of one suppression, as candidates
    kept_box *kept; // [n]
    int64_t n_kept;
} picture;

static int64_t count_anchors(const edt_op_desc *desc)
{
    int64_t n = 0;
    for (int l = 0; l < (desc->n_in - 2) / 2; ++l) {
        const edt_shape *x = &desc->in[l].shape;
        n += x->dim[1] * x->dim[2] * desc->attrs.detect.anchors_per_cell;
    }
    return n;
}

static int64_t count_all(const edt_op_desc *desc)
{
    const edt_detect_attrs *a = &desc->attrs.detect;
    return count_anchors(desc) * (a->max_candidates == 0 ? 1 : a->num_classes);
}

int64_t EDT_REF(detect_scratch)(const edt_op_desc *desc)
{
    const size_t each = sizeof(candidate) + sizeof(kept_box) + sizeof(int64_t);
    return count_all(desc) * (int64_t)((each + sizeof(double) - 1) / sizeof(double));
}

static float sigmoid(float logit)
{
    return 1.0F / (1.0F + expf(-logit));
}

// Where an anchor's `width` values lie in the inputs from `first_level` on.
static const real *at_anchor(const picture *p, int first_level, int64_t anchor, int64_t width)
{
    int l = 0;
    for (;; ++l) {
        const edt_shape *x = &p->desc->in[l].shape;
        const int64_t n = x->dim[1] * x->dim[2] * p->desc->attrs.detect.anchors_per_cell;
        if (anchor < n) {
            return (const real *)p->in[first_level + l] + (p->image * n + anchor) * width;
        }
        anchor -= n;
    }
}

static void decode(const picture *p, int64_t anchor, float out_box[4])
{
    const real *code = at_anchor(p, p->n_levels, anchor, 4);
    const real *at = (const real *)p->in[2 * p->n_levels] + anchor * 4;
    for (int axis = 0; axis < 2; ++axis) {
        const float low = (float)at[axis];
        const float high = (float)at[axis + 2];
        const float size = high - low;
        const float span = expf((float)code[axis + 2]) * size;
        const float centre = (float)code[axis] * size + (low + high) / 2.0F;
        out_box[axis] = centre - span / 2.0F;
        out_box[axis + 2] = centre + span / 2.0F;
    }
}

static int by_logit(const void *pa, const void *pb)
{
    const candidate *a = pa;
    const candidate *b = pb;
    const bool a_nan = isnan(a->logit);
    const bool b_nan = isnan(b->logit);
    if (a_nan != b_nan) {
        return a_nan ? 1 : -1;
    }
    if (!a_nan && a->logit != b->logit) {
        return a->logit > b->logit ? -1 : 1;
    }
    return a->index < b->index ? -1 : 1;
}

static int by_score(const void *pa, const void *pb)
{
    const kept_box *a = pa;
    const kept_box *b = pb;
    if (a->score != b->score) {
        return a->score > b->score ? -1 : 1;
    }
    return a->order < b->order ? -1 : 1;
}

static void select_candidates(picture *p)
{
    const edt_detect_attrs *a = &p->desc->attrs.detect;
    p->n = 0;
    for (int64_t anchor = 0; anchor < p->n_anchors; ++anchor) {
        const real *logits = at_anchor(p, 0, anchor, a->num_classes);
        candidate best = {.index = anchor, .logit = (float)logits[0]};
        for (int64_t k = 0; k < a->num_classes; ++k) {
            const float logit = (float)logits[k];
            if (a->max_candidates > 0) {
                p->candidates[p->n++] = (candidate){
                    .logit = logit, .index = anchor * a->num_classes + k, .cls = (int32_t)k};
            } else if (logit > best.logit) {
                best.logit = logit;
                best.cls = (int32_t)k;
            }
        }
        if (a->max_candidates == 0) {
            p->candidates[p->n++] = best;
        }
    }
    if (a->max_candidates > 0) {
        qsort(p->candidates, (size_t)p->n, sizeof *p->candidates, by_logit);
        p->n = p->n < a->max_candidates ? p->n : a->max_candidates;
    }
    for (int64_t i = 0; i < p->n; ++i) {
        candidate *c = &p->candidates[i];
        c->score = sigmoid(c->logit);
        c->begin = 0;
        c->waits = c->score > a->score_thresh;
        decode(p, a->max_candidates > 0 ? c->index / a->num_classes : c->index, c->box);
    }
}

static float span_of(const float a[4], int axis)
{
    return fmaxf(a[axis], a[axis + 2]) - fminf(a[axis], a[axis + 2]);
}

static float overlap(const float a[4], const float b[4])
{
    const float area_a = span_of(a, 0) * span_of(a, 1);
    const float area_b = span_of(b, 0) * span_of(b, 1);
    float common[2];
    if (area_a <= 0 || area_b <= 0) {
        return 0;
    }
    for (int axis = 0; axis < 2; ++axis) {
        const float end = fminf(fmaxf(a[axis], a[axis + 2]), fmaxf(b[axis], b[axis + 2]));
        const float start = fmaxf(fminf(a[axis], a[axis + 2]), fminf(b[axis], b[axis + 2]));
        common[axis] = fmaxf(end - start, 0);
    }
    const float inter = common[0] * common[1];
    return inter / (area_a + area_b - inter);
}

// Of group `cls`, or of all with -1.
static int64_t best_waiting(const picture *p, int32_t cls)
{
    int64_t best = -1;
    for (int64_t i = 0; i < p->n; ++i) {
        const candidate *c = &p->candidates[i];
        if (c->waits && (cls < 0 || c->cls == cls) &&
            (best < 0 || c->score > p->candidates[best].score)) {
            best = i;
        }
    }
    return best;
}

// NonMaxSuppressionV5 of one group (spec 1.4).
static void suppress(picture *p, int32_t cls)
{
    const edt_detect_attrs *a = &p->desc->attrs.detect;
    const float scale = a->sigma > 0 ? -0.5F / a->sigma : 0;
    int64_t n = 0;
    for (int64_t i; n < a->max_output && (i = best_waiting(p, cls)) >= 0;) {
        candidate *c = &p->candidates[i];
        const float score = c->score;
        bool dropped = false;
        for (int64_t j = n - 1; j >= c->begin && !dropped; --j) {
            const float iou = overlap(c->box, p->candidates[p->group[j]].box);
            if (a->sigma > 0) {
                c->score *= expf(scale * iou * iou);
            }
            dropped = a->sigma > 0 ? c->score <= a->score_thresh : iou > a->iou_thresh;
        }
        c->begin = n;
        const bool taken = !dropped && c->score == score;
        if (taken) {
            p->group[n++] = i;
            p->kept[p->n_kept] = (kept_box){.score = score, .order = p->n_kept, .candidate = i};
            ++p->n_kept;
        }
        c->waits = !dropped && !taken && c->score > a->score_thresh;
    }
}

static float clip(float value, float limit)
{
    return value < 0 ? 0 : value > limit ? limit : value;
}

static void write_rows(picture *p, void *const *out)
{
    const edt_detect_attrs *a = &p->desc->attrs.detect;
    const float image_scale = ((const float *)p->in[2 * p->n_levels + 1])[p->image];
    float *rows = (float *)out[0] + p->image * a->max_output * 5;
    int32_t *labels = (int32_t *)out[1] + p->image * a->max_output;
    qsort(p->kept, (size_t)p->n_kept, sizeof *p->kept, by_score);
    const int64_t n = p->n_kept < a->max_output ? p->n_kept : a->max_output;
    for (int64_t i = 0; i < a->max_output; ++i) {
        // Padding is nothing, or with the global mode the first candidate's box.
        const candidate none = {.cls = -1};
        const candidate *c = i < n       ? &p->candidates[p->kept[i].candidate]
                             : a->global ? &p->candidates[0]
                                         : &none;
        for (int k = 0; k < 4; ++k) {
            const float value =
                a->global ? clip(c->box[k], k % 2 == 0 ? a->clip_h : a->clip_w) : c->box[k];
            rows[i * 5 + k] = value * image_scale;
        }
        rows[i * 5 + 4] = i < n ? p->kept[i].score : 0;
        labels[i] = c->cls + 1;
    }
    ((int32_t *)out[2])[p->image] = (int32_t)n;
}

void EDT_REF(detect)(const edt_op_desc *desc, const edt_run_ctx *ctx, void *const *in,
                     void *const *out, void *scratch)
{
    (void)ctx;
    const edt_detect_attrs *a = &desc->attrs.detect;
    const int64_t n_all = count_all(desc);
    picture p = {
        .desc = desc,
        .n_anchors = count_anchors(desc),
        .n_levels = (desc->n_in - 2) / 2,
        .in = in,
        .candidates = scratch,
    };
    p.kept = (kept_box *)(void *)(p.candidates + n_all);
    p.group = (int64_t *)(void *)(p.kept + n_all);
    for (p.image = 0; p.image < desc->in[0].shape.dim[0]; ++p.image) {
        select_candidates(&p);
        p.n_kept = 0;
        for (int32_t k = 0; k < (a->global ? 1 : (int32_t)a->num_classes); ++k) {
            suppress(&p, a->global ? -1 : k);
        }
        write_rows(&p, out);
    }
}
