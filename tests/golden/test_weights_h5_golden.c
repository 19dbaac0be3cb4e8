#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "model/io/h5_write.h"
#include "model/io/restore.h"
#include "model/io/weights.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_model.h"

static edt_weights *open_golden(void)
{
    const char *path = edt_test_path(edt_test_golden_dir(), "model/ckpt/efficientdet-lite0.h5");
    EDT_TEST_NEEDS_FILE(path);
    edt_weights *weights = NULL;
    edt_error err = {0};
    cr_assert_eq(edt_weights_open(path, &err, &weights), EDT_OK, "%s", err.text);
    return weights;
}

static void shape_as_listed(const edt_shape *shape, char out[64])
{
    out[0] = '\0';
    for (int k = 0; k < shape->n_dims; ++k) {
        (void)snprintf(out + strlen(out), 64 - strlen(out), "%s%lld", k > 0 ? "x" : "",
                       (long long)shape->dim[k]);
    }
}

static void expect_row(void *user, int n_fields, char **fields)
{
    edt_weights *weights = user;
    edt_error err = {0};
    char shape[64];
    cr_assert_eq(n_fields, 8);
    const int i = edt_weights_find(weights, fields[0]);
    cr_assert_geq(i, 0, "%s", fields[0]);
    const edt_weights_item *item = edt_weights_get(weights, i);
    shape_as_listed(&item->shape, shape);
    cr_assert_str_eq(shape, fields[1]);
    cr_assert_eq(item->dtype, EDT_DTYPE_F32);
    cr_assert_null(item->unreadable);
    const int64_t n = edt_shape_count(&item->shape);
    cr_assert_eq(n, atoll(fields[3]));
    float *values = calloc((size_t)n, sizeof *values);
    cr_assert_eq(edt_weights_read(weights, i, values, (size_t)item->n_bytes, &err), EDT_OK);
    double sum = 0, magnitude = 0;
    for (int64_t k = 0; k < n; ++k) {
        sum += values[k];
        magnitude += fabs(values[k]);
    }
    // The list has 12 digits of the sums and 9 of single values, which say a float exactly.
    cr_assert_float_eq(sum, atof(fields[4]), 1e-11 * magnitude, "%s", fields[0]);
    cr_assert_float_eq(magnitude, atof(fields[5]), 1e-11 * magnitude, "%s", fields[0]);
    cr_assert_eq(values[0], (float)atof(fields[6]), "%s", fields[0]);
    cr_assert_eq(values[n - 1], (float)atof(fields[7]), "%s", fields[0]);
    free(values);
}

Test(weights_h5_golden, every_tensor_of_the_keras_file_is_as_listed, .timeout = 60)
{
    const char *list =
        edt_test_path(edt_test_golden_dir(), "model/ckpt/efficientdet-lite0.h5.values.tsv");
    edt_weights *weights = open_golden();
    cr_assert_eq(edt_weights_get_format(weights), EDT_WEIGHTS_KERAS_H5);
    cr_assert_eq(edt_weights_count(weights), 588);
    cr_assert_eq(edt_test_read_tsv(list, 1, expect_row, weights), 588);
    edt_weights_close(weights);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

typedef struct fixture {
    edt_hparams hp;
    edt_model *model;
    edt_backend *backend;
    edt_params *params;
} fixture;

static void setup(fixture *f, const char *model_name)
{
    const edt_model_options options = {
        .mode = EDT_MODEL_INFER, .real = EDT_DTYPE_F32, .batch_size = 1};
    edt_error err = {0};
    *f = (fixture){0};
    edt_test_model_hparams(model_name, 128, 128, &f->hp);
    f->model = edt_test_model(&f->hp, &options);
    cr_assert_eq(edt_backend_ref_create(&err, &f->backend), EDT_OK);
    cr_assert_eq(edt_params_create(f->model->graph, f->backend, &err, &f->params), EDT_OK);
}

static void teardown(fixture *f)
{
    edt_params_destroy(f->params);
    edt_backend_destroy(&f->backend);
    edt_model_destroy(f->model);
    edt_hparams_deinit(&f->hp);
}

Test(weights_h5_golden, the_keras_file_fills_the_model_and_comes_back_from_it, .timeout = 60)
{
    edt_weights *weights = open_golden();
    fixture f;
    edt_error err = {0};
    setup(&f, "efficientdet-lite0");
    edt_restore_report report = {0};
    const edt_restore_options options = {.use_ema = true, .strict = true};
    cr_assert_eq(edt_restore(f.params, edt_weights_path(weights), &options, &err, &report),
                 EDT_OK, "%s", err.text);
    cr_assert_eq(report.n_loaded, 588);
    cr_assert_eq(report.n_unused, 0);
    edt_restore_report_deinit(&report);
    const char *dir = edt_test_temp_dir();
    const char *path = edt_test_path(dir, "out.h5");
    cr_assert_eq(edt_h5_write(f.params, EDT_PARAMS_VALUES, path, &err), EDT_OK, "%s", err.text);
    edt_weights *again = NULL;
    cr_assert_eq(edt_weights_open(path, &err, &again), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_weights_count(again), edt_weights_count(weights));
    for (int i = 0; i < edt_weights_count(weights); ++i) {
        const edt_weights_item *a = edt_weights_get(weights, i), *b = edt_weights_get(again, i);
        cr_assert_str_eq(a->key, b->key);
        cr_assert(edt_shape_equal(&a->shape, &b->shape), "%s", a->key);
        cr_assert_eq(a->n_bytes, b->n_bytes);
        char *left = malloc((size_t)a->n_bytes), *right = malloc((size_t)a->n_bytes);
        cr_assert_eq(edt_weights_read(weights, i, left, (size_t)a->n_bytes, &err), EDT_OK);
        cr_assert_eq(edt_weights_read(again, i, right, (size_t)a->n_bytes, &err), EDT_OK);
        cr_assert_eq(memcmp(left, right, (size_t)a->n_bytes), 0, "%s", a->key);
        free(left);
        free(right);
    }
    edt_weights_close(weights);
    edt_weights_close(again);
    teardown(&f);
    edt_test_remove_tree(dir);
}
