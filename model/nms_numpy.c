// The numpy suppressions of the reference's nms_np.py: coordinates are pixels that belong to
// the box (sides + 1), soft methods keep every box whose score stays at the threshold. See
// nms.h.
#include <math.h>
#include <stdbool.h>

#include "model/nms.h"

typedef struct corners {
    float y0, x0, y1, x1;
} corners;

static corners corners_of(const float *boxes, int32_t index)
{
    const float *b = boxes + 4 * (int64_t)index;
    return (corners){b[0], b[1], b[2], b[3]};
}

static float iou_inclusive(const corners *a, const corners *b)
{
    const float area_a = (a->x1 - a->x0 + 1.0F) * (a->y1 - a->y0 + 1.0F);
    const float area_b = (b->x1 - b->x0 + 1.0F) * (b->y1 - b->y0 + 1.0F);
    const float w = fmaxf(fminf(a->x1, b->x1) - fmaxf(a->x0, b->x0) + 1.0F, 0.0F);
    const float h = fmaxf(fminf(a->y1, b->y1) - fmaxf(a->y0, b->y0) + 1.0F, 0.0F);
    const float inter = w * h;
    return inter / (area_a + area_b - inter);
}

// Squared distance of the centres over the squared diagonal of the enclosing box.
static float centre_penalty(const corners *a, const corners *b)
{
    const float dx = (a->x0 + a->x1) / 2.0F - (b->x0 + b->x1) / 2.0F;
    const float dy = (a->y0 + a->y1) / 2.0F - (b->y0 + b->y1) / 2.0F;
    const float w = fmaxf(a->x1, b->x1) - fminf(a->x0, b->x0);
    const float h = fmaxf(a->y1, b->y1) - fminf(a->y0, b->y0);
    return (dx * dx + dy * dy) / (w * w + h * h + 1e-10F);
}

static int64_t first_maximum(const edt_nms_item *items, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; ++i) {
        if (items[i].score > items[best].score) {
            best = i;
        }
    }
    return best;
}

// The item's score after the selected box has been applied; false: it goes.
static bool survives(const edt_nms_numpy_options *options, const corners *top,
                     const corners *box, float *score)
{
    const float iou = iou_inclusive(top, box);
    switch (options->method) {
    case EDT_NMS_NUMPY_HARD: return iou <= options->iou_thresh;
    case EDT_NMS_NUMPY_DIOU: return iou - centre_penalty(top, box) <= options->iou_thresh;
    case EDT_NMS_NUMPY_LINEAR: *score *= iou > options->iou_thresh ? 1.0F - iou : 1.0F; break;
    case EDT_NMS_NUMPY_GAUSSIAN: *score *= expf(-(iou * iou) / options->sigma); break;
    }
    return *score >= options->score_thresh;
}

int64_t edt_nms_numpy(const float *boxes, const float *scores, int64_t n,
                      const edt_nms_numpy_options *options, edt_nms_item *scratch,
                      int32_t *out_index, float *out_score)
{
    edt_nms_item *items = scratch;
    for (int64_t i = 0; i < n; ++i) {
        items[i] = (edt_nms_item){scores[i], (int32_t)i, 0};
    }
    // The soft methods swap the best with the first, which decides later ties.
    const bool swap =
        options->method == EDT_NMS_NUMPY_LINEAR || options->method == EDT_NMS_NUMPY_GAUSSIAN;
    int64_t n_selected = 0;
    while (n > 0) {
        const int64_t best = first_maximum(items, n);
        const edt_nms_item top = items[best];
        out_index[n_selected] = top.index;
        out_score[n_selected++] = top.score;
        const corners top_box = corners_of(boxes, top.index);
        if (swap) {
            items[best] = items[0];
        }
        const int64_t gone = swap ? 0 : best;
        int64_t n_left = 0;
        for (int64_t i = 0; i < n; ++i) {
            if (i == gone) {
                continue;
            }
            edt_nms_item item = items[i];
            const corners box = corners_of(boxes, item.index);
            if (survives(options, &top_box, &box, &item.score)) {
                items[n_left++] = item;
            }
        }
        n = n_left;
    }
    return n_selected;
}
