// Where the partner lies, how much of it is seen, and its boxes.
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "augment/mixup.h"

enum { MAX_SIDE = 80 };

static uint8_t pixels[3 * MAX_SIDE * MAX_SIDE], before[3 * MAX_SIDE * MAX_SIDE],
    other[3 * MAX_SIDE * MAX_SIDE];

Test(mixup, the_partner_fits_and_shines_through, .timeout = 30)
{
    edt_mix_buffers *buffers;
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    cr_assert_eq(edt_mix_buffers_create(NULL, &buffers), EDT_OK);
    for (uint64_t sample = 0; sample < 200; ++sample) {
        edt_rng rng;
        edt_rng_init(&rng, 7, 0, sample, 3);
        const int64_t h = 1 + (int64_t)edt_rng_below(&rng, MAX_SIDE);
        const int64_t w = 1 + (int64_t)edt_rng_below(&rng, MAX_SIDE);
        const int64_t ph = 1 + (int64_t)edt_rng_below(&rng, MAX_SIDE);
        const int64_t pw = 1 + (int64_t)edt_rng_below(&rng, MAX_SIDE);
        const edt_draws draws = edt_draws_from_rng(&rng);
        const edt_mixup_plan plan = edt_mixup_draw(h, w, ph, pw, &draws);
        const edt_region place = plan.place;
        cr_assert(plan.weight >= 102 && plan.weight <= 153);
        cr_assert(place.y >= 0 && place.x >= 0 && place.y + place.h <= h &&
                  place.x + place.w <= w);
        cr_assert(place.h == h || place.w == w);
        // The aspect ratio is kept up to rounding to whole pixels.
        const double ratio = fmin((double)h / (double)ph, (double)w / (double)pw);
        cr_assert(fabs((double)place.h - fmax(1, (double)ph * ratio)) <= 0.5 + 1e-9);
        cr_assert(fabs((double)place.w - fmax(1, (double)pw * ratio)) <= 0.5 + 1e-9);

        for (size_t i = 0; i < sizeof pixels; ++i) {
            before[i] = pixels[i] = (uint8_t)edt_rng_next_u32(&rng);
        }
        memset(other, 200, sizeof other);
        const edt_image image = {.data = pixels, .h = h, .w = w, .stride = 3 * w};
        const edt_image partner = {.data = other, .h = ph, .w = pw, .stride = 3 * pw};
        float boxes[4] = {0.1f, 0.2f, 0.3f, 0.4f}, area[1] = {7};
        float partner_boxes[12] = {0, 0, 1, 1, 0.5f, 0.5f, 0.5f, 0.75f, -1, 0.25f, 2, 0.75f};
        float partner_area[3] = {1, 2, 3};
        int64_t labels[1] = {9}, partner_labels[3] = {1, 2, 3};
        bool crowd[1] = {true}, partner_crowd[3] = {false, false, true};
        const edt_objects objects = {
            .n = 1, .boxes = boxes, .labels = labels, .is_crowd = crowd, .area = area};
        const edt_objects partner_objects = {.n = 3,
                                             .boxes = partner_boxes,
                                             .labels = partner_labels,
                                             .is_crowd = partner_crowd,
                                             .area = partner_area};
        edt_objects merged;
        edt_arena_reset(&arena);
        cr_assert_eq(edt_mixup_blend(buffers, &image, &objects, &partner, &partner_objects,
                                     &plan, &arena, NULL, &merged),
                     EDT_OK);
        for (int64_t y = 0; y < h; ++y) {
            for (int64_t x = 0; x < w; ++x) {
                const bool inside = y >= place.y && y < place.y + place.h && x >= place.x &&
                                    x < place.x + place.w;
                const int old = before[3 * (y * w + x)];
                const int mixed = (old * plan.weight + 200 * (256 - plan.weight) + 128) / 256;
                cr_assert_eq(pixels[3 * (y * w + x)], inside ? mixed : old);
            }
        }
        // The partner's second object has no area.
        cr_assert_eq(merged.n, 3);
        cr_assert(merged.labels[0] == 9 && merged.labels[1] == 1 && merged.labels[2] == 3);
        cr_assert(merged.is_crowd[0] && !merged.is_crowd[1] && merged.is_crowd[2]);
        cr_assert(merged.area[0] == 7 && merged.area[2] == 3);
        cr_assert_eq(memcmp(merged.boxes, boxes, sizeof boxes), 0);
        const float fh = (float)h, fw = (float)w;
        const float want[4] = {(float)place.y / fh, (float)place.x / fw,
                               (float)(place.y + place.h) / fh,
                               (float)(place.x + place.w) / fw};
        for (int k = 0; k < 4; ++k) {
            cr_assert_float_eq(merged.boxes[4 + k], want[k], 1e-6);
        }
        cr_assert_float_eq(merged.boxes[8], want[0], 1e-6);
        cr_assert_float_eq(merged.boxes[11], want[1] + 0.75f * (float)place.w / fw, 1e-6);
    }
    edt_mix_buffers_destroy(buffers);
    edt_arena_deinit(&arena);
}
