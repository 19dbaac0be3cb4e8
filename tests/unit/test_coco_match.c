#include <criterion/criterion.h>
#include <math.h>

#include "eval/coco_eval.h"

enum { AP = 0, AP50 = 1, APS = 3, APM = 4, AR = 8 };
static const double ONE = 0.9999999999999998; // the epsilon in the denominator

static edt_error err;

typedef struct row {
    int64_t image;
    float box[4];
    float score;
} row;

// One category, images 1 and 2.
static edt_coco_result *run(const edt_coco_object *objects, int64_t n_objects, const row *rows,
                            int n_rows, edt_coco_params params)
{
    static const int64_t images[] = {1, 2};
    static const edt_coco_category category = {1, "thing"};
    edt_coco_gt *gt;
    edt_coco_dt *dt;
    edt_coco_result *result;
    cr_assert_eq(edt_coco_gt_create(images, 2, &category, 1, objects, n_objects, &err, &gt),
                 EDT_OK, "%s", err.text);
    cr_assert_eq(edt_coco_dt_create(&err, &dt), EDT_OK);
    for (int i = 0; i < n_rows; ++i) {
        cr_assert_eq(
            edt_coco_dt_add_f32(dt, rows[i].image, 1, rows[i].box, rows[i].score, &err),
            EDT_OK);
    }
    cr_assert_eq(edt_coco_evaluate(gt, dt, &params, &err, &result), EDT_OK, "%s", err.text);
    edt_coco_dt_destroy(dt);
    edt_coco_gt_destroy(gt);
    return result;
}

static double stat(edt_coco_result *result, int i)
{
    const double value = edt_coco_result_stats(result)[i];
    edt_coco_result_destroy(result);
    return value;
}

static const edt_coco_object square = {1, 1, 1, {0, 0, 10, 10}, 100, false, NULL};

Test(coco_match, equal_scores_keep_list_order_and_images_rise, .timeout = 30)
{
    const row hit = {1, {0, 0, 10, 10}, 0.5F}, miss = {1, {50, 50, 10, 10}, 0.5F};
    const row other = {2, {50, 50, 10, 10}, 0.5F};
    const edt_coco_params usual = {0};
    cr_expect_eq(stat(run(&square, 1, (row[]){hit, miss}, 2, usual), AP), ONE);
    cr_expect_eq(stat(run(&square, 1, (row[]){miss, hit}, 2, usual), AP), 0.5);
    cr_expect_eq(stat(run(&square, 1, (row[]){other, hit}, 2, usual), AP), ONE);
}

Test(coco_match, zeros_are_equal_and_nan_is_last, .timeout = 30)
{
    const row zero[] = {{2, {50, 50, 10, 10}, 0}, {1, {0, 0, 10, 10}, -0.0F}};
    const row none[] = {{2, {50, 50, 10, 10}, NAN}, {1, {0, 0, 10, 10}, -INFINITY}};
    cr_expect_eq(stat(run(&square, 1, zero, 2, (edt_coco_params){0}), AP), ONE);
    cr_expect_eq(stat(run(&square, 1, none, 2, (edt_coco_params){0}), AP), ONE);
}

Test(coco_match, a_crowd_takes_any_number_and_counts_for_nothing, .timeout = 30)
{
    edt_coco_object objects[2] = {square, {2, 1, 1, {100, 100, 50, 50}, 2500, true, NULL}};
    const row rows[] = {{1, {100, 100, 20, 20}, 0.9F},
                        {1, {110, 110, 20, 20}, 0.8F},
                        {1, {120, 120, 20, 20}, 0.7F},
                        {1, {0, 0, 10, 10}, 0.6F}};
    cr_expect_eq(stat(run(objects, 2, rows, 4, (edt_coco_params){0}), AP), ONE);
    objects[1].is_crowd = false; // now three false positives come first
    cr_expect_lt(stat(run(objects, 2, rows, 4, (edt_coco_params){0}), AP), 0.2);
}

Test(coco_match, both_ends_of_an_area_range_belong_to_it, .timeout = 30)
{
    const edt_coco_object edge = {1, 1, 1, {0, 0, 32, 32}, 1024, false, NULL};
    const row hit = {1, {0, 0, 32, 32}, 0.5F};
    cr_expect_eq(stat(run(&edge, 1, &hit, 1, (edt_coco_params){0}), APS), ONE);
    cr_expect_eq(stat(run(&edge, 1, &hit, 1, (edt_coco_params){0}), APM), ONE);
}

Test(coco_match, of_equal_overlaps_the_later_object_is_taken, .timeout = 30)
{
    // The first detection overlaps both by 8 of 12; the second is the object at 0.
    edt_coco_object objects[2] = {square, {2, 1, 1, {4, 0, 10, 10}, 100, false, NULL}};
    const row rows[] = {{1, {2, 0, 10, 10}, 0.9F}, {1, {0, 0, 10, 10}, 0.8F}};
    cr_expect_eq(stat(run(objects, 2, rows, 2, (edt_coco_params){0}), AP50), 1);
    objects[0].bbox[0] = 4;
    objects[1].bbox[0] = 0;
    cr_expect_lt(stat(run(objects, 2, rows, 2, (edt_coco_params){0}), AP50), 0.6);
}

Test(coco_match, the_last_of_max_dets_counts_and_no_more, .timeout = 30)
{
    row rows[101];
    for (int i = 0; i < 101; ++i) {
        rows[i] = (row){1, {50, 50, 10, 10}, 1 - (float)i / 128};
    }
    rows[99] = (row){1, {0, 0, 10, 10}, rows[99].score};
    cr_expect_eq(stat(run(&square, 1, rows, 101, (edt_coco_params){0}), AR), 1);
    rows[100] = (row){1, {0, 0, 10, 10}, rows[100].score};
    rows[99].box[0] = 50;
    cr_expect_eq(stat(run(&square, 1, rows, 101, (edt_coco_params){0}), AR), 0);
}

Test(coco_match, scores_are_those_that_reach_a_recall, .timeout = 30)
{
    const edt_coco_object objects[2] = {square, {2, 2, 1, {0, 0, 10, 10}, 100, false, NULL}};
    const row rows[] = {
        {1, {50, 50, 10, 10}, 0.75F}, {1, {0, 0, 10, 10}, 0.5F}, {2, {0, 0, 10, 10}, 0.25F}};
    edt_coco_result *result = run(objects, 2, rows, 3, (edt_coco_params){0});
    const edt_coco_arrays arrays = edt_coco_result_arrays(result);
    cr_assert_eq(arrays.n_recalls, 101);
    for (int64_t r = 0; r < 101; ++r) {
        // Of the first threshold: all areas, 100 detections.
        const double score = arrays.scores[r * arrays.n_areas * arrays.n_max_dets + 2];
        cr_expect_eq(score,
                     r == 0    ? 0.75
                     : r <= 50 ? 0.5
                               : 0.25,
                     "recall 0.%02d: %g", (int)r, score);
    }
    edt_coco_result_destroy(result);
    // Without any hit the first detection still reaches recall 0.
    result = run(objects, 2, rows, 1, (edt_coco_params){0});
    const edt_coco_arrays missed = edt_coco_result_arrays(result);
    cr_expect_eq(missed.scores[2], 0.75);
    cr_expect_eq(missed.scores[missed.n_areas * missed.n_max_dets + 2], 0);
    edt_coco_result_destroy(result);
}

Test(coco_match, areas_of_float_rows_are_float_products, .timeout = 30)
{
    // 1024.00006 in double, 1024 in float: a false positive among small objects.
    const row rows[] = {{1, {50, 50, nextafterf(32, 64), nextafterf(32, 0)}, 0.9F},
                        {1, {0, 0, 10, 10}, 0.5F}};
    cr_assert_gt((double)rows[0].box[2] * (double)rows[0].box[3], 1024);
    cr_expect_eq(stat(run(&square, 1, rows, 2, (edt_coco_params){0}), APS), 0.5);
}

Test(coco_match, areas_of_double_rows_are_double_products, .timeout = 30)
{
    // 1024.00006: not among small objects, so no false positive there.
    const int64_t image = 1;
    const edt_coco_category category = {1, "thing"};
    const edt_coco_detection rows[] = {
        {1, 1, {50, 50, (double)nextafterf(32, 64), (double)nextafterf(32, 0)}, 0.9},
        {1, 1, {0, 0, 10, 10}, 0.5}};
    edt_coco_gt *gt;
    edt_coco_dt *dt;
    edt_coco_result *result;
    cr_assert_eq(edt_coco_gt_create(&image, 1, &category, 1, &square, 1, &err, &gt), EDT_OK);
    cr_assert_eq(edt_coco_dt_create(&err, &dt), EDT_OK);
    for (int i = 0; i < 2; ++i) {
        cr_assert_eq(edt_coco_dt_add(dt, &rows[i], NULL, &err), EDT_OK);
    }
    cr_assert_eq(edt_coco_evaluate(gt, dt, &(edt_coco_params){0}, &err, &result), EDT_OK);
    cr_expect_eq(stat(result, APS), ONE);
    edt_coco_dt_destroy(dt);
    edt_coco_gt_destroy(gt);
}

Test(coco_match, only_images_with_detections, .timeout = 30)
{
    const edt_coco_object objects[2] = {square, {2, 2, 1, {0, 0, 10, 10}, 100, false, NULL}};
    const row hit = {1, {0, 0, 10, 10}, 0.5F};
    cr_expect_eq(stat(run(objects, 2, &hit, 1, (edt_coco_params){0}), AR), 0.5);
    cr_expect_eq(
        stat(run(objects, 2, &hit, 1, (edt_coco_params){.only_images_with_detections = true}),
             AR),
        1);
    cr_expect_eq(stat(run(objects, 2, NULL, 0, (edt_coco_params){0}), AR), 0);
    cr_expect_eq(
        stat(run(objects, 2, NULL, 0, (edt_coco_params){.only_images_with_detections = true}),
             AR),
        -1);
}

Test(coco_match, boxes_that_are_no_numbers_end_in_a_result, .timeout = 30)
{
    const row rows[] = {{1, {NAN, 0, 10, 10}, NAN},
                        {1, {0, 0, INFINITY, INFINITY}, 0.7F},
                        {1, {0, 0, 10, 10}, 0.5F}};
    const double ap = stat(run(&square, 1, rows, 3, (edt_coco_params){0}), AP);
    cr_expect(ap >= 0 && ap <= 1, "%g", ap);
}

Test(coco_match, detections_of_unknown_images_are_refused, .timeout = 30)
{
    const int64_t image = 1;
    const edt_coco_category category = {1, "thing"};
    edt_coco_gt *gt;
    edt_coco_dt *dt;
    edt_coco_result *result;
    cr_assert_eq(edt_coco_gt_create(&image, 1, &category, 1, &square, 1, &err, &gt), EDT_OK);
    cr_assert_eq(edt_coco_dt_create(&err, &dt), EDT_OK);
    cr_assert_eq(edt_coco_dt_add_f32(dt, 7, 1, (float[4]){0, 0, 1, 1}, 1, &err), EDT_OK);
    cr_assert_eq(edt_coco_evaluate(gt, dt, &(edt_coco_params){0}, &err, &result),
                 EDT_ERR_MISMATCH);
    cr_assert(strstr(err.text, "image 7") != NULL, "%s", err.text);
    edt_coco_dt_destroy(dt);
    edt_coco_gt_destroy(gt);
}
