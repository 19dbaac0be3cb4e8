// The op DETECT on the reference and the cuda backend gives the very rows of
// model/postprocess.c, for all settings that it covers.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "backend/ref/ref_cast.h"
#include "core/rng.h"
#include "tests/support/cuda_device.h"
#include "tests/support/detect_op.h"
#include "tests/support/test_anchor_hparams.h"

enum { N_LEVELS = 5, N_IMAGES = 3, MAX_OUTPUT = 100 };

typedef struct settings {
    const char *name, *method;
    edt_post_mode mode;
    int64_t max_nms_inputs, max_output, side;
    double score_thresh, iou_thresh, mean, spread;
} settings;

// Logits about `mean`: how many candidates pass and how much they overlap differ widely.
static const settings all_settings[] = {
    {"soft per class, best 5000", "gaussian", EDT_POST_PER_CLASS, 5000, 100, 128, 0, 0, -5, 2},
    {"hard per class, best 5000", "hard", EDT_POST_PER_CLASS, 5000, 100, 128, 0, 0, -5, 2},
    {"soft per class, few", "gaussian", EDT_POST_PER_CLASS, 37, 100, 64, 0, 0, -2, 2},
    {"hard per class, per anchor", "hard", EDT_POST_PER_CLASS, 0, 100, 64, 0.01, 0.3, -4, 2},
    {"soft per class, per anchor", "gaussian", EDT_POST_PER_CLASS, 0, 20, 64, 0.2, 0, -4, 2},
    {"hard global, threshold", "hard", EDT_POST_GLOBAL, 0, 100, 128, 0.4, 0, -4, 1.5},
    {"soft global", "gaussian", EDT_POST_GLOBAL, 0, 100, 128, 0, 0, -4, 2},
    {"soft global, best 300", "gaussian", EDT_POST_GLOBAL, 300, 10, 64, 0, 0, -4, 2},
    {"hard global, nothing passes", "hard", EDT_POST_GLOBAL, 0, 5, 64, 0.99, 0, -9, 0.5},
    {"equal logits", "gaussian", EDT_POST_PER_CLASS, 700, 50, 64, 0, 0, -1, 0},
};
enum { N_SETTINGS = sizeof all_settings / sizeof all_settings[0] };

typedef struct heads {
    edt_hparams hp;
    edt_anchors *anchors;
    float *cls[N_LEVELS], *box[N_LEVELS];
    float image_scales[N_IMAGES];
    edt_test_heads view;
} heads;

static float rounded(edt_dtype real, double value)
{
    double block = 0;
    edt_ref_real_put(real, &block, 0, value);
    return (float)edt_ref_real_get(real, &block, 0);
}

static void open_heads(const settings *s, edt_dtype real, heads *h)
{
    edt_error err = {0};
    edt_rng rng;
    edt_rng_init(&rng, 11, 0, 0, 4);
    *h = (heads){.hp = edt_test_anchor_hparams(s->side, s->side, 7, 4)};
    h->hp.nms_configs.method = (char *)(uintptr_t)s->method;
    h->hp.nms_configs.max_nms_inputs = s->max_nms_inputs;
    h->hp.nms_configs.max_output_size = s->max_output;
    h->hp.nms_configs.score_thresh = s->score_thresh;
    h->hp.nms_configs.iou_thresh = s->iou_thresh;
    cr_assert_eq(edt_anchors_create(&h->hp, &err, &h->anchors), EDT_OK);
    for (int l = 0; l < N_LEVELS; ++l) {
        const int64_t n =
            N_IMAGES * h->anchors->level_h[l + 3] * h->anchors->level_w[l + 3] * 9;
        h->cls[l] = calloc((size_t)(n * 90), sizeof(float));
        h->box[l] = calloc((size_t)(n * 4), sizeof(float));
        for (int64_t i = 0; i < n * 90; ++i) {
            const double u = edt_rng_uniform_f64(&rng) + edt_rng_uniform_f64(&rng) +
                             edt_rng_uniform_f64(&rng);
            h->cls[l][i] = rounded(real, s->mean + s->spread * (2 * u - 3));
        }
        for (int64_t i = 0; i < n * 4; ++i) {
            h->box[l][i] = rounded(real, edt_rng_uniform_f64(&rng) - 0.5);
        }
    }
    for (int i = 0; i < N_IMAGES; ++i) {
        h->image_scales[i] = 0.75F + 0.5F * (float)i;
    }
    h->view = (edt_test_heads){h->anchors, N_IMAGES, (const float *const *)h->cls,
                               (const float *const *)h->box, h->image_scales};
}

static void close_heads(heads *h)
{
    for (int l = 0; l < N_LEVELS; ++l) {
        free(h->cls[l]);
        free(h->box[l]);
    }
    edt_anchors_destroy(h->anchors);
}

static void compare(edt_backend *backend, const settings *s, edt_dtype real)
{
    heads h;
    edt_error err = {0};
    edt_post *post = NULL;
    edt_detect_attrs attrs;
    open_heads(s, real, &h);
    cr_assert_eq(edt_post_create(&h.hp, h.anchors, s->mode, &err, &post), EDT_OK, "%s",
                 err.text);
    cr_assert(edt_post_describe(post, &attrs));
    edt_detection *have = calloc((size_t)(N_IMAGES * s->max_output), sizeof *have);
    edt_detection *want = calloc((size_t)s->max_output, sizeof *want);
    int64_t n_have[N_IMAGES];
    edt_test_detect(backend, &attrs, real, &h.view, have, n_have);
    for (int64_t image = 0; image < N_IMAGES; ++image) {
        const float *cls[N_LEVELS], *box[N_LEVELS];
        for (int l = 0; l < N_LEVELS; ++l) {
            const int64_t n = h.anchors->level_h[l + 3] * h.anchors->level_w[l + 3] * 9;
            cls[l] = h.cls[l] + image * n * 90;
            box[l] = h.box[l] + image * n * 4;
        }
        int64_t n_want;
        cr_assert_eq(edt_post_run(post, cls, box, h.image_scales[image], want, &n_want, &err),
                     EDT_OK);
        cr_expect_eq(n_have[image], n_want, "%s in %s, picture %d: %d valid, want %d", s->name,
                     edt_dtype_name(real), (int)image, (int)n_have[image], (int)n_want);
        char what[128];
        (void)snprintf(what, sizeof what, "%s in %s, picture %d", s->name, edt_dtype_name(real),
                       (int)image);
        edt_test_same_rows(backend, what, s->max_output, have + image * s->max_output, want);
    }
    free(have);
    free(want);
    edt_post_destroy(post);
    close_heads(&h);
}

Test(detect_op, ref_gives_the_rows_of_the_host, .timeout = 120)
{
    edt_error err = {0};
    edt_backend *backend = NULL;
    cr_assert_eq(edt_backend_ref_create(&err, &backend), EDT_OK);
    for (int i = 0; i < N_SETTINGS; ++i) {
        compare(backend, &all_settings[i], i % 2 == 0 ? EDT_DTYPE_F32 : EDT_DTYPE_F64);
    }
    edt_backend_destroy(&backend);
}

Test(detect_op, cuda_gives_the_rows_of_the_host, .timeout = 300)
{
    edt_backend *backend = edt_test_cuda_backend();
    for (int i = 0; i < N_SETTINGS; ++i) {
        compare(backend, &all_settings[i], EDT_DTYPE_F32);
    }
    edt_backend_destroy(&backend);
}

// 16-bit logits are equal in thousands: the lower index decides.
Test(detect_op, cuda_gives_the_rows_of_the_host_for_16_bit_outputs, .timeout = 300)
{
    edt_backend *backend = edt_test_cuda_backend();
    for (int i = 0; i < N_SETTINGS; i += 3) {
        compare(backend, &all_settings[i], EDT_DTYPE_BF16);
        compare(backend, &all_settings[i], EDT_DTYPE_F16);
    }
    edt_backend_destroy(&backend);
}

// 12276 anchors pass the threshold, of which the device looks at the best 8192: enough for 100
// rows, not for as many as there are.
Test(detect_op, cuda_says_when_it_left_out_what_could_matter, .timeout = 120)
{
    edt_backend *backend = edt_test_cuda_backend();
    settings s = {"many", "hard", EDT_POST_GLOBAL, 0, 100, 256, 0.001, 0.9, -2, 1};
    compare(backend, &s, EDT_DTYPE_F32);
    s.max_output = 10000;
    s.iou_thresh = 0.1;
    heads h;
    edt_error err = {0};
    edt_post *post = NULL;
    edt_detect_attrs attrs;
    open_heads(&s, EDT_DTYPE_F32, &h);
    cr_assert_eq(edt_post_create(&h.hp, h.anchors, s.mode, &err, &post), EDT_OK);
    cr_assert(edt_post_describe(post, &attrs));
    edt_detection *have = calloc((size_t)(N_IMAGES * s.max_output), sizeof *have);
    int64_t n_have[N_IMAGES];
    edt_test_detect(backend, &attrs, EDT_DTYPE_F32, &h.view, have, n_have);
    for (int i = 0; i < N_IMAGES; ++i) {
        cr_expect_eq(n_have[i], -1);
    }
    free(have);
    edt_post_destroy(post);
    close_heads(&h);
    edt_backend_destroy(&backend);
}
