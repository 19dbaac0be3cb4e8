// Restoring from every format with every option: what was saved in one of them loads into the
// same values, other class counts and scopes do the same as with a name-based checkpoint.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "model/io/restore.h"
#include "model/io/weights_save.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_model.h"

enum { N_FORMATS = 4, N_VARIABLES = 709 };

typedef struct fixture {
    edt_hparams hp;
    edt_model *model;
    edt_backend *backend;
    edt_params *params;
} fixture;

static fixture open_fixture(int64_t num_classes)
{
    fixture f = {0};
    edt_error err = {0};
    edt_test_model_hparams("efficientdet-d0", 128, 128, &f.hp);
    f.hp.num_classes = num_classes;
    f.model =
        edt_test_model(&f.hp, &(edt_model_options){.real = EDT_DTYPE_F32, .batch_size = 1});
    cr_assert_eq(edt_backend_ref_create(&err, &f.backend), EDT_OK);
    cr_assert_eq(edt_params_create(f.model->graph, f.backend, &err, &f.params), EDT_OK);
    cr_assert_eq(edt_params_add_arena(f.params, EDT_PARAMS_EMA, &err), EDT_OK);
    return f;
}

static void close_fixture(fixture *f)
{
    edt_params_destroy(f->params);
    edt_backend_destroy(&f->backend);
    edt_model_destroy(f->model);
    edt_hparams_deinit(&f->hp);
}

static const char *golden_d0(void)
{
    return edt_test_path(edt_test_golden_dir(), "model/ckpt/efficientdet-d0");
}

// The golden checkpoint in each format, averages kept where there is a place for them.
static void save_all(const char *dir, const char *out_paths[N_FORMATS], char texts[][512])
{
    static const char *const names[N_FORMATS] = {"names", "objects", "w.h5", "w.safetensors"};
    fixture f = open_fixture(90);
    edt_error err = {0};
    const edt_restore_options whole = {.load_ema = true, .strict = true};
    cr_assert_eq(edt_restore(f.params, golden_d0(), &whole, &err, NULL), EDT_OK, "%s",
                 err.text);
    for (int i = 0; i < N_FORMATS; ++i) {
        const edt_weights_save_options save = {
            .format = (edt_weights_format)i,
            .averages = i == EDT_WEIGHTS_KERAS_H5 ? EDT_WEIGHTS_RAW : EDT_WEIGHTS_KEEP,
            .global_step = 4711};
        (void)snprintf(texts[i], 512, "%s/%s", dir, names[i]);
        out_paths[i] = texts[i];
        cr_assert_eq(edt_weights_save(f.params, texts[i], &save, &err), EDT_OK, "%s", err.text);
    }
    close_fixture(&f);
}

static int count_equal(const edt_params *a, const edt_params *b, edt_params_arena which_a,
                       edt_params_arena which_b)
{
    int n_equal = 0;
    edt_error err = {0};
    for (int i = 0; i < a->n_params; ++i) {
        const int64_t n = a->entries[i].n;
        float *x = malloc((size_t)n * sizeof *x), *y = malloc((size_t)n * sizeof *y);
        cr_assert_eq(edt_params_get_f32(a, which_a, i, x, n, &err), EDT_OK);
        if (b->entries[i].n == n) {
            cr_assert_eq(edt_params_get_f32(b, which_b, i, y, n, &err), EDT_OK);
            n_equal += memcmp(x, y, (size_t)n * sizeof *x) == 0;
        }
        free(x);
        free(y);
    }
    return n_equal;
}

static edt_restore_report load(fixture *f, const char *path, const edt_restore_options *options)
{
    edt_restore_report report = {0};
    edt_error err = {0};
    cr_assert_eq(edt_restore(f->params, path, options, &err, &report), EDT_OK, "%s", err.text);
    return report;
}

static void check_whole(const char *path, int format, const fixture *want)
{
    const bool is_h5 = format == EDT_WEIGHTS_KERAS_H5;
    const int n_averages = is_h5 ? 0 : N_VARIABLES;
    fixture f = open_fixture(90);
    edt_restore_report report =
        load(&f, path, &(edt_restore_options){.load_ema = true, .refuse_unused = true});
    cr_expect_eq((int)report.format, format);
    cr_expect_eq(report.n_loaded, N_VARIABLES);
    cr_expect_eq(report.n_averages, n_averages, "%s: %d", path, report.n_averages);
    cr_expect_eq(report.n_unused, 0);
    cr_expect_eq(report.global_step, is_h5 ? -1 : 4711);
    cr_expect_eq(count_equal(f.params, want->params, EDT_PARAMS_VALUES, EDT_PARAMS_VALUES),
                 N_VARIABLES);
    edt_restore_report_deinit(&report);
    // Inference: the averages, or what stands in their place.
    report = load(&f, path, &(edt_restore_options){.use_ema = true, .strict = true});
    const int n_equal = count_equal(f.params, want->params, EDT_PARAMS_VALUES,
                                    is_h5 ? EDT_PARAMS_VALUES : EDT_PARAMS_EMA);
    cr_expect_eq(n_equal, N_VARIABLES, "%s: %d", path, n_equal);
    edt_restore_report_deinit(&report);
    close_fixture(&f);
}

static void check_part(const char *path)
{
    edt_error err = {0};
    fixture f = open_fixture(20);
    cr_expect_eq(edt_restore(f.params, path, &(edt_restore_options){0}, &err, NULL),
                 EDT_ERR_MISMATCH);
    cr_expect_not_null(strstr(err.text, "has 90 classes, the model 20"), "%s", err.text);
    edt_restore_report report = load(&f, path, &(edt_restore_options){.skip_mismatch = true});
    cr_expect_eq(report.n_shape_differs, 2);
    cr_expect_eq(report.n_loaded, N_VARIABLES - 2);
    edt_restore_report_deinit(&report);
    report = load(&f, path,
                  &(edt_restore_options){.model_scope = "efficientnet-b0/",
                                         .ckpt_scope = "efficientnet-b0/",
                                         .refuse_unused = true});
    cr_expect_gt(report.n_loaded, 200);
    cr_expect_eq(report.n_loaded, report.n_rows);
    cr_expect_gt(report.n_unused, 300);
    edt_restore_report_deinit(&report);
    report = load(&f, path, &(edt_restore_options){.fresh_scopes = {"class_net/", "box_net/"}});
    cr_expect_eq(report.n_loaded + report.n_fresh, N_VARIABLES);
    cr_expect_eq(report.n_fresh, 144);
    cr_expect_eq(report.n_unused, 0);
    edt_restore_report_deinit(&report);
    close_fixture(&f);
}

Test(restore_formats, every_format_restores_the_same_with_every_option, .timeout = 120)
{
    EDT_TEST_NEEDS_FILE(golden_d0());
    char texts[N_FORMATS][512], dir[256];
    (void)snprintf(dir, sizeof dir, "%s", edt_test_temp_dir());
    const char *paths[N_FORMATS];
    save_all(dir, paths, texts);
    fixture want = open_fixture(90);
    const edt_restore_options whole = {.load_ema = true, .strict = true};
    edt_error err = {0};
    cr_assert_eq(edt_restore(want.params, golden_d0(), &whole, &err, NULL), EDT_OK);
    for (int i = 0; i < N_FORMATS; ++i) {
        check_whole(paths[i], i, &want);
        check_part(paths[i]);
    }
    close_fixture(&want);
    edt_test_remove_tree(dir);
}
