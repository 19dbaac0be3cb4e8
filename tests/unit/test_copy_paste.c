// Which objects are pasted, that pixels and boxes go to one place, masks, and what becomes of
// objects that are covered.
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "augment/copy_paste.h"

enum { H = 40, W = 60, PH = 30, PW = 50 };

typedef struct paste_fixture {
    uint8_t pixels[3 * H * W], partner_pixels[3 * PH * PW], mask[PH * PW];
    edt_mix_buffers *buffers;
    edt_arena arena;
    edt_image image, partner;
} paste_fixture;

static paste_fixture f;

static void set_up(void)
{
    memset(&f, 0, sizeof f);
    edt_arena_init(&f.arena, EDT_MEM_ARENA, 0);
    cr_assert_eq(edt_mix_buffers_create(NULL, &f.buffers), EDT_OK);
    f.image = (edt_image){.data = f.pixels, .h = H, .w = W, .stride = 3 * W};
    f.partner = (edt_image){.data = f.partner_pixels, .h = PH, .w = PW, .stride = 3 * PW};
    for (int i = 0; i < 3 * PH * PW; ++i) {
        f.partner_pixels[i] = (uint8_t)(1 + i % 250);
    }
}

static void tear_down(void)
{
    edt_mix_buffers_destroy(f.buffers);
    edt_arena_deinit(&f.arena);
}

TestSuite(copy_paste, .init = set_up, .fini = tear_down);

static float area[4] = {11, 12, 13, 14};
static int64_t labels[4] = {1, 2, 3, 4};
static bool no_crowd[4], second_is_crowd[4] = {false, true, false, false};

static edt_objects objects_of(float *boxes, int64_t n, bool *is_crowd)
{
    return (edt_objects){
        .n = n, .boxes = boxes, .labels = labels, .is_crowd = is_crowd, .area = area};
}

Test(copy_paste, chooses_half_of_what_may_be_pasted, .timeout = 30)
{
    // A usable object, a crowd, one that is too large for the picture, one without area.
    float boxes[16] = {0.2f, 0.2f, 0.5f, 0.5f, 0,    0,    0.5f, 0.5f,
                       0,    0,    1,    1,    0.5f, 0.5f, 0.5f, 0.6f};
    const edt_objects objects = objects_of(boxes, 4, second_is_crowd);
    int n_chosen = 0;
    for (uint64_t sample = 0; sample < 2000; ++sample) {
        edt_rng rng;
        edt_rng_init(&rng, 8, 0, sample, 3);
        const edt_draws draws = edt_draws_from_rng(&rng);
        edt_copy_paste_plan plan;
        edt_arena_reset(&f.arena);
        cr_assert_eq(
            edt_copy_paste_draw(PH - 1, PW, PH, PW, &objects, &draws, &f.arena, NULL, &plan),
            EDT_OK);
        cr_assert_leq(plan.n, 1);
        if (plan.n == 1) {
            const edt_paste *p = &plan.pastes[0];
            cr_assert_eq(p->object, 0);
            cr_assert(p->from.y == 6 && p->from.h == 9 && p->from.x == 10 && p->from.w == 15);
            cr_assert(p->y >= 0 && p->x >= 0 && p->y + 9 <= PH - 1 && p->x + 15 <= PW);
            ++n_chosen;
        }
    }
    cr_assert(abs(n_chosen - 1000) < 100, "%d", n_chosen);
}

Test(copy_paste, pixels_and_boxes_go_to_the_same_place, .timeout = 30)
{
    float partner_boxes[8] = {0.21f, 0.2f, 0.5f, 0.5f, 0.5f, 0.5f, 1, 1};
    float boxes[4] = {0.1f, 0.1f, 0.9f, 0.9f};
    const edt_objects partner_objects = objects_of(partner_boxes, 2, no_crowd);
    const edt_objects objects = objects_of(boxes, 1, no_crowd);
    for (uint64_t sample = 0; sample < 200; ++sample) {
        edt_rng rng;
        edt_rng_init(&rng, 9, 0, sample, 3);
        const edt_draws draws = edt_draws_from_rng(&rng);
        edt_copy_paste_plan plan;
        edt_objects merged;
        edt_arena_reset(&f.arena);
        memset(f.pixels, 0, sizeof f.pixels);
        cr_assert_eq(
            edt_copy_paste_draw(H, W, PH, PW, &partner_objects, &draws, &f.arena, NULL, &plan),
            EDT_OK);
        cr_assert_eq(edt_copy_paste_apply(f.buffers, &f.image, &objects, &f.partner,
                                          &partner_objects, NULL, &plan, &f.arena, NULL,
                                          &merged),
                     EDT_OK);
        int64_t n_pasted = 0;
        for (int i = 0; i < H * W; ++i) {
            n_pasted += f.pixels[3 * i] != 0;
        }
        int64_t most = 0;
        for (int64_t i = 0; i < plan.n; ++i) {
            const edt_paste *p = &plan.pastes[i];
            most += p->from.h * p->from.w;
            const bool last = i == plan.n - 1;
            for (int64_t y = 0; last && y < p->from.h; ++y) {
                cr_assert_eq(memcmp(f.pixels + 3 * ((p->y + y) * W + p->x),
                                    f.partner_pixels + 3 * ((p->from.y + y) * PW + p->from.x),
                                    (size_t)(3 * p->from.w)),
                             0);
            }
        }
        cr_assert(n_pasted <= most && (plan.n != 1 || n_pasted == most));
        for (int64_t k = 1; k < merged.n; ++k) {
            // Label 1 or 2 tells the object; the box has its size in pixels.
            const float *box = merged.boxes + 4 * k;
            const float *old = partner_boxes + 4 * (merged.labels[k] - 1);
            cr_assert(box[0] >= 0 && box[1] >= 0 && box[2] <= 1 && box[3] <= 1);
            cr_assert_float_eq((box[2] - box[0]) * H, (old[2] - old[0]) * PH, 1e-4);
            cr_assert_float_eq((box[3] - box[1]) * W, (old[3] - old[1]) * PW, 1e-4);
            cr_assert_eq(merged.area[k], area[merged.labels[k] - 1]);
        }
        cr_assert(merged.n >= 1 && merged.n <= 1 + plan.n);
    }
}

Test(copy_paste, only_what_the_mask_shows_is_pasted, .timeout = 10)
{
    float partner_boxes[4] = {0.2f, 0.2f, 0.6f, 0.6f};
    const edt_objects partner_objects = objects_of(partner_boxes, 1, no_crowd);
    const edt_objects none = {.n = 0};
    const edt_paste paste = {.from = {.y = 6, .x = 10, .h = 12, .w = 20}, .y = 3, .x = 4};
    const edt_copy_paste_plan plan = {.n = 1, .pastes = &paste};
    for (int y = 0; y < 6; ++y) {
        memset(f.mask + y * 20, 1, 5);
    }
    const uint8_t *masks[1] = {f.mask};
    edt_objects merged;
    cr_assert_eq(edt_copy_paste_apply(f.buffers, &f.image, &none, &f.partner, &partner_objects,
                                      masks, &plan, &f.arena, NULL, &merged),
                 EDT_OK);
    for (int y = 0; y < H; ++y) {
        for (int x = 0; x < W; ++x) {
            const bool pasted = y >= 3 && y < 9 && x >= 4 && x < 9;
            cr_assert_eq(f.pixels[3 * (y * W + x)] != 0, pasted, "y=%d x=%d", y, x);
        }
    }
    cr_assert_eq(merged.n, 1);
    memset(f.mask, 0, sizeof f.mask);
    cr_assert_eq(edt_copy_paste_apply(f.buffers, &f.image, &none, &f.partner, &partner_objects,
                                      masks, &plan, &f.arena, NULL, &merged),
                 EDT_OK);
    cr_assert_eq(merged.n, 0, "an object without pixels");
}

Test(copy_paste, covered_objects_go_the_others_keep_their_box, .timeout = 10)
{
    // The paste covers rows 0..19 and columns 0..19.
    float partner_boxes[4] = {0, 0, 20.0f / PH, 20.0f / PW};
    const edt_objects partner_objects = objects_of(partner_boxes, 1, no_crowd);
    float boxes[12] = {0, 0, 0.25f,     0.25f,      // covered
                       0, 0, 28.0f / H, 20.0f / W,  // 20 of 28 rows: 71 %
                       0, 0, 29.0f / H, 20.0f / W}; // 69 %
    const edt_objects objects = objects_of(boxes, 3, no_crowd);
    const edt_paste twice[2] = {{.from = {.h = 20, .w = 20}}, {.from = {.h = 20, .w = 20}}};
    for (int n = 1; n <= 2; ++n) {
        const edt_copy_paste_plan plan = {.n = n, .pastes = twice};
        edt_objects merged;
        cr_assert_eq(edt_copy_paste_apply(f.buffers, &f.image, &objects, &f.partner,
                                          &partner_objects, NULL, &plan, &f.arena, NULL,
                                          &merged),
                     EDT_OK);
        // The second paste of two hides the first.
        cr_assert_eq(merged.n, 2);
        cr_assert(merged.labels[0] == 3 && merged.labels[1] == 1);
        cr_assert_eq(memcmp(merged.boxes, boxes + 8, 4 * sizeof(float)), 0);
    }
}
