// The folder that shows an evaluation: complete, linked, readable, for odd inputs as well.
#include "eval/eval_report.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "core/mem.h"
#include "tests/support/coco_random.h"
#include "tests/support/test_dirs.h"

static edt_error err;

// Names that outlive those of edt_test_path.
static char *new_dir(void)
{
    return strdup(edt_test_temp_dir());
}

static void remove_dir(char *dir)
{
    edt_test_remove_tree(dir);
    free(dir);
}

static void write_report(const edt_coco_gt *gt, const edt_coco_dt *dt,
                         const edt_coco_params *params, const char *dir)
{
    edt_coco_result *result;
    cr_assert_eq(edt_coco_evaluate(gt, dt, params, &err, &result), EDT_OK, "%s", err.text);
    const edt_eval_report_options options = {.dir = dir, .gt_name = "<gt>.json"};
    cr_assert_eq(edt_eval_report_write(gt, dt, result, &options, &err), EDT_OK, "%s", err.text);
    edt_coco_result_destroy(result);
}

static char *read_text(const char *dir, const char *name)
{
    char *text;
    size_t n;
    cr_assert_eq(edt_file_read(edt_test_path(dir, "%s", name), 1 << 24, &err, &text, &n),
                 EDT_OK, "%s", err.text);
    return text;
}

// Everything that the page refers to lies in the folder.
static int check_links(const char *page, const char *dir)
{
    static const char *const attributes[] = {"href=\"", "src=\""};
    int n = 0;
    for (int i = 0; i < 2; ++i) {
        for (const char *at = page; (at = strstr(at, attributes[i])) != NULL; ++n) {
            at += strlen(attributes[i]);
            const int length = (int)strcspn(at, "\"");
            cr_expect(edt_test_exists(edt_test_path(dir, "%.*s", length, at)), "no %.*s",
                      length, at);
        }
    }
    return n;
}

static int count_lines(const char *text)
{
    int n = 0;
    for (; *text != '\0'; ++text) {
        n += *text == '\n';
    }
    return n;
}

Test(eval_report, everything_is_there_and_agrees, .timeout = 120)
{
    char *dir = new_dir();
    char deeper[300];
    (void)snprintf(deeper, sizeof deeper, "%s/new/report", dir);
    edt_coco_random made = edt_coco_random_make(1, 20, false);
    write_report(made.gt, made.dt, &(edt_coco_params){.n_threads = 2}, deeper);
    char *page = read_text(deeper, "index.html");
    cr_expect(check_links(page, deeper) > 20);
    cr_expect(strstr(page, "&lt;gt&gt;.json") != NULL && strstr(page, "<gt>") == NULL);
    edt_mem_free(page);

    char *text = read_text(deeper, "numbers.json");
    edt_arena arena;
    const edt_json_node *root;
    edt_coco_result *result;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    cr_assert_eq(edt_json_parse((edt_span){(uint8_t *)text, strlen(text)}, &arena, &err, &root),
                 EDT_OK, "%s", err.text);
    cr_assert_eq(edt_coco_evaluate(made.gt, made.dt, &(edt_coco_params){0}, &err, &result),
                 EDT_OK);
    cr_expect_eq(edt_json_get(edt_json_get(root, "stats"), "AP")->number,
                 edt_coco_result_stats(result)[0]);
    cr_expect_eq(edt_json_get(root, "classes")->n, EDT_COCO_RANDOM_CATEGORIES);
    cr_expect_eq(edt_json_get(edt_json_get(root, "confusion"), "counts")->n,
                 EDT_COCO_RANDOM_CATEGORIES + 1);
    cr_expect_eq(edt_json_get(edt_json_get(root, "errors"), "errors")->n, 6);
    edt_coco_result_destroy(result);
    edt_arena_deinit(&arena);
    edt_mem_free(text);

    static const struct {
        const char *name;
        int n_lines;
    } tables[] = {{"classes.csv", 1 + EDT_COCO_RANDOM_CATEGORIES},
                  {"precision_recall.csv", 1 + 10 * 101},
                  {"confusion.csv", 2 + EDT_COCO_RANDOM_CATEGORIES},
                  {"scores.csv", 1 + 50},
                  {"thresholds.csv", 1 + 401}};
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; ++i) {
        text = read_text(deeper, tables[i].name);
        cr_expect_eq(count_lines(text), tables[i].n_lines, "%s: %d lines", tables[i].name,
                     count_lines(text));
        edt_mem_free(text);
    }
    edt_coco_random_free(&made);
    remove_dir(dir);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

Test(eval_report, names_that_are_no_html, .timeout = 60)
{
    char *dir = new_dir();
    const int64_t image_id = 1;
    const edt_coco_category categories[] = {{-4, "<b>\"cat\", & co"}, {1, ""}};
    const edt_coco_object object = {
        .id = 1, .image_id = 1, .category_id = -4, .bbox = {0, 0, 9, 9}, .area = 81};
    edt_coco_gt *gt;
    edt_coco_dt *dt;
    cr_assert_eq(edt_coco_gt_create(&image_id, 1, categories, 2, &object, 1, &err, &gt),
                 EDT_OK);
    cr_assert_eq(edt_coco_dt_create(&err, &dt), EDT_OK);
    const edt_coco_detection d = {1, 1, {0, 0, 9, 9}, 3.5}; // a score beyond 1
    cr_assert_eq(edt_coco_dt_add(dt, &d, NULL, &err), EDT_OK);
    write_report(gt, dt, &(edt_coco_params){0}, dir);
    char *page = read_text(dir, "index.html");
    cr_expect(strstr(page, "<b>\"cat") == NULL);
    cr_expect(strstr(page, "&lt;b&gt;&quot;cat&quot;, &amp; co") != NULL);
    (void)check_links(page, dir);
    edt_mem_free(page);
    char *text = read_text(dir, "classes.csv");
    cr_expect(strstr(text, "-4,\"<b>\"\"cat\"\", & co\",1,0,") != NULL, "%s", text);
    edt_mem_free(text);
    edt_coco_dt_destroy(dt);
    edt_coco_gt_destroy(gt);
    remove_dir(dir);
}

Test(eval_report, infinite_scores_and_limits_of_ones_own, .timeout = 60)
{
    char *dir = new_dir();
    const int64_t image_id = 1;
    const edt_coco_category category = {1, "cat"};
    const edt_coco_object object = {
        .id = 1, .image_id = 1, .category_id = 1, .bbox = {0, 0, 9, 9}, .area = 81};
    const edt_coco_detection d = {1, 1, {0, 0, 9, 9}, (double)INFINITY};
    const edt_coco_area_range areas[] = {{"all", 0, 1e10}, {"small", 7, 99}};
    edt_coco_gt *gt;
    edt_coco_dt *dt;
    cr_assert_eq(edt_coco_gt_create(&image_id, 1, &category, 1, &object, 1, &err, &gt), EDT_OK);
    cr_assert_eq(edt_coco_dt_create(&err, &dt), EDT_OK);
    cr_assert_eq(edt_coco_dt_add(dt, &d, NULL, &err), EDT_OK);
    write_report(gt, dt, &(edt_coco_params){.max_dets = {2}, .areas = areas, .n_areas = 2},
                 dir);
    char *text = read_text(dir, "numbers.json");
    cr_expect(strstr(text, "nfinity") == NULL, "%s", text); // which JSON does not have
    edt_mem_free(text);
    text = read_text(dir, "index.html");
    cr_expect(strstr(text, "<span>area 7 to 99</span>") != NULL);
    cr_expect(strstr(text, "<span>area from 96²</span>") != NULL);
    cr_expect(strstr(text, "<span>best detections: 2 per image</span>") != NULL);
    cr_expect(strstr(text, "<span>no such limit of detections</span>") != NULL);
    edt_mem_free(text);
    edt_coco_dt_destroy(dt);
    edt_coco_gt_destroy(gt);
    remove_dir(dir);
}

Test(eval_report, masks_no_categories_and_nothing_at_all, .timeout = 120)
{
    char *dir = new_dir();
    edt_coco_random made = edt_coco_random_make(2, 6, true);
    const double half[] = {0.5};
    char all[300];
    (void)snprintf(all, sizeof all, "%s/all", dir);
    write_report(made.gt, made.dt,
                 &(edt_coco_params){.iou_type = EDT_COCO_SEGM, .max_dets = {5}}, dir);
    write_report(made.gt, made.dt,
                 &(edt_coco_params){
                     .ignore_categories = true, .iou_thresholds = half, .n_iou_thresholds = 1},
                 all);
    cr_expect_not(edt_test_exists(edt_test_path(dir, "all/confusion.png")));
    char *page = read_text(dir, "all/index.html");
    (void)check_links(page, all);
    edt_mem_free(page);
    edt_coco_gt *gt;
    edt_coco_dt *dt;
    cr_assert_eq(edt_coco_gt_create(NULL, 0, NULL, 0, NULL, 0, &err, &gt), EDT_OK, "%s",
                 err.text);
    cr_assert_eq(edt_coco_dt_create(&err, &dt), EDT_OK);
    write_report(gt, dt, &(edt_coco_params){0}, edt_test_path(dir, "none"));
    edt_coco_dt_destroy(dt);
    edt_coco_gt_destroy(gt);
    edt_coco_random_free(&made);
    remove_dir(dir);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

Test(eval_report, a_folder_that_cannot_be_written, .timeout = 30)
{
    edt_coco_random made = edt_coco_random_make(2, 2, false);
    edt_coco_result *result;
    cr_assert_eq(edt_coco_evaluate(made.gt, made.dt, &(edt_coco_params){0}, &err, &result),
                 EDT_OK);
    const edt_eval_report_options options = {.dir = "/dev/null/report"};
    cr_expect_eq(edt_eval_report_write(made.gt, made.dt, result, &options, &err), EDT_ERR_IO);
    cr_expect(strstr(err.text, "/dev/null") != NULL, "%s", err.text);
    edt_coco_result_destroy(result);
    edt_coco_random_free(&made);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}
