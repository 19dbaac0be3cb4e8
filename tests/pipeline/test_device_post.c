// A predictor on the cuda backend brings final rows back and nothing else, and they are those
// that the host makes of the network's outputs.
#include <criterion/criterion.h>
#include <stdlib.h>

#include "core/rng.h"
#include "eval/predict.h"
#include "tests/support/cuda_device.h"
#include "tests/support/detect_op.h"
#include "tests/support/test_model.h"

enum { BATCH = 2, SIDE = 64, MAX_LEVELS = 16 };

typedef struct pictures {
    float *pixels;
    float image_scales[BATCH];
    edt_batch batch;
} pictures;

static void draw_pictures(pictures *p)
{
    const int64_t n = (int64_t)BATCH * SIDE * SIDE * 3;
    edt_rng rng;
    edt_rng_init(&rng, 3, 0, 0, 1);
    *p = (pictures){.image_scales = {1.5F, 0.75F}};
    p->pixels = calloc((size_t)n, sizeof(float));
    for (int64_t i = 0; i < n; ++i) {
        p->pixels[i] = (float)edt_rng_uniform_range(&rng, -2, 2);
    }
    p->batch = (edt_batch){
        .batch_size = BATCH,
        .n_valid = BATCH,
        .height = SIDE,
        .width = SIDE,
        .format = EDT_SLOT_F32,
        .images = p->pixels,
        .image_scales = p->image_scales,
    };
}

static void compare_rows(edt_predictor *predictor, const edt_hparams *hp, edt_post_mode mode,
                         const pictures *p, const edt_detection *have, const int64_t *n_have)
{
    edt_error err = {0};
    edt_anchors *anchors = NULL;
    edt_post *post = NULL;
    const int64_t max = edt_predictor_max_detections(predictor);
    edt_detection *want = calloc((size_t)max, sizeof *want);
    cr_assert_eq(edt_anchors_create(hp, &err, &anchors), EDT_OK);
    cr_assert_eq(edt_post_create(hp, anchors, mode, &err, &post), EDT_OK, "%s", err.text);
    for (int64_t row = 0; row < BATCH; ++row) {
        const float *cls[MAX_LEVELS], *box[MAX_LEVELS];
        int64_t n_want = 0;
        cr_assert_eq(edt_predictor_outputs(predictor, row, &err, cls, box), EDT_OK, "%s",
                     err.text);
        cr_assert_eq(edt_post_run(post, cls, box, p->image_scales[row], want, &n_want, &err),
                     EDT_OK);
        cr_expect_eq(n_have[row], n_want);
        cr_expect_gt(n_want, 0);
        edt_test_same_rows(edt_predictor_params(predictor)->backend, "predictor", max,
                           have + row * max, want);
    }
    edt_post_destroy(post);
    edt_anchors_destroy(anchors);
    free(want);
}

// pyfunc: suppression that the op has not.
static void check(edt_post_mode mode, int64_t max_nms_inputs, bool pyfunc, int64_t max_output)
{
    edt_error err = {0};
    edt_backend *backend = edt_test_cuda_backend();
    edt_hparams hp;
    edt_predictor *predictor = NULL;
    pictures p;
    edt_test_model_hparams("efficientdet-lite0", SIDE, SIDE, &hp);
    hp.nms_configs.max_nms_inputs = max_nms_inputs;
    hp.nms_configs.max_output_size = max_output;
    hp.nms_configs.pyfunc = pyfunc;
    const edt_predictor_options options = {
        .batch_size = BATCH, .slot_format = EDT_SLOT_F32, .post_mode = mode, .n_threads = 1};
    draw_pictures(&p);
    cr_assert_eq(edt_predictor_create_standalone(&hp, backend, &options, &err, &predictor),
                 EDT_OK, "%s", err.text);
    cr_assert_eq(edt_params_init_random(edt_predictor_params(predictor), 5, &err), EDT_OK);
    cr_expect_eq(edt_predictor_detects_on_device(predictor), !pyfunc);
    const edt_detection *rows;
    const int64_t *n_valid;
    for (int run = 0; run < 2; ++run) { // the second on used memory
        cr_assert_eq(edt_predictor_run(predictor, &p.batch, &err, &rows, &n_valid), EDT_OK,
                     "%s", err.text);
        compare_rows(predictor, &hp, mode, &p, rows, n_valid);
    }
    p.image_scales[1] = 0;
    cr_expect_eq(edt_predictor_run(predictor, &p.batch, &err, &rows, &n_valid),
                 EDT_ERR_INVALID);
    edt_predictor_destroy(predictor);
    edt_hparams_deinit(&hp);
    edt_backend_destroy(&backend);
    free(p.pixels);
}

Test(device_post, evaluation_gets_the_rows_of_the_host, .timeout = 300)
{
    check(EDT_POST_PER_CLASS, 5000, false, 100);
}

Test(device_post, detect_gets_the_rows_of_the_host, .timeout = 300)
{
    check(EDT_POST_GLOBAL, 0, false, 20);
}

Test(device_post, what_the_op_has_not_stays_on_the_host, .timeout = 300)
{
    check(EDT_POST_PER_CLASS, 500, true, 20);
}
