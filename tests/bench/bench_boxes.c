// Time per image of the two box stages at D0's size: assignment of 20 boxes (ceiling: clearing
// its outputs) and post-processing of background-like logits (ceiling: one pass over the
// logits). One JSON line each, best and median of the passes.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/hparams.h"
#include "core/mem.h"
#include "model/assign.h"
#include "model/postprocess.h"
#include "model/scaling.h"

enum { N_PASSES = 21, N_BOXES = 20, MAX_LEVELS = 8 };

typedef struct bench {
    edt_hparams hp;
    edt_anchors *anchors;
    edt_assigner *assigner;
    edt_post *post;
    float *logits, *codes; // all levels, one after the other
    const float *cls[MAX_LEVELS], *box[MAX_LEVELS];
    float boxes[N_BOXES * 4];
    int64_t labels[N_BOXES];
    int32_t *out_cls;
    float *out_box;
    edt_detection *rows;
    double sink; // keeps the calls from being optimised away
} bench;

static uint64_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 40;
}

static float uniform(uint64_t *state)
{
    return (float)next_random(state) * 0x1p-24F;
}

static void run_assign(bench *b)
{
    float n = 0;
    edt_error err = {0};
    if (edt_assign(b->assigner, b->boxes, b->labels, N_BOXES, b->out_cls, b->out_box, &n,
                   &err) != EDT_OK) {
        abort();
    }
    b->sink += (double)n;
}

static void run_clear(bench *b)
{
    memset(b->out_cls, 0xff, (size_t)b->anchors->n * sizeof *b->out_cls);
    memset(b->out_box, 0, (size_t)b->anchors->n * 4 * sizeof *b->out_box);
    __asm__ volatile("" : : "r"(b->out_cls), "r"(b->out_box) : "memory");
}

static void run_post(bench *b)
{
    int64_t n = 0;
    edt_error err = {0};
    if (edt_post_run(b->post, b->cls, b->box, 1.0F, b->rows, &n, &err) != EDT_OK) {
        abort();
    }
    b->sink += (double)n;
}

static void run_pass(bench *b)
{
    const int64_t n = b->anchors->n * b->hp.num_classes;
    int count = 0;
    for (int64_t i = 0; i < n; ++i) {
        count += b->logits[i] > 0.0F;
    }
    b->sink += count;
}

static int compare_f64(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(const char *what, void (*run)(bench *), bench *b)
{
    double seconds[N_PASSES];
    for (int i = 0; i < N_PASSES; ++i) {
        const double begin = edt_clock_now_s();
        run(b);
        seconds[i] = edt_clock_now_s() - begin;
    }
    qsort(seconds, N_PASSES, sizeof seconds[0], compare_f64);
    printf("{\"what\":\"%s\",\"value\":%.4f,\"median\":%.4f,\"unit\":\"ms/"
           "image\",\"threads\":1}\n",
           what, 1e3 * seconds[0], 1e3 * seconds[N_PASSES / 2]);
}

static void setup(bench *b)
{
    edt_error err = {0};
    if (edt_hparams_init(&b->hp, &err) != EDT_OK ||
        edt_scaling_apply(&b->hp, "efficientdet-d0", &err) != EDT_OK ||
        edt_anchors_create(&b->hp, &err, &b->anchors) != EDT_OK ||
        edt_assigner_create(b->anchors, false, &err, &b->assigner) != EDT_OK) {
        (void)fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    const size_t n = (size_t)b->anchors->n, k = (size_t)b->hp.num_classes;
    b->logits = edt_mem_calloc(EDT_MEM_MISC, n * k, sizeof(float));
    b->codes = edt_mem_calloc(EDT_MEM_MISC, n * 4, sizeof(float));
    b->out_cls = edt_mem_calloc(EDT_MEM_MISC, n, sizeof(int32_t));
    b->out_box = edt_mem_calloc(EDT_MEM_MISC, n * 4, sizeof(float));
    b->rows = edt_mem_calloc(EDT_MEM_MISC, 100, sizeof *b->rows);
    uint64_t state = 1;
    for (size_t i = 0; i < n * k; ++i) { // sum of three draws: a bell around -7
        b->logits[i] = -10 + 2 * (uniform(&state) + uniform(&state) + uniform(&state));
    }
    for (size_t i = 0; i < n * 4; ++i) {
        b->codes[i] = 0.6F * uniform(&state) - 0.3F;
    }
    for (int l = b->anchors->min_level; l <= b->anchors->max_level; ++l) {
        b->cls[l - b->anchors->min_level] = b->logits + (size_t)b->anchors->level_offset[l] * k;
        b->box[l - b->anchors->min_level] = b->codes + b->anchors->level_offset[l] * 4;
    }
    for (int i = 0; i < N_BOXES; ++i) {
        const float h = 10 + 300 * uniform(&state) * uniform(&state);
        const float w = 10 + 300 * uniform(&state) * uniform(&state);
        const float y = (512 - h) * uniform(&state), x = (512 - w) * uniform(&state);
        const float box[4] = {y, x, y + h, x + w};
        memcpy(b->boxes + 4 * i, box, sizeof box);
        b->labels[i] = 1 + i;
    }
}

static void measure_post(const char *what, edt_post_mode mode, int64_t max_nms_inputs, bench *b)
{
    edt_error err = {0};
    b->hp.nms_configs.max_nms_inputs = max_nms_inputs;
    if (edt_post_create(&b->hp, b->anchors, mode, &err, &b->post) != EDT_OK) {
        (void)fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    measure(what, run_post, b);
    edt_post_destroy(b->post);
}

int main(void)
{
    static bench b;
    setup(&b);
    measure("assign", run_assign, &b);
    measure("assign_clear_only", run_clear, &b);
    measure_post("post_per_class_5000", EDT_POST_PER_CLASS, 5000, &b);
    measure_post("post_global_per_anchor", EDT_POST_GLOBAL, 0, &b);
    measure("post_one_pass", run_pass, &b);
    edt_mem_free(b.logits);
    edt_mem_free(b.codes);
    edt_mem_free(b.out_cls);
    edt_mem_free(b.out_box);
    edt_mem_free(b.rows);
    edt_assigner_destroy(b.assigner);
    edt_anchors_destroy(b.anchors);
    edt_hparams_deinit(&b.hp);
    return b.sink == 0.5 ? 2 : 0;
}
