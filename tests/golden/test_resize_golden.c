// Bilinear resize against the reference, bit for bit, whole and window by window.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "augment/resize.h"
#include "core/mem.h"
#include "tests/support/golden_file.h"
#include "tests/support/test_dirs.h"

static golden_file *open_golden(void)
{
    return golden_open(edt_test_path(edt_test_golden_dir(), "data/resize.safetensors"));
}

Test(resize_golden, every_case_bit_for_bit, .timeout = 30)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    golden_file *file = open_golden();
    edt_resizer *resizer = NULL;
    cr_assert_eq(edt_resizer_create(NULL, &resizer), EDT_OK);
    int n_cases = 0;
    for (int i = 0; i < golden_count(file); ++i) {
        const golden_tensor *want = golden_at(file, i);
        char source_name[32];
        if (sscanf(want->name, "%31[a-z]_to_", source_name) != 1 ||
            strstr(want->name, "_to_") == NULL) {
            continue;
        }
        const golden_tensor *source = golden_find(file, source_name);
        cr_assert_not_null(source, "%s", want->name);
        const int64_t h = want->shape.dim[0], w = want->shape.dim[1];
        float *got = edt_mem_calloc(EDT_MEM_MISC, (size_t)(h * w * 3), sizeof(float));
        cr_assert_eq(edt_resize_plain_f32(resizer, source->data, source->shape.dim[0],
                                          source->shape.dim[1], h, w, NULL, got),
                     EDT_OK);
        cr_assert_eq(memcmp(got, want->data, (size_t)(h * w * 3) * sizeof(float)), 0, "%s",
                     want->name);
        edt_mem_free(got);
        ++n_cases;
    }
    cr_assert_geq(n_cases, 14);
    edt_resizer_destroy(resizer);
    golden_close(file);
}

// A random picture of h x w.
static edt_image make_image(int64_t h, int64_t w, uint8_t *pixels)
{
    uint32_t state = 12345;
    for (int64_t i = 0; i < h * w * 3; ++i) {
        state = state * 1664525u + 1013904223u;
        pixels[i] = (uint8_t)(state >> 24);
    }
    return (edt_image){.data = pixels, .h = h, .w = w, .stride = 3 * w};
}

Test(resize_golden, a_window_equals_the_part_of_the_whole, .timeout = 30)
{
    enum { H = 37, W = 53, SH = 61, SW = 90, OH = 32, OW = 48 };
    static uint8_t pixels[H * W * 3], whole[SH * SW * 3], part[OH * OW * 3];
    const edt_image image = make_image(H, W, pixels);
    edt_resizer *resizer = NULL;
    cr_assert_eq(edt_resizer_create(NULL, &resizer), EDT_OK);
    for (int flip = 0; flip < 2; ++flip) {
        const edt_scale_params all = {.out_h = SH, .out_w = SW, .scaled_h = SH, .scaled_w = SW};
        cr_assert_eq(edt_resize_u8(resizer, &image, &all, flip, NULL, whole), EDT_OK);
        for (int64_t oy = 0; oy < SH; oy += 11) {
            for (int64_t ox = 0; ox < SW; ox += 13) {
                const edt_scale_params p = {.out_h = OH,
                                            .out_w = OW,
                                            .scaled_h = SH,
                                            .scaled_w = SW,
                                            .offset_y = oy,
                                            .offset_x = ox};
                memset(part, 7, sizeof part);
                cr_assert_eq(edt_resize_u8(resizer, &image, &p, flip, NULL, part), EDT_OK);
                for (int64_t i = 0; i < OH * OW * 3; ++i) {
                    const int64_t y = i / (OW * 3) + oy, x = i % (OW * 3) / 3 + ox;
                    const uint8_t want = y < SH && x < SW ? whole[(y * SW + x) * 3 + i % 3] : 0;
                    cr_assert_eq(part[i], want);
                }
                cr_assert_leq(edt_resize_rows_needed(&p, H), H);
            }
        }
    }
    edt_resizer_destroy(resizer);
}

Test(resize_golden, flip_equals_mirrored_pixels_bit_for_bit, .timeout = 30)
{
    enum { H = 19, W = 31, OH = 40, OW = 40 };
    static uint8_t pixels[H * W * 3], mirrored[H * W * 3];
    static float a[OH * OW * 3], b[OH * OW * 3];
    const edt_image image = make_image(H, W, pixels);
    const edt_image mirror = {.data = mirrored, .h = H, .w = W, .stride = 3 * W};
    for (int64_t i = 0; i < H * W; ++i) {
        memcpy(mirrored + 3 * i, pixels + 3 * (i / W * W + W - 1 - i % W), 3);
    }
    edt_hparams hp;
    cr_assert_eq(edt_hparams_init(&hp, NULL), EDT_OK);
    edt_normalize normalize;
    cr_assert_eq(edt_normalize_init(&hp, NULL, &normalize), EDT_OK);
    edt_resizer *resizer = NULL;
    cr_assert_eq(edt_resizer_create(NULL, &resizer), EDT_OK);
    static const int64_t widths[] = {17, 31, 40, 77};
    for (int i = 0; i < 4; ++i) {
        const edt_scale_params p = {
            .out_h = OH, .out_w = OW, .scaled_h = 23, .scaled_w = widths[i], .offset_x = i};
        cr_assert_eq(edt_resize_f32(resizer, &image, &p, true, &normalize, NULL, a), EDT_OK);
        cr_assert_eq(edt_resize_f32(resizer, &mirror, &p, false, &normalize, NULL, b), EDT_OK);
        cr_assert_eq(memcmp(a, b, sizeof a), 0, "width %d", (int)widths[i]);
    }
    edt_resizer_destroy(resizer);
    edt_hparams_deinit(&hp);
}
