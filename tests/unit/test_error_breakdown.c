// Kinds of errors in cases made by hand, one of each kind, and what mending them is worth. The
// numbers as a whole are compared with the authors' program in eval_peer/compare_tide.sh.
#include "eval/error_breakdown.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "core/mem.h"
#include "tests/support/coco_random.h"

static edt_error err;

typedef struct scene {
    edt_coco_gt *gt;
    edt_coco_dt *dt;
} scene;

static scene make(const edt_coco_object *objects, int64_t n_objects,
                  const edt_coco_detection *detections, int64_t n_detections)
{
    static const int64_t image_ids[] = {1, 2};
    static const edt_coco_category categories[] = {{1, "cat"}, {2, "dog"}};
    scene s;
    cr_assert_eq(
        edt_coco_gt_create(image_ids, 2, categories, 2, objects, n_objects, &err, &s.gt),
        EDT_OK, "%s", err.text);
    cr_assert_eq(edt_coco_dt_create(&err, &s.dt), EDT_OK);
    for (int64_t i = 0; i < n_detections; ++i) {
        cr_assert_eq(edt_coco_dt_add(s.dt, &detections[i], NULL, &err), EDT_OK);
    }
    return s;
}

static edt_error_breakdown break_down(scene *s, const edt_error_breakdown_options *options)
{
    edt_error_breakdown b;
    cr_assert_eq(
        edt_error_breakdown_make(s->gt, s->dt, &(edt_coco_params){0}, options, &err, &b),
        EDT_OK, "%s", err.text);
    edt_coco_dt_destroy(s->dt);
    edt_coco_gt_destroy(s->gt);
    return b;
}

Test(error_breakdown, one_of_each_kind, .timeout = 30)
{
    const edt_coco_object objects[] = {
        {.id = 1, .image_id = 1, .category_id = 1, .bbox = {0, 0, 10, 10}, .area = 100},
        {.id = 2, .image_id = 1, .category_id = 1, .bbox = {100, 0, 10, 10}, .area = 100},
        {.id = 3, .image_id = 1, .category_id = 2, .bbox = {200, 0, 10, 10}, .area = 100},
        {.id = 4, .image_id = 1, .category_id = 2, .bbox = {300, 0, 10, 10}, .area = 100},
        {.id = 5,
         .image_id = 2,
         .category_id = 1,
         .bbox = {0, 0, 100, 100},
         .is_crowd = true,
         .area = 10000}};
    const edt_coco_detection detections[] = {
        {1, 1, {0, 0, 10, 10}, 0.9},   // right
        {1, 1, {1, 0, 10, 10}, 0.8},   // duplicate of it
        {1, 1, {105, 0, 10, 10}, 0.7}, // IoU 1/3 with object 2: location
        {1, 1, {200, 0, 10, 10}, 0.6}, // on object 3: class
        {1, 1, {305, 0, 10, 10}, 0.5}, // IoU 1/3 with object 4: both
        {1, 2, {500, 0, 10, 10}, 0.4}, // background
        {2, 1, {10, 10, 10, 10}, 0.3}, // in a crowd: an error that does not count
    };
    scene s = make(objects, 5, detections, 7);
    const edt_error_breakdown b = break_down(&s, NULL);
    static const int64_t counts[EDT_ERRORS_N_KINDS] = {1, 1, 1, 1, 2, 1};
    for (int i = 0; i < EDT_ERRORS_N_KINDS; ++i) {
        cr_expect_eq(b.count[i], counts[i], "%s: %lld", edt_error_kind_names[i],
                     (long long)b.count[i]);
    }
    cr_expect_eq(b.n_true_positives, 1);
    cr_expect_eq(b.n_false_positives, 5);
    cr_expect_eq(b.n_false_negatives, 3);
    cr_expect_eq(b.n_objects, 4);
    // Cats: recall 1/2 at precision 1, so 51 of 101 recalls; dogs: nothing.
    const double cats = 51.0 / 101;
    cr_expect_float_eq(b.ap, cats / 2, 1e-12);
    // Location mended: the second of 2 cats at place 3 of the list.
    cr_expect_float_eq(b.gain[EDT_ERRORS_LOCATION], 50.0 / 101 * 2 / 3 / 2, 1e-12);
    // Class mended: dog 3 before the background, one dog of two.
    cr_expect_float_eq(b.gain[EDT_ERRORS_CLASS], cats / 2, 1e-12);
    cr_expect_float_eq(b.gain[EDT_ERRORS_DUPLICATE], 0, 1e-12);
    cr_expect_float_eq(b.gain[EDT_ERRORS_BACKGROUND], 0, 1e-12);
    // Dog 4 alone is missed: the others are found once errors are mended.
    cr_expect_float_eq(b.gain[EDT_ERRORS_MISSED], 0, 1e-12);
    cr_expect_float_eq(b.gain_false_positives, 0, 1e-12);
    // With the only found cat as the only object: AP 1 for cats.
    cr_expect_float_eq(b.gain_false_negatives, (1 - cats) / 2, 1e-12);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

Test(error_breakdown, the_best_claim_to_an_object_wins, .timeout = 30)
{
    const edt_coco_object objects[] = {
        {.id = 1, .image_id = 1, .category_id = 1, .bbox = {0, 0, 10, 10}, .area = 100}};
    // Both could be mended to find the object; the other kind's detection has the higher score.
    const edt_coco_detection detections[] = {{1, 2, {0, 0, 10, 10}, 0.9},
                                             {1, 1, {5, 0, 10, 10}, 0.8}};
    scene s = make(objects, 1, detections, 2);
    const edt_error_breakdown b = break_down(&s, NULL);
    cr_expect_eq(b.count[EDT_ERRORS_CLASS], 1);
    cr_expect_eq(b.count[EDT_ERRORS_LOCATION], 1);
    cr_expect_eq(b.count[EDT_ERRORS_MISSED], 0);
    cr_expect_float_eq(b.ap, 0, 1e-12);
    // The cat's AP is 1; dogs have nothing left that counts.
    cr_expect_float_eq(b.gain[EDT_ERRORS_CLASS], 1, 1e-12);
    cr_expect_float_eq(b.gain[EDT_ERRORS_LOCATION], 0, 1e-12);
}

Test(error_breakdown, missed_objects, .timeout = 30)
{
    const edt_coco_object objects[] = {
        {.id = 1, .image_id = 1, .category_id = 1, .bbox = {0, 0, 10, 10}, .area = 100},
        {.id = 2, .image_id = 1, .category_id = 1, .bbox = {50, 0, 10, 10}, .area = 100},
        {.id = 3, .image_id = 2, .category_id = 1, .bbox = {0, 0, 10, 10}, .area = 100}};
    const edt_coco_detection detections[] = {{1, 1, {0, 0, 10, 10}, 0.9},
                                             {1, 1, {50, 0, 10, 10}, 0.8}};
    scene s = make(objects, 3, detections, 2);
    const edt_error_breakdown b = break_down(&s, NULL);
    cr_expect_eq(b.count[EDT_ERRORS_MISSED], 1);
    // Recalls 0 to 0.66 of 101; then all objects are found.
    cr_expect_float_eq(b.ap, 67.0 / 101, 1e-12);
    cr_expect_float_eq(b.gain[EDT_ERRORS_MISSED], 34.0 / 101, 1e-12);
    cr_expect_float_eq(b.gain_false_negatives, 34.0 / 101, 1e-12);
}

Test(error_breakdown, only_the_best_detections_of_an_image, .timeout = 30)
{
    const edt_coco_object objects[] = {
        {.id = 1, .image_id = 1, .category_id = 1, .bbox = {0, 0, 10, 10}, .area = 100}};
    const edt_coco_detection detections[] = {{1, 1, {0, 0, 10, 10}, 0.5},
                                             {1, 2, {50, 0, 10, 10}, 0.8},
                                             {1, 2, {70, 0, 10, 10}, 0.7}};
    scene s = make(objects, 1, detections, 3);
    const edt_error_breakdown b = break_down(&s, &(edt_error_breakdown_options){.max_dets = 2});
    cr_expect_eq(b.n_true_positives, 0);
    cr_expect_eq(b.count[EDT_ERRORS_BACKGROUND], 2);
    cr_expect_eq(b.count[EDT_ERRORS_MISSED], 1);
}

Test(error_breakdown, without_detections_or_objects, .timeout = 30)
{
    const edt_coco_object objects[] = {
        {.id = 1, .image_id = 1, .category_id = 1, .bbox = {0, 0, 10, 10}, .area = 100}};
    const edt_coco_detection detections[] = {{1, 1, {0, 0, 10, 10}, 0.5}};
    scene s = make(objects, 1, NULL, 0);
    edt_error_breakdown b = break_down(&s, NULL);
    cr_expect(b.ap == 0 && b.count[EDT_ERRORS_MISSED] == 1 && b.n_objects == 1);
    s = make(NULL, 0, detections, 1);
    b = break_down(&s, NULL);
    cr_expect(b.ap == 0 && b.count[EDT_ERRORS_BACKGROUND] == 1 && b.n_objects == 0);
    s = make(NULL, 0, NULL, 0);
    b = break_down(&s, NULL);
    cr_expect(b.ap == 0 && b.n_objects == 0);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

Test(error_breakdown, masks_are_compared_as_masks, .timeout = 30)
{
    edt_coco_random made = edt_coco_random_make(5, 12, true);
    edt_error_breakdown boxes, masks;
    cr_assert_eq(edt_error_breakdown_make(made.gt, made.dt,
                                          &(edt_coco_params){.iou_type = EDT_COCO_SEGM}, NULL,
                                          &err, &masks),
                 EDT_OK, "%s", err.text);
    cr_assert_eq(
        edt_error_breakdown_make(made.gt, made.dt, &(edt_coco_params){0}, NULL, &err, &boxes),
        EDT_OK, "%s", err.text);
    cr_expect_eq(masks.n_objects, boxes.n_objects);
    cr_expect_eq(masks.n_objects - masks.n_true_positives, masks.n_false_negatives);
    cr_expect_arr_neq(masks.gain, boxes.gain, sizeof masks.gain);
    edt_coco_random_free(&made);
}

Test(error_breakdown, table_and_json, .timeout = 30)
{
    const edt_error_breakdown b = {.foreground_iou = 0.5,
                                   .background_iou = 0.1,
                                   .ap = 0.25,
                                   .gain = {0.125},
                                   .count = {7},
                                   .gain_false_negatives = 0.5,
                                   .n_false_negatives = 3};
    char *text = NULL;
    size_t n;
    FILE *out = open_memstream(&text, &n);
    edt_error_breakdown_print(&b, out);
    (void)fclose(out);
    cr_expect(strstr(text, "AP 25.00") != NULL, "%s", text);
    cr_expect(strstr(text, "class               12.50          7") != NULL, "%s", text);
    cr_expect(strstr(text, "false negatives     50.00          3") != NULL, "%s", text);
    free(text);
    edt_json_writer json = {0};
    edt_text written;
    edt_error_breakdown_put_json(&b, &json);
    cr_assert_eq(edt_json_writer_finish(&json, &err, &written), EDT_OK);
    cr_expect(strstr(written.data, "{\"kind\": \"class\", \"gain\": 0.125, \"count\": 7}") !=
                  NULL,
              "%s", written.data);
    edt_json_writer_deinit(&json);
}
