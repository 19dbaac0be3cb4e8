#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/yaml.h"
#include "tests/support/test_dirs.h"

static edt_arena arena;
static edt_error err;

static void setup(void)
{
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
}

static void teardown(void)
{
    edt_arena_deinit(&arena);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

TestSuite(yaml, .init = setup, .fini = teardown, .timeout = 30);

static edt_status parse(const char *text, const edt_yaml_node **out_root)
{
    return edt_yaml_parse((edt_span){(const uint8_t *)text, strlen(text)}, &arena, &err,
                          out_root);
}

Test(yaml, tree_with_lines_quotes_tags_and_aliases)
{
    const edt_yaml_node *root;
    cr_assert_eq(parse("# labels\n1: person\n2: 'a: b'\nbase: &b {x: [1, two]}\nagain: *b\n"
                       "size: !!python/tuple [3, 4]\ndup: 1\ndup: 2\nempty:\n",
                       &root),
                 EDT_OK, "%s", err.text);
    cr_assert(root->kind == EDT_YAML_MAP && root->n == 8);
    const edt_yaml_node *one = edt_yaml_get(root, "1"), *two = edt_yaml_get(root, "2");
    cr_assert(one->plain && one->line == 2 && strcmp(one->text, "person") == 0);
    cr_assert(!two->plain && two->line == 3 && strcmp(two->text, "a: b") == 0);
    const edt_yaml_node *base = edt_yaml_get(root, "base");
    cr_assert_eq(edt_yaml_get(root, "again"), base);
    const edt_yaml_node *x = edt_yaml_get(base, "x");
    cr_assert(x->kind == EDT_YAML_SEQUENCE && x->n == 2 &&
              strcmp(x->values[1]->text, "two") == 0);
    cr_assert_not_null(strstr(edt_yaml_get(root, "size")->tag, "python/tuple"));
    cr_assert_str_eq(edt_yaml_get(root, "dup")->text, "2");
    cr_assert_str_eq(edt_yaml_get(root, "empty")->text, "");
    cr_assert_null(edt_yaml_get(root, "none"));
    cr_assert_null(edt_yaml_get(NULL, "none"));
}

Test(yaml, empty_texts_have_no_root)
{
    const char *const empty[] = {"", "\n", "# only words\n", "---\n"};
    for (int i = 0; i < 4; ++i) {
        const edt_yaml_node *root;
        cr_assert_eq(parse(empty[i], &root), EDT_OK, "%s", err.text);
        cr_assert_null(root);
    }
}

Test(yaml, refusals_name_the_line)
{
    const edt_yaml_node *root;
    cr_assert_eq(parse("a: 1\nb: [1\nc: 2\n", &root), EDT_ERR_FORMAT);
    cr_assert_not_null(strstr(err.text, "line 3"), "%s", err.text);
    cr_assert_eq(parse("a: *nobody\n", &root), EDT_ERR_FORMAT);
    cr_assert_eq(parse("a: &s [*s]\n", &root), EDT_ERR_FORMAT);
    cr_assert_not_null(strstr(err.text, "contains itself"), "%s", err.text);
    cr_assert_eq(parse("a: 1\n---\nb: 2\n", &root), EDT_ERR_FORMAT);
    cr_assert_eq(parse("a: \"x\\0y\"\n", &root), EDT_ERR_FORMAT);
    cr_assert_eq(parse("a: \xff\xfe\n", &root), EDT_ERR_FORMAT);
}

Test(yaml, files_that_cannot_be_read_are_named)
{
    const edt_yaml_node *root;
    const char *dir = edt_test_temp_dir();
    cr_assert_eq(edt_yaml_read_file(edt_test_path(dir, "none.yaml"), &arena, &err, &root),
                 EDT_ERR_NOT_FOUND);
    cr_assert_not_null(strstr(err.text, "none.yaml"), "%s", err.text);
    cr_assert_eq(edt_yaml_read_file(dir, &arena, &err, &root), EDT_ERR_IO);
    const char *path = edt_test_path(dir, "bad.yaml");
    cr_assert_eq(edt_file_write(path, "a: [1\n", 6, &err), EDT_OK);
    cr_assert_eq(edt_yaml_read_file(path, &arena, &err, &root), EDT_ERR_FORMAT);
    cr_assert_not_null(strstr(err.text, "bad.yaml"), "%s", err.text);
    cr_assert_eq(edt_file_write(path, "a: 1\n", 5, &err), EDT_OK);
    cr_assert_eq(edt_yaml_read_file(path, &arena, &err, &root), EDT_OK, "%s", err.text);
    edt_test_remove_tree(dir);
}

Test(yaml, depth_and_alias_growth_are_bounded)
{
    const edt_yaml_node *root;
    char deep[400];
    memset(deep, '[', 200);
    memset(deep + 200, ']', 199);
    deep[399] = '\0';
    cr_assert_eq(parse(deep, &root), EDT_ERR_FORMAT);
    cr_assert_not_null(strstr(err.text, "too deeply"), "%s", err.text);
    char laughs[2000];
    size_t n = (size_t)sprintf(laughs, "a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for (int i = 1; i < 9; ++i) {
        n += (size_t)sprintf(laughs + n, "a%d: &a%d [", i, i);
        for (int k = 0; k < 9; ++k) {
            n += (size_t)sprintf(laughs + n, "%s*a%d", k > 0 ? ", " : "", i - 1);
        }
        n += (size_t)sprintf(laughs + n, "]\n");
    }
    cr_assert_eq(parse(laughs, &root), EDT_ERR_FORMAT);
    cr_assert_not_null(strstr(err.text, "too many values"), "%s", err.text);
}
