// Masks as PNG files: what is written reads back through libpng, sizes at the edges of the
// format's codes included; other PNG files of gray, and refusals.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "dataio/png_mask.h"

static edt_arena arena;

static void setup(void)
{
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
}

static void teardown(void)
{
    edt_arena_deinit(&arena);
}

TestSuite(png_mask, .init = setup, .fini = teardown, .timeout = 60);

static edt_span round_trip(const uint8_t *pixels, int64_t h, int64_t w)
{
    edt_error err = {0};
    edt_rle rle;
    edt_span png;
    int64_t got_h, got_w;
    const uint8_t *got;
    cr_assert_eq(edt_rle_from_pixels(pixels, h, w, &arena, &err, &rle), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_png_mask_encode(&rle, &arena, &err, &png), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_png_mask_decode(png, &arena, &err, &got_h, &got_w, &got), EDT_OK,
                 "%lld x %lld: %s", (long long)h, (long long)w, err.text);
    cr_assert_eq(got_h, h);
    cr_assert_eq(got_w, w);
    cr_assert_eq(memcmp(got, pixels, (size_t)(h * w)), 0);
    return png;
}

Test(png_mask, runs_of_every_length_read_back)
{
    static uint8_t pixels[1200];
    // One row of `length` ones between zeros: all symbols for lengths, and several copies.
    for (int length = 0; length <= 600; ++length) {
        memset(pixels, 0, sizeof pixels);
        memset(pixels + 3, 1, (size_t)length);
        (void)round_trip(pixels, 1, 1200);
        (void)round_trip(pixels, 1200, 1);
    }
}

Test(png_mask, random_and_full_masks_read_back)
{
    static uint8_t pixels[97 * 131];
    uint64_t state = 1;
    for (int density = 0; density <= 100; density += 10) {
        for (size_t i = 0; i < sizeof pixels; ++i) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            pixels[i] = (int)((state >> 33) % 100) < density;
        }
        (void)round_trip(pixels, 97, 131);
        (void)round_trip(pixels, 131, 97);
        (void)round_trip(pixels, 1, 1);
    }
}

Test(png_mask, a_picture_of_nothing_takes_few_bytes)
{
    static uint8_t pixels[480 * 640];
    cr_assert_lt(round_trip(pixels, 480, 640).n_bytes, 600);
    memset(pixels, 1, sizeof pixels);
    cr_assert_lt(round_trip(pixels, 480, 640).n_bytes, 4000);
}

Test(png_mask, what_is_no_mask_is_refused)
{
    static const uint8_t pixels[4] = {1, 0, 0, 1};
    const edt_span png = round_trip(pixels, 2, 2);
    int64_t h, w;
    const uint8_t *got;
    for (size_t n = 0; n < png.n_bytes - 12; ++n) {
        edt_error err = {0};
        cr_assert_eq(edt_png_mask_decode((edt_span){png.data, n}, &arena, &err, &h, &w, &got),
                     EDT_ERR_FORMAT);
        cr_assert_neq(err.text[0], '\0');
    }
    uint8_t *damaged = edt_arena_alloc(&arena, png.n_bytes);
    memcpy(damaged, png.data, png.n_bytes);
    damaged[50] ^= 0x10;
    cr_assert_eq(
        edt_png_mask_decode((edt_span){damaged, png.n_bytes}, &arena, NULL, &h, &w, &got),
        EDT_ERR_FORMAT);
}
