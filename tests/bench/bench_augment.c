// Milliseconds of processor time per 640x480 picture of each pixel operation, and of the policies
// on average over their draws, on each instruction set of this machine; a copy of the picture is
// the ceiling. One JSON line each, best and median of the passes. An argument keeps the lines
// whose name contains it.
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "augment/augmenter.h"
#include "augment/pixel_kernels.h"
#include "augment/pixel_op.h"
#include "core/mem.h"

enum { H = 480, W = 640, N_BYTES = 3 * H * W, N_PASSES = 61, N_PLANS = 1000, N_BOXES = 7 };

typedef struct bench {
    edt_pixel_scratch *scratch;
    edt_arena arena;
    uint8_t *original, *pixels;
    const char *filter;
    const char *variant;
} bench;

// Of this thread: what else the machine does counts only by the caches it takes.
static double cpu_seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

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
        const double begin = cpu_seconds();
        if (edt_pixel_ops_run(b->scratch, &image, op, 1, NULL, &out) != EDT_OK) {
            abort();
        }
        seconds[i] = cpu_seconds() - begin;
    }
    report(b, what, seconds, N_PASSES);
}

static void measure_copy(const bench *b)
{
    double seconds[N_PASSES];
    for (int i = 0; i < N_PASSES; ++i) {
        const double begin = cpu_seconds();
        memcpy(b->pixels, b->original, N_BYTES);
        __asm__ volatile("" : : "r"(b->pixels) : "memory");
        seconds[i] = cpu_seconds() - begin;
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

// Small and large boxes all over the picture.
static void place_boxes(edt_rng *rng, float *boxes)
{
    for (int i = 0; i < N_BOXES; ++i) {
        const float h = edt_rng_uniform_f32(rng), w = edt_rng_uniform_f32(rng);
        const float y = edt_rng_uniform_f32(rng), x = edt_rng_uniform_f32(rng);
        const float box[4] = {y * (1 - h * h), x * (1 - w * w), y * (1 - h * h) + h * h,
                              x * (1 - w * w) + w * w};
        memcpy(boxes + 4 * i, box, sizeof box);
    }
}

// One pass: the mean over N_PLANS draws, plan and pixels; the same draws in every pass.
static double mean_of_plans(bench *b, const edt_augment_config *config)
{
    const edt_image image = {.data = b->pixels, .h = H, .w = W, .stride = 3 * W};
    double seconds = 0;
    for (int i = 0; i < N_PLANS; ++i) {
        float boxes[4 * N_BOXES], area[N_BOXES] = {0};
        int64_t labels[N_BOXES] = {0};
        bool is_crowd[N_BOXES] = {false};
        edt_objects objects = {
            .n = N_BOXES, .boxes = boxes, .labels = labels, .is_crowd = is_crowd, .area = area};
        edt_rng rng;
        edt_rng_init(&rng, 1, 0, (uint64_t)i, 2);
        place_boxes(&rng, boxes);
        memcpy(b->pixels, b->original, N_BYTES);
        edt_arena_reset(&b->arena);
        const edt_draws draws = edt_draws_from_rng(&rng);
        edt_augment_plan plan;
        edt_image out;
        const double begin = cpu_seconds();
        if (edt_augment_plan_draw(config, H, W, &draws, &b->arena, NULL, &objects, &plan) !=
                EDT_OK ||
            edt_pixel_ops_run(b->scratch, &image, plan.ops, plan.n_ops, NULL, &out) != EDT_OK) {
            abort();
        }
        seconds += cpu_seconds() - begin;
    }
    return seconds / N_PLANS;
}

static void measure_policies(bench *b)
{
    const struct {
        const char *what;
        edt_augment_config config;
    } all[] = {{"policy_v0", {.policy = edt_policy_find("v0")}},
               {"policy_v1", {.policy = edt_policy_find("v1")}},
               {"policy_v2", {.policy = edt_policy_find("v2")}},
               {"policy_v3", {.policy = edt_policy_find("v3")}},
               {"policy_randaug", {.randaug = true}},
               {"policy_grid_mask", {.grid_mask = true}}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; ++i) {
        double seconds[3];
        for (int k = 0; k < 3 && is_wanted(b, all[i].what); ++k) {
            seconds[k] = mean_of_plans(b, &all[i].config);
        }
        if (is_wanted(b, all[i].what)) {
            report(b, all[i].what, seconds, 3);
        }
    }
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
    edt_arena_init(&b.arena, EDT_MEM_ARENA, 0);
    static const char *const variants[] = {"avx512", "avx2", "base"};
    for (int i = 0; i < 3; ++i) {
        const edt_pixel_kernels *kernels = edt_pixel_kernels_find(variants[i]);
        if (kernels != NULL) {
            b.variant = variants[i];
            edt_pixel_scratch_set_kernels(b.scratch, kernels);
            measure_copy(&b);
            measure_variant(&b);
            measure_policies(&b);
        }
    }
    edt_pixel_scratch_destroy(b.scratch);
    edt_arena_deinit(&b.arena);
    edt_mem_free(b.original);
    edt_mem_free(b.pixels);
    return 0;
}
