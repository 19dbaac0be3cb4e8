#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "core/path.h"
#include "model/io/checkpoint.h"
#include "tests/support/test_dirs.h"

static edt_arena arena;

static void setup(void)
{
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
}

static void teardown(void)
{
    edt_arena_deinit(&arena);
}

TestSuite(checkpoint, .init = setup, .fini = teardown, .timeout = 30);

static void touch(const char *path)
{
    edt_error err = {0};
    cr_assert_eq(edt_file_write(path, "x", 1, &err), EDT_OK, "%s", err.text);
}

static void write_state(const char *dir, const char *text)
{
    edt_error err = {0};
    cr_assert_eq(edt_file_write(edt_test_path(dir, "checkpoint"), text, strlen(text), &err),
                 EDT_OK);
}

Test(checkpoint, state_file_of_tensorflow_with_escapes_and_timestamps)
{
    const char *dir = edt_arena_strdup(&arena, edt_test_temp_dir());
    write_state(dir, "# comment\nmodel_checkpoint_path: \"a\\\"b\\\\\\303\\251\\x41\"\n"
                     "all_model_checkpoint_paths: 'one' \"-two\"\n"
                     "all_model_checkpoint_paths: \"/abs/three\"\n"
                     "all_model_checkpoint_timestamps: 1596612.25e3\n"
                     "last_preserved_timestamp: 12.5");
    edt_checkpoint_state state = {0};
    edt_error err = {0};
    cr_assert_eq(edt_checkpoint_state_read(dir, &arena, &err, &state), EDT_OK, "%s", err.text);
    cr_assert_str_eq(state.latest, "a\"b\\\xc3\xa9"
                                   "A");
    cr_assert_eq(state.n, 2);
    cr_assert_str_eq(state.all[0], "one-two");
    cr_assert_str_eq(state.all[1], "/abs/three");

    const char *other = edt_arena_strdup(&arena, edt_test_temp_dir());
    cr_assert_eq(edt_checkpoint_state_write(other, &state, &err), EDT_OK);
    edt_checkpoint_state back = {0};
    cr_assert_eq(edt_checkpoint_state_read(other, &arena, &err, &back), EDT_OK);
    cr_assert_str_eq(back.latest, state.latest);
    cr_assert_eq(back.n, 2);
}

Test(checkpoint, malformed_state_files_name_the_line)
{
    const char *const bad[] = {"model_checkpoint_path: \"a",
                               "model_checkpoint_path \"a\"",
                               "",
                               "model_checkpoint_path: \"\\q\"",
                               "model_checkpoint_path: \"a\\",
                               "model_checkpoint_path: \"\\0\"",
                               ": \"a\""};
    const char *dir = edt_arena_strdup(&arena, edt_test_temp_dir());
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
        write_state(dir, bad[i]);
        edt_checkpoint_state state = {0};
        edt_error err = {0};
        cr_assert_eq(edt_checkpoint_state_read(dir, &arena, &err, &state), EDT_ERR_FORMAT, "%s",
                     bad[i]);
        cr_assert_not_null(strstr(err.text, "checkpoint"));
    }
}

Test(checkpoint, resolves_directories_prefixes_and_file_names)
{
    const char *dir = edt_arena_strdup(&arena, edt_test_temp_dir());
    const char *prefix = NULL;
    edt_error err = {0};
    cr_assert_eq(edt_checkpoint_latest(dir, &arena, &err, &prefix), EDT_END);
    cr_assert_eq(edt_checkpoint_resolve(dir, &arena, &err, &prefix), EDT_ERR_NOT_FOUND);
    write_state(dir, "model_checkpoint_path: \"model.ckpt-7\"\n");
    cr_assert_eq(edt_checkpoint_latest(dir, &arena, &err, &prefix), EDT_END); // no .index
    touch(edt_test_path(dir, "model.ckpt-7.index"));
    const char *want = edt_test_path(dir, "model.ckpt-7");
    const char *const names[] = {dir, want, edt_test_path(dir, "model.ckpt-7.index"),
                                 edt_test_path(dir, "model.ckpt-7.data-00000-of-00001"),
                                 edt_test_path(dir, "model.ckpt-7.meta")};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i) {
        cr_assert_eq(edt_checkpoint_resolve(names[i], &arena, &err, &prefix), EDT_OK, "%s",
                     err.text);
        cr_assert_str_eq(prefix, want);
    }
    cr_assert_eq(edt_checkpoint_resolve(edt_test_path(dir, "nothing"), &arena, &err, &prefix),
                 EDT_ERR_NOT_FOUND);
    cr_assert_eq(edt_checkpoint_step(want), 7);
    cr_assert_eq(edt_checkpoint_step("a/model.ckpt"), -1);
    cr_assert_eq(edt_checkpoint_step("123"), -1);
}

Test(checkpoint, one_in_use_is_kept_until_it_is_not)
{
    const char *dir = edt_arena_strdup(&arena, edt_test_temp_dir());
    edt_error err = {0};
    for (int step = 1; step <= 9; ++step) {
        char name[32];
        (void)snprintf(name, sizeof name, "model.ckpt-%d", step);
        touch(edt_test_path(dir, "%s.index", name));
        cr_assert_eq(edt_checkpoint_enter_sparing(dir, name, EDT_CHECKPOINT_KEEP,
                                                  step <= 8 ? "model.ckpt-2" : NULL, &err),
                     EDT_OK, "%s", err.text);
        edt_checkpoint_state state = {0};
        cr_assert_eq(edt_checkpoint_state_read(dir, &arena, &err, &state), EDT_OK);
        cr_expect_eq(state.n, step < 6 ? step : step == 6 || step == 9 ? 5 : 6);
        cr_expect_str_eq(state.latest, name);
        cr_expect_eq(edt_test_exists(edt_test_path(dir, "model.ckpt-2.index")),
                     step >= 2 && step <= 8);
    }
    cr_expect_not(edt_test_exists(edt_test_path(dir, "model.ckpt-4.index")));
    cr_expect(edt_test_exists(edt_test_path(dir, "model.ckpt-5.index")));
    edt_test_remove_tree(dir);
}

Test(checkpoint, keeps_the_newest_and_removes_all_files_of_older_ones)
{
    const char *dir = edt_arena_strdup(&arena, edt_test_temp_dir());
    edt_error err = {0};
    for (int step = 1; step <= 7; ++step) {
        char name[32];
        (void)snprintf(name, sizeof name, "model.ckpt-%d", step);
        touch(edt_test_path(dir, "%s.index", name));
        touch(edt_test_path(dir, "%s.data-00000-of-00002", name));
        touch(edt_test_path(dir, "%s.data-00001-of-00002", name));
        cr_assert_eq(edt_checkpoint_enter(dir, name, EDT_CHECKPOINT_KEEP, &err), EDT_OK, "%s",
                     err.text);
        cr_assert_eq(edt_checkpoint_enter(dir, name, EDT_CHECKPOINT_KEEP, &err),
                     EDT_OK); // again
    }
    touch(edt_test_path(dir, "model.ckpt-20.index"));
    edt_checkpoint_state state = {0};
    cr_assert_eq(edt_checkpoint_state_read(dir, &arena, &err, &state), EDT_OK);
    cr_assert_str_eq(state.latest, "model.ckpt-7");
    cr_assert_eq(state.n, 5);
    cr_assert_str_eq(state.all[0], "model.ckpt-3");
    for (int step = 1; step <= 7; ++step) {
        const bool kept = step >= 3;
        cr_assert_eq(edt_test_exists(edt_test_path(dir, "model.ckpt-%d.index", step)), kept);
        cr_assert_eq(
            edt_test_exists(edt_test_path(dir, "model.ckpt-%d.data-00001-of-00002", step)),
            kept);
    }
}
