// Run-length masks: known runs, both text forms, merging, boxes, resizing, and refusals.
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "dataio/rle_mask.h"

static edt_arena arena;

static void setup(void)
{
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
}

static void teardown(void)
{
    edt_arena_deinit(&arena);
}

TestSuite(rle_mask, .init = setup, .fini = teardown, .timeout = 30);

static void expect_counts(const edt_rle *rle, const uint32_t *want, size_t n)
{
    cr_assert_eq(rle->n, n);
    cr_assert_eq(memcmp(rle->counts, want, n * sizeof *want), 0);
}

// Pseudo-random pixels, the same on every machine.
static void draw(uint64_t seed, unsigned density, uint8_t *pixels, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        pixels[i] = (seed >> 33) % 100 < density;
    }
}

Test(rle_mask, polygons_have_the_runs_of_pycocotools)
{
    // Rows 1 and 2 of columns 1 to 3 in a picture of 4 x 5.
    static const double box[] = {1, 1, 4, 1, 4, 3, 1, 3};
    static const uint32_t want[] = {5, 2, 2, 2, 2, 2, 5};
    edt_rle rle;
    cr_assert_eq(edt_rle_from_polygon(box, 4, 4, 5, &arena, NULL, &rle), EDT_OK);
    expect_counts(&rle, want, 7);
    static const double xywh[] = {1, 1, 3, 2};
    cr_assert_eq(edt_rle_from_box(xywh, 4, 5, &arena, NULL, &rle), EDT_OK);
    expect_counts(&rle, want, 7);
    // A triangle, as pycocotools 2.0.11 gives it.
    static const double triangle[] = {0.3, 0.2, 5.7, 1.9, 2.2, 5.4};
    edt_text text;
    cr_assert_eq(edt_rle_from_polygon(triangle, 3, 6, 7, &arena, NULL, &rle), EDT_OK);
    cr_assert_eq(edt_rle_to_text(&rle, &arena, NULL, &text), EDT_OK);
    cr_assert_str_eq(text.data, "7242NO2N;");
    // All of it outside: one run of zeros.
    static const double outside[] = {-9, -9, -3, -9, -3, -3};
    static const uint32_t nothing[] = {42};
    cr_assert_eq(edt_rle_from_polygon(outside, 3, 6, 7, &arena, NULL, &rle), EDT_OK);
    expect_counts(&rle, nothing, 1);
    cr_assert_eq(edt_rle_area(&rle), 0);
}

Test(rle_mask, pixels_text_and_runs_are_the_same_mask)
{
    static const int64_t sizes[][2] = {{1, 1}, {1, 9}, {9, 1}, {13, 7}, {40, 31}};
    uint8_t pixels[40 * 31], back[40 * 31];
    for (size_t i = 0; i < 5 * 4; ++i) {
        const int64_t h = sizes[i % 5][0];
        const int64_t w = sizes[i % 5][1];
        const size_t n = (size_t)(h * w);
        draw(i, (unsigned)(i / 5) * 33, pixels, n);
        edt_rle rle, again;
        edt_text text;
        cr_assert_eq(edt_rle_from_pixels(pixels, h, w, &arena, NULL, &rle), EDT_OK);
        memset(back, 0, sizeof back);
        edt_rle_to_pixels(&rle, back);
        cr_assert_eq(memcmp(pixels, back, n), 0);
        cr_assert_eq(edt_rle_to_text(&rle, &arena, NULL, &text), EDT_OK);
        cr_assert_eq(edt_rle_from_text(text, h, w, &arena, NULL, &again), EDT_OK);
        expect_counts(&again, rle.counts, rle.n);
        int64_t area = 0;
        int64_t box[4], want[4] = {h, w, 0, 0};
        for (int64_t y = 0; y < h; ++y) {
            for (int64_t x = 0; x < w; ++x) {
                if (pixels[y * w + x] != 0) {
                    ++area;
                    want[0] = y < want[0] ? y : want[0];
                    want[1] = x < want[1] ? x : want[1];
                    want[2] = y + 1 > want[2] ? y + 1 : want[2];
                    want[3] = x + 1 > want[3] ? x + 1 : want[3];
                }
            }
        }
        if (area == 0) {
            memset(want, 0, sizeof want);
        }
        edt_rle_box(&rle, box);
        cr_assert_eq(edt_rle_area(&rle), area);
        cr_assert_eq(memcmp(box, want, sizeof box), 0);
    }
}

Test(rle_mask, merging_is_done_pixel_by_pixel)
{
    enum { H = 11, W = 6, N = 4 };
    uint8_t pixels[N][H * W], any[H * W], all[H * W], got[H * W];
    edt_rle rles[N], merged;
    memset(any, 0, sizeof any);
    memset(all, 1, sizeof all);
    for (int i = 0; i < N; ++i) {
        draw((uint64_t)i + 50, i % 2 == 0 ? 90 : 60, pixels[i], H * W);
        for (int k = 0; k < H * W; ++k) {
            any[k] |= pixels[i][k];
            all[k] &= pixels[i][k];
        }
        cr_assert_eq(edt_rle_from_pixels(pixels[i], H, W, &arena, NULL, &rles[i]), EDT_OK);
    }
    for (int intersect = 0; intersect < 2; ++intersect) {
        cr_assert_eq(edt_rle_merge(rles, N, intersect != 0, &arena, NULL, &merged), EDT_OK);
        memset(got, 0, sizeof got);
        edt_rle_to_pixels(&merged, got);
        cr_assert_eq(memcmp(got, intersect != 0 ? all : any, sizeof got), 0);
    }
    rles[1].w = W - 1;
    edt_error err = {0};
    cr_assert_eq(edt_rle_merge(rles, 2, false, &arena, &err, &merged), EDT_ERR_MISMATCH);
}

Test(rle_mask, resizing_takes_the_nearest_pixel)
{
    static const uint8_t pixels[] = {1, 0, //
                                     0, 1};
    uint8_t got[4 * 6] = {0};
    static const uint8_t want[4 * 6] = {1, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 0,
                                        0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1};
    edt_rle rle;
    cr_assert_eq(edt_rle_from_pixels(pixels, 2, 2, &arena, NULL, &rle), EDT_OK);
    cr_assert_eq(edt_rle_resize(&rle, 4, 6, &arena, NULL, &rle), EDT_OK);
    edt_rle_to_pixels(&rle, got);
    cr_assert_eq(memcmp(got, want, sizeof got), 0);
}

Test(rle_mask, nonsense_is_refused_with_words)
{
    edt_error err = {0};
    edt_rle rle;
    double xy[] = {0, 0, 1, 1, NAN, 2};
    cr_assert_eq(edt_rle_from_polygon(xy, 3, 4, 4, &arena, &err, &rle), EDT_ERR_INVALID);
    xy[4] = 1e9;
    cr_assert_eq(edt_rle_from_polygon(xy, 3, 4, 4, &arena, &err, &rle), EDT_ERR_INVALID);
    xy[4] = 3;
    cr_assert_eq(edt_rle_from_polygon(xy, 3, 0, 4, &arena, &err, &rle), EDT_ERR_INVALID);
    cr_assert_eq(edt_rle_from_polygon(xy, 3, 1 << 20, 1 << 20, &arena, &err, &rle),
                 EDT_ERR_INVALID);
    static const uint32_t counts[] = {3, 4294967295u, 14};
    cr_assert_eq(edt_rle_from_counts(counts, 3, 4, 4, &err, &rle), EDT_ERR_INVALID);
    cr_assert_eq(edt_rle_from_counts(counts, 1, 4, 4, &err, &rle), EDT_ERR_INVALID);
    cr_assert_not_null(strstr(err.text, "sum up to 3 pixels"), "%s", err.text);
    cr_assert_eq(edt_rle_from_counts(counts, 0, 4, 4, &err, &rle), EDT_ERR_INVALID);
    static const char *const texts[] = {"\x1f", "P", "PPPPPPPPPPPPPPP", "@O", "1\xff", ""};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; ++i) {
        const edt_text text = {texts[i], strlen(texts[i])};
        cr_assert_neq(edt_rle_from_text(text, 4, 4, &arena, &err, &rle), EDT_OK, "%s",
                      texts[i]);
    }
}

Test(rle_mask, a_polygon_with_very_many_points_in_one_column_is_sorted_fast)
{
    enum { N = 200000 };
    double *xy = edt_arena_alloc(&arena, 2 * N * sizeof *xy);
    for (int i = 0; i < N; ++i) {
        xy[2 * i] = i % 2 == 0 ? 1.0 : 1.9;
        xy[2 * i + 1] = (double)((int64_t)i * 7919 % 1000);
    }
    edt_rle rle;
    cr_assert_eq(edt_rle_from_polygon(xy, N, 1000, 4, &arena, NULL, &rle), EDT_OK);
}
