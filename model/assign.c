// Anchor assignment (spec/data.md 8.2-8.4): an anchor takes the box it overlaps most if the IoU
// reaches 0.5, and every box claims the anchor it overlaps most. The result is exactly that of
// the reference's full IoU matrix, ties included, but for each box only those anchors are
// visited that can reach the smaller of 0.5 and the best IoU already found for it: the anchors
// of one level and shape form a grid, and a lower bound of the IoU bounds the overlap along
// each axis, hence the rows and columns.
#include "model/assign.h"

#include <math.h>

#include "core/fill.h"
#include "core/mem.h"
#include "model/box_coder.h"

static const float MATCH_IOU = 0.5f;
// Bounds are taken from real geometry, IoUs from corners rounded to f32; this slack keeps every
// anchor whose rounded IoU could matter, up to the largest pictures (65536 pixels: 1e-3).
static const double BOUND_SLACK = 0.98;
// Below this area products of sides may be denormal and lose their relative precision: no
// bounds.
static const double MIN_BOUND_AREA = 1e-20;

// The rows or columns of a grid of equal intervals.
typedef struct axis {
    double start, step, size; // first centre, distance of centres, length of the anchor
    int64_t n;
} axis;

// The anchors of one level and shape (scale and aspect).
typedef struct grid {
    axis y, x;
    int64_t first;              // index of the anchor in row 0, column 0
    int64_t row_step, col_step; // of the index
} grid;

struct edt_assigner {
    const edt_anchors *anchors; // borrowed
    grid *grids;
    int64_t n_grids;
    bool reference_defects;
    int32_t *match;   // [T] box index or -1; all -1 between calls
    float *match_iou; // [T] valid where match >= 0
    int32_t *touched; // anchors with match >= 0
    int64_t n_touched;
    int32_t *best_anchor; // [cap_boxes]
    float *best_iou;
    int64_t cap_boxes;
};

typedef struct range {
    int64_t from, to; // to is past the last
} range;

// Sizes come from the table itself.
static grid grid_of(const edt_anchors *anchors, int level, int64_t k)
{
    const int64_t first = anchors->level_offset[level] + k;
    const float *box = anchors->boxes + 4 * first;
    const double stride_y = (double)anchors->image_h / (double)anchors->level_h[level];
    const double stride_x = (double)anchors->image_w / (double)anchors->level_w[level];
    return (grid){
        .y = {stride_y / 2, stride_y, (double)box[2] - box[0], anchors->level_h[level]},
        .x = {stride_x / 2, stride_x, (double)box[3] - box[1], anchors->level_w[level]},
        .first = first,
        .row_step = anchors->level_w[level] * anchors->per_cell,
        .col_step = anchors->per_cell};
}

static inline int64_t anchor_at(const grid *g, int64_t y, int64_t x)
{
    return g->first + y * g->row_step + x * g->col_step;
}

edt_status edt_assigner_create(const edt_anchors *anchors, bool reference_defects,
                               edt_error *err, edt_assigner **out_assigner)
{
    edt_assigner *assigner = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *assigner);
    if (assigner == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "anchor assignment: out of memory");
    }
    assigner->anchors = anchors;
    assigner->reference_defects = reference_defects;
    const size_t n = (size_t)anchors->n;
    assigner->match = edt_mem_alloc(EDT_MEM_MISC, n * sizeof *assigner->match);
    assigner->match_iou = edt_mem_alloc(EDT_MEM_MISC, n * sizeof *assigner->match_iou);
    assigner->touched = edt_mem_alloc(EDT_MEM_MISC, n * sizeof *assigner->touched);
    const int n_levels = anchors->max_level - anchors->min_level + 1;
    assigner->n_grids = n_levels * anchors->per_cell;
    assigner->grids =
        edt_mem_alloc(EDT_MEM_MISC, (size_t)assigner->n_grids * sizeof *assigner->grids);
    if (assigner->match == NULL || assigner->match_iou == NULL || assigner->touched == NULL ||
        assigner->grids == NULL) {
        edt_assigner_destroy(assigner);
        EDT_FAIL(err, EDT_ERR_NOMEM, "anchor assignment: out of memory for %zu anchors", n);
    }
    for (size_t i = 0; i < n; ++i) {
        assigner->match[i] = -1;
    }
    for (int64_t i = 0; i < assigner->n_grids; ++i) {
        assigner->grids[i] = grid_of(anchors, anchors->min_level + (int)(i / anchors->per_cell),
                                     i % anchors->per_cell);
    }
    *out_assigner = assigner;
    return EDT_OK;
}

void edt_assigner_destroy(edt_assigner *assigner)
{
    if (assigner == NULL) {
        return;
    }
    edt_mem_free(assigner->grids);
    edt_mem_free(assigner->match);
    edt_mem_free(assigner->match_iou);
    edt_mem_free(assigner->touched);
    edt_mem_free(assigner->best_anchor);
    edt_mem_free(assigner->best_iou);
    edt_mem_free(assigner);
}

static edt_status reserve_boxes(edt_assigner *assigner, int64_t n_boxes, edt_error *err)
{
    if (n_boxes <= assigner->cap_boxes) {
        return EDT_OK;
    }
    const int64_t cap = n_boxes > 2 * assigner->cap_boxes ? n_boxes : 2 * assigner->cap_boxes;
    int32_t *best_anchor =
        edt_mem_realloc(EDT_MEM_MISC, assigner->best_anchor, (size_t)cap * sizeof *best_anchor);
    if (best_anchor == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "anchor assignment: out of memory for %lld boxes",
                 (long long)n_boxes);
    }
    assigner->best_anchor = best_anchor;
    float *best_iou =
        edt_mem_realloc(EDT_MEM_MISC, assigner->best_iou, (size_t)cap * sizeof *best_iou);
    if (best_iou == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "anchor assignment: out of memory for %lld boxes",
                 (long long)n_boxes);
    }
    assigner->best_iou = best_iou;
    assigner->cap_boxes = cap;
    return EDT_OK;
}

static inline float min_f32(float a, float b)
{
    return a < b ? a : b;
}

static inline float max_f32(float a, float b)
{
    return a > b ? a : b;
}

static inline float iou_f32(const float box[4], const float anchor[4])
{
    const float h = max_f32(0.0f, min_f32(box[2], anchor[2]) - max_f32(box[0], anchor[0]));
    const float w = max_f32(0.0f, min_f32(box[3], anchor[3]) - max_f32(box[1], anchor[1]));
    const float inter = h * w;
    if (inter == 0.0f) {
        return 0.0f;
    }
    const float box_area = (box[2] - box[0]) * (box[3] - box[1]);
    const float anchor_area = (anchor[2] - anchor[0]) * (anchor[3] - anchor[1]);
    return inter / (box_area + anchor_area - inter);
}

// Index of the interval whose centre is next to `centre`.
static int64_t nearest(const axis *a, double centre)
{
    const double i = floor((centre - a->start) / a->step + 0.5);
    if (!(i > 0)) {
        return 0;
    }
    return i < (double)(a->n - 1) ? (int64_t)i : a->n - 1;
}

// Intervals that overlap [low, high] by at least `overlap`, one more on either side.
static range reaching(const axis *a, double low, double high, double overlap)
{
    const double first = (low + overlap - a->size / 2 - a->start) / a->step;
    const double last = (high - overlap + a->size / 2 - a->start) / a->step;
    range r = {0, a->n};
    if (first - 1 > 0) {
        r.from = first - 1 < (double)a->n ? (int64_t)(first - 1) : a->n;
    }
    if (last + 2 < (double)a->n) {
        r.to = last + 2 > 0 ? (int64_t)(last + 2) : 0;
    }
    return r;
}

// The best IoU among the anchors next to the box's centre, one per level and shape: a first
// lower bound that prunes most of the rest.
static float first_guess(const edt_assigner *assigner, const float box[4])
{
    const double cy = ((double)box[0] + box[2]) / 2, cx = ((double)box[1] + box[3]) / 2;
    float best = 0.0f;
    for (int64_t i = 0; i < assigner->n_grids; ++i) {
        const grid *g = &assigner->grids[i];
        const int64_t i_anchor = anchor_at(g, nearest(&g->y, cy), nearest(&g->x, cx));
        best = max_f32(best, iou_f32(box, assigner->anchors->boxes + 4 * i_anchor));
    }
    return best;
}

static void visit(edt_assigner *assigner, int32_t i_box, const float box[4], int32_t i_anchor)
{
    const float iou = iou_f32(box, assigner->anchors->boxes + 4 * (int64_t)i_anchor);
    if (iou > assigner->best_iou[i_box] ||
        (iou == assigner->best_iou[i_box] && i_anchor < assigner->best_anchor[i_box])) {
        assigner->best_iou[i_box] = iou;
        assigner->best_anchor[i_box] = i_anchor;
    }
    if (iou < MATCH_IOU) {
        return;
    }
    if (assigner->match[i_anchor] < 0) {
        assigner->touched[assigner->n_touched++] = i_anchor;
    } else if (!(iou > assigner->match_iou[i_anchor])) {
        return; // boxes come in ascending order: the lowest keeps a tie
    }
    assigner->match[i_anchor] = i_box;
    assigner->match_iou[i_anchor] = iou;
}

static void match_box(edt_assigner *assigner, int32_t i_box, const float box[4])
{
    // Anchor 0 with IoU 0 is what a box without any overlap gets.
    assigner->best_anchor[i_box] = 0;
    assigner->best_iou[i_box] = 0.0f;
    const double h = (double)box[2] - box[0], w = (double)box[3] - box[1];
    if (!(h > 0 && w > 0)) {
        return; // no anchor overlaps it
    }
    double floor_iou = 0.0;
    if (h * w > MIN_BOUND_AREA) {
        floor_iou = BOUND_SLACK * (double)min_f32(MATCH_IOU, first_guess(assigner, box));
    }
    const double share = floor_iou / (1.0 + floor_iou);
    for (int64_t i = 0; i < assigner->n_grids; ++i) {
        const grid *g = &assigner->grids[i];
        const double most_h = h < g->y.size ? h : g->y.size;
        const double most_w = w < g->x.size ? w : g->x.size;
        // IoU >= t means intersection >= t/(1+t) * (sum of areas).
        const double inter = share * (h * w + g->y.size * g->x.size);
        if (inter > most_h * most_w) {
            continue;
        }
        const range ry = reaching(&g->y, box[0], box[2], inter / most_w);
        const range rx = reaching(&g->x, box[1], box[3], inter / most_h);
        for (int64_t y = ry.from; y < ry.to; ++y) {
            for (int64_t x = rx.from; x < rx.to; ++x) {
                visit(assigner, i_box, box, (int32_t)anchor_at(g, y, x));
            }
        }
    }
}

static void force_matches(edt_assigner *assigner, int64_t n_boxes)
{
    // Downwards, so that the lowest of several boxes with one best anchor has the last word.
    for (int64_t i = n_boxes - 1; i >= 0; --i) {
        if (assigner->best_iou[i] == 0.0f && !assigner->reference_defects) {
            continue;
        }
        const int32_t a = assigner->best_anchor[i];
        if (assigner->match[a] < 0) {
            assigner->touched[assigner->n_touched++] = a;
        }
        assigner->match[a] = (int32_t)i;
    }
}

edt_status edt_assign(edt_assigner *assigner, const float *boxes, const int64_t *labels,
                      int64_t n_boxes, int32_t *out_cls, float *out_box,
                      float *out_num_positives, edt_error *err)
{
    const edt_anchors *anchors = assigner->anchors;
    if (n_boxes < 0 || n_boxes > INT32_MAX) {
        EDT_FAIL(err, EDT_ERR_INVALID, "anchor assignment: %lld boxes", (long long)n_boxes);
    }
    for (int64_t i = 0; i < n_boxes; ++i) {
        for (int c = 0; c < 4; ++c) {
            if (!isfinite(boxes[4 * i + c])) {
                EDT_FAIL(err, EDT_ERR_NUMERIC,
                         "anchor assignment: box %lld has the coordinates %g, %g, %g, %g; they "
                         "must be finite",
                         (long long)i, (double)boxes[4 * i], (double)boxes[4 * i + 1],
                         (double)boxes[4 * i + 2], (double)boxes[4 * i + 3]);
            }
        }
        if (labels[i] <= INT32_MIN || labels[i] > INT32_MAX) {
            EDT_FAIL(err, EDT_ERR_INVALID, "anchor assignment: box %lld has the label %lld",
                     (long long)i, (long long)labels[i]);
        }
    }
    EDT_TRY(reserve_boxes(assigner, n_boxes, err));
    for (int64_t i = 0; i < n_boxes; ++i) {
        match_box(assigner, (int32_t)i, boxes + 4 * i);
    }
    force_matches(assigner, n_boxes);

    edt_fill_words_unordered(out_cls, 0xffffffff, (size_t)anchors->n * sizeof *out_cls); // -1
    edt_fill_words(out_box, 0, (size_t)anchors->n * 4 * sizeof *out_box);
    // The filled lines are out of the caches: ask for all that will be written at once.
    for (int64_t i = 0; i < assigner->n_touched; ++i) {
        __builtin_prefetch(out_cls + assigner->touched[i], 1);
        __builtin_prefetch(out_box + 4 * (int64_t)assigner->touched[i], 1);
    }
    for (int64_t i = 0; i < assigner->n_touched; ++i) {
        const int64_t a = assigner->touched[i];
        const int64_t b = assigner->match[a];
        out_cls[a] = (int32_t)(labels[b] - 1);
        edt_box_encode(anchors->boxes + 4 * a, boxes + 4 * b, out_box + 4 * a);
        assigner->match[a] = -1;
    }
    *out_num_positives = (float)assigner->n_touched;
    assigner->n_touched = 0;
    return EDT_OK;
}
