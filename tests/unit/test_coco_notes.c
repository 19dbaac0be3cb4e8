// Notes on results: each case has a cause, and nothing is said where there is none.
#include "eval/coco_notes.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "core/mem.h"

static edt_error err;
static edt_arena arena;

// Three images with ids 1 to 3; one object of 64 x 64 of category 5 in each, those of images
// above n_counted are crowds.
static edt_coco_gt *make_gt(int n_counted)
{
    const int64_t image_ids[] = {1, 2, 3};
    const edt_coco_category categories[] = {{.id = 5, .name = "cat"}, {.id = 9, .name = "dog"}};
    edt_coco_object objects[3];
    edt_coco_gt *gt;
    for (int i = 0; i < 3; ++i) {
        objects[i] = (edt_coco_object){.id = i + 1,
                                       .image_id = i + 1,
                                       .category_id = 5,
                                       .bbox = {10, 10, 64, 64},
                                       .area = 4096,
                                       .is_crowd = i >= n_counted};
    }
    cr_assert_eq(edt_coco_gt_create(image_ids, 3, categories, 2, objects, 3, &err, &gt),
                 EDT_OK);
    return gt;
}

typedef struct found {
    int64_t image_id, category_id;
    double score;
} found;

static edt_coco_notes make_notes(int n_counted, const found *rows, int n,
                                 const edt_coco_params *params)
{
    edt_coco_gt *gt = make_gt(n_counted);
    edt_coco_dt *dt;
    edt_coco_result *result;
    edt_coco_notes notes;
    edt_arena_init(&arena, EDT_MEM_EVAL, 0);
    cr_assert_eq(edt_coco_dt_create(&err, &dt), EDT_OK);
    for (int i = 0; i < n; ++i) {
        const edt_coco_detection det = {.image_id = rows[i].image_id,
                                        .category_id = rows[i].category_id,
                                        .bbox = {10, 10, 64, 64},
                                        .score = rows[i].score};
        cr_assert_eq(edt_coco_dt_add(dt, &det, NULL, &err), EDT_OK);
    }
    cr_assert_eq(edt_coco_evaluate(gt, dt, params, &err, &result), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_coco_notes_make(gt, dt, result, &arena, &err, &notes), EDT_OK);
    edt_coco_result_destroy(result);
    edt_coco_dt_destroy(dt);
    edt_coco_gt_destroy(gt);
    return notes;
}

static void expect_notes(const edt_coco_notes *notes, const char *const *wanted, int n)
{
    cr_expect_eq(notes->n, n, "%d notes, not %d", notes->n, n);
    for (int i = 0; i < notes->n && i < n; ++i) {
        cr_expect_str_eq(notes->text[i], wanted[i]);
    }
    edt_arena_deinit(&arena);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

static const edt_coco_area_range medium_twice[] = {
    {"all", 0, 1e10}, {"small", 0, 5000}, {"medium", 0, 5000}, {"large", 0, 5000}};

static const found all_found[] = {{1, 5, 0.5}, {2, 5, 0.5}, {3, 5, 0.5}};

Test(coco_notes, nothing_is_said_where_all_is_well, .timeout = 30)
{
    const edt_coco_params params = {.areas = medium_twice, .n_areas = 4};
    const edt_coco_notes notes = make_notes(3, all_found, 3, &params);
    expect_notes(&notes, NULL, 0);
}

Test(coco_notes, ranges_without_objects_are_named, .timeout = 30)
{
    static const char *const wanted[] = {
        "APs, ARs are -1: no object of the evaluated images and categories (crowds aside) has "
        "an area of 0 to 1024",
        "APl, ARl are -1: no object of the evaluated images and categories (crowds aside) has "
        "an area of 9216 to 1e+10"};
    const edt_coco_notes notes = make_notes(3, all_found, 3, &(edt_coco_params){0});
    expect_notes(&notes, wanted, 2);
}

Test(coco_notes, a_ground_truth_without_objects_is_named, .timeout = 30)
{
    static const char *const wanted[] = {
        "AP, AP50, AP75, APs, APm, APl, ARmax1, ARmax10, ARmax100, ARs, ARm, ARl are -1: the "
        "evaluated images and categories have no objects (crowds aside)"};
    const edt_coco_notes notes = make_notes(0, all_found, 3, &(edt_coco_params){0});
    expect_notes(&notes, wanted, 1);
}

Test(coco_notes, parameters_that_leave_numbers_undefined_are_named, .timeout = 30)
{
    static const char *const wanted[] = {
        "AP is -1: 100 is not among the limits of detections",
        "AP50, AP75, APs, APm, APl, ARmax100, ARs, ARm, ARl are -1: there are only 2 limits of "
        "detections"};
    const edt_coco_params few = {.max_dets = {1, 10}, .areas = medium_twice, .n_areas = 4};
    edt_coco_notes notes = make_notes(3, all_found, 3, &few);
    expect_notes(&notes, wanted, 2);
    static const char *const others[] = {"AP50 is -1: 0.5 is not among the IoU thresholds",
                                         "APs, ARs are -1: no area range is called 'small'",
                                         "APm, ARm are -1: no area range is called 'medium'",
                                         "APl, ARl are -1: no area range is called 'large'"};
    const double threshold = 0.75;
    const edt_coco_params one = {.iou_thresholds = &threshold,
                                 .n_iou_thresholds = 1,
                                 .areas = medium_twice,
                                 .n_areas = 1};
    notes = make_notes(3, all_found, 3, &one);
    expect_notes(&notes, others, 4);
}

Test(coco_notes, unknown_categories_are_counted_and_named, .timeout = 30)
{
    static const char *const wanted[] = {
        "7 of 8 detections have a category that the ground truth does not have, and were left "
        "out: id -4, 1, 2, 3, 6, ...",
        "1 of 8 detections have NaN for a score; they come last"};
    const found rows[] = {{1, 5, 0.5}, {2, 8, 0.5}, {3, 6, 0.5},          {1, 3, 0.5},
                          {1, 2, 0.5}, {1, 1, 0.5}, {1, -4, (double)NAN}, {1, 2, 0.1}};
    const edt_coco_params params = {.areas = medium_twice, .n_areas = 4};
    const edt_coco_notes notes = make_notes(3, rows, 8, &params);
    expect_notes(&notes, wanted, 2);
}

Test(coco_notes, positions_in_a_list_of_classes_are_suspected, .timeout = 30)
{
    static const char *const wanted[] = {
        "3 of 3 detections have a category that the ground truth does not have, and were left "
        "out: id 0, 1; are they positions in a list of classes, instead of the category ids of "
        "the ground truth?"};
    const found rows[] = {{1, 1, 0.5}, {2, 0, 0.5}, {3, 0, 0.5}};
    const edt_coco_params params = {.areas = medium_twice, .n_areas = 4};
    const edt_coco_notes notes = make_notes(3, rows, 3, &params);
    expect_notes(&notes, wanted, 1);
}

Test(coco_notes, images_that_nobody_looked_at_are_counted, .timeout = 30)
{
    static const char *const wanted[] = {
        "2 of 3 images with objects have no detections; are the detections complete?"};
    edt_coco_params params = {.areas = medium_twice, .n_areas = 4};
    edt_coco_notes notes = make_notes(3, all_found, 1, &params);
    expect_notes(&notes, wanted, 1);
    // Images without objects that count are nobody's loss, nor are those that are left out.
    notes = make_notes(2, all_found, 1, &params);
    expect_notes(&notes, NULL, 0);
    const int64_t first = 1;
    params.image_ids = &first;
    params.n_image_ids = 1;
    notes = make_notes(3, all_found, 1, &params);
    expect_notes(&notes, NULL, 0);
}
