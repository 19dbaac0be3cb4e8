// Milliseconds per 640x480 picture of each pixel operation on each instruction set of this
// machine, beside a copy of the picture as the ceiling. One JSON line each, best and median of
// the passes. An argument keeps the lines whose name contains it.
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "augment/pixel_kernels.h"
#include "augment/pixel_op.h"
#include "core/clock.h"
#include "core/mem.h"

enum { H = 480, W = 640, N_BYTES = 3 * H * W, N_PASSES = 61 };

typedef struct bench {
    edt_pixel_scratch *scratch;
    uint8_t *original, *pixels;
    const char *filter;
    const char *variant;
} bench;

static int compare_f64(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(const bench *b, const char *what, double *seconds, int n)
{
    qsort(seconds, (size_t)n, sizeof seconds[0], compare_f64);
    printf(
        "{\"what\":\"%s\",\"value\":%.4f,\"median\":%.4f,\"unit\":\"ms/image\",\"threads\":1,"
        "\"variant\":\"%s\"}\n",
        what, 1e3 * seconds[0], 1e3 * seconds[n / 2], b->variant);
}

static bool is_wanted(const bench *b, const char *what)
{
    return b->filter == NULL || strstr(what, b->filter) != NULL;
}

static void measure_op(const bench *b, const char *what, const edt_pixel_op *op)
{
    if (!is_wanted(b, what)) {
        return;
    }
    const edt_image image = {.data = b->pixels, .h = H, .w = W, .stride = 3 * W};
    double seconds[N_PASSES];
    for (int i = 0; i < N_PASSES; ++i) {
        memcpy(b->pixels, b->original, N_BYTES);
        edt_image out;
        const double begin = edt_clock_now_s();
        if (edt_pixel_ops_run(b->scratch, &image, op, 1, NULL, &out) != EDT_OK) {
            abort();
        }
        seconds[i] = edt_clock_now_s() - begin;
    }
    report(b, what, seconds, N_PASSES);
}

static void measure_copy(const bench *b)
{
    double seconds[N_PASSES];
    for (int i = 0; i < N_PASSES; ++i) {
        const double begin = edt_clock_now_s();
        memcpy(b->pixels, b->original, N_BYTES);
        __asm__ volatile("" : : "r"(b->pixels) : "memory");
        seconds[i] = edt_clock_now_s() - begin;
    }
    report(b, "memcpy", seconds, N_PASSES);
}

static edt_pixel_op rotation(double degrees)
{
    const float angle = (float)(degrees * 0.017453292519943295);
    const float c = cosf(angle), s = sinf(angle), w = W - 1, h = H - 1;
    return (edt_pixel_op){.kind = EDT_PIXEL_WARP,
                          .region = {.h = H, .w = W},
                          .a = {c, -s, (w - (c * w - s * h)) / 2},
                          .b = {s, c, (h - (s * w + c * h)) / 2}};
}

static void measure_variant(const bench *b)
{
    static const struct {
        const char *what;
        edt_pixel_op_kind kind;
        float factor;
        int32_t amount;
    } plain[] = {
        {"brightness", EDT_PIXEL_BRIGHTNESS, 1.54F, 0},
        {"color", EDT_PIXEL_COLOR, 1.18F, 0},
        {"contrast", EDT_PIXEL_CONTRAST, 1.9F, 0},
        {"sharpness", EDT_PIXEL_SHARPNESS, 1.54F, 0},
        {"auto_contrast", EDT_PIXEL_AUTO_CONTRAST, 0, 0},
        {"equalize", EDT_PIXEL_EQUALIZE, 0, 0},
        {"posterize", EDT_PIXEL_POSTERIZE, 0, 3},
        {"solarize", EDT_PIXEL_SOLARIZE, 0, 128},
        {"solarize_add", EDT_PIXEL_SOLARIZE_ADD, 0, 66},
        {"fill", EDT_PIXEL_FILL, 0, 128},
        {"mirror", EDT_PIXEL_MIRROR, 0, 0},
    };
    const edt_region whole = {.h = H, .w = W};
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; ++i) {
        const edt_pixel_op op = {.kind = plain[i].kind,
                                 .region = whole,
                                 .factor = plain[i].factor,
                                 .amount = plain[i].amount};
        measure_op(b, plain[i].what, &op);
    }
    static const struct {
        const char *what;
        float a[3], b[3];
    } warps[] = {{"translate_x", {1, 0, 100}, {0, 1, 0}},
                 {"translate_y", {1, 0, 0}, {0, 1, -100}},
                 {"shear_x", {1, 0.3F, 0}, {0, 1, 0}},
                 {"shear_y_0.06", {1, 0, 0}, {0.06F, 1, 0}},
                 {"shear_y_0.3", {1, 0, 0}, {-0.3F, 1, 0}}};
    for (size_t i = 0; i < sizeof warps / sizeof warps[0]; ++i) {
        edt_pixel_op op = {.kind = EDT_PIXEL_WARP, .region = whole};
        memcpy(op.a, warps[i].a, sizeof op.a);
        memcpy(op.b, warps[i].b, sizeof op.b);
        measure_op(b, warps[i].what, &op);
    }
    edt_pixel_op op = rotation(6);
    measure_op(b, "rotate_6", &op);
    op = rotation(-30);
    measure_op(b, "rotate_30", &op);
    op = (edt_pixel_op){.kind = EDT_PIXEL_GRID_MASK,
                        .region = whole,
                        .grid = {.size = 960,
                                 .period = 215,
                                 .bar = 129,
                                 .row_offset = 40,
                                 .column_offset = 99,
                                 .angle = -0.17F}};
    measure_op(b, "grid_mask", &op);
}

// Soft shapes with some noise, as photographs have.
static void paint(uint8_t *pixels)
{
    uint32_t state = 1;
    for (int i = 0; i < N_BYTES; ++i) {
        const double y = i / (3 * W), x = i / 3 % W;
        state = state * 1664525U + 1013904223U;
        const double noise = (double)(state >> 24) / 16.0;
        pixels[i] = (uint8_t)(112 + 60 * sin(x / 37 + i % 3) + 60 * cos(y / 23) + noise);
    }
}

int main(int argc, char **argv)
{
    bench b = {.filter = argc > 1 ? argv[1] : NULL};
    b.original = edt_mem_alloc(EDT_MEM_MISC, N_BYTES);
    b.pixels = edt_mem_alloc(EDT_MEM_MISC, N_BYTES);
    if (b.original == NULL || b.pixels == NULL ||
        edt_pixel_scratch_create(NULL, &b.scratch) != EDT_OK) {
        abort();
    }
    paint(b.original);
    static const char *const variants[] = {"avx512", "avx2", "base"};
    for (int i = 0; i < 3; ++i) {
        const edt_pixel_kernels *kernels = edt_pixel_kernels_find(variants[i]);
        if (kernels != NULL) {
            b.variant = variants[i];
            edt_pixel_scratch_set_kernels(b.scratch, kernels);
            measure_copy(&b);
            measure_variant(&b);
        }
    }
    edt_pixel_scratch_destroy(b.scratch);
    edt_mem_free(b.original);
    edt_mem_free(b.pixels);
    return 0;
}
