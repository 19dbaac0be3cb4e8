// The numbers behind the pictures: by hand in a small case, and against the evaluation itself
// in random ones.
#include "eval/coco_curves.h"

#include <criterion/criterion.h>
#include <math.h>

#include "core/mem.h"
#include "eval/coco_matches.h"
#include "tests/support/coco_random.h"

static edt_error err;

static edt_coco_curves *make(const edt_coco_gt *gt, const edt_coco_dt *dt,
                             const edt_coco_params *params,
                             const edt_coco_curves_options *options)
{
    edt_coco_result *result;
    edt_coco_curves *curves;
    cr_assert_eq(edt_coco_evaluate(gt, dt, params, &err, &result), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_coco_curves_create(gt, dt, result, options, &err, &curves), EDT_OK, "%s",
                 err.text);
    edt_coco_result_destroy(result); // the curves stand alone
    return curves;
}

Test(coco_curves, a_case_followed_by_hand, .timeout = 30)
{
    const int64_t image_ids[] = {1};
    const edt_coco_category categories[] = {{3, "cat"}, {5, "dog"}, {8, "eel"}};
    const edt_coco_object objects[] = {
        {.id = 1, .image_id = 1, .category_id = 3, .bbox = {0, 0, 10, 10}, .area = 100},
        {.id = 2, .image_id = 1, .category_id = 3, .bbox = {100, 0, 10, 10}, .area = 100},
        {.id = 3, .image_id = 1, .category_id = 5, .bbox = {200, 0, 10, 10}, .area = 100},
        {.id = 4,
         .image_id = 1,
         .category_id = 5,
         .bbox = {300, 0, 99, 99},
         .is_crowd = true,
         .area = 9801}};
    const edt_coco_detection detections[] = {
        {1, 3, {0, 0, 10, 10}, 0.9},    // right
        {1, 3, {0, 1, 10, 10}, 0.8},    // once more: nothing there
        {1, 5, {100, 0, 10, 10}, 0.7},  // the second cat as a dog
        {1, 8, {100, 0, 10, 9}, 0.65},  // and as an eel, which comes second by overlap
        {1, 5, {320, 20, 10, 10}, 0.6}, // in the crowd of its class: not counted
        {1, 5, {200, 0, 10, 10}, 0.5},  // right
        {1, 3, {500, 0, 10, 10}, 0.1},  // below the score of the matrix
    };
    edt_coco_gt *gt;
    edt_coco_dt *dt;
    cr_assert_eq(edt_coco_gt_create(image_ids, 1, categories, 3, objects, 4, &err, &gt),
                 EDT_OK);
    cr_assert_eq(edt_coco_dt_create(&err, &dt), EDT_OK);
    for (int i = 0; i < 7; ++i) {
        cr_assert_eq(edt_coco_dt_add(dt, &detections[i], NULL, &err), EDT_OK);
    }
    edt_coco_curves *c = make(gt, dt, &(edt_coco_params){0}, NULL);
    cr_assert_eq(c->n_classes, 3);
    cr_expect_eq(c->whole.n_objects, 3);
    cr_expect_eq(c->whole.n_detections, 6);
    // Scores from 0.5 on: 2 right of 5 with 3 objects; from 0.9 on: 1 of 1. Equal F1 of 0.5:
    // the higher score stays.
    cr_expect_eq(c->whole.best.score, 0.9);
    cr_expect_float_eq(c->whole.best.f1, 0.5, 1e-12);
    cr_expect_float_eq(c->whole.best.precision, 1, 1e-12);
    cr_expect_float_eq(c->whole.best.recall, 1.0 / 3, 1e-12);
    cr_expect_float_eq(c->classes[1].best.f1, 2.0 / 3, 1e-12);
    cr_expect_eq(c->classes[1].best.score, 0.5);
    cr_expect(isnan(c->classes[2].best.f1) && c->classes[2].ap == -1);
    cr_expect(c->score_low == 0 && c->score_high == 1);
    cr_expect(c->true_bins[45] == 1 && c->true_bins[25] == 1 && c->false_bins[5] == 1);
    const edt_coco_operating_point *half = &c->points[200]; // of 0 to 400
    cr_expect_eq(half->score, 0.5);
    cr_expect_float_eq(half->precision, 0.4, 1e-12);
    cr_expect_float_eq(half->recall, 2.0 / 3, 1e-12);
    cr_expect(isnan(c->points[400].precision) && c->points[400].recall == 0);
    edt_coco_curves_destroy(c);

    c = make(gt, dt, &(edt_coco_params){0},
             &(edt_coco_curves_options){.has_confusion_score = true, .confusion_score = 0.4});
    static const int64_t counts[4][4] = {
        {1, 1, 0, 0}, // cats: found, taken for a dog
        {0, 1, 0, 0},
        {0, 0, 0, 0},
        {1, 0, 1, 0}, // nothing left there: the second cat at one place, the eel
    };
    for (int i = 0; i < 16; ++i) {
        cr_expect_eq(c->confusion[i], counts[i / 4][i % 4], "row %d, column %d: %lld", i / 4,
                     i % 4, (long long)c->confusion[i]);
    }
    edt_coco_curves_destroy(c);
    edt_coco_dt_destroy(dt);
    edt_coco_gt_destroy(gt);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

static int64_t sum_row(const edt_coco_curves *c, int64_t i_row)
{
    int64_t sum = 0;
    for (int64_t k = 0; k <= c->n_classes; ++k) {
        sum += c->confusion[i_row * (c->n_classes + 1) + k];
    }
    return sum;
}

Test(coco_curves, agree_with_the_evaluation, .timeout = 60)
{
    for (uint32_t seed = 0; seed < 6; ++seed) {
        edt_coco_random made = edt_coco_random_make(seed, 20, seed % 2 == 1);
        const edt_coco_params params = {.iou_type =
                                            seed % 2 == 1 ? EDT_COCO_SEGM : EDT_COCO_BBOX};
        edt_coco_curves *c = make(made.gt, made.dt, &params,
                                  &(edt_coco_curves_options){.has_confusion_score = true,
                                                             .confusion_score = -INFINITY});
        int64_t n_true = 0, n_false = 0, n_diagonal = 0;
        for (int i = 0; i < EDT_COCO_CURVES_BINS; ++i) {
            n_true += c->true_bins[i];
            n_false += c->false_bins[i];
        }
        for (int64_t k = 0; k < c->n_classes; ++k) {
            const edt_coco_class_numbers *of = &c->classes[k];
            n_diagonal += c->confusion[k * (c->n_classes + 1) + k];
            cr_expect_eq(sum_row(c, k), of->n_objects);
            // The mean of a class's curve at IoU 0.5 is its AP50.
            double sum = 0;
            for (int64_t r = 0; r < c->n_recalls; ++r) {
                sum += c->precision[k * c->n_thresholds * c->n_recalls + r];
            }
            cr_expect_float_eq(sum / (double)c->n_recalls, of->ap50, 1e-12);
        }
        cr_expect_eq(n_true + n_false, c->whole.n_detections);
        cr_expect_eq(n_diagonal, n_true, "seed %u: %lld on the diagonal, %lld true positives",
                     seed, (long long)n_diagonal, (long long)n_true);
        cr_expect_float_eq(c->points[0].recall, (double)n_true / (double)c->whole.n_objects,
                           1e-12);
        for (int i = 0; i < EDT_COCO_CURVES_POINTS; ++i) {
            cr_expect(!(c->points[i].f1 > c->whole.best.f1 + 1e-15));
        }
        edt_coco_curves_destroy(c);
        edt_coco_random_free(&made);
    }
}

Test(coco_curves, without_categories_and_without_detections, .timeout = 30)
{
    edt_coco_random made = edt_coco_random_make(3, 8, false);
    edt_coco_curves *c =
        make(made.gt, made.dt, &(edt_coco_params){.ignore_categories = true}, NULL);
    cr_expect(c->n_classes == 1 && c->confusion == NULL);
    cr_expect_eq(c->classes[0].ap, c->whole.ap);
    edt_coco_curves_destroy(c);

    edt_coco_dt *none;
    cr_assert_eq(edt_coco_dt_create(&err, &none), EDT_OK);
    c = make(made.gt, none, &(edt_coco_params){0}, NULL);
    cr_expect(isnan(c->whole.best.f1) && c->whole.n_detections == 0);
    cr_expect(c->points[0].recall == 0 && isnan(c->points[0].precision));
    for (int64_t k = 0; k < c->n_classes; ++k) {
        const int64_t side = c->n_classes + 1;
        cr_expect_eq(c->confusion[k * side + c->n_classes], c->classes[k].n_objects);
    }
    edt_coco_curves_destroy(c);
    edt_coco_dt_destroy(none);
    edt_coco_random_free(&made);
}
