// Which pictures are taken from a directory, and which image ids they have.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "eval/image_files.h"
#include "tests/support/test_dirs.h"

static edt_path_list list_of(const char *const *paths, int64_t n)
{
    return (edt_path_list){.n = n, .path = paths};
}

static void write_text(const char *path, const char *text)
{
    edt_error err = {0};
    cr_assert_eq(edt_file_write(path, text, strlen(text), &err), EDT_OK, "%s", err.text);
}

Test(image_files, numbers_are_ids_when_all_names_are_and_differ, .timeout = 10)
{
    static const char *const cases[][3] = {
        {"a/000000397133.jpg", "b/7.jpg", "9"},
        {"a/1.jpg", "b/1.jpg", "2.jpg"},                // twice the same
        {"1.jpg", "x.jpg", "3.jpg"},                    // not a number
        {"1.jpg", "99999999999999999999.jpg", "3.jpg"}, // too large
        {"1.jpg", "2x.jpg", "3.jpg"},
    };
    static const int64_t want[][3] = {
        {397133, 7, 9}, {1, 2, 3}, {1, 2, 3}, {1, 2, 3}, {1, 2, 3}};
    for (int i = 0; i < 5; ++i) {
        edt_error err = {0};
        int64_t ids[3];
        const edt_path_list files = list_of(cases[i], 3);
        cr_assert_eq(edt_image_files_ids(&files, NULL, NULL, ids, &err), EDT_OK, "%s",
                     err.text);
        cr_expect_eq(memcmp(ids, want[i], sizeof ids), 0, "case %d: %lld %lld %lld", i,
                     (long long)ids[0], (long long)ids[1], (long long)ids[2]);
    }
}

Test(image_files, the_ground_truth_names_files_or_the_files_must_be_its_ids, .timeout = 10)
{
    const char *dir = edt_test_temp_dir();
    char path[512];
    (void)snprintf(path, sizeof path, "%s/gt.json", dir);
    write_text(path, "{\"images\": [{\"id\": 5, \"file_name\": \"val/cat.jpg\"},"
                     "{\"id\": 3, \"file_name\": \"dog.jpg\"}, {\"id\": 4, \"file_name\": 7},"
                     "{\"id\": 8, \"file_name\": \"twice.jpg\"},"
                     "{\"id\": 9, \"file_name\": \"b/twice.jpg\"}],"
                     "\"categories\": [{\"id\": 1, \"name\": \"a\"}], \"annotations\": []}");
    edt_error err = {0};
    edt_coco_gt *gt = NULL;
    cr_assert_eq(edt_coco_gt_open(path, &(edt_coco_gt_options){0}, &err, &gt), EDT_OK, "%s",
                 err.text);
    int64_t ids[2];
    static const char *const good[] = {"x/cat.jpg", "dog.jpg"};
    edt_path_list files = list_of(good, 2);
    cr_assert_eq(edt_image_files_ids(&files, gt, path, ids, &err), EDT_OK, "%s", err.text);
    cr_expect(ids[0] == 5 && ids[1] == 3);
    static const char *const unknown[] = {"dog.jpg", "5.jpg"};
    files = list_of(unknown, 2);
    cr_expect_eq(edt_image_files_ids(&files, gt, path, ids, &err), EDT_ERR_MISMATCH);
    cr_expect_not_null(strstr(err.text, "5.jpg"), "%s", err.text);
    static const char *const twice[] = {"twice.jpg"};
    files = list_of(twice, 1);
    cr_expect_eq(edt_image_files_ids(&files, gt, path, ids, &err), EDT_ERR_MISMATCH);
    cr_expect_not_null(strstr(err.text, "several"), "%s", err.text);
    edt_coco_gt_destroy(gt);

    write_text(path,
               "{\"images\": [{\"id\": 5}], \"categories\": [{\"id\": 1, \"name\": \"a\"}],"
               "\"annotations\": []}");
    cr_assert_eq(edt_coco_gt_open(path, &(edt_coco_gt_options){0}, &err, &gt), EDT_OK, "%s",
                 err.text);
    static const char *const number[] = {"005.jpg", "6.jpg"};
    files = list_of(number, 1);
    cr_expect_eq(edt_image_files_ids(&files, gt, path, ids, &err), EDT_OK, "%s", err.text);
    cr_expect_eq(ids[0], 5);
    files = list_of(number, 2);
    cr_expect_eq(edt_image_files_ids(&files, gt, path, ids, &err), EDT_ERR_MISMATCH);
    files = list_of(good, 2);
    cr_expect_eq(edt_image_files_ids(&files, gt, path, ids, &err), EDT_ERR_MISMATCH);
    edt_coco_gt_destroy(gt);
    edt_test_remove_tree(dir);
}

Test(image_files, a_directory_gives_its_pictures_and_is_no_place_for_output, .timeout = 10)
{
    const char *dir = edt_test_temp_dir();
    char path[512];
    static const char *const names[] = {"a.JPG", "b.txt", "c", "d.png", "e"};
    for (int i = 0; i < 5; ++i) {
        (void)snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        write_text(path, i == 2 ? "\xff\xd8\xff\xe0 begins as a JPEG" : "no");
    }
    edt_error err = {0};
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    edt_path_list files;
    cr_assert_eq(edt_image_files_list(dir, &arena, &err, &files), EDT_OK, "%s", err.text);
    cr_assert_eq(files.n, 3);
    static const char *const want[] = {"a.JPG", "c", "d.png"};
    for (int i = 0; i < 3; ++i) {
        cr_expect(edt_path_has_suffix(files.path[i], want[i]), "%s", files.path[i]);
    }
    cr_expect_eq(edt_image_files_check_output(&files, dir, &err), EDT_ERR_USAGE);
    (void)snprintf(path, sizeof path, "%s/drawn", dir);
    cr_expect_eq(edt_image_files_check_output(&files, path, &err), EDT_OK);
    cr_assert_eq(edt_path_mkdirs(path, &err), EDT_OK);
    cr_expect_eq(edt_image_files_check_output(&files, path, &err), EDT_OK);
    cr_expect_eq(edt_image_files_list(path, &arena, &err, &files), EDT_ERR_NOT_FOUND);
    edt_arena_deinit(&arena);
    edt_test_remove_tree(dir);
}
