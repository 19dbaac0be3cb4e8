// Milliseconds per picture of the resize into a batch slot: pictures of 640x480 to a canvas of
// 512x512 with the scales, crops and mirrors of training (jitter 0.1 to 2.0), u8 and f32.
// Pictures and canvases lie in rings larger than the caches; "bands" has its rows from one
// small buffer, as a decoder hands them over. An argument names the kernels. Beside it, in the
// same run: memcpy of the picture's bytes over the whole canvas. One JSON line per figure, best
// and median.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "augment/resize_kernels.h"
#include "core/clock.h"
#include "core/mem.h"
#include "core/rng.h"

enum {
    SRC_H = 480,
    SRC_W = 640,
    SIDE = 512,
    N_DRAWS = 256, // geometries of one pass
    N_SOURCES = 64,
    N_CANVASES = 16, // of f32, 4 times as many of u8
    N_PASSES = 9,
    BAND = 16,
    SRC_BYTES = SRC_H * SRC_W * 3,
    CANVAS_VALUES = SIDE * SIDE * 3,
};

typedef struct geometry {
    edt_scale_params params;
    bool flip;
} geometry;

typedef struct bench {
    edt_resizer *resizer;
    const edt_resize_kernels *kernels;
    edt_normalize normalize;
    geometry draws[N_DRAWS];
    uint8_t *sources;
    float *canvases;
} bench;

typedef edt_status bench_function(bench *b, int i);

static uint8_t *source_of(const bench *b, int i)
{
    return b->sources + (size_t)(i % N_SOURCES) * SRC_BYTES;
}

static uint8_t *canvas_u8(const bench *b, int i)
{
    return (uint8_t *)b->canvases + (size_t)(i % (4 * N_CANVASES)) * CANVAS_VALUES;
}

static float *canvas_f32(const bench *b, int i)
{
    return b->canvases + (size_t)(i % N_CANVASES) * CANVAS_VALUES;
}

// `stride` 0: every band is the same memory, as a decoder's would be.
static edt_status resize(bench *b, int i, int64_t band_stride, const edt_normalize *normalize,
                         void *canvas)
{
    const geometry *g = &b->draws[i % N_DRAWS];
    edt_image rows = {.data = source_of(b, band_stride == 0 ? 0 : i),
                      .h = BAND,
                      .w = SRC_W,
                      .stride = (int64_t)SRC_W * 3};
    EDT_TRY(edt_resize_begin(b->resizer, SRC_H, SRC_W, &g->params, g->flip, normalize, canvas,
                             NULL));
    const int64_t n_rows = edt_resize_rows_needed(&g->params, SRC_H);
    for (int64_t y = 0; y < n_rows; y += BAND, rows.data += band_stride) {
        EDT_TRY(edt_resize_rows(b->resizer, y, &rows, NULL));
    }
    return edt_resize_end(b->resizer, NULL);
}

enum { FROM_MEMORY = BAND * SRC_W * 3, FROM_DECODER = 0 };

static edt_status bench_u8(bench *b, int i)
{
    return resize(b, i, FROM_MEMORY, NULL, canvas_u8(b, i));
}

static edt_status bench_u8_bands(bench *b, int i)
{
    return resize(b, i, FROM_DECODER, NULL, canvas_u8(b, i));
}

static edt_status bench_f32(bench *b, int i)
{
    return resize(b, i, FROM_MEMORY, &b->normalize, canvas_f32(b, i));
}

static edt_status bench_f32_bands(bench *b, int i)
{
    return resize(b, i, FROM_DECODER, &b->normalize, canvas_f32(b, i));
}

static void copy_over(const uint8_t *from, uint8_t *to, size_t n_bytes)
{
    while (n_bytes > 0) {
        const size_t n = n_bytes < SRC_BYTES ? n_bytes : SRC_BYTES;
        memcpy(to, from, n);
        to += n;
        n_bytes -= n;
    }
}

static edt_status copy_u8(bench *b, int i)
{
    copy_over(source_of(b, i), canvas_u8(b, i), CANVAS_VALUES);
    return EDT_OK;
}

static edt_status copy_f32(bench *b, int i)
{
    copy_over(source_of(b, i), (uint8_t *)canvas_f32(b, i), CANVAS_VALUES * sizeof(float));
    return EDT_OK;
}

static int compare_f64(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

static bool measure(const char *what, bench_function *function, bench *b)
{
    double ms[N_PASSES];
    for (int i_pass = 0; i_pass < N_PASSES; ++i_pass) {
        const double begin = edt_clock_now_s();
        for (int i = 0; i < N_DRAWS; ++i) {
            if (function(b, i) != EDT_OK) {
                return false;
            }
        }
        ms[i_pass] = (edt_clock_now_s() - begin) * 1e3 / N_DRAWS;
    }
    qsort(ms, N_PASSES, sizeof ms[0], compare_f64);
    printf(
        "{\"what\":\"%s\",\"value\":%.4f,\"median\":%.4f,\"unit\":\"ms/image\",\"threads\":1,"
        "\"kernels\":\"%s\",\"source\":\"%dx%d\",\"canvas\":\"%dx%d\"}\n",
        what, ms[0], ms[N_PASSES / 2], b->kernels == NULL ? "" : b->kernels->name, SRC_W, SRC_H,
        SIDE, SIDE);
    return true;
}

static edt_status draw_geometries(bench *b)
{
    edt_rng rng;
    edt_rng_init(&rng, 1, 0, 0, 0);
    for (int i = 0; i < N_DRAWS; ++i) {
        // The scales are spread evenly, so that few draws stand for the distribution.
        b->draws[i].flip = edt_rng_uniform_f32(&rng) > 0.5F;
        const edt_jitter_draws draws = {.scale =
                                            ((float)(i * 97 % N_DRAWS) + 0.5F) / (float)N_DRAWS,
                                        .offset_y = edt_rng_uniform_f32(&rng),
                                        .offset_x = edt_rng_uniform_f32(&rng)};
        EDT_TRY(edt_scale_params_train(SRC_H, SRC_W, SIDE, SIDE, SIDE, SIDE, 0.1F, 2.0F, draws,
                                       NULL, &b->draws[i].params));
    }
    return EDT_OK;
}

int main(int argc, char **argv)
{
    edt_hparams hp;
    bench *b = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *b);
    if (b == NULL || edt_hparams_init(&hp, NULL) != EDT_OK) {
        return 1;
    }
    b->sources = edt_mem_alloc(EDT_MEM_IMAGE, (size_t)N_SOURCES * SRC_BYTES);
    b->canvases =
        edt_mem_calloc(EDT_MEM_IMAGE, (size_t)N_CANVASES * CANVAS_VALUES, sizeof(float));
    bool ok = b->sources != NULL && b->canvases != NULL &&
              edt_normalize_init(&hp, NULL, &b->normalize) == EDT_OK &&
              edt_resizer_create(NULL, &b->resizer) == EDT_OK && draw_geometries(b) == EDT_OK;
    for (size_t i = 0; ok && i < (size_t)N_SOURCES * SRC_BYTES; ++i) {
        b->sources[i] = (uint8_t)(i * 2654435761U >> 13);
    }
    ok = ok && measure("memcpy_u8", copy_u8, b) && measure("memcpy_f32", copy_f32, b);
    for (int i = 0; ok && edt_resize_kernels_at(i) != NULL; ++i) {
        b->kernels = edt_resize_kernels_at(i);
        if (argc > 1 && strcmp(argv[1], b->kernels->name) != 0) {
            continue;
        }
        edt_resizer_use_kernels(b->resizer, b->kernels);
        ok = measure("resize_u8", bench_u8, b) &&
             measure("resize_u8_bands", bench_u8_bands, b) &&
             measure("resize_f32", bench_f32, b) &&
             measure("resize_f32_bands", bench_f32_bands, b);
    }
    edt_resizer_destroy(b->resizer);
    edt_mem_free(b->sources);
    edt_mem_free(b->canvases);
    edt_mem_free(b);
    edt_hparams_deinit(&hp);
    return ok ? 0 : 1;
}
