// All of COCO's parameters. Rows of a large evaluation must equal evaluations of one threshold,
// one area range or one image set each: nothing may depend on what else is asked for.
#include <criterion/criterion.h>
#include <string.h>

#include "core/mem.h"
#include "eval/coco_priv.h"
#include "tests/support/coco_random.h"

static edt_error err;

static edt_coco_result *evaluate(const edt_coco_random *made, edt_coco_params params)
{
    edt_coco_result *result;
    cr_assert_eq(edt_coco_evaluate(made->gt, made->dt, &params, &err, &result), EDT_OK, "%s",
                 err.text);
    return result;
}

Test(coco_params, defaults_are_those_of_the_coco_api, .timeout = 30)
{
    edt_arena arena;
    edt_coco_params p;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    cr_assert_eq(edt_coco_params_resolve(&(edt_coco_params){0}, &arena, &err, &p), EDT_OK);
    cr_assert_eq(p.n_iou_thresholds, 10);
    cr_assert_eq(p.iou_thresholds[0], 0.5);
    cr_assert_eq(p.iou_thresholds[5], 0.75);
    cr_assert_eq(p.iou_thresholds[8], 0.8999999999999999);
    cr_assert_eq(p.iou_thresholds[9], 0.95);
    cr_assert_eq(p.n_recall_thresholds, 101);
    cr_assert_eq(p.recall_thresholds[35], 0.35000000000000003);
    cr_assert_eq(p.recall_thresholds[95], 0.9500000000000001);
    cr_assert_eq(p.recall_thresholds[100], 1.0);
    cr_assert_eq(p.n_areas, 4);
    cr_assert_str_eq(p.areas[2].label, "medium");
    cr_assert_eq(p.areas[2].low, 1024);
    cr_assert(p.max_dets[0] == 1 && p.max_dets[1] == 10 && p.max_dets[2] == 100 &&
              p.max_dets[3] == 0);
    edt_arena_deinit(&arena);
}

// The cells of threshold t and area a of `all` against those of `one`, which has no others.
static void check_cells(const edt_coco_result *all, int64_t t, int64_t area,
                        const edt_coco_result *one)
{
    const edt_coco_arrays x = edt_coco_result_arrays(all), y = edt_coco_result_arrays(one);
    for (int64_t k = 0; k < x.n_categories; ++k) {
        for (int64_t m = 0; m < x.n_max_dets; ++m) {
            const int64_t to = k * x.n_max_dets + m;
            cr_assert_eq(
                x.recall[((t * x.n_categories + k) * x.n_areas + area) * x.n_max_dets + m],
                y.recall[to]);
            for (int64_t r = 0; r < x.n_recalls; ++r) {
                const int64_t from =
                    (((t * x.n_recalls + r) * x.n_categories + k) * x.n_areas + area) *
                        x.n_max_dets +
                    m;
                const int64_t at = r * x.n_categories * x.n_max_dets + to;
                cr_assert_eq(x.precision[from], y.precision[at]);
                cr_assert_eq(x.scores[from], y.scores[at]);
            }
        }
    }
}

Test(coco_params, many_thresholds_and_areas_are_evaluated_each_by_itself, .timeout = 120)
{
    enum { N_T = 33, N_A = 6 };
    static const edt_coco_area_range areas[N_A] = {{"a", 0, 1e10},   {"b", 0, 200},
                                                   {"c", 200, 400},  {"d", 400, 800},
                                                   {"e", 800, 1e10}, {"f", 250, 260}};
    double thresholds[N_T];
    edt_coco_random made = edt_coco_random_make(3, 40, true);
    for (int i = 0; i < N_T; ++i) {
        thresholds[i] = (N_T - 1 - i) / (double)(N_T - 1); // falling, 0 and 1 included
    }
    for (int type = 0; type < 2; ++type) {
        const edt_coco_params params = {
            .iou_type = type == 0 ? EDT_COCO_BBOX : EDT_COCO_SEGM,
            .max_dets = {3, 1, 7, 2},
            .iou_thresholds = thresholds,
            .n_iou_thresholds = N_T,
            .areas = areas,
            .n_areas = N_A,
        };
        edt_coco_result *all = evaluate(&made, params);
        for (int t = 0; t < N_T; t += 4) {
            for (int a = 0; a < N_A; ++a) {
                edt_coco_params one = params;
                one.iou_thresholds = &thresholds[t];
                one.n_iou_thresholds = 1;
                one.areas = &areas[a];
                one.n_areas = 1;
                edt_coco_result *result = evaluate(&made, one);
                check_cells(all, t, a, result);
                edt_coco_result_destroy(result);
            }
        }
        edt_coco_result_destroy(all);
    }
    edt_coco_random_free(&made);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

Test(coco_params, chosen_images_equal_a_ground_truth_of_these_alone, .timeout = 30)
{
    enum { N = 12 };
    edt_coco_random made = edt_coco_random_make(9, 40, false);
    edt_coco_random few = edt_coco_random_make(9, N, false); // begins as the larger one
    int64_t ids[N];
    for (int i = 0; i < N; ++i) {
        ids[i] = 10 + 7 * (N - 1 - i);
    }
    edt_coco_result *chosen =
        evaluate(&made, (edt_coco_params){.image_ids = ids, .n_image_ids = N});
    edt_coco_result *alone = evaluate(&few, (edt_coco_params){0});
    cr_assert(edt_coco_same_result(chosen, alone));
    cr_assert_eq(edt_coco_result_n_images(chosen), N);
    edt_coco_result_destroy(chosen);
    edt_coco_result_destroy(alone);
    edt_coco_random_free(&made);
    edt_coco_random_free(&few);
}

Test(coco_params, recall_thresholds_are_read_as_numpy_reads_them, .timeout = 30)
{
    static const double recalls[] = {0.2, 0, 1, 0.1};
    edt_coco_random made = edt_coco_random_make(4, 40, false);
    edt_coco_result *usual = evaluate(&made, (edt_coco_params){0});
    edt_coco_result *few = evaluate(
        &made, (edt_coco_params){.recall_thresholds = recalls, .n_recall_thresholds = 4});
    const edt_coco_arrays x = edt_coco_result_arrays(usual), y = edt_coco_result_arrays(few);
    static const int at[] = {20, 0, 100, 10};
    const int64_t n = x.n_categories * x.n_areas * x.n_max_dets;
    for (int64_t t = 0; t < x.n_thresholds; ++t) {
        for (int r = 0; r < 4; ++r) {
            for (int64_t i = 0; i < n; ++i) {
                double want = x.precision[(t * x.n_recalls + at[r]) * n + i];
                // Its loop ends at the first threshold out of reach.
                for (int before = 0; before < r; ++before) {
                    want = x.scores[(t * x.n_recalls + at[before]) * n + i] == 0 ? 0 : want;
                }
                cr_assert_eq(y.precision[(t * y.n_recalls + r) * n + i], want);
            }
        }
    }
    edt_coco_result_destroy(usual);
    edt_coco_result_destroy(few);
    edt_coco_random_free(&made);
}

Test(coco_params, categories_can_be_chosen_and_then_taken_as_one, .timeout = 30)
{
    edt_coco_random made = edt_coco_random_make(6, 30, false);
    const edt_coco_params as_one = {
        .ignore_categories = true, .category_ids = (int64_t[]){3}, .n_category_ids = 1};
    edt_coco_params alone = as_one;
    alone.ignore_categories = false;
    edt_coco_result *a = evaluate(&made, as_one), *b = evaluate(&made, alone);
    cr_assert(edt_coco_same_result(a, b));
    int64_t n = 0;
    for (int64_t i = 0; i < edt_coco_gt_n_objects(made.gt); ++i) {
        edt_coco_object object;
        edt_coco_gt_get_object(made.gt, i, &object);
        n += object.category_id == 3 && !object.is_crowd;
    }
    cr_expect_gt(n, 0);
    cr_expect_eq(edt_coco_result_category_objects(a, 0), n);
    cr_expect_eq(edt_coco_result_category_objects(b, 0), n);
    edt_coco_result_destroy(a);
    edt_coco_result_destroy(b);
    edt_coco_random_free(&made);
}

Test(coco_params, what_makes_no_sense_is_refused, .timeout = 30)
{
    static const double bad[] = {0.5, 1.5};
    static const edt_coco_area_range twice[] = {{"all", 0, 1}, {"all", 1, 2}};
    static const int64_t unknown[] = {5};
    const struct {
        edt_coco_params params;
        const char *words;
    } cases[] = {
        {{.iou_thresholds = bad, .n_iou_thresholds = 2},
         "IoU threshold 1.5: allowed are 0 to 1"},
        {{.recall_thresholds = bad, .n_recall_thresholds = 2}, "recall threshold 1.5"},
        {{.areas = twice, .n_areas = 2}, "two area ranges have the label 'all'"},
        {{.max_dets = {0, 1}}, "max_dets 0"},
        {{.n_threads = -1}, "-1 threads"},
        {{.image_ids = unknown, .n_image_ids = 1}, "no image with id 5"},
        {{.category_ids = unknown, .n_category_ids = 1}, "no category with id 5"},
        {{.iou_type = EDT_COCO_SEGM}, "read without them"},
    };
    edt_coco_random made = edt_coco_random_make(6, 3, false);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        edt_coco_result *result;
        err = (edt_error){0};
        cr_expect_neq(edt_coco_evaluate(made.gt, made.dt, &cases[i].params, &err, &result),
                      EDT_OK);
        cr_expect(strstr(err.text, cases[i].words) != NULL, "%s", err.text);
    }
    edt_coco_random_free(&made);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}
