// See mixup.h.
#include "augment/mixup.h"

#include "augment/vector.h"

enum { ONE = 256 };

static const float least_share = 0.4f, share_span = 0.2f;

static int64_t scaled_side(int64_t side, double scale, int64_t most)
{
    const int64_t scaled = (int64_t)((double)side * scale + 0.5);
    return scaled < 1 ? 1 : (scaled > most ? most : scaled);
}

edt_mixup_plan edt_mixup_draw(int64_t h, int64_t w, int64_t partner_h, int64_t partner_w,
                              const edt_draws *draws)
{
    const double scale_y = (double)h / (double)partner_h;
    const double scale_x = (double)w / (double)partner_w;
    const double scale = scale_y < scale_x ? scale_y : scale_x;
    edt_mixup_plan plan = {.place = {.h = scaled_side(partner_h, scale, h),
                                     .w = scaled_side(partner_w, scale, w)}};
    const float share = least_share + share_span * draws->uniform(draws->ctx);
    plan.weight = (int)(share * (float)ONE);
    if (plan.place.h < h) {
        plan.place.y = draws->integer(draws->ctx, 0, h - plan.place.h + 1);
    }
    if (plan.place.w < w) {
        plan.place.x = draws->integer(draws->ctx, 0, w - plan.place.w + 1);
    }
    return plan;
}

EDT_VECTOR_CLONES
static void blend(uint8_t *restrict levels, const uint8_t *restrict other, int64_t n,
                  uint16_t weight)
{
    const uint16_t rest = (uint16_t)(ONE - weight);
    for (int64_t i = 0; i < n; ++i) {
        // At most 255 * 256 + 128: fits u16.
        const uint16_t sum = (uint16_t)(levels[i] * weight + other[i] * rest + ONE / 2);
        levels[i] = (uint8_t)(sum >> 8);
    }
}

edt_status edt_mixup_blend(edt_mix_buffers *buffers, const edt_image *image,
                           const edt_objects *objects, const edt_image *partner,
                           const edt_objects *partner_objects, const edt_mixup_plan *plan,
                           edt_arena *arena, edt_error *err, edt_objects *out_objects)
{
    const edt_region place = plan->place;
    edt_objects merged;
    EDT_TRY(edt_objects_begin(arena, objects->n + partner_objects->n, err, &merged));
    edt_image scaled;
    EDT_TRY(edt_mix_scale(buffers, partner, place.h, place.w, err, &scaled));
    for (int64_t y = 0; y < place.h; ++y) {
        blend(image->data + (place.y + y) * image->stride + 3 * place.x,
              scaled.data + y * scaled.stride, 3 * place.w, (uint16_t)plan->weight);
    }
    for (int64_t i = 0; i < objects->n; ++i) {
        edt_objects_append(&merged, objects, i, objects->boxes + 4 * i);
    }
    const float h = (float)image->h, w = (float)image->w;
    for (int64_t i = 0; i < partner_objects->n; ++i) {
        edt_objects_append_part(&merged, partner_objects, i, (float)place.y / h,
                                (float)place.x / w, (float)place.h / h, (float)place.w / w);
    }
    *out_objects = merged;
    return EDT_OK;
}
