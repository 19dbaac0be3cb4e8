#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/path.h"
#include "tests/support/test_dirs.h"

static void touch(const char *path)
{
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file, "%s", path);
    fclose(file);
}

Test(path, takes_names_apart_and_joins_them, .timeout = 10)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    static const char *const cases[][3] = {
        {"a/b", "a", "b"},  {"b", ".", "b"},      {"/b", "/", "b"},
        {"a/b/", "a", "b"}, {"/a//b", "/a", "b"}, {"/", "/", "/"},
        {"", ".", ""},      {"a/", ".", "a"},     {"//x", "/", "x"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        cr_expect_str_eq(edt_path_dirname(&arena, cases[i][0]), cases[i][1], "'%s'",
                         cases[i][0]);
        cr_expect_str_eq(edt_path_basename(&arena, cases[i][0]), cases[i][2], "'%s'",
                         cases[i][0]);
    }
    cr_expect_str_eq(edt_path_join(&arena, "a", "b"), "a/b");
    cr_expect_str_eq(edt_path_join(&arena, "a/", "b"), "a/b");
    cr_expect_str_eq(edt_path_join(&arena, "a", "/b"), "/b");
    cr_expect_str_eq(edt_path_join(&arena, "", "b"), "b");
    cr_expect(edt_path_has_suffix("x.yaml", ".yaml") && !edt_path_has_suffix("l", ".yaml"));
    edt_arena_deinit(&arena);
}

Test(path, makes_directories_with_their_parents, .timeout = 10)
{
    const char *dir = edt_test_temp_dir();
    const char *deep = edt_test_path(dir, "a//b/c/");
    edt_error err = {0};
    cr_assert_eq(edt_path_mkdirs(deep, &err), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_path_mkdirs(deep, &err), EDT_OK, "%s", err.text);
    cr_assert(edt_path_is_dir(edt_test_path(dir, "a/b/c")));
    touch(edt_test_path(dir, "file"));
    cr_assert(edt_path_exists(edt_test_path(dir, "file")));
    cr_assert_not(edt_path_is_dir(edt_test_path(dir, "file")));
    cr_assert_eq(edt_path_mkdirs(edt_test_path(dir, "file/x"), &err), EDT_ERR_IO);
    cr_assert(strstr(err.text, "/file'") != NULL, "%s", err.text);
    cr_assert_eq(edt_path_mkdirs(edt_test_path(dir, "file"), &err), EDT_ERR_IO);
}

Test(path, globs_sort_bytewise_and_name_the_pattern_without_a_match, .timeout = 10)
{
    const char *dir = edt_test_temp_dir();
    static const char *const names[] = {"b-1", "a-2", "B-0", "a-10", "odd[1].x", "c"};
    for (int i = 0; i < 6; ++i) {
        touch(edt_test_path(dir, "%s", names[i]));
    }
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    edt_error err = {0};
    edt_path_list list = {0};
    char patterns[8192];
    snprintf(patterns, sizeof patterns, "%s/?-*,%s/a-*,%s/odd[1].x", dir, dir, dir);
    cr_assert_eq(edt_path_glob(patterns, &arena, &err, &list), EDT_OK, "%s", err.text);
    static const char *const expected[] = {"B-0", "a-10", "a-2", "b-1", "odd[1].x"};
    cr_assert_eq(list.n, 5);
    for (int i = 0; i < 5; ++i) {
        cr_assert_str_eq(list.path[i], edt_test_path(dir, "%s", expected[i]));
    }
    snprintf(patterns, sizeof patterns, "%s/a-*,%s/zz-*", dir, dir);
    cr_assert_eq(edt_path_glob(patterns, &arena, &err, &list), EDT_ERR_NOT_FOUND);
    cr_assert(strstr(err.text, "/zz-*'") != NULL, "%s", err.text);
    cr_assert_eq(edt_path_glob(",", &arena, &err, &list), EDT_ERR_USAGE);
    edt_arena_deinit(&arena);
}

Test(path, lists_regular_files_and_takes_no_name_for_a_pattern, .timeout = 10)
{
    const char *root = edt_test_temp_dir();
    char dir[300];
    (void)snprintf(dir, sizeof dir, "%s/a,b[1]", root);
    edt_error err = {0};
    cr_assert_eq(edt_path_mkdirs(dir, &err), EDT_OK, "%s", err.text);
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    edt_path_list list;
    cr_assert_eq(edt_path_list_dir(dir, &arena, &err, &list), EDT_OK, "%s", err.text);
    cr_expect_eq(list.n, 0);
    static const char *const names[] = {"*", "B,c", "a[x]", "b"};
    for (size_t i = 4; i-- > 0;) {
        touch(edt_path_join(&arena, dir, names[i]));
    }
    cr_assert_eq(edt_path_mkdirs(edt_path_join(&arena, dir, "folder"), &err), EDT_OK);
    cr_assert_eq(edt_path_list_dir(dir, &arena, &err, &list), EDT_OK, "%s", err.text);
    cr_assert_eq(list.n, 4);
    for (int i = 0; i < 4; ++i) {
        cr_expect_str_eq(list.path[i], edt_path_join(&arena, dir, names[i]));
    }
    cr_expect_eq(edt_path_list_dir(edt_path_join(&arena, dir, "none"), &arena, &err, &list),
                 EDT_ERR_NOT_FOUND);
    edt_arena_deinit(&arena);
    edt_test_remove_tree(root);
}
