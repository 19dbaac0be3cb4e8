// The numbers that the test suites of other COCO evaluators document, and files that must be
// reported.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "core/mem.h"
#include "eval/coco_eval.h"
#include "tests/support/test_dirs.h"

static edt_error err;

static const edt_json_node *load_expected(edt_arena *arena)
{
    EDT_TEST_NEEDS_DIR(edt_test_data_dir());
    const char *path = edt_test_path(edt_test_data_dir(), "coco-eval/expected.json");
    EDT_TEST_NEEDS_FILE(path);
    char *text;
    size_t n;
    const edt_json_node *root;
    cr_assert_eq(edt_file_read(path, 1 << 20, &err, &text, &n), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_json_parse((edt_span){(uint8_t *)text, n}, arena, &err, &root), EDT_OK,
                 "%s", err.text);
    edt_mem_free(text);
    return root;
}

static edt_coco_result *evaluate(const char *gt_name, const char *dt_name,
                                 edt_coco_iou_type iou_type, int n_threads)
{
    edt_coco_gt *gt;
    edt_coco_dt *dt;
    edt_coco_result *result;
    const char *folder = edt_test_data_dir();
    const char *gt_path = edt_test_path(folder, "coco-eval/%s", gt_name);
    const char *dt_path = edt_test_path(folder, "coco-eval/%s", dt_name);
    cr_assert_eq(
        edt_coco_gt_open(gt_path,
                         &(edt_coco_gt_options){.n_threads = n_threads, .iou_type = iou_type},
                         &err, &gt),
        EDT_OK, "%s", err.text);
    cr_assert_eq(edt_coco_dt_open(dt_path, gt, &err, &dt), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_coco_evaluate(
                     gt, dt, &(edt_coco_params){.n_threads = n_threads, .iou_type = iou_type},
                     &err, &result),
                 EDT_OK, "%s", err.text);
    edt_coco_dt_destroy(dt);
    edt_coco_gt_destroy(gt);
    return result;
}

static void check_categories(const edt_json_node *expected, const edt_coco_result *result,
                             const char *name)
{
    int64_t n;
    const edt_coco_category *categories = edt_coco_result_categories(result, &n);
    for (int64_t k = 0; k < n; ++k) {
        char id[32];
        (void)snprintf(id, sizeof id, "%lld", (long long)categories[k].id);
        const edt_json_node *want = edt_json_get(expected, id);
        double stats[EDT_COCO_N_STATS];
        edt_coco_result_category_stats(result, k, stats);
        const double got = stats[0];
        if (want != NULL) {
            // Stated with ten decimals.
            cr_expect(fabs(got - want->number) < 6e-11,
                      "%s, category %s: %.12f, expected %.10f", name, id, got, want->number);
        } else {
            cr_expect_eq(got, -1, "%s, category %s: %.12f, expected none", name, id, got);
        }
    }
}

Test(coco_eval, documented_numbers_of_other_evaluators, .timeout = 120)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    edt_log_set_level(EDT_LOG_ERROR); // zero_ids warns
    const edt_json_node *root = load_expected(&arena);
    const edt_json_node *keys = edt_json_get(root, "metric_keys");
    cr_assert_eq(keys->n, EDT_COCO_N_STATS);
    int n_checked = 0;
    for (const edt_json_node *c = edt_json_get(root, "cases")->first; c != NULL; c = c->next) {
        const char *name = edt_json_get(c, "name")->text;
        const edt_json_node *type = edt_json_get(c, "iou_type");
        const edt_json_node *expected = edt_json_get(c, "expected");
        if (type == NULL || expected == NULL) {
            printf("%s: skipped, no case of COCO evaluation\n", name);
            continue;
        }
        const bool is_segm = strcmp(type->text, "segm") == 0;
        const bool is_exact = strcmp(name, "val2014_100_bbox") == 0;
        const double tolerance = is_exact ? 0 : edt_json_get(c, "tolerance")->number;
        edt_coco_result *result =
            evaluate(edt_json_get(c, "gt")->text, edt_json_get(c, "dt")->text,
                     is_segm ? EDT_COCO_SEGM : EDT_COCO_BBOX, 2);
        const double *stats = edt_coco_result_stats(result);
        int i = 0;
        for (const edt_json_node *key = keys->first; key != NULL; key = key->next, ++i) {
            const edt_json_node *want = edt_json_get(expected, key->text);
            if (want != NULL) {
                cr_expect(fabs(stats[i] - want->number) <= tolerance, "%s: %s %.17g, not %.17g",
                          name, key->text, stats[i], want->number);
            }
        }
        if (edt_json_get(c, "per_category") != NULL) {
            check_categories(edt_json_get(c, "per_category"), result, name);
        }
        edt_coco_result_destroy(result);
        ++n_checked;
    }
    cr_assert_eq(n_checked, 5);
    edt_arena_deinit(&arena);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

static void check_lines(const char *text, const char *heading, edt_coco_result *result)
{
    char *printed = NULL;
    size_t n_printed;
    FILE *out = open_memstream(&printed, &n_printed);
    cr_assert_not_null(out);
    edt_coco_print_summary(result, out);
    (void)fclose(out);
    int n_lines = 0;
    // An older version printed other blanks before the "@"; what follows is the same.
    const char *at = strstr(text, heading);
    char *save = NULL;
    for (char *line = strtok_r(printed, "\n", &save); line != NULL && at != NULL;
         line = strtok_r(NULL, "\n", &save), ++n_lines) {
        const char *value = strstr(line, "@[ ");
        cr_assert_not_null(value);
        at = strstr(at, value);
        cr_expect(at != NULL, "no '%s' in its place below %s", value, heading);
    }
    cr_assert_eq(n_lines, EDT_COCO_N_STATS);
    free(printed);
    edt_coco_result_destroy(result);
}

Test(coco_eval, printed_lines_of_the_coco_api, .timeout = 60)
{
    const char *path =
        edt_test_path(edt_test_data_dir(), "coco-eval/val2014_100/val2014_fake_eval_res.txt");
    EDT_TEST_NEEDS_FILE(path);
    char *text;
    size_t n;
    cr_assert_eq(edt_file_read(path, 1 << 20, &err, &text, &n), EDT_OK, "%s", err.text);
    check_lines(text, "type=bbox",
                evaluate("val2014_100/instances_val2014_100.json",
                         "val2014_100/instances_val2014_fakebbox100_results.json",
                         EDT_COCO_BBOX, 0));
    check_lines(text, "type=segm",
                evaluate("val2014_100/instances_val2014_100.json",
                         "val2014_100/instances_val2014_fakesegm100_results.json",
                         EDT_COCO_SEGM, 0));
    edt_mem_free(text);
}

Test(coco_eval, defective_ground_truth_is_reported_in_full, .timeout = 30)
{
    const char *path =
        edt_test_path(edt_test_data_dir(), "coco-eval/bad_gt/healthcheck_bad.json");
    EDT_TEST_NEEDS_FILE(path);
    static const char *const words[] = {"duplicate image id 1",
                                        "duplicate annotation id 1",
                                        "annotation 3 refers to unknown image 999",
                                        "annotation 4 refers to unknown category 999",
                                        "image 2 has width 100, height 0",
                                        "5 defects"};
    edt_coco_gt *gt = NULL;
    cr_assert_eq(edt_coco_gt_open(path, &(edt_coco_gt_options){0}, &err, &gt), EDT_ERR_INVALID);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; ++i) {
        cr_expect(strstr(err.text, words[i]) != NULL, "'%s' is not in: %s", words[i], err.text);
    }
    cr_assert_eq(edt_coco_gt_open(path, &(edt_coco_gt_options){.lenient = true}, &err, &gt),
                 EDT_OK, "%s", err.text);
    cr_assert_eq(edt_coco_gt_n_images(gt), 2);
    edt_coco_gt_destroy(gt);
}

Test(coco_eval, ids_that_are_text_are_refused_with_their_place, .timeout = 30)
{
    const char *path =
        edt_test_path(edt_test_data_dir(), "coco-eval/ignore_flag/gt_ignore_test.json");
    EDT_TEST_NEEDS_FILE(path);
    edt_coco_gt *gt = NULL;
    cr_assert_eq(edt_coco_gt_open(path, &(edt_coco_gt_options){0}, &err, &gt), EDT_ERR_FORMAT);
    cr_assert(strstr(err.text, "(images[0].id): ids must be integers, found text") != NULL,
              "%s", err.text);
}
