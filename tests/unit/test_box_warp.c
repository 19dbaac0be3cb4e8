// Boxes under shifts, shears and rotations: the specification's examples, pixels and boxes that
// go the same way, any number that may stand in a record.
#include <criterion/criterion.h>
#include <math.h>

#include "augment/box_warp.h"

// spec/augment.md 5.2: a picture of 480x640 and the box 0.1, 0.2, 0.5, 0.6.
Test(box_warp, the_specifications_examples, .timeout = 10)
{
    const struct {
        edt_warp warp;
        float box[4], want[4];
    } cases[] = {
        {{EDT_WARP_ROTATE, 30},
         {0.1f, 0.2f, 0.5f, 0.6f},
         {0.0875f, 0.090625f, 0.7f, 0.5859375f}},
        {{EDT_WARP_ROTATE, -30},
         {0.1f, 0.2f, 0.5f, 0.6f},
         {0, 0.240625f, 0.56666666f, 0.7359375f}},
        {{EDT_WARP_TRANSLATE_X, 100},
         {0.1f, 0.2f, 0.5f, 0.6f},
         {0.1f, 0.04375f, 0.5f, 0.44375f}},
        {{EDT_WARP_TRANSLATE_X, -100},
         {0.1f, 0.2f, 0.5f, 0.6f},
         {0.1f, 0.35625f, 0.5f, 0.75625f}},
        {{EDT_WARP_SHEAR_X, 0.24}, {0.1f, 0.2f, 0.5f, 0.6f}, {0.1f, 0.109375f, 0.5f, 0.58125f}},
        {{EDT_WARP_SHEAR_Y, -0.3},
         {0.1f, 0.2f, 0.5f, 0.6f},
         {0.1791667f, 0.2f, 0.7395833f, 0.6f}},
        {{EDT_WARP_TRANSLATE_X, 100}, {0.1f, 0.05f, 0.5f, 0.1f}, {0.1f, 0, 0.5f, 0.05f}},
        {{EDT_WARP_TRANSLATE_X, -100}, {0.1f, 0.9f, 0.5f, 1}, {0.1f, 0.95f, 0.5f, 1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        float box[4];
        for (int k = 0; k < 4; ++k) {
            box[k] = cases[i].box[k];
        }
        const bool inside = edt_warp_box(&cases[i].warp, 480, 640, box);
        cr_assert_eq(inside, i < 6, "case %d", (int)i);
        for (int k = 0; k < 4; ++k) {
            cr_assert_float_eq(box[k], cases[i].want[k], 5e-8, "case %d: %.9g", (int)i,
                               (double)box[k]);
        }
    }
}

Test(box_warp, a_rotation_turns_pixels_and_boxes_the_same_way, .timeout = 10)
{
    // A box around one pixel far from the centre contains that pixel after the turn.
    const edt_warp warp = {EDT_WARP_ROTATE, 40};
    const float h = 200, w = 300;
    float a[3], b[3];
    edt_warp_map(&warp, 200, 300, a, b);
    const float x = 150 + 60, y = 100 - 30; // where the pixel comes to lie
    const float from_x = a[0] * x + a[1] * y + a[2], from_y = b[0] * x + b[1] * y + b[2];
    float box[4] = {(from_y - 4) / h, (from_x - 4) / w, (from_y + 4) / h, (from_x + 4) / w};
    cr_assert(edt_warp_box(&warp, 200, 300, box));
    cr_assert(box[0] * h <= y && y <= box[2] * h, "%g in %g..%g", (double)y,
              (double)(box[0] * h), (double)(box[2] * h));
    cr_assert(box[1] * w <= x && x <= box[3] * w);
    cr_assert_lt((box[2] - box[0]) * h, 16);
}

Test(box_warp, any_number_of_a_record_gives_a_box_inside, .timeout = 10)
{
    const float odd[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, -1.5f, 0, 0.5f, 1, 2};
    const int n = sizeof odd / sizeof odd[0];
    for (int i = 0; i < n * n * n * n; ++i) {
        for (int kind = EDT_WARP_TRANSLATE_X; kind <= EDT_WARP_ROTATE; ++kind) {
            const edt_warp warp = {(edt_warp_kind)kind, -7.5};
            float box[4] = {odd[i % n], odd[i / n % n], odd[i / n / n % n], odd[i / n / n / n]};
            (void)edt_warp_box(&warp, 5, 3, box);
            for (int k = 0; k < 4; ++k) {
                cr_assert(isnan(box[k]) || (box[k] >= 0 && box[k] <= 1));
            }
        }
    }
    cr_assert_eq(edt_trunc_f32(NAN), 0);
    cr_assert_eq(edt_trunc_f32(-1.9f), -1);
    cr_assert_eq(edt_trunc_f32(INFINITY), 1073741824);
}
