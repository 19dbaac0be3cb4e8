// Strict restoring of training state: averages and slots that are there but do not fit.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "model/io/restore.h"
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
