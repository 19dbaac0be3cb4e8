// Every tile's pixels and boxes for many splits.
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "augment/mosaic.h"

enum { MAX_SIDE = 90 };

// Flat pictures: picture i has the level 50 * (i + 1).
typedef struct mosaic_input {
    uint8_t pixels[EDT_MOSAIC_TILES][3 * MAX_SIDE * MAX_SIDE];
    edt_image images[EDT_MOSAIC_TILES];
    float boxes[EDT_MOSAIC_TILES][8 * 4], area[EDT_MOSAIC_TILES][8];
    int64_t labels[EDT_MOSAIC_TILES][8];
    bool is_crowd[EDT_MOSAIC_TILES][8];
    edt_objects objects[EDT_MOSAIC_TILES];
} mosaic_input;

static mosaic_input in;

static void fill(edt_rng *rng)
{
    for (int i = 0; i < EDT_MOSAIC_TILES; ++i) {
        const int64_t h = 1 + (int64_t)edt_rng_below(rng, MAX_SIDE);
        const int64_t w = 1 + (int64_t)edt_rng_below(rng, MAX_SIDE);
        memset(in.pixels[i], 50 * (i + 1), sizeof in.pixels[i]);
        in.images[i] = (edt_image){.data = in.pixels[i], .h = h, .w = w, .stride = 3 * w};
        const int64_t n = (int64_t)edt_rng_below(rng, 9);
        in.objects[i] = (edt_objects){.n = n,
                                      .boxes = in.boxes[i],
                                      .labels = in.labels[i],
                                      .is_crowd = in.is_crowd[i],
                                      .area = in.area[i]};
        for (int64_t k = 0; k < n; ++k) {
            for (int c = 0; c < 4; ++c) {
                in.boxes[i][4 * k + c] = (c >= 2 ? in.boxes[i][4 * k + c - 2] : -0.2f) +
                                         edt_rng_uniform_f32(rng) - (k == 5 ? 0.5f : 0);
            }
            if (k == 6) {
                in.boxes[i][4 * k] = NAN;
            }
            in.labels[i][k] = 10 * i + k + 1;
            in.is_crowd[i][k] = k % 3 == 0;
            in.area[i][k] = (float)(1000 * i + k);
        }
    }
}

Test(mosaic, every_tile_shows_its_picture_and_objects, .timeout = 30)
{
    edt_mix_buffers *buffers;
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    cr_assert_eq(edt_mix_buffers_create(NULL, &buffers), EDT_OK);
    int64_t n_kept = 0;
    for (uint64_t sample = 0; sample < 100; ++sample) {
        edt_rng rng;
        edt_rng_init(&rng, 5, 0, sample, 3);
        const int64_t h = 4 + (int64_t)edt_rng_below(&rng, 120);
        const int64_t w = 4 + (int64_t)edt_rng_below(&rng, 120);
        fill(&rng);
        const edt_draws draws = edt_draws_from_rng(&rng);
        const edt_mosaic_split split = edt_mosaic_draw(h, w, EDT_MOSAIC_MIN_PERCENT, &draws);
        edt_image image;
        edt_objects objects;
        edt_arena_reset(&arena);
        cr_assert_eq(edt_mosaic_compose(buffers, in.images, in.objects, &split, &arena, NULL,
                                        &image, &objects),
                     EDT_OK);
        cr_assert(image.h == h && image.w == w);
        int64_t n_pixels = 0;
        for (int i = 0; i < EDT_MOSAIC_TILES; ++i) {
            const edt_region t = edt_mosaic_tile(&split, i);
            cr_assert(t.h >= h / 4 && t.w >= w / 4 && t.h > 0 && t.w > 0);
            n_pixels += t.h * t.w;
            for (int64_t y = t.y; y < t.y + t.h; ++y) {
                for (int64_t x = 3 * t.x; x < 3 * (t.x + t.w); ++x) {
                    cr_assert_eq(image.data[y * image.stride + x], 50 * (i + 1));
                }
            }
        }
        cr_assert_eq(n_pixels, h * w);
        // Each label tells its tile and its source.
        for (int64_t k = 0; k < objects.n; ++k) {
            const int64_t i = (objects.labels[k] - 1) / 10, from = (objects.labels[k] - 1) % 10;
            const edt_region t = edt_mosaic_tile(&split, (int)i);
            const float *box = objects.boxes + 4 * k, *old = in.boxes[i] + 4 * from;
            cr_assert(k == 0 || objects.labels[k] > objects.labels[k - 1]);
            cr_assert_eq(objects.area[k], in.area[i][from]);
            cr_assert_eq(objects.is_crowd[k], in.is_crowd[i][from]);
            cr_assert(box[2] > box[0] && box[3] > box[1]);
            const float fh = (float)h, fw = (float)w;
            cr_assert(box[0] >= (float)t.y / fh - 1e-6f && box[2] <= (float)(t.y + t.h) / fh &&
                      box[1] >= (float)t.x / fw - 1e-6f && box[3] <= (float)(t.x + t.w) / fw);
            const float want = ((float)t.y + fminf(fmaxf(old[0], 0), 1) * (float)t.h) / fh;
            cr_assert_float_eq(box[0], want, 1e-6);
            ++n_kept;
        }
    }
    cr_assert_gt(n_kept, 500);
    edt_mix_buffers_destroy(buffers);
    edt_arena_deinit(&arena);
}

Test(mosaic, a_picture_of_the_tiles_size_is_copied, .timeout = 10)
{
    const edt_mosaic_split split = {.out_h = 40, .out_w = 60, .row = 13, .column = 25};
    edt_mix_buffers *buffers;
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    cr_assert_eq(edt_mix_buffers_create(NULL, &buffers), EDT_OK);
    edt_rng rng;
    edt_rng_init(&rng, 6, 0, 0, 3);
    fill(&rng);
    for (int i = 0; i < EDT_MOSAIC_TILES; ++i) {
        const edt_region t = edt_mosaic_tile(&split, i);
        in.images[i] =
            (edt_image){.data = in.pixels[i], .h = t.h, .w = t.w, .stride = 3 * t.w + 5};
        for (size_t k = 0; k < sizeof in.pixels[i]; ++k) {
            in.pixels[i][k] = (uint8_t)edt_rng_next_u32(&rng);
        }
    }
    edt_image image;
    edt_objects objects;
    cr_assert_eq(edt_mosaic_compose(buffers, in.images, in.objects, &split, &arena, NULL,
                                    &image, &objects),
                 EDT_OK);
    for (int i = 0; i < EDT_MOSAIC_TILES; ++i) {
        const edt_region t = edt_mosaic_tile(&split, i);
        for (int64_t y = 0; y < t.h; ++y) {
            cr_assert_eq(memcmp(image.data + (t.y + y) * image.stride + 3 * t.x,
                                in.images[i].data + y * in.images[i].stride, (size_t)(3 * t.w)),
                         0);
        }
    }
    edt_mix_buffers_destroy(buffers);
    edt_arena_deinit(&arena);
}
