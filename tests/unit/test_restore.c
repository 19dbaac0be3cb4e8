// Strict restoring of training state: averages and slots that are there but do not fit. Element
// types, and words for what does not belong to the model.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "model/io/restore.h"
#include "tests/support/test_bundle.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_model.h"

static const char variable[] = "box_net/box-predict/bias";

// Saves a model whose `suffix` tensor of `variable` has `desc`, and restores it.
static edt_status round_trip(const char *suffix, edt_tensor_desc desc, bool strict,
                             edt_error *err)
{
    edt_hparams hp;
    edt_test_model_hparams("efficientdet-lite0", 128, 128, &hp);
    edt_model *model =
        edt_test_model(&hp, &(edt_model_options){.real = EDT_DTYPE_F32, .batch_size = 1});
    edt_backend *backend = NULL;
    edt_params *params = NULL;
    cr_assert_eq(edt_backend_ref_create(err, &backend), EDT_OK);
    cr_assert_eq(edt_params_create(model->graph, backend, err, &params), EDT_OK);
    cr_assert_eq(edt_params_add_arena(params, EDT_PARAMS_SLOT0, err), EDT_OK);
    bool *has_slot = edt_mem_calloc(EDT_MEM_MISC, (size_t)params->n_params, sizeof *has_slot);
    for (int i = 0; i < params->n_params; ++i) {
        has_slot[i] = params->entries[i].trainable;
    }
    const bool is_slot = strcmp(suffix, "Momentum") == 0;
    has_slot[edt_params_find(params, variable)] = !is_slot;
    char name[128];
    (void)snprintf(name, sizeof name, "%s/%s", variable, suffix);
    static const double zeros[64];
    const edt_checkpoint_extra extra = {.name = name, .desc = desc, .data = zeros};
    const char *dir = edt_test_temp_dir();
    const char *prefix = edt_test_path(dir, "model.ckpt-1");
    cr_assert_eq(edt_checkpoint_save(params, prefix,
                                     &(edt_checkpoint_save_options){.slot_names = {"Momentum"},
                                                                    .has_slot = has_slot,
                                                                    .n_extras = 1,
                                                                    .extras = &extra},
                                     err),
                 EDT_OK, "%s", err->text);
    cr_assert_eq(edt_params_add_arena(params, EDT_PARAMS_EMA, err), EDT_OK);
    const edt_status status = edt_restore(
        params, prefix,
        &(edt_restore_options){.strict = strict, .load_ema = true, .slot_names = {"Momentum"}},
        err, NULL);
    edt_mem_free(has_slot);
    edt_test_remove_tree(dir);
    edt_params_destroy(params);
    edt_backend_destroy(&backend);
    edt_model_destroy(model);
    edt_hparams_deinit(&hp);
    return status;
}

static void check(const char *suffix)
{
    const edt_tensor_desc right = {EDT_DTYPE_F64, edt_shape_1(36)};
    const edt_tensor_desc short_one = {EDT_DTYPE_F32, edt_shape_1(35)};
    const edt_tensor_desc integers = {EDT_DTYPE_I32, edt_shape_1(36)};
    edt_error err = {0};
    cr_expect_eq(round_trip(suffix, right, true, &err), EDT_OK, "%s", err.text);
    cr_expect_eq(round_trip(suffix, short_one, true, &err), EDT_ERR_MISMATCH);
    cr_expect_not_null(strstr(err.text, variable), "%s", err.text);
    cr_expect_not_null(strstr(err.text, "35"), "%s", err.text);
    cr_expect_eq(round_trip(suffix, integers, true, &err), EDT_ERR_MISMATCH);
    cr_expect_not_null(strstr(err.text, suffix), "%s", err.text);
    cr_expect_eq(round_trip(suffix, short_one, false, &err), EDT_OK, "%s", err.text);
}

Test(restore, an_average_that_does_not_fit_is_refused, .timeout = 60)
{
    check("ExponentialMovingAverage");
}

Test(restore, a_slot_that_does_not_fit_is_refused, .timeout = 60)
{
    check("Momentum");
}

// A variable of 36 elements stored as `desc` in a file of its own.
static edt_status restore_full(const edt_test_tensor *tensors, int n,
                               const edt_restore_options *options, edt_error *err,
                               float out_values[36], int64_t *out_step)
{
    edt_hparams hp;
    edt_test_model_hparams("efficientdet-lite0", 128, 128, &hp);
    edt_model *model =
        edt_test_model(&hp, &(edt_model_options){.real = EDT_DTYPE_F32, .batch_size = 1});
    edt_backend *backend = NULL;
    edt_params *params = NULL;
    cr_assert_eq(edt_backend_ref_create(err, &backend), EDT_OK);
    cr_assert_eq(edt_params_create(model->graph, backend, err, &params), EDT_OK);
    const char *dir = edt_test_temp_dir();
    const char *prefix = edt_test_path(dir, "m");
    edt_test_bundle_write(prefix, &(edt_test_bundle_options){0}, tensors, n);
    edt_restore_report report = {0};
    const edt_status status = edt_restore(params, prefix, options, err, &report);
    *out_step = report.global_step;
    edt_restore_report_deinit(&report);
    edt_error ignored = {0};
    cr_assert_eq(edt_params_get_f32(params, EDT_PARAMS_VALUES,
                                    edt_params_find(params, variable), out_values, 36,
                                    &ignored),
                 EDT_OK);
    edt_test_remove_tree(dir);
    edt_params_destroy(params);
    edt_backend_destroy(&backend);
    edt_model_destroy(model);
    edt_hparams_deinit(&hp);
    return status;
}

static edt_status restore_alone(const edt_test_tensor *tensors, int n, bool refuse_unused,
                                edt_error *err, float out_values[36])
{
    int64_t step;
    const edt_restore_options options = {.skip_mismatch = true, .refuse_unused = refuse_unused};
    return restore_full(tensors, n, &options, err, out_values, &step);
}

static edt_status restore_with(const edt_test_tensor *tensors, int n,
                               const edt_restore_options *options, edt_error *err)
{
    float values[36];
    int64_t step;
    return restore_full(tensors, n, options, err, values, &step);
}

Test(restore, half_precision_and_doubles_are_converted, .timeout = 60)
{
    // 1, -2 and 0.333: nearest in bfloat16 and float16.
    static const uint16_t bf16[36] = {0x3f80, 0xc000, 0x3eaa},
                          f16[36] = {0x3c00, 0xc000, 0x3555};
    static const double f64[36] = {1, -2, 1.0 / 3};
    static const int32_t i32[36] = {1};
    const edt_shape shape = edt_shape_1(36);
    const edt_test_tensor rows[] = {
        {.name = variable, .desc = {EDT_DTYPE_BF16, shape}, .data = bf16},
        {.name = variable, .desc = {EDT_DTYPE_F16, shape}, .data = f16},
        {.name = variable, .desc = {EDT_DTYPE_F64, shape}, .data = f64},
    };
    static const float thirds[] = {0.33203125F, 0.333251953125F, 1.0F / 3};
    for (int k = 0; k < 3; ++k) {
        float got[36];
        edt_error err = {0};
        cr_assert_eq(restore_alone(&rows[k], 1, true, &err, got), EDT_OK, "%s", err.text);
        cr_expect_eq(got[0], 1.0F);
        cr_expect_eq(got[1], -2.0F);
        cr_expect_eq(got[2], thirds[k], "%g", (double)got[2]);
        cr_expect_eq(got[35], 0.0F);
    }
    const edt_test_tensor integers = {
        .name = variable, .desc = {EDT_DTYPE_I32, shape}, .data = i32};
    float got[36];
    edt_error err = {0};
    cr_expect_eq(restore_alone(&integers, 1, false, &err, got), EDT_ERR_UNSUPPORTED);
    cr_expect_not_null(strstr(err.text, "i32"), "%s", err.text);
}

Test(restore, what_no_variable_asks_for_is_refused_on_request, .timeout = 60)
{
    static const float values[36] = {7};
    static const int64_t step = 3;
    const edt_test_tensor rows[] = {
        {.name = variable, .desc = {EDT_DTYPE_F32, edt_shape_1(36)}, .data = values},
        {.name = "global_step", .desc = {.dtype = EDT_DTYPE_I64}, .data = &step},
        {.name = "edt/seed", .desc = {.dtype = EDT_DTYPE_I64}, .data = &step},
        {.name = "box_net/box-9/bias",
         .desc = {EDT_DTYPE_F32, edt_shape_1(36)},
         .data = values},
    };
    float got[36];
    edt_error err = {0};
    cr_expect_eq(restore_alone(rows, 3, true, &err, got), EDT_OK, "%s", err.text);
    cr_expect_eq(got[0], 7.0F);
    cr_expect_eq(restore_alone(rows, 4, false, &err, got), EDT_OK, "%s", err.text);
    cr_expect_eq(restore_alone(rows, 4, true, &err, got), EDT_ERR_MISMATCH);
    cr_expect_not_null(strstr(err.text, "box_net/box-9/bias"), "%s", err.text);
    cr_expect_eq(got[0], 0.0F, "nothing is loaded from a refused file");
}

Test(restore, a_file_with_another_backbone_is_told_by_its_name, .timeout = 60)
{
    static const float values[36];
    const edt_tensor_desc desc = {EDT_DTYPE_F32, edt_shape_1(36)};
    edt_test_tensor rows[] = {
        {.name = "box_net/other", .desc = desc, .data = values},
        {.name = "efficientnet-b3/blocks_1/other", .desc = desc, .data = values},
        {.name = "efficientnet-lite0/other", .desc = desc, .data = values},
    };
    float got[36];
    edt_error err = {0};
    cr_expect_eq(restore_alone(rows, 1, false, &err, got), EDT_ERR_MISMATCH);
    cr_expect_null(strstr(err.text, "the file holds"), "%s", err.text);
    cr_expect_eq(restore_alone(rows, 2, false, &err, got), EDT_ERR_MISMATCH);
    cr_expect_not_null(
        strstr(err.text, "the file holds 'efficientnet-b3', the model 'efficientnet-lite0'"),
        "%s", err.text);
    cr_expect_eq(restore_alone(rows, 3, false, &err, got), EDT_ERR_MISMATCH);
    cr_expect_null(strstr(err.text, "the file holds"), "%s", err.text);
}

// Wants everything, averages too: what is told is that nothing belongs here, not that averages
// are missing.
Test(restore, a_file_of_something_else_is_told_by_its_first_tensor, .timeout = 60)
{
    static const float values[36];
    const edt_tensor_desc desc = {EDT_DTYPE_F32, edt_shape_1(36)};
    const edt_test_tensor rows[] = {
        {.name = "backbone.conv1.weight", .desc = desc, .data = values},
        {.name = "head.weight", .desc = desc, .data = values},
    };
    edt_error err = {0};
    cr_expect_eq(
        restore_with(rows, 2, &(edt_restore_options){.use_ema = true, .strict = true}, &err),
        EDT_ERR_MISMATCH);
    cr_expect_not_null(
        strstr(err.text, "of its 2 tensors the first is 'backbone.conv1.weight'"), "%s",
        err.text);
    const edt_test_tensor raw = {.name = variable, .desc = desc, .data = values};
    cr_expect_eq(
        restore_with(&raw, 1, &(edt_restore_options){.use_ema = true, .strict = true}, &err),
        EDT_ERR_MISMATCH);
    cr_expect_not_null(strstr(err.text, "no averaged weights"), "%s", err.text);
}

Test(restore, a_negative_step_is_none, .timeout = 60)
{
    static const float values[36] = {7};
    static const int64_t step = -5;
    const edt_test_tensor rows[] = {
        {.name = variable, .desc = {EDT_DTYPE_F32, edt_shape_1(36)}, .data = values},
        {.name = "global_step", .desc = {.dtype = EDT_DTYPE_I64}, .data = &step},
    };
    float got[36];
    edt_error err = {0};
    int64_t told = 0;
    cr_assert_eq(
        restore_full(rows, 2, &(edt_restore_options){.skip_mismatch = true}, &err, got, &told),
        EDT_OK, "%s", err.text);
    cr_expect_eq(told, -1);
}
