// Classes of pixels as colours over a picture of another size.
#include "eval/draw_pixels.h"

#include <criterion/criterion.h>
#include <string.h>

#include "dataio/draw.h"

Test(draw_pixels, a_pixel_gets_the_colour_of_its_place_and_background_stays, .timeout = 10)
{
    // A canvas of 8x8 with masks of 2x2; the picture of 16x12 pixels (WxH) covers its upper
    // part.
    const edt_model model = {
        .image_h = 8, .image_w = 8, .mask_h = 2, .mask_w = 2, .mask_classes = 3};
    const float logits[2 * 2 * 3] = {0, 1, 2, 5, 1, 2, 3, 4, 3, 0, -1, -2};
    static uint8_t pixels[12 * 16 * 3];
    memset(pixels, 100, sizeof pixels);
    const edt_image image = {.data = pixels, .h = 12, .w = 16, .stride = 48};
    edt_error err = {0};
    cr_assert_eq(edt_draw_pixels(&model, logits, 2, &image, &err), EDT_OK, "%s", err.text);
    for (int y = 0; y < 12; ++y) {
        for (int x = 0; x < 16; ++x) {
            const int class_id = x >= 8 ? 0 : y < 8 ? 2 : 1;
            uint8_t rgb[3];
            edt_draw_class_color(class_id, rgb);
            for (int c = 0; c < 3; ++c) {
                const int want = class_id == 0 ? 100 : (100 + rgb[c] + 1) / 2;
                cr_assert_eq(pixels[(y * 16 + x) * 3 + c], want, "%d,%d", y, x);
            }
        }
    }
}
