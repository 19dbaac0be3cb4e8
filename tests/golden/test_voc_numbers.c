// Average precisions that another evaluator's test suite documents for PASCAL VOC's rules.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/file.h"
#include "core/json.h"
#include "core/mem.h"
#include "eval/voc_metric.h"
#include "tests/support/test_dirs.h"

enum { N_IMAGES = 7, MOST_OBJECTS = 64 };

static edt_error err;

// Reads the lines "class [score] x y w h" of picture i.
static int read_lines(const char *folder, int i, bool with_score, double (*rows)[5], int most)
{
    const char *path =
        edt_test_path(edt_test_data_dir(), "coco-eval/voc_metric/%s/%05d.txt", folder, i);
    FILE *in = fopen(path, "r");
    cr_assert_not_null(in, "%s", path);
    int n = 0;
    char word[64];
    while (n < most && fscanf(in, "%63s", word) == 1) {
        rows[n][4] = 0;
        cr_assert(!with_score || fscanf(in, "%lf", &rows[n][4]) == 1);
        cr_assert_eq(
            fscanf(in, "%lf %lf %lf %lf", &rows[n][0], &rows[n][1], &rows[n][2], &rows[n][3]),
            4);
        ++n;
    }
    (void)fclose(in);
    return n;
}

static void read_case(edt_coco_gt **out_gt, edt_coco_dt **out_dt)
{
    const edt_coco_category category = {1, "object"};
    int64_t images[N_IMAGES];
    edt_coco_object objects[MOST_OBJECTS];
    double rows[MOST_OBJECTS][5];
    int64_t n_objects = 0;
    cr_assert_eq(edt_coco_dt_create(&err, out_dt), EDT_OK);
    for (int i = 0; i < N_IMAGES; ++i) {
        images[i] = i + 1;
        const int n_gt = read_lines("gts", i + 1, false, rows, MOST_OBJECTS - (int)n_objects);
        for (int k = 0; k < n_gt; ++k) {
            objects[n_objects] =
                (edt_coco_object){.id = n_objects + 1,
                                  .image_id = i + 1,
                                  .category_id = 1,
                                  .bbox = {rows[k][0], rows[k][1], rows[k][2], rows[k][3]},
                                  .area = rows[k][2] * rows[k][3]};
            ++n_objects;
        }
        const int n_dt = read_lines("dets", i + 1, true, rows, MOST_OBJECTS);
        for (int k = 0; k < n_dt; ++k) {
            const edt_coco_detection d = {
                i + 1, 1, {rows[k][0], rows[k][1], rows[k][2], rows[k][3]}, rows[k][4]};
            cr_assert_eq(edt_coco_dt_add(*out_dt, &d, NULL, &err), EDT_OK);
        }
    }
    cr_assert_eq(n_objects, 15);
    cr_assert_eq(
        edt_coco_gt_create(images, N_IMAGES, &category, 1, objects, n_objects, &err, out_gt),
        EDT_OK, "%s", err.text);
}

Test(voc_numbers, documented_by_another_evaluator, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_data_dir());
    const char *path = edt_test_path(edt_test_data_dir(), "coco-eval/expected.json");
    EDT_TEST_NEEDS_FILE(path);
    char *text;
    size_t n;
    edt_arena arena;
    const edt_json_node *root, *c;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    cr_assert_eq(edt_file_read(path, 1 << 20, &err, &text, &n), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_json_parse((edt_span){(uint8_t *)text, n}, &arena, &err, &root), EDT_OK);
    for (c = edt_json_get(root, "cases")->first; c != NULL; c = c->next) {
        if (strcmp(edt_json_get(c, "name")->text, "voc_metric") == 0) {
            break;
        }
    }
    cr_assert_not_null(c);
    edt_coco_gt *gt;
    edt_coco_dt *dt;
    read_case(&gt, &dt);
    static const char *const rules[] = {"eleven_point", "every_point"};
    const double tolerance = edt_json_get(c, "tolerance")->number;
    int n_checked = 0;
    for (int i = 0; i < 2; ++i) {
        const edt_json_node *numbers = edt_json_get(edt_json_get(c, "expected"), rules[i]);
        for (const edt_json_node *want = numbers->first; want != NULL; want = want->next) {
            const edt_voc_params params = {.rule = i == 0 ? EDT_VOC_2007 : EDT_VOC_2010,
                                           .iou = strtod(want->key, NULL)};
            edt_voc_result *result;
            cr_assert_eq(edt_voc_evaluate(gt, dt, &params, &err, &result), EDT_OK, "%s",
                         err.text);
            cr_expect(fabs(result->mean_ap - want->number) <= tolerance,
                      "%s at %s: %.12f, expected %.12f", rules[i], want->key, result->mean_ap,
                      want->number);
            edt_voc_result_destroy(result);
            ++n_checked;
        }
    }
    cr_assert_eq(n_checked, 8);
    edt_coco_dt_destroy(dt);
    edt_coco_gt_destroy(gt);
    edt_arena_deinit(&arena);
    edt_mem_free(text);
}
