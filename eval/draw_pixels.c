// See draw_pixels.h.
#include "eval/draw_pixels.h"

#include "core/mem.h"
#include "eval/pixel_accuracy.h"

// The row or column of the mask over pixel i of the picture.
static int64_t place_of(int64_t i, float image_scale, int64_t n_mask, int64_t n_canvas)
{
    const double canvas = ((double)i + 0.5) / (double)image_scale;
    const int64_t at = (int64_t)(canvas * (double)n_mask / (double)n_canvas);
    return at < n_mask ? at : n_mask - 1;
}

edt_status edt_draw_pixels(const edt_model *model, const float *logits, float image_scale,
                           const edt_image *image, edt_error *err)
{
    const int64_t n = model->mask_h * model->mask_w;
    int64_t *classes = edt_mem_alloc(EDT_MEM_EVAL, (size_t)n * sizeof *classes);
    if (classes == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to draw classes of pixels");
    }
    for (int64_t i = 0; i < n; ++i) {
        classes[i] = edt_pixel_class(logits + i * model->mask_classes, model->mask_classes);
    }
    for (int64_t y = 0; y < image->h; ++y) {
        const int64_t row = place_of(y, image_scale, model->mask_h, model->image_h);
        for (int64_t x = 0; x < image->w; ++x) {
            const int64_t column = place_of(x, image_scale, model->mask_w, model->image_w);
            const int64_t class_id = classes[row * model->mask_w + column];
            uint8_t rgb[3];
            if (class_id == 0) {
                continue;
            }
            edt_draw_class_color(class_id, rgb);
            uint8_t *pixel = image->data + y * image->stride + 3 * x;
            for (int c = 0; c < 3; ++c) {
                pixel[c] = (uint8_t)((pixel[c] + rgb[c] + 1) / 2);
            }
        }
    }
    edt_mem_free(classes);
    return EDT_OK;
}
