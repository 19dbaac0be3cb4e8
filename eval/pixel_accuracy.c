// See pixel_accuracy.h.
#include "eval/pixel_accuracy.h"

#include <inttypes.h>

int64_t edt_pixel_class(const float *logits, int64_t n)
{
    int64_t best = 0;
    for (int64_t k = 1; k < n; ++k) {
        best = logits[k] > logits[best] ? k : best;
    }
    return best;
}

edt_status edt_pixel_accuracy_add(edt_predictor *predictor, const edt_batch *batch,
                                  edt_error *err, edt_pixel_counts *counts)
{
    const edt_model *model = edt_predictor_model(predictor);
    if (!model->has_segmentation || batch->seg_mask == NULL || batch->mask_h != model->mask_h ||
        batch->mask_w != model->mask_w) {
        EDT_FAIL(err, EDT_ERR_INVALID,
                 "pixels of a %" PRId64 "x%" PRId64 " output against masks of %" PRId64
                 "x%" PRId64,
                 model->mask_w, model->mask_h, batch->mask_w, batch->mask_h);
    }
    const int64_t n = model->mask_h * model->mask_w;
    EDT_TRY(edt_predictor_run_network(predictor, batch, err));
    for (int64_t row = 0; row < batch->n_valid; ++row) {
        const float *logits;
        EDT_TRY(edt_predictor_segmentation(predictor, row, err, &logits));
        const int32_t *mask = batch->seg_mask + row * n;
        for (int64_t i = 0; i < n; ++i) {
            if (mask[i] >= 0 && mask[i] < model->mask_classes) {
                ++counts->n_pixels;
                counts->n_right += edt_pixel_class(logits + i * model->mask_classes,
                                                   model->mask_classes) == mask[i];
            }
        }
    }
    return EDT_OK;
}
