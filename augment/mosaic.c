// See mosaic.h.
#include "augment/mosaic.h"

#include <string.h>

edt_mosaic_split edt_mosaic_draw(int64_t out_h, int64_t out_w, int64_t min_percent,
                                 const edt_draws *draws)
{
    const double p = (double)min_percent / 100.0;
    const double h = (double)out_h, w = (double)out_w;
    edt_mosaic_split split = {.out_h = out_h, .out_w = out_w};
    split.row = draws->integer(draws->ctx, (int64_t)(h * p), (int64_t)(h * (1.0 - p)));
    split.column = draws->integer(draws->ctx, (int64_t)(w * p), (int64_t)(w * (1.0 - p)));
    return split;
}

edt_region edt_mosaic_tile(const edt_mosaic_split *split, int i_tile)
{
    const bool below = i_tile % 2 == 1, right = i_tile >= 2;
    return (edt_region){.y = below ? split->row : 0,
                        .x = right ? split->column : 0,
                        .h = below ? split->out_h - split->row : split->row,
                        .w = right ? split->out_w - split->column : split->column};
}

static void merge_tile(const edt_mosaic_split *split, edt_region tile, const edt_objects *from,
                       edt_objects *into)
{
    const double h = (double)split->out_h, w = (double)split->out_w;
    const float bottom = (float)((double)(tile.y + tile.h) / h);
    const float right = (float)((double)(tile.x + tile.w) / w);
    for (int64_t i = 0; i < from->n; ++i) {
        const int64_t n = into->n;
        edt_objects_append_part(into, from, i, (float)((double)tile.y / h),
                                (float)((double)tile.x / w), (float)((double)tile.h / h),
                                (float)((double)tile.w / w));
        if (into->n > n) {
            // The sum of two rounded parts may end a hair beyond the tile.
            float *box = into->boxes + 4 * n;
            box[2] = box[2] < bottom ? box[2] : bottom;
            box[3] = box[3] < right ? box[3] : right;
        }
    }
}

edt_status edt_mosaic_compose(edt_mix_buffers *buffers,
                              const edt_image images[static EDT_MOSAIC_TILES],
                              const edt_objects objects[static EDT_MOSAIC_TILES],
                              const edt_mosaic_split *split, edt_arena *arena, edt_error *err,
                              edt_image *out_image, edt_objects *out_objects)
{
    EDT_TRY(edt_mix_reserve_picture(buffers, 3 * split->out_h * split->out_w, err));
    const edt_image picture = {.data = buffers->picture,
                               .h = split->out_h,
                               .w = split->out_w,
                               .stride = 3 * split->out_w};
    int64_t n_max = 0;
    for (int i = 0; i < EDT_MOSAIC_TILES; ++i) {
        n_max += objects[i].n;
    }
    edt_objects merged;
    EDT_TRY(edt_objects_begin(arena, n_max, err, &merged));
    for (int i = 0; i < EDT_MOSAIC_TILES; ++i) {
        const edt_region tile = edt_mosaic_tile(split, i);
        edt_image scaled;
        EDT_TRY(edt_mix_scale(buffers, &images[i], tile.h, tile.w, err, &scaled));
        for (int64_t y = 0; y < tile.h; ++y) {
            memcpy(picture.data + (tile.y + y) * picture.stride + 3 * tile.x,
                   scaled.data + y * scaled.stride, (size_t)(3 * tile.w));
        }
        merge_tile(split, tile, &objects[i], &merged);
    }
    *out_image = picture;
    *out_objects = merged;
    return EDT_OK;
}

edt_status edt_mosaic_reference(edt_mix_buffers *buffers, const uint8_t *images, int64_t h,
                                int64_t w, const edt_mosaic_split *split, edt_error *err,
                                float *out_image)
{
    const int64_t n_source = 3 * h * w, n_out = 3 * split->out_h * split->out_w;
    const int64_t item = (int64_t)sizeof(float);
    EDT_TRY(edt_mix_reserve_picture(buffers, n_source * item, err));
    EDT_TRY(edt_mix_reserve_scaled(buffers, n_out * item, err));
    float *source = (void *)buffers->picture, *scaled = (void *)buffers->scaled;
    for (int i = 0; i < EDT_MOSAIC_TILES; ++i) {
        const edt_region tile = edt_mosaic_tile(split, i);
        for (int64_t k = 0; k < n_source; ++k) {
            source[k] = (float)images[i * n_source + k];
        }
        EDT_TRY(
            edt_resize_plain_f32(buffers->resizer, source, h, w, tile.h, tile.w, err, scaled));
        for (int64_t y = 0; y < tile.h; ++y) {
            memcpy(out_image + 3 * ((tile.y + y) * split->out_w + tile.x),
                   scaled + 3 * y * tile.w, (size_t)(3 * tile.w) * sizeof *scaled);
        }
    }
    return EDT_OK;
}

void edt_mosaic_reference_boxes(const edt_mosaic_split *split, int i_tile, int64_t h, int64_t w,
                                const int32_t *boxes, int64_t n_boxes, double *out_boxes)
{
    const edt_region tile = edt_mosaic_tile(split, i_tile);
    for (int64_t i = 0; i < 4 * n_boxes; ++i) {
        const bool is_x = i % 2 == 0;
        const double side = (double)(is_x ? w : h);
        const double scaled = (double)boxes[i] * (double)(is_x ? tile.w : tile.h) / side;
        out_boxes[i] = scaled + (double)(is_x ? tile.x : tile.y);
    }
}
