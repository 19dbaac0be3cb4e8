#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "model/io/restore.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_model.h"

typedef struct fixture {
    edt_hparams hp;
    edt_model *model;
    edt_backend *backend;
    edt_params *params;
} fixture;

static fixture setup(const char *model_name, int64_t num_classes)
{
    fixture f = {0};
    edt_error err = {0};
    edt_test_model_hparams(model_name, 128, 128, &f.hp);
    f.hp.num_classes = num_classes;
    const edt_model_options options = {
        .mode = EDT_MODEL_INFER, .real = EDT_DTYPE_F32, .batch_size = 1};
    f.model = edt_test_model(&f.hp, &options);
    cr_assert_eq(edt_backend_ref_create(&err, &f.backend), EDT_OK);
    cr_assert_eq(edt_params_create(f.model->graph, f.backend, &err, &f.params), EDT_OK);
    return f;
}

static void add_training_arenas(fixture *f)
{
    edt_error err = {0};
    cr_assert_eq(edt_params_add_arena(f->params, EDT_PARAMS_EMA, &err), EDT_OK);
    cr_assert_eq(edt_params_add_arena(f->params, EDT_PARAMS_SLOT0, &err), EDT_OK);
}

static void teardown(fixture *f)
{
    edt_params_destroy(f->params);
    edt_backend_destroy(&f->backend);
    edt_model_destroy(f->model);
    edt_hparams_deinit(&f->hp);
}

static float *values_of(const fixture *f, edt_params_arena which, int i_param)
{
    const int64_t n = f->params->entries[i_param].n;
    float *values = calloc((size_t)n, sizeof *values);
    edt_error err = {0};
    cr_assert_eq(edt_params_get_f32(f->params, which, i_param, values, n, &err), EDT_OK, "%s",
                 err.text);
    return values;
}

static void expect_tensor(const fixture *f, edt_params_arena which, int i_param,
                          const edt_tf_bundle *bundle, const char *key)
{
    const int i = edt_tf_bundle_find(bundle, key);
    cr_assert_geq(i, 0, "%s", key);
    edt_span bytes = {0};
    edt_error err = {0};
    cr_assert_eq(edt_tf_bundle_view(bundle, i, &err, &bytes), EDT_OK);
    float *values = values_of(f, which, i_param);
    cr_assert_eq(memcmp(values, bytes.data, bytes.n_bytes), 0, "%s", key);
    free(values);
}

static const char *d0_prefix(void)
{
    return edt_test_path(edt_test_golden_dir(), "model/ckpt/efficientdet-d0/model");
}

static void restore_ok(fixture *f, const char *prefix, const edt_restore_options *options,
                       edt_restore_report *report)
{
    edt_error err = {0};
    cr_assert_eq(edt_restore(f->params, prefix, options, &err, report), EDT_OK, "%s", err.text);
}

Test(restore_golden, averages_for_inference_raw_and_averages_for_training, .timeout = 60)
{
    const char *prefix = d0_prefix();
    EDT_TEST_NEEDS_FILE(
        edt_test_path(edt_test_golden_dir(), "model/ckpt/efficientdet-d0/model.index"));
    edt_tf_bundle *bundle = NULL;
    edt_error err = {0};
    cr_assert_eq(edt_tf_bundle_open(prefix, &err, &bundle), EDT_OK);
    fixture f = setup("efficientdet-d0", 90);
    edt_restore_report report = {0};
    restore_ok(&f, prefix, &(edt_restore_options){.use_ema = true, .strict = true}, &report);
    cr_assert_eq(report.n_loaded, 709);
    cr_assert_eq(report.n_unused, 0);
    cr_assert_eq(report.global_step, 270000);
    cr_assert(report.rows[0].from_average);
    edt_restore_report_deinit(&report);
    char key[256];
    for (int i = 0; i < f.params->n_params; ++i) {
        (void)snprintf(key, sizeof key, "%s/ExponentialMovingAverage",
                       f.params->entries[i].name);
        expect_tensor(&f, EDT_PARAMS_VALUES, i, bundle, key);
    }
    add_training_arenas(&f);
    restore_ok(&f, prefix, &(edt_restore_options){.load_ema = true, .slot_names = {"Momentum"}},
               &report);
    cr_assert_eq(report.n_averages, 709);
    cr_assert_eq(report.n_slots, 0);
    for (int i = 0; i < f.params->n_params; ++i) {
        expect_tensor(&f, EDT_PARAMS_VALUES, i, bundle, f.params->entries[i].name);
        (void)snprintf(key, sizeof key, "%s/ExponentialMovingAverage",
                       f.params->entries[i].name);
        expect_tensor(&f, EDT_PARAMS_EMA, i, bundle, key);
    }
    edt_restore_report_deinit(&report);
    teardown(&f);
    edt_tf_bundle_close(bundle);
}

Test(restore_golden, other_class_count_keeps_the_predictor_or_is_refused, .timeout = 60)
{
    const char *prefix = d0_prefix();
    EDT_TEST_NEEDS_FILE(
        edt_test_path(edt_test_golden_dir(), "model/ckpt/efficientdet-d0/model.index"));
    fixture f = setup("efficientdet-d0", 20);
    edt_error err = {0};
    cr_assert_eq(
        edt_restore(f.params, prefix, &(edt_restore_options){.strict = true}, &err, NULL),
        EDT_ERR_MISMATCH);
    cr_assert_not_null(strstr(err.text, "has 90 classes, the model 20"), "%s", err.text);
    const int bias = edt_params_find(f.params, "class_net/class-predict/bias");
    float *untouched =
        values_of(&f, EDT_PARAMS_VALUES, edt_params_find(f.params, "resample_p6/bn/beta"));
    cr_assert_eq(untouched[0], 0.0F, "a refused checkpoint must change nothing");
    free(untouched);

    add_training_arenas(&f);
    edt_restore_report report = {0};
    restore_ok(&f, prefix, &(edt_restore_options){.skip_mismatch = true, .load_ema = true},
               &report);
    cr_assert_eq(report.n_shape_differs, 2); // pointwise_kernel and bias
    cr_assert_eq(report.n_loaded, 707);
    cr_assert_eq(report.rows[bias].outcome, EDT_RESTORE_SHAPE_DIFFERS);
    edt_restore_report_deinit(&report);
    teardown(&f);
}

Test(restore_golden, backbone_scope_loads_the_backbone_only, .timeout = 60)
{
    const char *prefix = d0_prefix();
    EDT_TEST_NEEDS_FILE(
        edt_test_path(edt_test_golden_dir(), "model/ckpt/efficientdet-d0/model.index"));
    fixture f = setup("efficientdet-d0", 90);
    edt_restore_options options = {.model_scope = "efficientnet-b0/",
                                   .ckpt_scope = "efficientnet-b0/",
                                   .skip_mismatch = true};
    edt_restore_report report = {0};
    restore_ok(&f, prefix, &options, &report);
    cr_assert_gt(report.n_loaded, 200);
    cr_assert_eq(report.n_loaded, report.n_rows);
    edt_restore_report_deinit(&report);
    const int head = edt_params_find(f.params, "box_net/box-0-bn-3/gamma");
    float *values = values_of(&f, EDT_PARAMS_VALUES, head);
    cr_assert_eq(values[0], 0.0F);
    free(values);
    options.ckpt_scope = "resnet/";
    edt_error err = {0};
    cr_assert_eq(edt_restore(f.params, prefix, &options, &err, NULL), EDT_ERR_MISMATCH);
    cr_assert_not_null(strstr(err.text, "resnet/"), "%s", err.text);
    teardown(&f);
}

Test(restore_golden, saved_state_is_the_same_bytes_anywhere_and_reads_back, .timeout = 60)
{
    const char *prefix = d0_prefix();
    EDT_TEST_NEEDS_FILE(
        edt_test_path(edt_test_golden_dir(), "model/ckpt/efficientdet-d0/model.index"));
    fixture f = setup("efficientdet-d0", 90);
    add_training_arenas(&f);
    restore_ok(&f, prefix, &(edt_restore_options){.load_ema = true}, NULL);
    edt_error err = {0};
    const int kernel = edt_params_find(f.params, "efficientnet-b0/stem/conv2d/kernel");
    float *slot = values_of(&f, EDT_PARAMS_EMA, kernel);
    cr_assert_eq(edt_params_set_f32(f.params, EDT_PARAMS_SLOT0, kernel, slot,
                                    f.params->entries[kernel].n, &err),
                 EDT_OK);
    const int64_t cursor[2] = {3, 1234};
    const edt_checkpoint_extra extras[2] = {
        {.name = "edt/cursor", .desc = {EDT_DTYPE_I64, edt_shape_1(2)}, .data = cursor},
        {.name = "edt/config", .text = {"a: 1\n", 5}}};
    const edt_checkpoint_save_options options = {
        .global_step = 77, .slot_names = {"Momentum"}, .n_extras = 2, .extras = extras};
    const char *dirs[2] = {edt_test_temp_dir(), edt_test_temp_dir()};
    const char *names[2] = {"model.ckpt-77", "other"};
    const char *prefixes[2];
    char *text[2][2];
    size_t n_text[2][2];
    for (int k = 0; k < 2; ++k) {
        prefixes[k] = edt_test_path(dirs[k], "%s", names[k]);
        cr_assert_eq(edt_checkpoint_save(f.params, prefixes[k], &options, &err), EDT_OK, "%s",
                     err.text);
        const char *files[2] = {edt_test_path(dirs[k], "%s.index", names[k]),
                                edt_test_path(dirs[k], "%s.data-00000-of-00001", names[k])};
        for (int i = 0; i < 2; ++i) {
            cr_assert_eq(edt_file_read(files[i], SIZE_MAX, &err, &text[k][i], &n_text[k][i]),
                         EDT_OK, "%s", err.text);
        }
    }
    for (int i = 0; i < 2; ++i) {
        cr_assert_eq(n_text[0][i], n_text[1][i]);
        cr_assert_eq(memcmp(text[0][i], text[1][i], n_text[0][i]), 0);
        edt_mem_free(text[0][i]);
        edt_mem_free(text[1][i]);
    }

    fixture g = setup("efficientdet-d0", 90);
    add_training_arenas(&g);
    edt_restore_report report = {0};
    restore_ok(
        &g, prefixes[0],
        &(edt_restore_options){.strict = true, .load_ema = true, .slot_names = {"Momentum"}},
        &report);
    cr_assert_eq(report.n_loaded, 709);
    cr_assert_eq(report.n_slots, 493);
    cr_assert_eq(report.n_unused, 0);
    cr_assert_eq(report.global_step, 77);
    edt_restore_report_deinit(&report);
    const edt_params_arena arenas[3] = {EDT_PARAMS_VALUES, EDT_PARAMS_EMA, EDT_PARAMS_SLOT0};
    for (int a = 0; a < 3; ++a) {
        for (int i = 0; i < f.params->n_params; ++i) {
            float *x = values_of(&f, arenas[a], i), *y = values_of(&g, arenas[a], i);
            cr_assert_eq(memcmp(x, y, (size_t)f.params->entries[i].n * sizeof *x), 0);
            free(x);
            free(y);
        }
    }
    free(slot);

    edt_tf_bundle *bundle = NULL;
    cr_assert_eq(edt_tf_bundle_open(prefixes[1], &err, &bundle), EDT_OK);
    int64_t cursor_back[2] = {0};
    cr_assert_eq(
        edt_checkpoint_read_extra(bundle, "edt/cursor", &extras[0].desc, cursor_back, &err),
        EDT_OK, "%s", err.text);
    cr_assert_eq(cursor_back[1], 1234);
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    const char *config = NULL;
    cr_assert_eq(edt_checkpoint_read_text(bundle, "edt/config", &arena, &err, &config), EDT_OK);
    cr_assert_str_eq(config, "a: 1\n");
    cr_assert_eq(edt_checkpoint_read_text(bundle, "edt/none", &arena, &err, &config),
                 EDT_ERR_NOT_FOUND);
    edt_arena_deinit(&arena);
    edt_tf_bundle_close(bundle);
    teardown(&g);
    teardown(&f);
}

Test(restore_golden, checkpoint_without_averages_fills_both_from_the_plain_value, .timeout = 60)
{
    EDT_TEST_NEEDS_FILE(
        edt_test_path(edt_test_golden_dir(), "model/ckpt/efficientdet-d0/model.index"));
    fixture f = setup("efficientdet-d0", 90); // no EMA arena: none is stored
    restore_ok(&f, d0_prefix(), &(edt_restore_options){.strict = true}, NULL);
    const char *prefix = edt_test_path(edt_test_temp_dir(), "raw");
    edt_error err = {0};
    cr_assert_eq(edt_checkpoint_save(f.params, prefix, &(edt_checkpoint_save_options){0}, &err),
                 EDT_OK);
    fixture g = setup("efficientdet-d0", 90);
    cr_assert_eq(edt_restore(g.params, prefix,
                             &(edt_restore_options){.strict = true, .use_ema = true}, &err,
                             NULL),
                 EDT_ERR_MISMATCH);
    cr_assert_not_null(strstr(err.text, "moving_average_decay=0"), "%s", err.text);
    add_training_arenas(&g);
    edt_restore_report report = {0};
    restore_ok(&g, prefix, &(edt_restore_options){.load_ema = true, .skip_mismatch = true},
               &report);
    cr_assert_eq(report.n_averages, 0);
    cr_assert(report.rows[5].average_from_raw);
    edt_restore_report_deinit(&report);
    const edt_params_arena arenas[2] = {EDT_PARAMS_VALUES, EDT_PARAMS_EMA};
    for (int a = 0; a < 2; ++a) {
        float *x = values_of(&f, EDT_PARAMS_VALUES, 5), *y = values_of(&g, arenas[a], 5);
        cr_assert_eq(memcmp(x, y, (size_t)f.params->entries[5].n * sizeof *x), 0);
        free(x);
        free(y);
    }
    teardown(&g);
    teardown(&f);
}

typedef struct row_check {
    const fixture *f;
    int n_values, n_slots;
} row_check;

static void check_row(void *user, int n_fields, char **field)
{
    row_check *c = user;
    cr_assert_eq(n_fields, 8);
    char *mark = strstr(field[0], " (slot momentum)");
    const edt_params_arena which = mark != NULL ? EDT_PARAMS_SLOT0 : EDT_PARAMS_VALUES;
    if (mark != NULL) {
        *mark = '\0';
    } else if (strchr(field[0], ' ') != NULL) {
        return;
    }
    const int i = edt_params_find(c->f->params, field[0]);
    if (i < 0) {
        return; // optimizer scalars
    }
    c->n_values += mark == NULL;
    c->n_slots += mark != NULL;
    float *values = values_of(c->f, which, i);
    double sum = 0, abs_sum = 0;
    for (int64_t k = 0; k < c->f->params->entries[i].n; ++k) {
        sum += (double)values[k];
        abs_sum += fabs((double)values[k]);
    }
    cr_assert(fabs(sum - atof(field[4])) <= 1e-11 * abs_sum, "%s: sum %.12g, want %s", field[0],
              sum, field[4]);
    cr_assert(fabs(abs_sum - atof(field[5])) <= 1e-11 * abs_sum, "%s", field[0]);
    cr_assert(fabsf(values[0] - (float)atof(field[6])) <= 1e-8F * fabsf(values[0]), "%s",
              field[0]);
    free(values);
}

Test(restore_golden, object_based_checkpoint_through_object_paths, .timeout = 60)
{
    const char *table =
        edt_test_path(edt_test_golden_dir(), "model/ckpt/efficientdet-lite0-tf2.values.tsv");
    EDT_TEST_NEEDS_FILE(table);
    fixture f = setup("efficientdet-lite0", 90);
    add_training_arenas(&f);
    bool *updated = calloc((size_t)f.params->n_params, sizeof *updated); // the head's variables
    for (int i = 0; i < f.params->n_params; ++i) {
        const edt_param_entry *entry = &f.params->entries[i];
        updated[i] = entry->trainable && (strncmp(entry->name, "class_net/", 10) == 0 ||
                                          strncmp(entry->name, "box_net/", 8) == 0);
    }
    edt_restore_report report = {0};
    edt_restore_options options = {
        .strict = true, .load_ema = true, .slot_names = {"KerasMomentum"}, .has_slot = updated};
    const char *prefix =
        edt_test_path(edt_test_golden_dir(), "model/ckpt/efficientdet-lite0-tf2/emackpt-1");
    restore_ok(&f, prefix, &options, &report);
    free(updated);
    options.has_slot = NULL;
    edt_error err = {0};
    cr_assert_eq(edt_restore(f.params, prefix, &options, &err, NULL), EDT_ERR_MISMATCH);
    cr_assert_not_null(strstr(err.text, "same var_freeze_expr"), "%s", err.text);
    cr_assert_eq(report.n_loaded, 588);
    cr_assert_eq(report.n_slots, 84);
    cr_assert_eq(report.global_step, 2);
    row_check c = {.f = &f};
    cr_assert_gt(edt_test_read_tsv(table, 1, check_row, &c), 588);
    cr_assert_eq(c.n_values, 588);
    cr_assert_eq(c.n_slots, 84);
    edt_restore_report_deinit(&report);
    teardown(&f);
}
