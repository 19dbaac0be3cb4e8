// Pictures made smaller and encoded anew: sizes, averages, unchanged bytes where nothing is
// asked for, and what cannot be decoded.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "dataio/jpeg_decode.h"
#include "dataio/jpeg_encode.h"
#include "dataio/reencode.h"

enum { H = 90, W = 200 };
static uint8_t pixels[H * W * 3];

// A picture of two halves, dark on the left, with a smooth slope from top to bottom.
static edt_span make_jpeg(void)
{
    for (int y = 0; y < H; ++y) {
        for (int x = 0; x < W; ++x) {
            for (int c = 0; c < 3; ++c) {
                pixels[(y * W + x) * 3 + c] = (uint8_t)(x < W / 2 ? 20 : 120 + y);
            }
        }
    }
    const edt_image image = {.data = pixels, .h = H, .w = W, .stride = 3 * W};
    const edt_jpeg_encode_options options = {.quality = 98, .full_chroma = true};
    uint8_t *data;
    size_t n;
    cr_assert_eq(edt_jpeg_encode(&image, &options, NULL, &data, &n), EDT_OK);
    return (edt_span){data, n};
}

static edt_image decode(edt_jpeg_decoder *decoder, edt_span bytes)
{
    edt_error err = {0};
    int64_t h, w;
    edt_image image;
    cr_assert_eq(edt_jpeg_open(decoder, bytes, &err, &h, &w), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_jpeg_decode(decoder, 0, &err, &image), EDT_OK, "%s", err.text);
    return image;
}

Test(reencode, pictures_become_smaller_by_averaging, .timeout = 30)
{
    static const struct {
        int64_t max_side, h, w;
    } cases[] = {{100, 45, 100}, {70, 32, 70}, {199, 90, 199}, {1, 1, 1}, {200, 90, 200}};
    edt_reencoder *reencoder;
    edt_jpeg_decoder *decoder;
    cr_assert_eq(edt_reencoder_create(NULL, &reencoder), EDT_OK);
    cr_assert_eq(edt_jpeg_decoder_create(NULL, &decoder), EDT_OK);
    const edt_span jpeg = make_jpeg();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
        const edt_reencode_options options = {.max_side = cases[i].max_side};
        edt_reencoded got;
        edt_error err = {0};
        cr_assert_eq(edt_reencoder_run(reencoder, jpeg, H, W, &options, &err, &got), EDT_OK,
                     "%s", err.text);
        cr_assert_eq(got.is_new, cases[i].max_side < W);
        cr_assert_eq(got.bytes.data == jpeg.data, !got.is_new);
        cr_assert_eq(got.height, cases[i].h);
        cr_assert_eq(got.width, cases[i].w);
        const edt_image image = decode(decoder, got.bytes);
        cr_assert(image.h == got.height && image.w == got.width);
        if (image.h < 30) {
            // The mean of all: (20 + 120 + 44.5) / 2.
            cr_assert_leq(abs(image.data[0] - 92), 2);
            continue;
        }
        for (int64_t y = 0; y < image.h; ++y) {
            const uint8_t *row = image.data + y * image.stride;
            const int want = 120 + (int)(((double)y + 0.5) * H / (double)image.h - 0.5);
            cr_assert_leq(abs(row[3 * (image.w / 4)] - 20), 4);
            cr_assert_leq(abs(row[3 * (image.w * 3 / 4)] - want), 4, "row %lld: %d, want %d",
                          (long long)y, row[3 * (image.w * 3 / 4)], want);
        }
    }
    edt_mem_free((void *)(uintptr_t)jpeg.data);
    edt_jpeg_decoder_destroy(decoder);
    edt_reencoder_destroy(reencoder);
}

Test(reencode, quality_and_chroma_are_what_was_asked_for, .timeout = 30)
{
    edt_reencoder *reencoder;
    edt_reencoded got;
    cr_assert_eq(edt_reencoder_create(NULL, &reencoder), EDT_OK);
    const edt_span jpeg = make_jpeg();
    size_t sizes[2];
    for (int i = 0; i < 2; ++i) {
        edt_reencode_options options = {0};
        cr_assert_eq(edt_reencode_parse(i == 0 ? "30,420" : "95", NULL, &options), EDT_OK);
        cr_assert_eq(edt_reencoder_run(reencoder, jpeg, H, W, &options, NULL, &got), EDT_OK);
        cr_assert(got.is_new && got.height == H && got.width == W);
        sizes[i] = got.bytes.n_bytes;
        // The frame header's sampling factors of the first component.
        const uint8_t *sof = memmem(got.bytes.data, got.bytes.n_bytes, "\xFF\xC0", 2);
        cr_assert_not_null(sof);
        cr_assert_eq(sof[11], i == 0 ? 0x22 : 0x11);
    }
    cr_assert_lt(sizes[0], sizes[1]);
    edt_mem_free((void *)(uintptr_t)jpeg.data);
    edt_reencoder_destroy(reencoder);
}

Test(reencode, damage_is_found_only_where_pixels_are_asked_for, .timeout = 30)
{
    static const edt_reencode_options options[] = {
        {0}, {.verify = true}, {.quality = 90}, {.max_side = 20}};
    edt_reencoder *reencoder;
    cr_assert_eq(edt_reencoder_create(NULL, &reencoder), EDT_OK);
    edt_span jpeg = make_jpeg();
    uint8_t *bytes = edt_mem_alloc(EDT_MEM_IMAGE, jpeg.n_bytes);
    memcpy(bytes, jpeg.data, jpeg.n_bytes);
    edt_mem_free((void *)(uintptr_t)jpeg.data);
    jpeg.data = bytes;
    jpeg.n_bytes /= 2;
    for (size_t i = 0; i < 4; ++i) {
        edt_error err = {0};
        edt_reencoded got;
        cr_assert_eq(edt_reencoder_run(reencoder, jpeg, H, W, &options[i], &err, &got),
                     i == 0 ? EDT_OK : EDT_ERR_FORMAT);
        cr_assert_eq(edt_reencode_is_idle(&options[i]), i == 0);
    }
    edt_mem_free(bytes);
    edt_reencoder_destroy(reencoder);
}

// 5 x 3 pixels, left half red and right half blue: another format becomes a JPEG, and is left
// alone where nothing is asked for.
Test(reencode, other_formats_become_jpegs, .timeout = 30)
{
    uint8_t bmp[54 + 3 * 16] = {'B', 'M', [10] = 54, [14] = 40, [18] = 5, [22] = 3, [28] = 24};
    for (int i = 0; i < 15; ++i) {
        bmp[54 + i / 5 * 16 + i % 5 * 3 + (i % 5 < 3 ? 2 : 0)] = 200; // B,G,R
    }
    edt_reencoder *reencoder;
    edt_jpeg_decoder *decoder;
    edt_reencoded got;
    edt_error err = {0};
    const edt_span span = {bmp, sizeof bmp};
    cr_assert_eq(edt_reencoder_create(NULL, &reencoder), EDT_OK);
    cr_assert_eq(edt_jpeg_decoder_create(NULL, &decoder), EDT_OK);
    const edt_reencode_options verify = {.verify = true}, encode = {.quality = 98};
    cr_assert_eq(edt_reencoder_run(reencoder, span, 3, 5, &verify, &err, &got), EDT_OK, "%s",
                 err.text);
    cr_assert(!got.is_new && got.bytes.data == bmp);
    cr_assert_eq(edt_reencoder_run(reencoder, span, 3, 5, &encode, &err, &got), EDT_OK, "%s",
                 err.text);
    cr_assert(got.is_new && got.height == 3 && got.width == 5);
    const edt_image image = decode(decoder, got.bytes);
    cr_assert(image.h == 3 && image.w == 5);
    cr_assert(image.data[0] > 150 && image.data[2] < 50 && image.data[14] > 150);
    // A size that is not the picture's.
    cr_assert_eq(edt_reencoder_run(reencoder, span, 3, 6, &encode, &err, &got), EDT_ERR_FORMAT);
    edt_jpeg_decoder_destroy(decoder);
    edt_reencoder_destroy(reencoder);
}

Test(reencode, options_are_parsed_strictly, .timeout = 30)
{
    static const char *const bad[] = {"0", "101", "90,", "90,421", "x", "90 ", "-5", ",420"};
    edt_reencode_options options = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; ++i) {
        cr_assert_eq(edt_reencode_parse(bad[i], NULL, &options), EDT_ERR_USAGE, "%s", bad[i]);
    }
    cr_assert_eq(edt_reencode_parse("", NULL, &options), EDT_OK);
    cr_assert_eq(edt_reencode_parse("100,420", NULL, &options), EDT_OK);
    cr_assert(options.quality == 100 && options.half_chroma);
}
