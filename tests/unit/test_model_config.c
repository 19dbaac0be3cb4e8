// The configuration a model runs with: its checkpoint's, the table's, the user's.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "dataio/labels.h"
#include "eval/model_config.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_model.h"
#include "train/state.h"

static edt_arena arena;
static edt_hparams hp;
static const char *dir_made; // removed at the end

static void setup(void)
{
    edt_error err = {0};
    edt_log_set_level(EDT_LOG_QUIET);
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    cr_assert_eq(edt_hparams_init(&hp, &err), EDT_OK, "%s", err.text);
}

static void teardown(void)
{
    edt_hparams_deinit(&hp);
    if (dir_made != NULL) {
        edt_test_remove_tree(dir_made);
    }
    edt_arena_deinit(&arena);
}

TestSuite(model_config, .init = setup, .fini = teardown, .timeout = 60);

static edt_status load(const char *model_name, const char *ckpt, const char *hparams,
                       edt_error *err, const char **out_prefix)
{
    return edt_model_config_load(&hp, model_name, ckpt, hparams, &arena, err, out_prefix);
}

// A directory with a checkpoint of a three-class lite0.
static const char *trained_dir(void)
{
    edt_error err = {0};
    edt_hparams trained;
    edt_test_model_hparams("efficientdet-lite0", 128, 192, &trained);
    cr_assert_eq(edt_hparams_override(&trained, "num_classes=3,moving_average_decay=0", &err),
                 EDT_OK);
    const edt_model_options options = {.real = EDT_DTYPE_F32, .batch_size = 1};
    edt_model *model = edt_test_model(&trained, &options);
    edt_backend *backend = NULL;
    edt_params *params = NULL;
    cr_assert_eq(
        edt_backend_create("ref", &(edt_backend_options){.n_threads = 1}, &err, &backend),
        EDT_OK, "%s", err.text);
    cr_assert_eq(edt_params_create(model->graph, backend, &err, &params), EDT_OK, "%s",
                 err.text);
    cr_assert_eq(edt_params_add_arena(params, EDT_PARAMS_SLOT0, &err), EDT_OK, "%s", err.text);
    bool *frozen = edt_arena_calloc(&arena, (size_t)params->n_params, sizeof *frozen);
    const char *dir = edt_arena_strdup(&arena, edt_test_temp_dir());
    cr_assert_eq(edt_train_state_save(dir, &trained, params, frozen,
                                      &(edt_train_state){.global_step = 8}, NULL, &err),
                 EDT_OK, "%s", err.text);
    edt_params_destroy(params);
    edt_backend_destroy(&backend);
    edt_model_destroy(model);
    edt_hparams_deinit(&trained);
    dir_made = dir;
    return dir;
}

Test(model_config, without_checkpoint_the_table_holds)
{
    edt_error err = {0};
    const char *prefix = "x";
    cr_assert_eq(load(NULL, "_", "", &err, &prefix), EDT_OK, "%s", err.text);
    cr_expect_null(prefix);
    cr_expect_str_eq(hp.name, "efficientdet-d0");
    cr_expect_eq(hp.image_size.h, 512);
    cr_assert_eq(load("efficientdet-d2", "", "num_classes=20,label_map=voc", &err, &prefix),
                 EDT_OK, "%s", err.text);
    cr_expect_str_eq(hp.name, "efficientdet-d2");
    cr_expect_eq(hp.num_classes, 20);
    cr_expect_eq(hp.label_map.n, 20);
}

Test(model_config, a_checkpoint_of_ours_brings_its_settings)
{
    const char *dir = trained_dir();
    edt_error err = {0};
    const char *prefix = NULL;
    cr_assert_eq(load(NULL, dir, "", &err, &prefix), EDT_OK, "%s", err.text);
    cr_expect_not_null(strstr(prefix, "model.ckpt-8"), "%s", prefix);
    cr_expect_str_eq(hp.name, "efficientdet-lite0");
    cr_expect_str_eq(hp.act_type, "relu6");
    cr_expect_eq(hp.num_classes, 3);
    cr_expect_eq(hp.image_size.h, 128);
    cr_expect_eq(hp.image_size.w, 192);
}

Test(model_config, hparams_win_over_the_checkpoint)
{
    const char *dir = trained_dir();
    edt_error err = {0};
    const char *prefix;
    cr_assert_eq(load("efficientdet-lite0", dir, "image_size=256", &err, &prefix), EDT_OK, "%s",
                 err.text);
    cr_expect_eq(hp.image_size.h, 256);
    cr_expect_eq(hp.num_classes, 3);
}

Test(model_config, another_name_than_the_checkpoints_is_refused)
{
    const char *dir = trained_dir();
    edt_error err = {0};
    const char *prefix;
    cr_expect_eq(load("efficientdet-d1", dir, "", &err, &prefix), EDT_ERR_USAGE);
    cr_expect_not_null(strstr(err.text, "efficientdet-lite0"), "%s", err.text);
}

Test(model_config, a_reference_checkpoint_takes_the_named_row)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    const char *dir = edt_test_path(edt_test_golden_dir(), "model/ckpt/efficientdet-d0");
    EDT_TEST_NEEDS_FILE(dir);
    edt_error err = {0};
    const char *prefix;
    cr_assert_eq(load("efficientdet-d0", dir, NULL, &err, &prefix), EDT_OK, "%s", err.text);
    cr_expect_eq(hp.num_classes, 90);
    cr_expect_not_null(prefix);
}

Test(model_config, what_is_wrong_is_named)
{
    edt_error err = {0};
    const char *prefix;
    cr_expect_eq(load("efficientdet-d9", "", "", &err, &prefix), EDT_ERR_USAGE);
    err = (edt_error){0};
    cr_expect_eq(load(NULL, "/nonexistent/model", "", &err, &prefix), EDT_ERR_NOT_FOUND);
    cr_expect_not_null(strstr(err.text, "/nonexistent/model"), "%s", err.text);
    err = (edt_error){0};
    cr_expect_eq(load(NULL, "", "nms_config.method=hard", &err, &prefix), EDT_ERR_USAGE);
    cr_expect_not_null(strstr(err.text, "--hparams"), "%s", err.text);
    err = (edt_error){0};
    cr_expect_eq(load(NULL, "", "image_size=32", &err, &prefix), EDT_ERR_USAGE);
    cr_expect_not_null(strstr(err.text, "32x32"), "%s", err.text);
    err = (edt_error){0};
    cr_expect_eq(load(NULL, "", "label_map=kitti", &err, &prefix), EDT_ERR_USAGE);
}

Test(model_config, classes_have_names)
{
    char buffer[32];
    cr_expect_eq(hp.num_classes, 90);
    cr_expect_str_eq(edt_model_config_class_name(&hp, 90, buffer), "toothbrush");
    cr_expect_str_eq(edt_model_config_class_name(&hp, 12, buffer), "class 12");
    edt_error err = {0};
    cr_assert_eq(edt_hparams_set(&hp, "num_classes", "3", &err), EDT_OK);
    cr_expect_str_eq(edt_model_config_class_name(&hp, 2, buffer), "class 2");
    cr_assert_eq(edt_hparams_set(&hp, "label_map", "waymo", &err), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_labels_resolve(&hp, &err), EDT_OK, "%s", err.text);
    cr_expect_str_eq(edt_model_config_class_name(&hp, 2, buffer), "pedestrian");
}
