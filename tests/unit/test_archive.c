// The best checkpoint kept apart: which one, what is copied, what stays of the one before.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "core/mem.h"
#include "core/path.h"
#include "model/io/checkpoint.h"
#include "tests/support/test_dirs.h"
#include "train/archive.h"

static char dir[256];

static void setup(void)
{
    edt_log_set_level(EDT_LOG_QUIET);
    (void)snprintf(dir, sizeof dir, "%s", edt_test_temp_dir());
}

static void teardown(void)
{
    edt_test_remove_tree(dir);
}

TestSuite(archive, .init = setup, .fini = teardown, .timeout = 20);

static void offer(int step, double objective)
{
    edt_error err = {0};
    char prefix[300], text[32];
    (void)snprintf(prefix, sizeof prefix, "%s/model.ckpt-%d", dir, step);
    (void)snprintf(text, sizeof text, "step %d", step);
    static const char *const suffixes[] = {"index", "data-00000-of-00001"};
    for (int i = 0; i < 2; ++i) {
        char path[340];
        (void)snprintf(path, sizeof path, "%s.%s", prefix, suffixes[i]);
        cr_assert_eq(edt_file_write(path, text, strlen(text), &err), EDT_OK, "%s", err.text);
    }
    cr_assert_eq(edt_archive_best(dir, prefix, objective, text, &err), EDT_OK, "%s", err.text);
}

// Step of the checkpoint that dir/<name> holds as its latest; 0: none.
static int64_t held(const char *name)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    edt_error err = {0};
    const char *prefix;
    int64_t step = 0;
    if (edt_checkpoint_latest(edt_test_path(dir, "%s", name), &arena, &err, &prefix) ==
        EDT_OK) {
        step = edt_checkpoint_step(prefix);
        char want[32], *text;
        size_t n_bytes;
        (void)snprintf(want, sizeof want, "step %d", (int)step);
        const char *data = edt_arena_printf(&arena, "%s.data-00000-of-00001", prefix);
        cr_assert_eq(edt_file_read(data, 100, &err, &text, &n_bytes), EDT_OK, "%s", err.text);
        cr_expect_str_eq(text, want);
        edt_mem_free(text);
        const char *said = edt_test_path(dir, "%s/best_eval.txt", name);
        cr_assert_eq(edt_file_read(said, 100, &err, &text, &n_bytes), EDT_OK, "%s", err.text);
        cr_expect_str_eq(text, want);
        edt_mem_free(text);
    }
    edt_arena_deinit(&arena);
    return step;
}

static double best(void)
{
    FILE *file = fopen(edt_test_path(dir, "best_objective.txt"), "r");
    cr_assert_not_null(file);
    double value;
    cr_assert_eq(fscanf(file, "%lf", &value), 1);
    (void)fclose(file);
    return value;
}

Test(archive, the_best_is_kept_and_the_one_before_backed_up)
{
    offer(10, 0.25);
    cr_expect_eq(held("archive"), 10);
    cr_expect_eq(held("backup"), 0);
    offer(20, 0.125);
    cr_expect_eq(held("archive"), 10, "a worse one leaves it");
    offer(30, 1.0 / 3.0);
    cr_expect_eq(held("archive"), 30);
    cr_expect_eq(held("backup"), 10);
    cr_expect_eq(best(), 1.0 / 3.0, "all digits are kept");
    cr_expect_not(edt_test_exists(edt_test_path(dir, "archive/model.ckpt-10.index")));
}

Test(archive, an_equal_value_replaces)
{
    offer(10, 1.0 / 3.0);
    offer(20, 1.0 / 3.0);
    cr_expect_eq(held("archive"), 20);
}

// Between the renames there is a moment without archive/; the next call must make up for it.
Test(archive, a_kill_between_the_renames_loses_nothing)
{
    offer(10, 0.5);
    char current[300], backup[300];
    (void)snprintf(current, sizeof current, "%s/archive", dir);
    (void)snprintf(backup, sizeof backup, "%s/backup", dir);
    cr_assert_eq(rename(current, backup), 0);
    offer(20, 0.25);
    cr_expect_eq(held("archive"), 10);
    // Leftovers of an unfinished copy are no obstacle.
    edt_error err = {0};
    cr_assert_eq(edt_path_mkdirs(edt_test_path(dir, "archive.tmp"), &err), EDT_OK);
    cr_assert_eq(
        edt_file_write(edt_test_path(dir, "archive.tmp/model.ckpt-7.index"), "x", 1, &err),
        EDT_OK);
    offer(30, 0.75);
    cr_expect_eq(held("archive"), 30);
    cr_expect_not(edt_test_exists(edt_test_path(dir, "archive/model.ckpt-7.index")));
}

Test(archive, a_missing_checkpoint_leaves_the_archive_as_it_was)
{
    offer(10, 0.5);
    edt_error err = {0};
    cr_expect_neq(edt_archive_best(dir, edt_test_path(dir, "model.ckpt-99"), 0.75, NULL, &err),
                  EDT_OK);
    cr_expect_eq(held("archive"), 10);
    cr_expect_eq(best(), 0.5);
}
