#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "dataio/draw.h"
#include "dataio/jpeg_decode.h"
#include "dataio/jpeg_encode.h"
#include "tests/support/test_dirs.h"

enum { H = 120, W = 160 };
static uint8_t pixels[H * W * 3];

static edt_image blank(void)
{
    memset(pixels, 10, sizeof pixels);
    return (edt_image){.data = pixels, .h = H, .w = W, .stride = 3 * W};
}

static bool has_color(int64_t y, int64_t x, const uint8_t *rgb)
{
    return memcmp(pixels + (y * W + x) * 3, rgb, 3) == 0;
}

Test(draw, the_palette_repeats_after_126_classes, .timeout = 10)
{
    static const uint8_t alice_blue[3] = {0xf0, 0xf8, 0xff},
                         yellow_green[3] = {0x9a, 0xcd, 0x32};
    static const uint8_t purple[3] = {128, 0, 128};
    uint8_t rgb[3];
    edt_draw_class_color(126, rgb);
    cr_assert_eq(memcmp(rgb, alice_blue, 3), 0);
    edt_draw_class_color(-1, rgb);
    cr_assert_eq(memcmp(rgb, yellow_green, 3), 0);
    edt_draw_class_color(97, rgb);
    cr_assert_eq(memcmp(rgb, purple, 3), 0);
}

Test(draw, a_box_is_an_outline_with_a_label_above_it, .timeout = 30)
{
    edt_image image = blank();
    const edt_draw_box box = {
        .box = {60, 30, 100, 90}, .class_id = 1, .text = "caf\xc3\xa9 \xff\x01"};
    uint8_t rgb[3];
    const uint8_t background[3] = {10, 10, 10};
    edt_draw_class_color(1, rgb);
    cr_assert_eq(edt_draw_boxes(&image, &box, 1, NULL, NULL), EDT_OK);
    for (int64_t x = 30; x < 90; ++x) {
        cr_assert(has_color(60, x, rgb) && has_color(99, x, rgb));
    }
    for (int64_t y = 60; y < 100; ++y) {
        cr_assert(has_color(y, 30, rgb) && has_color(y, 89, rgb));
    }
    cr_assert(has_color(80, 60, background));
    cr_assert(has_color(59, 31, rgb), "the label stands on the box");
    cr_assert(has_color(20, 31, background));
}

Test(draw, boxes_anywhere_and_nowhere_are_harmless, .timeout = 30)
{
    edt_image image = blank();
    const edt_draw_box boxes[] = {
        {.box = {-50, -50, 500, 500}, .class_id = 7, .text = "outside"},
        {.box = {NAN, 0, INFINITY, 5}, .class_id = 7, .text = "not a box"},
        {.box = {5, 5, 5, 5}, .class_id = 900, .text = ""},
        {.box = {1, 150, 20, 159},
         .class_id = 3,
         .text = "a very long label at the right border"},
        {.box = {1, 150, 20, 159}, .class_id = 4, .text = "stacked"},
    };
    cr_assert_eq(edt_draw_boxes(&image, boxes, 5, &(edt_draw_options){.max_boxes = 3}, NULL),
                 EDT_OK);
    cr_assert_eq(edt_draw_boxes(&image, NULL, 0, NULL, NULL), EDT_OK);
}

Test(draw, an_encoded_picture_decodes_to_nearly_the_same, .timeout = 30)
{
    edt_image image = blank();
    for (int64_t i = 0; i < H * W; ++i) {
        pixels[3 * i] = (uint8_t)(i % W);
        pixels[3 * i + 1] = (uint8_t)(i / W);
        pixels[3 * i + 2] = 128;
    }
    const char *path = edt_test_path(edt_test_temp_dir(), "a.jpg");
    const edt_jpeg_encode_options options = {.quality = 98, .full_chroma = true};
    cr_assert_eq(edt_jpeg_write(path, &image, &options, NULL), EDT_OK);
    cr_assert(edt_test_exists(path));
    uint8_t *data;
    size_t n_bytes;
    cr_assert_eq(edt_jpeg_encode(&image, &options, NULL, &data, &n_bytes), EDT_OK);
    edt_jpeg_decoder *decoder = NULL;
    cr_assert_eq(edt_jpeg_decoder_create(NULL, &decoder), EDT_OK);
    int64_t h, w;
    edt_image back;
    const edt_span span = {.data = data, .n_bytes = n_bytes};
    cr_assert_eq(edt_jpeg_open(decoder, span, NULL, &h, &w), EDT_OK);
    cr_assert_eq(edt_jpeg_decode(decoder, 0, NULL, &back), EDT_OK);
    cr_assert(h == H && w == W);
    for (int64_t i = 0; i < H * W * 3; ++i) {
        cr_assert_leq(abs(back.data[i] - pixels[i]), 6);
    }
    edt_jpeg_decoder_destroy(decoder);
    edt_mem_free(data);
    edt_error err = {0};
    cr_assert_eq(edt_jpeg_write("/nonexistent/a.jpg", &image, NULL, &err), EDT_ERR_NOT_FOUND,
                 "%s", err.text);
}
