// See boxes.h.
#include "augment/boxes.h"

void edt_boxes_flip(float *boxes, int64_t n_boxes)
{
    for (int64_t i = 0; i < n_boxes; ++i) {
        float *box = boxes + 4 * i;
        const float xmin = box[1];
        box[1] = 1.0f - box[3];
        box[3] = 1.0f - xmin;
    }
}

// NaN passes through unchanged.
static float clip(float value, float high)
{
    return value < 0.0f ? 0.0f : (value > high ? high : value);
}

int64_t edt_boxes_to_network(const edt_scale_params *params, const float *boxes,
                             int64_t n_boxes, bool reference_defects, float *out_boxes,
                             int64_t *out_kept)
{
    const float scale_y = (float)params->scaled_h, scale_x = (float)params->scaled_w;
    const float origin_y = (float)params->offset_y, origin_x = (float)params->offset_x;
    const float high_y = (float)(params->out_h - 1), high_x = (float)(params->out_w - 1);
    int64_t n_kept = 0;
    for (int64_t i = 0; i < n_boxes; ++i) {
        const float *box = boxes + 4 * i;
        const float ymin = clip(scale_y * box[0] - origin_y, high_y);
        const float xmin = clip(scale_x * box[1] - origin_x, high_x);
        const float ymax = clip(scale_y * box[2] - origin_y, high_y);
        const float xmax = clip(scale_x * box[3] - origin_x, high_x);
        const bool keep = reference_defects ? (ymax - ymin) * (xmax - xmin) != 0.0f
                                            : ymax > ymin && xmax > xmin;
        if (!keep) {
            continue;
        }
        float *out = out_boxes + 4 * n_kept;
        out[0] = ymin;
        out[1] = xmin;
        out[2] = ymax;
        out[3] = xmax;
        out_kept[n_kept++] = i;
    }
    return n_kept;
}
