#include <criterion/criterion.h>
#include <math.h>

#include "augment/boxes.h"

static const edt_scale_params half = {
    .out_h = 64, .out_w = 96, .scaled_h = 100, .scaled_w = 200, .offset_y = 10, .offset_x = 20};

Test(boxes, flip_twice_is_the_box_again, .timeout = 10)
{
    float boxes[8] = {0.25f, 0.125f, 0.5f, 0.75f, 0, 0, 1, 1};
    edt_boxes_flip(boxes, 2);
    cr_assert_eq(boxes[1], 0.25f);
    cr_assert_eq(boxes[3], 0.875f);
    edt_boxes_flip(boxes, 2);
    cr_assert_eq(boxes[1], 0.125f);
    cr_assert(boxes[5] == 0 && boxes[7] == 1);
}

Test(boxes, scaled_moved_clipped_to_the_last_pixel, .timeout = 10)
{
    float boxes[8] = {0.25f, 0.25f, 0.5f, 0.5f, 0, 0, 1, 1};
    int64_t kept[2];
    cr_assert_eq(edt_boxes_to_network(&half, boxes, 2, false, boxes, kept), 2);
    const float want[8] = {15, 30, 40, 80, 0, 0, 63, 95};
    for (int i = 0; i < 8; ++i) {
        cr_assert_eq(boxes[i], want[i]);
    }
}

Test(boxes, the_filter_and_the_reference_differ_on_broken_boxes, .timeout = 10)
{
    const float boxes[5 * 4] = {
        0.9f, 0.1f, 1.0f, 0.2f, // below the canvas: no height left
        0.5f, 0.2f, 0.3f, 0.4f, // upside down: negative area
        0.5f, 0.4f, 0.3f, 0.2f, // both axes inverted: positive area
        0.3f, NAN,  0.5f, 0.4f, // not a number
        0.3f, 0.2f, 0.5f, 0.4f, // sound
    };
    float out[5 * 4];
    int64_t kept[5];
    cr_assert_eq(edt_boxes_to_network(&half, boxes, 5, false, out, kept), 1);
    cr_assert_eq(kept[0], 4);
    cr_assert_eq(edt_boxes_to_network(&half, boxes, 5, true, out, kept), 4);
    cr_assert(kept[0] == 1 && kept[1] == 2 && kept[2] == 3 && kept[3] == 4);
}
