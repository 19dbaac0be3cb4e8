// TensorFlow's greedy suppression with a heap of candidates, hard or soft. See nms.h.
#include "model/nms.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

static inline float min_f32(float a, float b)
{
    return a < b ? a : b;
}

static inline float max_f32(float a, float b)
{
    return a > b ? a : b;
}

// A box with its corners in order.
typedef struct corners {
    float y0, x0, y1, x1, area;
} corners;

static corners corners_of(const float box[4])
{
    corners c = {
        .y0 = min_f32(box[0], box[2]),
        .x0 = min_f32(box[1], box[3]),
        .y1 = max_f32(box[0], box[2]),
        .x1 = max_f32(box[1], box[3]),
    };
    c.area = (c.y1 - c.y0) * (c.x1 - c.x0);
    return c;
}

// Selected boxes in columns of LANES, so that one candidate meets LANES of them at a time. The
// places after the last box are empty boxes, which overlap nothing.
enum { LANES = 8, COLUMNS = 5 };
_Static_assert(EDT_NMS_BOXES_FLOATS(1) >= LANES * COLUMNS, "room for one block");

static void add_selected(float *boxes, int64_t i, const corners *c)
{
    float *block = boxes + i / LANES * (LANES * COLUMNS);
    const int64_t lane = i % LANES;
    if (lane == 0) {
        memset(block, 0, LANES * COLUMNS * sizeof *block);
    }
    block[lane] = c->y0;
    block[LANES + lane] = c->x0;
    block[2 * LANES + lane] = c->y1;
    block[3 * LANES + lane] = c->x1;
    block[4 * LANES + lane] = c->area;
}

#ifdef __SSE2__
// minps and maxps give their second operand where the comparison is false, as min_f32 and
// max_f32 do: NaN and signed zeros come out alike.
static int overlaps_4(const corners *a, const float *block, float *out_iou)
{
    const __m128 zero = _mm_setzero_ps();
    const __m128 y0 = _mm_max_ps(_mm_set1_ps(a->y0), _mm_loadu_ps(block));
    const __m128 x0 = _mm_max_ps(_mm_set1_ps(a->x0), _mm_loadu_ps(block + LANES));
    const __m128 y1 = _mm_min_ps(_mm_set1_ps(a->y1), _mm_loadu_ps(block + 2 * LANES));
    const __m128 x1 = _mm_min_ps(_mm_set1_ps(a->x1), _mm_loadu_ps(block + 3 * LANES));
    const __m128 area = _mm_loadu_ps(block + 4 * LANES);
    const __m128 h = _mm_max_ps(_mm_sub_ps(y1, y0), zero);
    const __m128 w = _mm_max_ps(_mm_sub_ps(x1, x0), zero);
    const __m128 inter = _mm_mul_ps(h, w);
    const __m128 sum = _mm_sub_ps(_mm_add_ps(_mm_set1_ps(a->area), area), inter);
    const __m128 empty = _mm_cmple_ps(area, zero);
    const __m128 iou = _mm_andnot_ps(empty, _mm_div_ps(inter, sum));
    _mm_storeu_ps(out_iou, iou);
    return _mm_movemask_ps(_mm_cmpneq_ps(iou, zero));
}

// The overlaps of a box with area; a selected one without overlaps nothing. Returns a bit for
// each that is not 0.
static unsigned overlaps(const corners *a, const float *block, float *out_iou)
{
    unsigned bits = 0;
    for (int k = 0; k < LANES; k += 4) {
        bits |= (unsigned)overlaps_4(a, block + k, out_iou + k) << k;
    }
    return bits;
}
#else
// The overlaps of a box with area; a selected one without overlaps nothing. Returns a bit for
// each that is not 0.
static unsigned overlaps(const corners *a, const float *block, float *out_iou)
{
    unsigned bits = 0;
    for (int k = 0; k < LANES; ++k) {
        const float y0 = max_f32(a->y0, block[k]);
        const float x0 = max_f32(a->x0, block[LANES + k]);
        const float y1 = min_f32(a->y1, block[2 * LANES + k]);
        const float x1 = min_f32(a->x1, block[3 * LANES + k]);
        const float area = block[4 * LANES + k];
        const float inter = max_f32(y1 - y0, 0.0F) * max_f32(x1 - x0, 0.0F);
        out_iou[k] = area <= 0 ? 0.0F : inter / (a->area + area - inter);
        bits |= (out_iou[k] != 0.0F ? 1U : 0U) << k;
    }
    return bits;
}
#endif

static inline bool before(const edt_nms_item *a, const edt_nms_item *b)
{
    return a->score > b->score || (a->score == b->score && a->index < b->index);
}

static void sift_down(edt_nms_item *heap, int64_t n, int64_t i)
{
    const edt_nms_item item = heap[i];
    for (;;) {
        int64_t child = 2 * i + 1;
        if (child >= n) {
            break;
        }
        if (child + 1 < n && before(&heap[child + 1], &heap[child])) {
            ++child;
        }
        if (!before(&heap[child], &item)) {
            break;
        }
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = item;
}

// One candidate against the boxes selected since it was last looked at, the latest first.
typedef struct meeting {
    float iou_thresh, score_thresh;
    bool soft;
    float scale;    // of the squared overlap in the exponent
    bool all_pairs; // or else an overlap of 0 changes nothing
} meeting;

// False where the candidate is dropped.
static bool meet(const meeting *m, const corners *box, const float *selected,
                 int64_t n_selected, edt_nms_item *item)
{
    float iou[LANES] = {0};
    for (int64_t end = n_selected; end > item->begin;) {
        const int64_t first = (end - 1) / LANES * LANES;
        unsigned bits = 0;
        if (!(box->area <= 0)) {
            bits = overlaps(box, selected + first * COLUMNS, iou);
        }
        bits = m->all_pairs ? (1U << LANES) - 1 : bits;
        bits &= (1U << (end - first)) - 1;
        if (first < item->begin) {
            bits &= ~((1U << (item->begin - first)) - 1);
        }
        while (bits != 0) {
            const int k = 31 - __builtin_clz(bits);
            bits ^= 1U << k;
            if (!m->soft) {
                if (iou[k] > m->iou_thresh) {
                    return false;
                }
            } else {
                item->score *= expf(m->scale * iou[k] * iou[k]);
                if (item->score <= m->score_thresh) {
                    return true;
                }
            }
        }
        end = first;
    }
    return true;
}

int64_t edt_nms_v5(const float *boxes, const float *scores, int64_t n,
                   const edt_nms_options *options, edt_nms_item *scratch, float *scratch_boxes,
                   int32_t *out_index, float *out_score)
{
    const bool soft = options->sigma > 0;
    const float scale = soft ? -0.5F / options->sigma : 0.0F;
    const meeting m = {
        .iou_thresh = options->iou_thresh,
        .score_thresh = options->score_thresh,
        .soft = soft,
        .scale = scale,
        .all_pairs = soft ? !isfinite(scale) : options->iou_thresh < 0,
    };
    edt_nms_item *heap = scratch;
    int64_t n_heap = 0;
    for (int64_t i = 0; i < n; ++i) {
        if (scores[i] > options->score_thresh) {
            heap[n_heap++] = (edt_nms_item){scores[i], (int32_t)i, 0};
        }
    }
    for (int64_t i = n_heap / 2 - 1; i >= 0; --i) {
        sift_down(heap, n_heap, i);
    }
    int64_t n_selected = 0;
    while (n_selected < options->max_output && n_heap > 0) {
        edt_nms_item top = heap[0];
        const float score = top.score;
        const corners box = corners_of(boxes + 4 * (int64_t)top.index);
        bool is_out = !meet(&m, &box, scratch_boxes, n_selected, &top);
        top.begin = (int32_t)n_selected;
        if (!is_out && top.score == score) {
            add_selected(scratch_boxes, n_selected, &box);
            out_index[n_selected] = top.index;
            out_score[n_selected++] = score;
            is_out = true;
        }
        if (!is_out && top.score > options->score_thresh) {
            heap[0] = top;
        } else {
            heap[0] = heap[--n_heap];
        }
        if (n_heap > 0) {
            sift_down(heap, n_heap, 0);
        }
    }
    return n_selected;
}
