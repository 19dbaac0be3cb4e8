// See copy_paste.h. A plane of the picture's size holds who painted each pixel last: 0 nobody,
// k the k-th paste. What is left of an object is counted there.
#include "augment/copy_paste.h"

#include <math.h>
#include <string.h>

enum { MOST_COVERED_PERCENT = 70 };

static const float chance = 0.5f;

// A normalised box in whole pixels, grown outwards and clipped; false when it has no area.
static bool pixels_of(const float *box, int64_t h, int64_t w, edt_region *out_region)
{
    const float fh = (float)h, fw = (float)w;
    const float y0 = fmaxf(floorf(box[0] * fh), 0.0f), y1 = fminf(ceilf(box[2] * fh), fh);
    const float x0 = fmaxf(floorf(box[1] * fw), 0.0f), x1 = fminf(ceilf(box[3] * fw), fw);
    // Also refuses NaN, which fmaxf and fminf turn into the picture's border.
    if (!(box[2] > box[0] && box[3] > box[1] && y1 > y0 && x1 > x0)) {
        return false;
    }
    *out_region = (edt_region){.y = (int64_t)y0,
                               .x = (int64_t)x0,
                               .h = (int64_t)y1 - (int64_t)y0,
                               .w = (int64_t)x1 - (int64_t)x0};
    return true;
}

edt_status edt_copy_paste_draw(int64_t h, int64_t w, int64_t partner_h, int64_t partner_w,
                               const edt_objects *partner_objects, const edt_draws *draws,
                               edt_arena *arena, edt_error *err, edt_copy_paste_plan *out_plan)
{
    const int64_t n_objects = partner_objects->n;
    edt_paste *pastes =
        edt_arena_calloc(arena, (size_t)(n_objects > 0 ? n_objects : 1), sizeof *pastes);
    if (pastes == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to plan the pasting of objects");
    }
    int64_t n = 0;
    for (int64_t i = 0; i < n_objects; ++i) {
        edt_region from;
        if (partner_objects->is_crowd[i] ||
            !pixels_of(partner_objects->boxes + 4 * i, partner_h, partner_w, &from) ||
            from.h > h || from.w > w || !(draws->uniform(draws->ctx) < chance)) {
            continue;
        }
        edt_paste *paste = &pastes[n++];
        *paste = (edt_paste){.object = i, .from = from};
        paste->y = draws->integer(draws->ctx, 0, h - from.h + 1);
        paste->x = draws->integer(draws->ctx, 0, w - from.w + 1);
    }
    *out_plan = (edt_copy_paste_plan){.n = n, .pastes = pastes};
    return EDT_OK;
}

// Paints one object and notes it in `owner`; returns its number of pixels.
static int64_t paint(const edt_image *image, const edt_image *partner, const uint8_t *mask,
                     const edt_paste *paste, int32_t number, int32_t *owner)
{
    int64_t n_painted = 0;
    for (int64_t y = 0; y < paste->from.h; ++y) {
        const int64_t from_y = paste->from.y + y, to_y = paste->y + y;
        const uint8_t *from = partner->data + from_y * partner->stride + 3 * paste->from.x;
        const uint8_t *inside = mask != NULL ? mask + y * paste->from.w : NULL;
        uint8_t *to = image->data + to_y * image->stride + 3 * paste->x;
        int32_t *owned = owner + to_y * image->w + paste->x;
        for (int64_t x = 0; x < paste->from.w; ++x) {
            if (inside == NULL || inside[x] != 0) {
                memcpy(to + 3 * x, from + 3 * x, 3);
                owned[x] = number;
                ++n_painted;
            }
        }
    }
    return n_painted;
}

// Pixels of the region that paste `number` (0: nobody) painted last.
static int64_t count_owned(const int32_t *owner, int64_t w, edt_region region, int32_t number)
{
    int64_t n = 0;
    for (int64_t y = region.y; y < region.y + region.h; ++y) {
        for (int64_t x = region.x; x < region.x + region.w; ++x) {
            n += owner[y * w + x] == number;
        }
    }
    return n;
}

static bool is_seen(int64_t n_seen, int64_t n_all)
{
    return 100 * (n_all - n_seen) <= MOST_COVERED_PERCENT * n_all;
}

edt_status edt_copy_paste_apply(edt_mix_buffers *buffers, const edt_image *image,
                                const edt_objects *objects, const edt_image *partner,
                                const edt_objects *partner_objects, const uint8_t *const *masks,
                                const edt_copy_paste_plan *plan, edt_arena *arena,
                                edt_error *err, edt_objects *out_objects)
{
    const int64_t n_pixels = image->h * image->w;
    edt_objects merged;
    EDT_TRY(edt_objects_begin(arena, objects->n + plan->n, err, &merged));
    int64_t *n_painted =
        edt_arena_calloc(arena, (size_t)(plan->n > 0 ? plan->n : 1), sizeof *n_painted);
    if (n_painted == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to paste objects");
    }
    EDT_TRY(edt_mix_reserve_owner(buffers, n_pixels, err));
    memset(buffers->owner, 0, (size_t)n_pixels * sizeof *buffers->owner);
    for (int64_t i = 0; i < plan->n; ++i) {
        const edt_paste *paste = &plan->pastes[i];
        n_painted[i] = paint(image, partner, masks != NULL ? masks[i] : NULL, paste,
                             (int32_t)(i + 1), buffers->owner);
    }
    for (int64_t i = 0; i < objects->n; ++i) {
        edt_region region;
        if (!pixels_of(objects->boxes + 4 * i, image->h, image->w, &region) ||
            is_seen(count_owned(buffers->owner, image->w, region, 0), region.h * region.w)) {
            edt_objects_append(&merged, objects, i, objects->boxes + 4 * i);
        }
    }
    for (int64_t i = 0; i < plan->n; ++i) {
        const edt_paste *paste = &plan->pastes[i];
        const edt_region region = {
            .y = paste->y, .x = paste->x, .h = paste->from.h, .w = paste->from.w};
        const int64_t n_seen = count_owned(buffers->owner, image->w, region, (int32_t)(i + 1));
        if (n_painted[i] == 0 || !is_seen(n_seen, n_painted[i])) {
            continue;
        }
        // The box keeps its place within its pixels.
        const float *box = partner_objects->boxes + 4 * paste->object;
        const double dy = (double)(paste->y - paste->from.y);
        const double dx = (double)(paste->x - paste->from.x);
        float moved[4];
        for (int k = 0; k < 4; ++k) {
            const bool is_x = k % 2 == 1;
            const double side = (double)(is_x ? image->w : image->h);
            const double from = (double)(is_x ? partner->w : partner->h);
            const double at = ((double)box[k] * from + (is_x ? dx : dy)) / side;
            moved[k] = (float)fmin(fmax(at, 0.0), 1.0);
        }
        edt_objects_append(&merged, partner_objects, paste->object, moved);
    }
    *out_objects = merged;
    return EDT_OK;
}
