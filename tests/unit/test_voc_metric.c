// PASCAL VOC's rules in cases made by hand; documented numbers are in
// golden/test_voc_numbers.c.
#include "eval/voc_metric.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "eval/coco_priv.h"
#include "tests/support/test_dirs.h"

static edt_error err;

static edt_coco_dt *list(const edt_coco_detection *detections, int64_t n)
{
    edt_coco_dt *dt;
    cr_assert_eq(edt_coco_dt_create(&err, &dt), EDT_OK);
    for (int64_t i = 0; i < n; ++i) {
        cr_assert_eq(edt_coco_dt_add(dt, &detections[i], NULL, &err), EDT_OK);
    }
    return dt;
}

static edt_coco_gt *truth(const edt_coco_object *objects, int64_t n)
{
    static const int64_t image_ids[] = {1, 2};
    static const edt_coco_category categories[] = {{1, "cat"}, {2, "dog"}};
    edt_coco_gt *gt;
    cr_assert_eq(edt_coco_gt_create(image_ids, 2, categories, 2, objects, n, &err, &gt), EDT_OK,
                 "%s", err.text);
    return gt;
}

static edt_voc_result *evaluate(edt_coco_gt *take_gt, edt_coco_dt *take_dt,
                                const edt_voc_params *params)
{
    edt_voc_result *result;
    cr_assert_eq(edt_voc_evaluate(take_gt, take_dt, params, &err, &result), EDT_OK, "%s",
                 err.text);
    edt_coco_dt_destroy(take_dt);
    edt_coco_gt_destroy(take_gt);
    return result;
}

static const edt_coco_object objects[] = {
    {.id = 1, .image_id = 1, .category_id = 1, .bbox = {0, 0, 9, 9}, .area = 81},
    {.id = 2,
     .image_id = 1,
     .category_id = 1,
     .bbox = {50, 0, 9, 9},
     .is_crowd = true,
     .area = 81},
    {.id = 3, .image_id = 2, .category_id = 1, .bbox = {0, 0, 9, 9}, .area = 81}};

Test(voc_metric, difficult_objects_count_for_nothing, .timeout = 30)
{
    const edt_coco_detection detections[] = {
        {1, 1, {50, 0, 9, 9}, 0.9}, // difficult: neither right nor wrong
        {1, 1, {50, 1, 9, 9}, 0.8}, // once more
        {1, 1, {0, 0, 9, 9}, 0.7},  {1, 1, {1, 0, 9, 9}, 0.6}, // wrong: taken
        {2, 1, {0, 0, 9, 9}, 0.5},  {2, 2, {0, 0, 9, 9}, 0.5}, // of a class without objects
    };
    edt_voc_result *r = evaluate(truth(objects, 3), list(detections, 6),
                                 &(edt_voc_params){.rule = EDT_VOC_2010});
    cr_assert_eq(r->n_classes, 2);
    const edt_voc_class *cat = &r->classes[0], *dog = &r->classes[1];
    cr_expect(cat->n_objects == 2 && cat->n_difficult == 1 && cat->n_detections == 5);
    cr_expect_float_eq(cat->precision, 2.0 / 3, 1e-12);
    cr_expect_eq(cat->recall, 1);
    cr_expect_float_eq(cat->ap, 0.5 + 0.5 * 2 / 3, 1e-12);
    cr_expect(dog->ap == -1 && dog->recall == -1 && dog->n_detections == 1);
    cr_expect_eq(r->mean_ap, cat->ap);
    edt_voc_result_destroy(r);
    r = evaluate(truth(objects, 3), list(detections, 6),
                 &(edt_voc_params){.rule = EDT_VOC_2007});
    // Precision 1 up to recall 0.5, which are 6 points, then 2/3.
    cr_expect_float_eq(r->mean_ap, (6 + 5 * 2.0 / 3) / 11, 1e-12);
    edt_voc_result_destroy(r);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

Test(voc_metric, boxes_include_their_last_pixels, .timeout = 30)
{
    // 10 by 10 pixels each, 5 columns shared: 50 of 150; without the last ones 4 * 9 of 126.
    const edt_coco_detection detections[] = {{1, 1, {5, 0, 9, 9}, 0.9}};
    const double third = 1.0 / 3;
    edt_voc_result *r = evaluate(truth(objects, 1), list(detections, 1),
                                 &(edt_voc_params){.rule = EDT_VOC_2010, .iou = third});
    cr_expect_eq(r->mean_ap, 1);
    edt_voc_result_destroy(r);
    r = evaluate(truth(objects, 1), list(detections, 1),
                 &(edt_voc_params){.rule = EDT_VOC_2010, .iou = nextafter(third, 1)});
    cr_expect_eq(r->mean_ap, 0);
    edt_voc_result_destroy(r);
}

Test(voc_metric, a_detection_looks_at_its_best_object_only, .timeout = 30)
{
    const edt_coco_object close[] = {
        {.id = 1, .image_id = 1, .category_id = 1, .bbox = {0, 0, 19, 19}, .area = 361},
        {.id = 2, .image_id = 1, .category_id = 1, .bbox = {4, 0, 19, 19}, .area = 361}};
    // Both overlap object 1 most; the second one would match object 2 in COCO's evaluation.
    const edt_coco_detection detections[] = {{1, 1, {0, 0, 19, 19}, 0.9},
                                             {1, 1, {1, 0, 19, 19}, 0.8}};
    edt_voc_result *r =
        evaluate(truth(close, 2), list(detections, 2), &(edt_voc_params){.rule = EDT_VOC_2010});
    cr_expect_float_eq(r->classes[0].recall, 0.5, 1e-12);
    cr_expect_float_eq(r->classes[0].precision, 0.5, 1e-12);
    edt_voc_result_destroy(r);
}

Test(voc_metric, of_equal_overlaps_the_first_object_counts, .timeout = 30)
{
    edt_coco_object twins[] = {objects[0], objects[0]};
    twins[0].is_crowd = true;
    twins[1].id = 2;
    const edt_coco_detection detections[] = {{1, 1, {0, 0, 9, 9}, 0.9}};
    edt_voc_result *r = evaluate(truth(twins, 2), list(detections, 1), &(edt_voc_params){0});
    cr_expect(r->classes[0].recall == 0 && r->classes[0].precision == -1);
    edt_voc_result_destroy(r);
}

Test(voc_metric, equal_scores_keep_the_order_of_the_list, .timeout = 30)
{
    const edt_coco_detection wrong_first[] = {
        {2, 1, {70, 70, 9, 9}, 0.5}, {1, 1, {0, 0, 9, 9}, 0.5}, {1, 1, {90, 90, 9, 9}, NAN}};
    edt_voc_result *r = evaluate(truth(objects, 1), list(wrong_first, 3),
                                 &(edt_voc_params){.rule = EDT_VOC_2010});
    cr_expect_float_eq(r->mean_ap, 0.5, 1e-12);
    cr_expect_float_eq(r->classes[0].precision, 1.0 / 3, 1e-12);
    edt_voc_result_destroy(r);
}

Test(voc_metric, chosen_classes_images_and_none, .timeout = 30)
{
    const edt_coco_detection detections[] = {{1, 2, {0, 0, 9, 9}, 0.9}};
    const int64_t dogs[] = {2}, second[] = {2};
    edt_voc_result *r =
        evaluate(truth(objects, 3), list(detections, 1),
                 &(edt_voc_params){
                     .coco = &(edt_coco_params){.category_ids = dogs, .n_category_ids = 1}});
    cr_expect(r->n_classes == 1 && r->mean_ap == -1 && r->classes[0].n_detections == 1);
    edt_voc_result_destroy(r);
    r = evaluate(truth(objects, 3), list(detections, 1),
                 &(edt_voc_params){.coco = &(edt_coco_params){.ignore_categories = true}});
    cr_expect(r->n_classes == 1 && r->classes[0].recall == 0.5);
    edt_voc_result_destroy(r);
    r = evaluate(
        truth(objects, 3), list(detections, 1),
        &(edt_voc_params){.coco = &(edt_coco_params){.image_ids = second, .n_image_ids = 1}});
    cr_expect(r->classes[0].n_objects == 1 && r->classes[1].n_detections == 0);
    edt_voc_result_destroy(r);
}

Test(voc_metric, difficult_flags_of_a_ground_truth_file, .timeout = 30)
{
    static const char text[] =
        "{\"images\": [{\"id\": 1, \"width\": 99, \"height\": 99}],"
        "\"categories\": [{\"id\": 1, \"name\": \"cat\"}], \"annotations\": ["
        "{\"id\": 1, \"image_id\": 1, \"category_id\": 1, \"bbox\": [0, 0, 9, 9], \"area\": 81,"
        " \"iscrowd\": 0, \"ignore\": 0},"
        "{\"id\": 2, \"image_id\": 1, \"category_id\": 1, \"bbox\": [20, 0, 9, 9], \"area\": "
        "81,"
        " \"iscrowd\": 0, \"ignore\": 1},"
        "{\"id\": 3, \"image_id\": 1, \"category_id\": 1, \"bbox\": [40, 0, 9, 9], \"area\": "
        "81,"
        " \"difficult\": true}]}";
    const edt_span span = {(const uint8_t *)text, strlen(text)};
    for (int i = 0; i < 2; ++i) {
        edt_coco_gt *gt;
        cr_assert_eq(edt_coco_gt_parse("text", span, false,
                                       &(edt_coco_gt_options){.difficult_as_crowd = i == 1},
                                       &err, &gt),
                     EDT_OK, "%s", err.text);
        edt_voc_result *r = evaluate(gt, list(NULL, 0), &(edt_voc_params){0});
        cr_expect_eq(r->classes[0].n_difficult, i == 1 ? 2 : 0);
        cr_expect_eq(r->classes[0].n_objects, i == 1 ? 1 : 3);
        cr_expect_eq(r->mean_ap, 0);
        edt_voc_result_destroy(r);
    }
}

Test(voc_metric, table_and_json, .timeout = 30)
{
    const char *dir = edt_test_temp_dir();
    const char *path = edt_test_path(dir, "voc.json");
    const edt_coco_detection detections[] = {{1, 1, {0, 0, 9, 9}, 0.9}};
    edt_voc_result *r = evaluate(truth(objects, 3), list(detections, 1),
                                 &(edt_voc_params){.rule = EDT_VOC_2007});
    char *printed = NULL, *written;
    size_t n;
    FILE *out = open_memstream(&printed, &n);
    edt_voc_print(r, out);
    (void)fclose(out);
    cr_expect(strstr(printed, "       1  cat                         0.5455    0.5000") != NULL,
              "%s", printed);
    cr_expect(strstr(printed, "Mean AP (VOC 2007, 11 points, IoU 0.50) =    0.5455") != NULL,
              "%s", printed);
    free(printed);
    cr_assert_eq(edt_voc_write_json(r, path, &err), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_file_read(path, 1 << 20, &err, &written, &n), EDT_OK);
    cr_expect(strstr(written, "\"metric\": \"voc2007\"") != NULL, "%s", written);
    edt_mem_free(written);
    edt_voc_result_destroy(r);
    edt_test_remove_tree(dir);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}
