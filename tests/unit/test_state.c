// Training state in checkpoints: round trip, a checkpoint of the reference, initial weights.
#include <criterion/criterion.h>
#include <string.h>

#include "core/log.h"
#include "core/path.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_model.h"
#include "train/state.h"

typedef struct fixture {
    edt_hparams hp;
    edt_model *model;
    edt_backend *backend;
    edt_params *params;
} fixture;

static fixture open_fixture(const char *model_name, const char *overrides)
{
    edt_log_set_level(EDT_LOG_QUIET);
    fixture f = {0};
    edt_error err = {0};
    edt_test_model_hparams(model_name, 128, 128, &f.hp);
    cr_assert_eq(edt_hparams_override(&f.hp, overrides, &err), EDT_OK, "%s", err.text);
    const edt_model_options options = {.real = EDT_DTYPE_F32, .batch_size = 1};
    f.model = edt_test_model(&f.hp, &options);
    cr_assert_eq(
        edt_backend_create("ref", &(edt_backend_options){.n_threads = 1}, &err, &f.backend),
        EDT_OK, "%s", err.text);
    cr_assert_eq(edt_params_create(f.model->graph, f.backend, &err, &f.params), EDT_OK, "%s",
                 err.text);
    static const edt_params_arena arenas[] = {EDT_PARAMS_SLOT0, EDT_PARAMS_SLOT1,
                                              EDT_PARAMS_EMA};
    for (int i = 0; i < 3; ++i) {
        cr_assert_eq(edt_params_add_arena(f.params, arenas[i], &err), EDT_OK, "%s", err.text);
    }
    return f;
}

static void close_fixture(fixture *f)
{
    edt_params_destroy(f->params);
    edt_backend_destroy(&f->backend);
    edt_model_destroy(f->model);
    edt_hparams_deinit(&f->hp);
}

static float first_value(const edt_params *params, edt_params_arena which, const char *name)
{
    static float values[1 << 20];
    edt_error err = {0};
    const int i = edt_params_find(params, name);
    cr_assert_geq(i, 0, "%s", name);
    cr_assert_leq(params->entries[i].n, 1 << 20);
    cr_assert_eq(edt_params_get_f32(params, which, i, values, params->entries[i].n, &err),
                 EDT_OK);
    return values[0];
}

Test(state, a_directory_without_checkpoint_is_a_fresh_start, .timeout = 60)
{
    fixture f = open_fixture("efficientdet-lite0", "");
    edt_error err = {0};
    edt_train_state state = {.global_step = 5};
    cr_expect_eq(edt_train_state_resume(edt_test_temp_dir(), &f.hp, f.params, 1, &err, &state),
                 EDT_END);
    cr_expect_eq(state.global_step, 5);
    close_fixture(&f);
}

static void round_trip(const char *overrides, const char *slot_name, bool second_slot)
{
    fixture f = open_fixture("efficientdet-lite0", overrides);
    const char *dir = edt_test_temp_dir();
    edt_error err = {0};
    bool *frozen = edt_mem_calloc(EDT_MEM_MISC, (size_t)f.params->n_params, sizeof *frozen);
    cr_assert_eq(edt_params_init_random(f.params, 11, &err), EDT_OK);
    // Slots and averages that cannot be mistaken for each other.
    const int i = edt_params_find(f.params, "box_net/box-predict/bias");
    const int64_t n = f.params->entries[i].n;
    float values[64];
    cr_assert_leq(n, 64);
    for (int which = 0; which < EDT_PARAMS_N_ARENAS; ++which) {
        if (which != EDT_PARAMS_GRADS) {
            for (int64_t k = 0; k < n; ++k) {
                values[k] = (float)(100 * which + 1);
            }
            cr_assert_eq(edt_params_set_f32(f.params, which, i, values, n, &err), EDT_OK);
        }
    }
    const edt_train_state saved = {.global_step = 42,
                                   .seed = 9,
                                   .cursor = {.epoch = 3, .position = 17},
                                   .n_skipped = 4,
                                   .data_fingerprint = {1, 2, [31] = 3}};
    cr_assert_eq(edt_train_state_save(dir, &f.hp, f.params, frozen, &saved, NULL, &err), EDT_OK,
                 "%s", err.text);
    edt_mem_free(frozen);
    fixture g = open_fixture("efficientdet-lite0", overrides);
    edt_train_state state;
    cr_assert_eq(edt_train_state_resume(dir, &g.hp, g.params, 1, &err, &state), EDT_OK, "%s",
                 err.text);
    cr_expect_eq(state.global_step, 42);
    cr_expect_eq(state.seed, 9);
    cr_expect_eq(state.cursor.epoch, 3);
    cr_expect_eq(state.cursor.position, 17);
    cr_expect_eq(state.n_skipped, 4);
    cr_expect_arr_eq(state.data_fingerprint, saved.data_fingerprint, 32);
    const char *name = "box_net/box-predict/bias";
    cr_expect_eq(first_value(g.params, EDT_PARAMS_VALUES, name), 1);
    cr_expect_eq(first_value(g.params, EDT_PARAMS_SLOT0, name), 100 * EDT_PARAMS_SLOT0 + 1);
    cr_expect_eq(first_value(g.params, EDT_PARAMS_SLOT1, name),
                 second_slot ? 100 * EDT_PARAMS_SLOT1 + 1 : 0);
    cr_expect_eq(first_value(g.params, EDT_PARAMS_EMA, name), 100 * EDT_PARAMS_EMA + 1);
    const char *slots[2];
    edt_train_slot_names(&g.hp, slots);
    cr_expect_str_eq(slots[0], slot_name);
    cr_expect_eq(slots[1] != NULL, second_slot);
    edt_test_remove_tree(dir);
    close_fixture(&f);
    close_fixture(&g);
}

Test(state, another_data_set_is_refused, .timeout = 30)
{
    char a[65], b[65];
    memset(a, 'a', 64);
    memset(b, 'b', 64);
    a[64] = b[64] = '\0';
    edt_error err = {0};
    // A checkpoint that knows no data set (an older one, or the reference's) takes any.
    edt_train_state state = {.global_step = 42};
    cr_assert_eq(edt_train_state_set_data(&state, a, "x*", &err), EDT_OK, "%s", err.text);
    cr_expect_eq(state.data_fingerprint[31], 0xaa);
    cr_expect_eq(edt_train_state_set_data(&state, a, "x*", &err), EDT_OK, "%s", err.text);
    cr_expect_eq(edt_train_state_set_data(&state, b, "x*", &err), EDT_ERR_MISMATCH);
    cr_expect_not_null(strstr(err.text, "x* is not the data set"), "%s", err.text);
    cr_expect_not_null(strstr(err.text, "new --model_dir with --ckpt"), "%s", err.text);
    cr_expect_eq(state.data_fingerprint[31], 0xaa);
}

Test(state, what_was_saved_comes_back, .timeout = 60)
{
    round_trip("semantics=tf1", "Momentum", false);
    round_trip("semantics=tf2", "KerasMomentum", false);
    round_trip("optimizer=adam", "Adam", true);
}

// Saves a run with `saved` settings and resumes it with `resumed`; both lists may be "".
static edt_status resume_as(const char *saved, const char *resumed, edt_error *err)
{
    fixture f = open_fixture("efficientdet-lite0", saved);
    fixture g = open_fixture("efficientdet-lite0", resumed);
    const char *dir = edt_test_temp_dir();
    bool *frozen = edt_mem_calloc(EDT_MEM_MISC, (size_t)f.params->n_params, sizeof *frozen);
    for (int i = 0; i < f.params->n_params && f.hp.var_freeze_expr != NULL; ++i) {
        frozen[i] = strncmp(f.params->entries[i].name, "efficientnet", 12) == 0;
    }
    cr_assert_eq(edt_params_init_random(f.params, 11, err), EDT_OK);
    const edt_train_state state = {.global_step = 42};
    cr_assert_eq(edt_train_state_save(dir, &f.hp, f.params, frozen, &state, NULL, err), EDT_OK,
                 "%s", err->text);
    edt_train_state back;
    const edt_status status = edt_train_state_resume(dir, &g.hp, g.params, 1, err, &back);
    edt_mem_free(frozen);
    edt_test_remove_tree(dir);
    close_fixture(&f);
    close_fixture(&g);
    return status;
}

Test(state, another_optimizer_cannot_go_on, .timeout = 60)
{
    static const struct {
        const char *saved, *resumed, *said;
    } pairs[] = {
        {"optimizer=sgd,semantics=tf2", "optimizer=adam", "'KerasMomentum' (optimizer=sgd"},
        {"optimizer=adam", "optimizer=sgd,semantics=tf1", "'Adam' (optimizer=adam)"},
        {"semantics=tf1", "semantics=tf2", "semantics=tf1"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; ++i) {
        edt_error err = {0};
        cr_expect_eq(resume_as(pairs[i].saved, pairs[i].resumed, &err), EDT_ERR_MISMATCH);
        cr_expect_not_null(strstr(err.text, pairs[i].said), "%s", err.text);
        cr_expect_not_null(strstr(err.text, "--ckpt="), "%s", err.text);
    }
}

Test(state, what_was_frozen_has_no_slots_and_cannot_be_thawed, .timeout = 60)
{
    static const char frozen[] = "var_freeze_expr=efficientnet";
    edt_error err = {0};
    cr_expect_eq(resume_as(frozen, frozen, &err), EDT_OK, "%s", err.text);
    cr_expect_eq(resume_as("", frozen, &err), EDT_OK, "%s", err.text);
    cr_expect_eq(resume_as(frozen, "", &err), EDT_ERR_MISMATCH);
    cr_expect_not_null(strstr(err.text, "var_freeze_expr"), "%s", err.text);
    cr_expect_not_null(strstr(err.text, "efficientnet"), "%s", err.text);
}

Test(state, a_checkpoint_of_the_reference_gives_step_and_weights, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    const char *dir = edt_test_path(edt_test_golden_dir(), "model/ckpt/efficientdet-d0");
    EDT_TEST_NEEDS_FILE(dir);
    fixture f = open_fixture("efficientdet-d0", "");
    edt_error err = {0};
    edt_train_state state;
    cr_assert_eq(edt_train_state_resume(dir, &f.hp, f.params, 123, &err, &state), EDT_OK, "%s",
                 err.text);
    cr_expect_eq(state.global_step, 270000);
    cr_expect_eq(state.seed, 123);
    cr_expect_eq(state.cursor.epoch, 0);
    cr_expect_eq(state.cursor.position, 0);
    static const char name[] = "efficientnet-b0/stem/conv2d/kernel";
    cr_expect_neq(first_value(f.params, EDT_PARAMS_VALUES, name), 0);
    cr_expect_neq(first_value(f.params, EDT_PARAMS_VALUES, name),
                  first_value(f.params, EDT_PARAMS_EMA, name),
                  "raw values and averages differ");
    cr_expect_eq(first_value(f.params, EDT_PARAMS_SLOT0, name), 0);
    close_fixture(&f);
}

Test(state, another_number_of_classes_cannot_be_resumed, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    const char *dir = edt_test_path(edt_test_golden_dir(), "model/ckpt/efficientdet-d0");
    EDT_TEST_NEEDS_FILE(dir);
    fixture f = open_fixture("efficientdet-d0", "num_classes=3");
    edt_error err = {0};
    edt_train_state state;
    cr_expect_eq(edt_train_state_resume(dir, &f.hp, f.params, 1, &err, &state),
                 EDT_ERR_MISMATCH);
    cr_expect_not_null(strstr(err.text, "90"), "%s", err.text);
    close_fixture(&f);
}

static edt_status init_from(const char *ckpt, const char *backbone_ckpt, fixture *f,
                            edt_error *err)
{
    const edt_train_init from = {.ckpt = ckpt, .backbone_ckpt = backbone_ckpt};
    return edt_train_state_init_from(&from, &f->hp, f->params, err);
}

Test(state, initial_weights_come_from_one_checkpoint, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    const char *dir = edt_test_path(edt_test_golden_dir(), "model/ckpt/efficientdet-d0");
    EDT_TEST_NEEDS_FILE(dir);
    static const char stem[] = "efficientnet-b0/stem/conv2d/kernel";
    static const char head[] = "class_net/class-predict/bias";
    fixture f = open_fixture("efficientdet-d0", "num_classes=3");
    edt_error err = {0};
    cr_expect_eq(init_from("", NULL, &f, &err), EDT_OK);
    cr_expect_eq(first_value(f.params, EDT_PARAMS_VALUES, stem), 0);
    cr_expect_eq(init_from(dir, dir, &f, &err), EDT_ERR_USAGE);
    // Whole detector: everything but the layers that depend on the classes.
    cr_expect_eq(init_from(dir, NULL, &f, &err), EDT_OK, "%s", err.text);
    cr_expect_neq(first_value(f.params, EDT_PARAMS_VALUES, stem), 0);
    cr_expect_neq(first_value(f.params, EDT_PARAMS_VALUES, "box_net/box-predict/bias"), 0);
    cr_expect_eq(first_value(f.params, EDT_PARAMS_VALUES, head), 0);
    f.hp.skip_mismatch = false;
    cr_expect_eq(init_from(dir, NULL, &f, &err), EDT_ERR_MISMATCH);
    close_fixture(&f);
    fixture g = open_fixture("efficientdet-d0", "num_classes=3");
    cr_expect_eq(init_from(NULL, dir, &g, &err), EDT_OK, "%s", err.text);
    cr_expect_neq(first_value(g.params, EDT_PARAMS_VALUES, stem), 0);
    cr_expect_eq(first_value(g.params, EDT_PARAMS_VALUES, "box_net/box-predict/bias"), 0,
                 "only the backbone was asked for");
    close_fixture(&g);
}
