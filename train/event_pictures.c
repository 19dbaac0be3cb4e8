// See event_pictures.h.
#include "train/event_pictures.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "augment/normalize.h"
#include "core/mem.h"
#include "dataio/draw.h"
#include "dataio/jpeg_encode.h"
#include "eval/model_config.h"

enum { MAX_PICTURES = 3, GT_COLUMNS = 7, MAX_BOXES = 200 };

static uint8_t level_of(const edt_normalize *norm, float x, int channel)
{
    const float raw = norm->scale_range ? (x + 1.0F) * 255.0F / 2.0F : x;
    const float level = raw * norm->stddev[channel] + norm->mean[channel];
    return (uint8_t)lrintf(fminf(fmaxf(level, 0.0F), 255.0F));
}

// Row `row` of the batch as levels. Normalised padding is 0, which is the mean colour; it is
// shown black, as in batches of levels.
static void copy_pixels(const edt_batch *b, int64_t row, const edt_normalize *norm,
                        uint8_t *out_pixels)
{
    const int64_t n_row = b->width * 3, n = b->height * n_row;
    if (b->format == EDT_SLOT_U8) {
        memcpy(out_pixels, (const uint8_t *)b->images + row * n, (size_t)n);
        return;
    }
    const float *from = (const float *)b->images + row * n;
    const int32_t *valid = b->valid_hw + 2 * row;
    memset(out_pixels, 0, (size_t)n);
    for (int64_t y = 0; y < valid[0]; ++y) {
        for (int64_t i = 0; i < (int64_t)valid[1] * 3; ++i) {
            out_pixels[y * n_row + i] = level_of(norm, from[y * n_row + i], (int)(i % 3));
        }
    }
}

static void name_class(const edt_hparams *hp, const edt_loader *loader, int64_t class_id,
                       char out_name[EDT_DRAW_TEXT_BYTES])
{
    const edt_text stored = edt_loader_label_name(loader, class_id);
    char unnamed[32];
    if (hp->label_map.n == 0 && stored.n_bytes > 0) {
        (void)snprintf(out_name, EDT_DRAW_TEXT_BYTES, "%.*s", (int)stored.n_bytes, stored.data);
    } else {
        (void)snprintf(out_name, EDT_DRAW_TEXT_BYTES, "%s",
                       edt_model_config_class_name(hp, class_id, unnamed));
    }
}

static edt_status draw_objects(const edt_hparams *hp, const edt_loader *loader,
                               const edt_batch *b, int64_t row, const edt_image *image,
                               edt_error *err)
{
    edt_draw_box boxes[MAX_BOXES];
    char names[MAX_BOXES][EDT_DRAW_TEXT_BYTES];
    int64_t n = 0;
    for (int64_t i = 0; i < b->max_instances && n < MAX_BOXES; ++i) {
        const float *gt = b->groundtruth + (row * b->max_instances + i) * GT_COLUMNS;
        if (!(gt[0] > 0 || gt[1] > 0 || gt[2] > 0 || gt[3] > 0)) {
            continue;
        }
        for (int k = 0; k < 4; ++k) {
            boxes[n].box[k] = gt[k] / b->image_scales[row];
        }
        boxes[n].class_id = (int64_t)gt[6];
        name_class(hp, loader, boxes[n].class_id, names[n]);
        boxes[n].text = names[n];
        ++n;
    }
    return edt_draw_boxes(image, boxes, n, NULL, err);
}

edt_status edt_event_pictures_write(const edt_hparams *hp, const edt_loader *loader,
                                    const edt_batch *batch, int64_t step, edt_event_file *file,
                                    edt_error *err)
{
    edt_normalize norm;
    edt_status status = EDT_OK;
    EDT_TRY(edt_normalize_init(hp, err, &norm));
    const int64_t n_row = batch->width * 3;
    uint8_t *pixels = edt_mem_alloc(EDT_MEM_IMAGE, (size_t)(batch->height * n_row));
    if (pixels == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a picture of the batch");
    }
    const edt_image image = {
        .data = pixels, .h = batch->height, .w = batch->width, .stride = n_row};
    for (int64_t row = 0; row < batch->n_valid && row < MAX_PICTURES; ++row) {
        char tag[48];
        uint8_t *encoded;
        size_t n_encoded;
        (void)snprintf(tag, sizeof tag, "input_image/image/%" PRId64, row);
        copy_pixels(batch, row, &norm, pixels);
        EDT_TRY_GOTO(draw_objects(hp, loader, batch, row, &image, err));
        EDT_TRY_GOTO(edt_jpeg_encode(&image, NULL, err, &encoded, &n_encoded));
        edt_event_file_image(
            file, step,
            &(edt_event_image){.tag = tag,
                               .h = image.h,
                               .w = image.w,
                               .encoded = {.data = encoded, .n_bytes = n_encoded}});
        edt_mem_free(encoded);
    }
fail:
    edt_mem_free(pixels);
    return status;
}
