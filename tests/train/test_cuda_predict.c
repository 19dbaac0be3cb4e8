// The inference network on the cuda backend (a device, or the emulated one): 16-bit networks
// are near the f32 one, and replaying a recorded run changes nothing, not even when weights
// change.
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "eval/predict.h"
#include "tests/support/cuda_device.h"
#include "tests/support/test_model.h"

#define OK(expr) cr_assert_eq((expr), EDT_OK, "%s", err.text)

enum { SIDE = 96 };

typedef struct fixture {
    edt_hparams hp;
    edt_backend *backend;
    edt_predictor *predictor;
    float *image;
    int32_t valid_hw[2];
    float image_scale;
    edt_batch batch;
} fixture;

static void open_fixture(fixture *f, edt_dtype real)
{
    edt_error err = {0};
    *f = (fixture){.valid_hw = {SIDE, SIDE}, .image_scale = 1.0F};
    // The memory of an emulated device is closed to the host in other tests.
    cr_assert_eq(setenv("EDT_EMULATOR_STAYS_OPEN", "1", 1), 0);
    f->backend = edt_test_cuda_backend();
    edt_test_model_hparams("efficientdet-lite0", 0, 0, &f->hp);
    f->hp.image_size = (edt_hw){.h = SIDE, .w = SIDE};
    const edt_predictor_options po = {.batch_size = 1,
                                      .slot_format = EDT_SLOT_F32,
                                      .post_mode = EDT_POST_PER_CLASS,
                                      .real = real,
                                      .n_threads = 1};
    OK(edt_predictor_create_standalone(&f->hp, f->backend, &po, &err, &f->predictor));
    OK(edt_params_init_random(edt_predictor_params(f->predictor), 4, &err));
    const int64_t n = SIDE * SIDE * 3;
    f->image = edt_mem_alloc(EDT_MEM_MISC, (size_t)n * sizeof *f->image);
    for (int64_t i = 0; i < n; i++) {
        f->image[i] = (float)(i % 23) / 8.0F - 1.4F;
    }
    f->batch = (edt_batch){.batch_size = 1,
                           .n_valid = 1,
                           .height = SIDE,
                           .width = SIDE,
                           .format = EDT_SLOT_F32,
                           .images = f->image,
                           .valid_hw = f->valid_hw,
                           .image_scales = &f->image_scale};
}

static void close_fixture(fixture *f)
{
    edt_predictor_destroy(f->predictor);
    edt_backend_destroy(&f->backend);
    edt_mem_free(f->image);
    edt_hparams_deinit(&f->hp);
}

// Copy of the outputs: classes then boxes of the coarsest level but one.
enum { LEVEL = 3, N_CLS = 2 * 2 * 9 * 90, N_BOX = 2 * 2 * 9 * 4 };
static void predict(fixture *f, float *out_values)
{
    edt_error err = {0};
    const float *cls[16], *box[16];
    OK(edt_predictor_run_network(f->predictor, &f->batch, &err));
    OK(edt_predictor_outputs(f->predictor, 0, &err, cls, box));
    memcpy(out_values, cls[LEVEL], N_CLS * sizeof(float));
    memcpy(out_values + N_CLS, box[LEVEL], N_BOX * sizeof(float));
}

static float wide[N_CLS + N_BOX], narrow[N_CLS + N_BOX], again[N_CLS + N_BOX];

static void expect_near(edt_dtype real, double tolerance)
{
    fixture f;
    open_fixture(&f, EDT_DTYPE_F32);
    predict(&f, wide);
    close_fixture(&f);
    open_fixture(&f, real);
    predict(&f, narrow);
    close_fixture(&f);
    double difference = 0, total = 0;
    for (int i = 0; i < N_CLS + N_BOX; i++) {
        difference += fabs((double)(wide[i] - narrow[i]));
        total += fabs((double)wide[i]);
    }
    cr_expect_gt(difference, 0, "the networks differ");
    cr_expect_leq(difference, tolerance * total, "%g of %g", difference, total);
}

Test(cuda_predict, in_bf16_is_near_f32, .timeout = 300)
{
    expect_near(EDT_DTYPE_BF16, 2e-2);
}

Test(cuda_predict, in_f16_is_near_f32, .timeout = 300)
{
    expect_near(EDT_DTYPE_F16, 3e-3);
}

Test(cuda_predict, a_replay_gives_the_same_and_follows_the_weights, .timeout = 300)
{
    edt_error err = {0};
    fixture f;
    open_fixture(&f, EDT_DTYPE_BF16);
    predict(&f, wide);            // node by node
    for (int i = 0; i < 2; i++) { // recorded, replayed
        predict(&f, again);
        cr_expect_eq(memcmp(wide, again, sizeof wide), 0, "run %d", i + 2);
    }
    f.image[0] += 1.0F; // inputs are not part of a recording
    predict(&f, narrow);
    cr_expect_neq(memcmp(wide, narrow, sizeof wide), 0);
    f.image[0] -= 1.0F;
    OK(edt_params_init_random(edt_predictor_params(f.predictor), 5, &err));
    predict(&f, narrow);
    cr_expect_neq(memcmp(wide, narrow, sizeof wide), 0);
    for (int i = 0; i < 2; i++) {
        predict(&f, again);
        cr_expect_eq(memcmp(narrow, again, sizeof narrow), 0, "new weights, run %d", i + 2);
    }
    close_fixture(&f);
}
