// Resizing as a stream: bands of any size, rows left out, all instruction sets and canvases
// written past the caches give the same bytes.
#include <criterion/criterion.h>
#include <string.h>

#include "augment/resize_kernels.h"
#include "core/mem.h"

enum { MAX_SIDE = 96, OUT_H = 48, OUT_W = 40 };

static edt_normalize make_normalize(bool scale_range)
{
    edt_normalize n = {.mean = {123.675f, 116.28f, 103.53f},
                       .stddev = {58.395f, 57.12f, 57.375f},
                       .scale_range = scale_range};
    for (int c = 0; c < 3; ++c) {
        for (int x = 0; x < 256; ++x) {
            n.level[c][x] = ((float)x - n.mean[c]) / n.stddev[c];
        }
    }
    return n;
}

// A picture whose rows are further apart than they are wide; the bytes between are not part of
// it.
static edt_image make_image(int64_t h, int64_t w)
{
    static uint8_t pixels[MAX_SIDE * (MAX_SIDE * 3 + 5)];
    uint32_t state = 77;
    for (size_t i = 0; i < sizeof pixels; ++i) {
        state = state * 1664525u + 1013904223u;
        pixels[i] = (uint8_t)(state >> 24);
    }
    return (edt_image){.data = pixels, .h = h, .w = w, .stride = 3 * w + 5};
}

// Hands the picture over in bands of `band` rows, each from a buffer of its own size that is
// overwritten afterwards; rows that are not needed are left out at the end.
static edt_status stream(edt_resizer *resizer, const edt_image *image,
                         const edt_scale_params *params, bool flip,
                         const edt_normalize *normalize, int64_t band, void *out_canvas)
{
    EDT_TRY(edt_resize_begin(resizer, image->h, image->w, params, flip, normalize, out_canvas,
                             NULL));
    const int64_t n_rows = edt_resize_rows_needed(params, image->h);
    const size_t row_bytes = (size_t)image->w * 3;
    for (int64_t y = 0; y < n_rows; y += band) {
        const int64_t n = n_rows - y < band ? n_rows - y : band;
        uint8_t *copy = edt_mem_alloc(EDT_MEM_MISC, (size_t)n * row_bytes);
        for (int64_t i = 0; i < n; ++i) {
            memcpy(copy + (size_t)i * row_bytes, image->data + (y + i) * image->stride,
                   row_bytes);
        }
        const edt_image rows = {.data = copy, .h = n, .w = image->w, .stride = 3 * image->w};
        const edt_status status = edt_resize_rows(resizer, y, &rows, NULL);
        memset(copy, 0xa5, (size_t)n * row_bytes);
        edt_mem_free(copy);
        EDT_TRY(status);
    }
    return edt_resize_end(resizer, NULL);
}

static void compare_bands(edt_resizer *resizer, const edt_image *image,
                          const edt_scale_params *params, bool flip)
{
    static uint8_t whole_u8[OUT_H * OUT_W * 3], bands_u8[OUT_H * OUT_W * 3];
    static float whole_f32[OUT_H * OUT_W * 3], bands_f32[OUT_H * OUT_W * 3];
    static const int64_t bands[] = {1, 2, 7, 16, MAX_SIDE};
    const edt_normalize normalize = make_normalize(flip);
    cr_assert_eq(edt_resize_u8(resizer, image, params, flip, NULL, whole_u8), EDT_OK);
    cr_assert_eq(edt_resize_f32(resizer, image, params, flip, &normalize, NULL, whole_f32),
                 EDT_OK);
    for (size_t i = 0; i < sizeof bands / sizeof bands[0]; ++i) {
        memset(bands_u8, 9, sizeof bands_u8);
        memset(bands_f32, 9, sizeof bands_f32);
        cr_assert_eq(stream(resizer, image, params, flip, NULL, bands[i], bands_u8), EDT_OK);
        cr_assert_eq(stream(resizer, image, params, flip, &normalize, bands[i], bands_f32),
                     EDT_OK);
        cr_assert_eq(memcmp(whole_u8, bands_u8, sizeof whole_u8), 0,
                     "u8, %d x %d in bands of %d", (int)image->h, (int)image->w, (int)bands[i]);
        cr_assert_eq(memcmp(whole_f32, bands_f32, sizeof whole_f32), 0,
                     "f32, %d x %d in bands of %d", (int)image->h, (int)image->w,
                     (int)bands[i]);
    }
}

Test(resize, bands_of_any_size_give_the_bytes_of_the_whole_picture, .timeout = 60)
{
    static const int64_t sides[][2] = {{1, 1}, {1, 9}, {13, 1}, {2, 3}, {31, 47}, {96, 96}};
    static const int64_t scaled[][2] = {{1, 1},   {3, 2},   {31, 17},
                                        {48, 40}, {90, 61}, {200, 333}};
    edt_resizer *resizer = NULL;
    cr_assert_eq(edt_resizer_create(NULL, &resizer), EDT_OK);
    for (int i = 0; i < 6; ++i) {
        const edt_image image = make_image(sides[i][0], sides[i][1]);
        for (int k = 0; k < 6; ++k) {
            edt_scale_params p = {.out_h = OUT_H,
                                  .out_w = OUT_W,
                                  .scaled_h = scaled[k][0],
                                  .scaled_w = scaled[k][1]};
            compare_bands(resizer, &image, &p, k % 2 == 1);
            p.offset_y = p.scaled_h > OUT_H ? (p.scaled_h - OUT_H) / 2 : 0;
            p.offset_x = p.scaled_w > OUT_W ? p.scaled_w - OUT_W : 0;
            compare_bands(resizer, &image, &p, k % 2 == 0);
        }
    }
    edt_resizer_destroy(resizer);
}

Test(resize, rows_that_are_needed_and_missing_are_an_error, .timeout = 30)
{
    static uint8_t canvas[OUT_H * OUT_W * 3];
    const edt_scale_params p = {
        .out_h = OUT_H, .out_w = OUT_W, .scaled_h = 80, .scaled_w = 80, .offset_y = 40};
    const edt_image image = make_image(40, 40);
    edt_image rows = image;
    edt_resizer *resizer = NULL;
    cr_assert_eq(edt_resizer_create(NULL, &resizer), EDT_OK);
    cr_assert_eq(edt_resize_rows(resizer, 0, &image, NULL), EDT_ERR_INTERNAL, "before begin");

    // The window begins in source row 19: rows above it may be left out, that one may not.
    cr_assert_eq(edt_resize_begin(resizer, 40, 40, &p, false, NULL, canvas, NULL), EDT_OK);
    rows.data = image.data + 19 * image.stride;
    rows.h = 20;
    cr_assert_eq(edt_resize_rows(resizer, 19, &rows, NULL), EDT_OK);
    cr_assert_eq(edt_resize_end(resizer, NULL), EDT_ERR_INTERNAL, "the last row is missing");
    rows.data = image.data + 39 * image.stride;
    rows.h = 1;
    cr_assert_eq(edt_resize_rows(resizer, 39, &rows, NULL), EDT_OK);
    cr_assert_eq(edt_resize_end(resizer, NULL), EDT_OK);
    cr_assert_eq(edt_resize_end(resizer, NULL), EDT_ERR_INTERNAL, "twice");

    cr_assert_eq(edt_resize_begin(resizer, 40, 40, &p, false, NULL, canvas, NULL), EDT_OK);
    rows.data = image.data + 20 * image.stride;
    cr_assert_eq(edt_resize_rows(resizer, 20, &rows, NULL), EDT_ERR_INTERNAL, "row 19");
    rows.h = 21;
    cr_assert_eq(edt_resize_rows(resizer, 20, &rows, NULL), EDT_ERR_INTERNAL, "past the end");
    rows.h = 1;
    rows.w = 39;
    cr_assert_eq(edt_resize_rows(resizer, 20, &rows, NULL), EDT_ERR_INTERNAL, "width");
    edt_resizer_destroy(resizer);
}

// u8 and f32 canvases of one geometry with every kind of kernels against the portable ones; the
// bytes after the canvas must stay.
static void compare_kernels(edt_resizer *resizer, const edt_image *image,
                            const edt_scale_params *params, bool flip,
                            const edt_normalize *normalize)
{
    enum { N = OUT_H * OUT_W * 3, GUARD = 64 };
    static uint8_t want_u8[N], got_u8[N + GUARD];
    static float want_f32[N], got_f32[N + GUARD];
    edt_resizer_use_kernels(resizer, &edt_resize_kernels_portable);
    cr_assert_eq(stream(resizer, image, params, flip, NULL, 16, want_u8), EDT_OK);
    cr_assert_eq(stream(resizer, image, params, flip, normalize, 16, want_f32), EDT_OK);
    for (int i = 0; edt_resize_kernels_at(i) != NULL; ++i) {
        const edt_resize_kernels *kernels = edt_resize_kernels_at(i);
        edt_resizer_use_kernels(resizer, kernels);
        memset(got_u8, 9, sizeof got_u8);
        memset(got_f32, 9, sizeof got_f32);
        cr_assert_eq(stream(resizer, image, params, flip, NULL, 16, got_u8), EDT_OK);
        cr_assert_eq(stream(resizer, image, params, flip, normalize, 16, got_f32), EDT_OK);
        cr_assert_eq(memcmp(got_u8, want_u8, sizeof want_u8), 0, "%s, u8, %d x %d to %d x %d",
                     kernels->name, (int)image->h, (int)image->w, (int)params->scaled_h,
                     (int)params->scaled_w);
        cr_assert_eq(memcmp(got_f32, want_f32, sizeof want_f32), 0,
                     "%s, f32, %d x %d to %d x %d", kernels->name, (int)image->h, (int)image->w,
                     (int)params->scaled_h, (int)params->scaled_w);
        for (int k = 0; k < GUARD; ++k) {
            cr_assert(got_u8[N + k] == 9);
            cr_assert(memcmp(got_f32 + N + k, "\t\t\t\t", 4) == 0);
        }
    }
}

Test(resize, all_processors_give_the_same_bytes, .timeout = 60)
{
    static const int64_t widths[] = {1, 5, 6, 21, 22, 40, 95};
    edt_resizer *resizer = NULL;
    cr_assert_eq(edt_resizer_create(NULL, &resizer), EDT_OK);
    // Besides the usual constants: deviations for which a corrected quotient is not the
    // division's, or whose zero is negative.
    edt_normalize normalize[3] = {make_normalize(false), make_normalize(true),
                                  make_normalize(false)};
    normalize[2].mean[1] = 3.0f;
    normalize[2].stddev[1] = -7.0f;
    normalize[2].stddev[2] = 1e-37f;
    for (int x = 0; x < 256; ++x) {
        for (int c = 0; c < 3; ++c) {
            normalize[2].level[c][x] =
                ((float)x - normalize[2].mean[c]) / normalize[2].stddev[c];
        }
    }
    for (int i = 0; i < 7; ++i) {
        const edt_image image = make_image(30, widths[i]);
        for (int64_t scaled_w = 2; scaled_w < 230; scaled_w += scaled_w / 6 + 1) {
            edt_scale_params p = {.out_h = OUT_H,
                                  .out_w = OUT_W,
                                  .scaled_h = 3 + scaled_w / 2,
                                  .scaled_w = scaled_w};
            for (int flip = 0; flip < 2; ++flip) {
                p.offset_x = flip == 1 && scaled_w > OUT_W ? scaled_w - OUT_W : 0;
                compare_kernels(resizer, &image, &p, flip == 1, &normalize[scaled_w % 3]);
            }
        }
    }
    edt_resizer_destroy(resizer);
}

Test(resize, canvases_written_past_the_caches_are_the_same, .timeout = 60)
{
    enum { SIDE = 512, N = SIDE * SIDE * 3 };
    static const int64_t scaled[][2] = {{384, 512}, {301, 401}, {700, 933}};
    edt_resizer *resizer = NULL;
    cr_assert_eq(edt_resizer_create(NULL, &resizer), EDT_OK);
    const edt_image image = make_image(72, 96);
    const edt_normalize normalize = make_normalize(false);
    uint8_t *want = edt_mem_alloc(EDT_MEM_MISC, N), *got = edt_mem_alloc(EDT_MEM_MISC, N);
    float *want_f32 = edt_mem_alloc(EDT_MEM_MISC, N * sizeof(float));
    float *got_f32 = edt_mem_alloc(EDT_MEM_MISC, N * sizeof(float));
    for (int k = 0; k < 3; ++k) {
        const edt_scale_params p = {
            .out_h = SIDE, .out_w = SIDE, .scaled_h = scaled[k][0], .scaled_w = scaled[k][1]};
        edt_resizer_use_kernels(resizer, &edt_resize_kernels_portable);
        cr_assert_eq(stream(resizer, &image, &p, false, NULL, 16, want), EDT_OK);
        cr_assert_eq(stream(resizer, &image, &p, false, &normalize, 16, want_f32), EDT_OK);
        for (int i = 0; edt_resize_kernels_at(i) != NULL; ++i) {
            edt_resizer_use_kernels(resizer, edt_resize_kernels_at(i));
            memset(got, 9, N);
            memset(got_f32, 9, N * sizeof(float));
            cr_assert_eq(stream(resizer, &image, &p, false, NULL, 16, got), EDT_OK);
            cr_assert_eq(stream(resizer, &image, &p, false, &normalize, 16, got_f32), EDT_OK);
            cr_assert_eq(memcmp(got, want, N), 0, "%s, u8", edt_resize_kernels_at(i)->name);
            cr_assert_eq(memcmp(got_f32, want_f32, N * sizeof(float)), 0, "%s, f32",
                         edt_resize_kernels_at(i)->name);
        }
    }
    edt_mem_free(want);
    edt_mem_free(got);
    edt_mem_free(want_f32);
    edt_mem_free(got_f32);
    edt_resizer_destroy(resizer);
}
