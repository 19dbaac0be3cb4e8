// TensorFlow's greedy suppression with a heap of candidates, hard or soft. See nms.h.
#include "model/nms.h"

#include <math.h>
#include <stdbool.h>

static inline float min_f32(float a, float b)
{
    return a < b ? a : b;
}

static inline float max_f32(float a, float b)
{
    return a > b ? a : b;
}

// Corners in any order; a box without area overlaps nothing.
static float iou_v5(const float a[4], const float b[4])
{
    const float ay0 = min_f32(a[0], a[2]), ay1 = max_f32(a[0], a[2]);
    const float ax0 = min_f32(a[1], a[3]), ax1 = max_f32(a[1], a[3]);
    const float by0 = min_f32(b[0], b[2]), by1 = max_f32(b[0], b[2]);
    const float bx0 = min_f32(b[1], b[3]), bx1 = max_f32(b[1], b[3]);
    const float area_a = (ay1 - ay0) * (ax1 - ax0);
    const float area_b = (by1 - by0) * (bx1 - bx0);
    if (area_a <= 0 || area_b <= 0) {
        return 0.0F;
    }
    const float h = max_f32(min_f32(ay1, by1) - max_f32(ay0, by0), 0.0F);
    const float w = max_f32(min_f32(ax1, bx1) - max_f32(ax0, bx0), 0.0F);
    const float inter = h * w;
    return inter / (area_a + area_b - inter);
}

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

int64_t edt_nms_v5(const float *boxes, const float *scores, int64_t n,
                   const edt_nms_options *options, edt_nms_item *scratch, int32_t *out_index,
                   float *out_score)
{
    const bool soft = options->sigma > 0;
    const float scale = soft ? -0.5F / options->sigma : 0.0F;
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
        bool dropped = false;
        for (int64_t j = n_selected - 1; j >= top.begin; --j) {
            const float iou =
                iou_v5(boxes + 4 * (int64_t)top.index, boxes + 4 * (int64_t)out_index[j]);
            if (soft) {
                top.score *= expf(scale * iou * iou);
            } else if (iou > options->iou_thresh) {
                dropped = true;
                break;
            }
            if (top.score <= options->score_thresh) {
                break;
            }
        }
        top.begin = (int32_t)n_selected;
        if (!dropped && top.score == score) {
            out_index[n_selected] = top.index;
            out_score[n_selected++] = score;
            dropped = true; // out of the heap
        }
        if (!dropped && top.score > options->score_thresh) {
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
