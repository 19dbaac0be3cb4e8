// Matches one by one: they must say what the curves are made of, and be those of pycocotools'
// rules in a case that can be followed by hand.
#include "eval/coco_matches.h"

#include <criterion/criterion.h>
#include <math.h>

#include "core/mem.h"
#include "tests/support/coco_random.h"

static edt_error err;

static edt_coco_matches *match(const edt_coco_random *made, edt_coco_params params)
{
    edt_coco_matches *matches;
    cr_assert_eq(edt_coco_match(made->gt, made->dt, &params, &err, &matches), EDT_OK, "%s",
                 err.text);
    return matches;
}

Test(coco_matches, a_case_followed_by_hand, .timeout = 30)
{
    const int64_t image_ids[] = {7, 9};
    const edt_coco_category category = {.id = 1, .name = "cat"};
    const edt_coco_object objects[] = {
        {.id = 4, .image_id = 9, .category_id = 1, .bbox = {0, 0, 10, 10}, .area = 100},
        {.id = 5,
         .image_id = 9,
         .category_id = 1,
         .bbox = {50, 0, 20, 20},
         .is_crowd = true,
         .area = 400},
        {.id = 6, .image_id = 7, .category_id = 1, .bbox = {0, 0, 5, 5}, .area = 25}};
    // A duplicate, the hit, two inside the crowd, one in nothing.
    static const double boxes[][5] = {{0, 0, 10, 9, 0.5},
                                      {0, 0, 10, 10, 0.9},
                                      {52, 2, 10, 10, 0.8},
                                      {55, 5, 5, 5, 0.7},
                                      {90, 90, 4, 4, 0.6}};
    edt_coco_random made = {0};
    cr_assert_eq(edt_coco_gt_create(image_ids, 2, &category, 1, objects, 3, &err, &made.gt),
                 EDT_OK);
    cr_assert_eq(edt_coco_dt_create(&err, &made.dt), EDT_OK);
    for (int i = 0; i < 5; ++i) {
        const edt_coco_detection d = {
            9, 1, {boxes[i][0], boxes[i][1], boxes[i][2], boxes[i][3]}, boxes[i][4]};
        cr_assert_eq(edt_coco_dt_add(made.dt, &d, NULL, &err), EDT_OK);
    }
    static const edt_coco_area_range areas[] = {{"all", 0, 1e10}, {"tiny", 0, 99}};
    static const double half[] = {0.5};
    edt_coco_matches *matches =
        match(&made,
              (edt_coco_params){
                  .iou_thresholds = half, .n_iou_thresholds = 1, .areas = areas, .n_areas = 2});
    cr_assert_eq(edt_coco_matches_count(matches), 2);
    const edt_coco_match_group empty = edt_coco_matches_get(matches, 0);
    cr_assert(empty.image_id == 7 && empty.n_dt == 0 && empty.n_gt == 1);
    cr_assert_eq(empty.gt_match[0], -1);
    const edt_coco_match_group g = edt_coco_matches_get(matches, 1);
    cr_assert(g.image_id == 9 && g.category_id == 1 && g.n_dt == 5 && g.n_gt == 2);
    static const int64_t order[] = {1, 2, 3, 4, 0};
    static const int32_t match_all[] = {0, 1, 1, -1, -1};
    static const uint8_t ignore_all[] = {0, 1, 1, 0, 0};
    // In the range "tiny" the object of area 100 is ignored; so is the unmatched box of area 90
    // not, being inside the range.
    static const uint8_t ignore_tiny[] = {1, 1, 1, 0, 0};
    for (int i = 0; i < 5; ++i) {
        cr_expect_eq(g.dt[i], order[i]);
        cr_expect_eq(g.dt_score[i], boxes[order[i]][4]);
        cr_expect_eq(g.dt_bbox[i][2], boxes[order[i]][2]);
        cr_expect_eq(g.dt_match[i], match_all[i]);
        cr_expect_eq(g.dt_match[5 + i], match_all[i]);
        cr_expect_eq(g.dt_ignore[i], ignore_all[i]);
        cr_expect_eq(g.dt_ignore[5 + i], ignore_tiny[i]);
    }
    cr_expect(g.gt_match[0] == 0 && g.gt_match[1] == 2);
    cr_expect(g.gt_ignore[0] == 0 && g.gt_ignore[1] == 1 && g.gt_ignore[2] == 1);
    edt_coco_object object;
    edt_coco_gt_get_object(made.gt, g.gt[1], &object);
    cr_expect(object.id == 5 && object.image_id == 9 && object.is_crowd);
    edt_coco_matches_destroy(matches);
    edt_coco_random_free(&made);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

// Recall of the result from the matches alone.
Test(coco_matches, say_what_the_curves_are_made_of, .timeout = 60)
{
    edt_coco_random made = edt_coco_random_make(11, 60, true);
    for (int c = 0; c < 4; ++c) {
        const edt_coco_params params = {.n_threads = 1 + c,
                                        .iou_type = c % 2 == 0 ? EDT_COCO_BBOX : EDT_COCO_SEGM,
                                        .ignore_categories = c >= 2,
                                        .max_dets = {100}};
        edt_coco_result *result;
        cr_assert_eq(edt_coco_evaluate(made.gt, made.dt, &params, &err, &result), EDT_OK);
        const edt_coco_arrays a = edt_coco_result_arrays(result);
        edt_coco_matches *matches = match(&made, params);
        for (int64_t k = 0; k < a.n_categories; ++k) {
            for (int64_t cell = 0; cell < a.n_areas * a.n_thresholds; ++cell) {
                const int64_t area = cell / a.n_thresholds, t = cell % a.n_thresholds;
                int64_t n_true = 0, n_objects = 0, last_image = -1;
                for (int64_t i = 0; i < edt_coco_matches_count(matches); ++i) {
                    const edt_coco_match_group g = edt_coco_matches_get(matches, i);
                    cr_assert_geq(g.image_id, last_image);
                    last_image = g.image_id;
                    for (int64_t d = 0; g.i_category == k && d < g.n_dt; ++d) {
                        n_true += g.dt_match[cell * g.n_dt + d] >= 0 &&
                                  !g.dt_ignore[cell * g.n_dt + d];
                    }
                    for (int64_t o = 0; g.i_category == k && o < g.n_gt; ++o) {
                        n_objects += !g.gt_ignore[area * g.n_gt + o];
                    }
                }
                const double recall = a.recall[(t * a.n_categories + k) * a.n_areas + area];
                cr_expect_eq(recall, n_objects > 0 ? (double)n_true / (double)n_objects : -1.0);
            }
        }
        edt_coco_matches_destroy(matches);
        edt_coco_result_destroy(result);
    }
    edt_coco_random_free(&made);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

Test(coco_matches, box_overlaps_of_pairs, .timeout = 30)
{
    static const double dt[2][4] = {{0, 0, 10, 10}, {5, 5, 10, 10}};
    static const double gt[2][4] = {{0, 0, 10, 10}, {5, 0, 10, 10}};
    static const uint8_t crowd[2] = {0, 1};
    double iou[4];
    edt_coco_box_iou(dt, 2, gt, 2, crowd, iou);
    cr_expect(iou[0] == 1 && iou[1] == 0.5 && iou[3] == 0.5);
    cr_expect_eq(iou[2], 25.0 / 175.0);
    edt_coco_box_iou(dt, 2, gt, 2, NULL, iou);
    cr_expect_eq(iou[1], 50.0 / 150.0);
}
