// Orientation tags found in whole, foreign and damaged files, and pictures turned by each.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "dataio/image_decode.h"
#include "dataio/image_exif.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_records.h"

Test(image_exif, each_orientation_turns_as_the_standard_says, .timeout = 10)
{
    // abc over def, as stored.
    static const struct {
        int h, w;
        const char *pixels;
    } upright[9] = {{0, 0, ""},       {2, 3, "abcdef"}, {2, 3, "cbafed"},
                    {2, 3, "fedcba"}, {2, 3, "defabc"}, {3, 2, "adbecf"},
                    {3, 2, "daebfc"}, {3, 2, "fcebda"}, {3, 2, "cfbead"}};
    uint8_t stored[2][12];
    for (int i = 0; i < 6; ++i) {
        for (int c = 0; c < 3; ++c) {
            stored[i / 3][i % 3 * 3 + c] = (uint8_t)("abcdef"[i] + 10 * c);
        }
    }
    const edt_image from = {.data = stored[0], .h = 2, .w = 3, .stride = 12};
    for (int o = 1; o <= 8; ++o) {
        uint8_t got[18];
        const edt_image to = {
            .data = got, .h = upright[o].h, .w = upright[o].w, .stride = 3 * upright[o].w};
        cr_assert_eq(edt_exif_swaps_sides(o), to.h == 3);
        edt_exif_turn(&from, o, &to);
        for (int i = 0; i < 18; ++i) {
            cr_assert_eq(got[i], upright[o].pixels[i / 3] + 10 * (i % 3), "orientation %d", o);
        }
    }
}

Test(image_exif, large_pictures_are_turned_tile_by_tile, .timeout = 10)
{
    enum { H = 71, W = 100 };
    static uint8_t a[H * W * 3], b[H * W * 3], c[H * W * 3];
    // What undoes each orientation.
    static const int inverse[9] = {0, 1, 2, 3, 4, 5, 8, 7, 6};
    for (size_t i = 0; i < sizeof a; ++i) {
        a[i] = (uint8_t)(i * 2654435761u >> 11);
    }
    const edt_image from = {.data = a, .h = H, .w = W, .stride = 3 * W};
    const edt_image back = {.data = c, .h = H, .w = W, .stride = 3 * W};
    for (int o = 1; o <= 8; ++o) {
        const bool swaps = edt_exif_swaps_sides(o);
        const edt_image to = {
            .data = b, .h = swaps ? W : H, .w = swaps ? H : W, .stride = 3 * (swaps ? H : W)};
        edt_exif_turn(&from, o, &to);
        cr_assert_eq(memcmp(a, b, sizeof a) == 0, o == 1);
        edt_exif_turn(&to, inverse[o], &back);
        cr_assert_eq(memcmp(a, c, sizeof a), 0, "orientation %d", o);
    }
}

// A JPEG's beginning with an orientation in an EXIF segment behind another APP1.
static size_t make_header(bool big_endian, int type, unsigned value, uint8_t *out)
{
    static const uint8_t before[] = {0xff, 0xd8, 0xff, 0xe1, 0,   6,   'h', 't', 't', 'p', 0xff,
                                     0xff, 0xe1, 0,    46,   'E', 'x', 'i', 'f', 0,   0};
    uint8_t t[38] = {0};
    memcpy(t, big_endian ? "MM\0*\0\0\0\x08\0\x02" : "II*\0\x08\0\0\0\x02\0", 10);
    uint8_t *entry = t + 22; // the second one
    const unsigned words[] = {0x0112, (unsigned)type};
    for (int i = 0; i < 2; ++i) {
        entry[2 * i + !big_endian] = (uint8_t)(words[i] >> 8);
        entry[2 * i + big_endian] = (uint8_t)words[i];
    }
    entry[big_endian ? 7 : 4] = 1;
    const int n = type == 3 ? 2 : 4;
    for (int i = 0; i < n; ++i) {
        entry[8 + (big_endian ? n - 1 - i : i)] = (uint8_t)(value >> (8 * i));
    }
    memcpy(out, before, sizeof before);
    memcpy(out + sizeof before, t, sizeof t);
    memcpy(out + sizeof before + sizeof t, "\xff\xda\0\x02", 4);
    return sizeof before + sizeof t + 4;
}

Test(image_exif, tags_are_read_in_both_byte_orders_and_never_past_the_end, .timeout = 10)
{
    for (int i = 0; i < 40; ++i) {
        uint8_t bytes[80];
        const unsigned value = (unsigned)(i / 4);
        const size_t n = make_header(i % 2 == 1, i % 4 < 2 ? 3 : 4, value, bytes);
        const int want = value >= 1 && value <= 8 ? (int)value : 1;
        cr_assert_eq(edt_exif_orientation((edt_span){bytes, n}), want, "case %d", i);
        for (size_t cut = 0; cut <= n; ++cut) { // sanitizers look on
            uint8_t *copy = malloc(cut + 1);
            memcpy(copy, bytes, cut);
            const int got = edt_exif_orientation((edt_span){copy, cut});
            cr_assert(got == 1 || got == want);
            free(copy);
        }
        // Another type of number, and a directory that lies outside.
        (void)make_header(i % 2 == 1, 5, value, bytes);
        cr_assert_eq(edt_exif_orientation((edt_span){bytes, n}), 1);
        (void)make_header(i % 2 == 1, 3, value, bytes);
        bytes[21 + (i % 2 == 1 ? 6 : 5)] = 0xff;
        cr_assert_eq(edt_exif_orientation((edt_span){bytes, n}), 1);
    }
}

static double mean_difference(const edt_image *a, const edt_image *b)
{
    double sum = 0;
    for (int64_t i = 0; i < a->h * a->stride; ++i) {
        sum += abs(a->data[i] - b->data[i]);
    }
    return sum / (double)(a->h * a->stride);
}

static edt_image decode(edt_image_decoder *decoder, const char *name, edt_span *out_bytes)
{
    edt_image image;
    edt_error err = {0};
    int64_t h, w;
    *out_bytes = edt_test_read_file(edt_test_path(edt_test_data_dir(), "jpeg-corpus/%s", name));
    cr_assert_eq(edt_image_open(decoder, *out_bytes, &err, &h, &w), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_image_decode(decoder, 0, &err, &image), EDT_OK, "%s", err.text);
    cr_assert(image.h == h && image.w == w);
    return image;
}

// Each file holds the same portrait, turned, and encoded anew: it is not bit for bit the
// upright file, but any other orientation is tens of levels away.
Test(image_exif, the_corpus_shows_one_upright_picture, .timeout = 30)
{
    EDT_TEST_NEEDS_DIR(edt_test_data_dir());
    const edt_image_decoder_options options = {.exif_rotate = true};
    edt_image_decoder *decoders[9], *plain;
    edt_image turned[9];
    edt_span bytes[10];
    cr_assert_eq(edt_image_decoder_create(NULL, NULL, &plain), EDT_OK);
    for (int o = 1; o <= 8; ++o) {
        char name[64] = "hopper.jpg";
        if (o > 1) {
            (void)snprintf(name, sizeof name, "exif_orientation_%d.jpg", o);
        }
        cr_assert_eq(edt_image_decoder_create(&options, NULL, &decoders[o]), EDT_OK);
        turned[o] = decode(decoders[o], name, &bytes[o]);
        const edt_image stored = decode(plain, name, &bytes[0]);
        edt_mem_free((void *)(uintptr_t)bytes[0].data);
        cr_expect_lt(mean_difference(&turned[1], &turned[o]), 6.0, "%s", name);
        cr_expect(o == 1 || mean_difference(&turned[1], &stored) > 40.0, "%s", name);
    }
    // These pairs are lossless turns of each other; what is left is the fast DCT, whose
    // rounding is not symmetric.
    static const int pairs[][2] = {{2, 3}, {5, 6}, {7, 8}};
    for (int i = 0; i < 3; ++i) {
        const edt_image *a = &turned[pairs[i][0]], *b = &turned[pairs[i][1]];
        cr_expect_lt(mean_difference(a, b), 0.2, "pair %d", i);
    }
    const edt_image portrait =
        decode(decoders[1], "exif_orientation_6_nonsquare.jpg", &bytes[9]);
    cr_assert(portrait.h == 308 && portrait.w == 231);
    for (int o = 1; o <= 8; ++o) {
        edt_mem_free((void *)(uintptr_t)bytes[o].data);
        edt_image_decoder_destroy(decoders[o]);
    }
    edt_mem_free((void *)(uintptr_t)bytes[9].data);
    edt_image_decoder_destroy(plain);
}
