// The whole evaluation over generated data, against numbers of the reference evaluator.
#include <criterion/criterion.h>
#include <string.h>

#include "core/mem.h"
#include "eval/coco_eval.h"

enum { N_IMAGES = 20 };

typedef struct generated {
    edt_coco_gt *gt;
    edt_coco_dt *dt;
    int64_t n_objects;
} generated;

static uint32_t state;

static int draw(uint32_t m)
{
    state = state * 1664525u + 1013904223u;
    return (int)((state >> 8) % m);
}

static void add(edt_coco_dt *dt, int64_t image, int category, float x, float y, float w,
                float h, float score)
{
    edt_error err = {0};
    cr_assert_eq(edt_coco_dt_add_f32(dt, image, category, (float[4]){x, y, w, h}, score, &err),
                 EDT_OK);
}

// All values are exact in float. The order of draws is part of the recipe.
static generated generate(uint32_t seed)
{
    static const int cats[] = {1, 3, 18}, sizes[] = {24, 64, 160};
    static const edt_coco_category categories[] = {{18, "c"}, {1, "a"}, {3, "b"}};
    generated g = {0};
    edt_error err = {0};
    int64_t images[N_IMAGES];
    edt_coco_object objects[N_IMAGES * 5];
    state = seed;
    cr_assert_eq(edt_coco_dt_create(&err, &g.dt), EDT_OK);
    for (int i = 0; i < N_IMAGES; ++i) {
        images[i] = 7 * i + 3;
        for (int n = draw(6); n > 0; --n) {
            const int c = cats[draw(3)], z = sizes[draw(3)];
            const float x = (float)draw(1200) / 4, y = (float)draw(1200) / 4;
            const float w = (float)z / 2 + (float)draw(2 * (uint32_t)z) / 4;
            const float h = (float)z / 2 + (float)draw(2 * (uint32_t)z) / 4;
            edt_coco_object *o = &objects[g.n_objects++];
            *o = (edt_coco_object){g.n_objects,  images[i], c,   {x, y, w, h},
                                   0.75 * w * h, false,     NULL};
            o->is_crowd = draw(8) == 0;
            for (int d = draw(3); d > 0; --d) {
                const float jx = (float)(draw(17) - 8) * w / 64;
                const float jy = (float)(draw(17) - 8) * h / 64;
                const float score = (float)(1 + draw(31)) / 32;
                add(g.dt, images[i], draw(6) != 0 ? c : cats[draw(3)], x + jx, y + jy, w, h,
                    score);
            }
        }
        for (int d = 1 + draw(3); d > 0; --d) {
            const float x = (float)draw(1200) / 4, y = (float)draw(1200) / 4;
            const float w = 8 + (float)draw(400) / 4, h = 8 + (float)draw(400) / 4;
            const float score = (float)(1 + draw(15)) / 32;
            add(g.dt, images[i], cats[draw(3)], x, y, w, h, score);
        }
    }
    cr_assert_eq(
        edt_coco_gt_create(images, N_IMAGES, categories, 3, objects, g.n_objects, &err, &g.gt),
        EDT_OK, "%s", err.text);
    return g;
}

static edt_coco_result *evaluate(const generated *g, edt_coco_params params)
{
    edt_error err = {0};
    edt_coco_result *result;
    cr_assert_eq(edt_coco_evaluate(g->gt, g->dt, &params, &err, &result), EDT_OK, "%s",
                 err.text);
    return result;
}

static void destroy(generated *g)
{
    edt_coco_dt_destroy(g->dt);
    edt_coco_gt_destroy(g->gt);
}

Test(coco_evaluate, numbers_of_the_reference_evaluator, .timeout = 30)
{
    static const struct {
        uint32_t seed;
        int64_t n_objects, n_detections;
        double stats[EDT_COCO_N_STATS], classes[3];
    } cases[] = {{1,
                  66,
                  98,
                  {0x1.d2108a182a808p-3, 0x1.95cab663586aep-2, 0x1.ac458b3b916a4p-3,
                   0x1.3f5e31b4780c3p-2, 0x1.6ff4a28d1aa7ap-3, 0x1.e530623b5e01fp-3,
                   0x1.ca252adb363bfp-3, 0x1.6d9b1df623a69p-2, 0x1.6d9b1df623a69p-2,
                   0x1.a7f529fd4a7f4p-2, 0x1.5895895895895p-2, 0x1.45f92c5f92c60p-2},
                  {.16321439740551708, .2702281713374114, .24926925814178516}},
                 {2020,
                  49,
                  104,
                  {0x1.249d28e8fda98p-2, 0x1.00430d979da91p-1, 0x1.1e77b011b0723p-2,
                   0x1.5639fbb402388p-2, 0x1.3c4e116911873p-2, 0x1.d7f3d56af65e5p-2,
                   0x1.206da9c35663fp-2, 0x1.eb1482bc88dfep-2, 0x1.eb1482bc88dfep-2,
                   0x1.f0a3d70a3d70ap-2, 0x1.f49f49f49f49fp-2, 0x1.199999999999ap-1},
                  {.2405092636188272, .3121215382407806, .30463649937740506}}};
    for (int i = 0; i < 2; ++i) {
        generated g = generate(cases[i].seed);
        cr_assert_eq(g.n_objects, cases[i].n_objects);
        cr_assert_eq(edt_coco_dt_count(g.dt), cases[i].n_detections);
        edt_coco_result *result =
            evaluate(&g, (edt_coco_params){.only_images_with_detections = true});
        const double *stats = edt_coco_result_stats(result);
        for (int k = 0; k < EDT_COCO_N_STATS; ++k) {
            cr_expect_eq(stats[k], cases[i].stats[k], "seed %u: %s is %a, not %a",
                         cases[i].seed, edt_coco_stat_names[k], stats[k], cases[i].stats[k]);
        }
        for (int k = 0; k < 3; ++k) {
            double class_stats[EDT_COCO_N_STATS];
            edt_coco_result_category_stats(result, k, class_stats);
            cr_expect_eq(class_stats[0], cases[i].classes[k]);
        }
        edt_coco_result_destroy(result);
        destroy(&g);
    }
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

Test(coco_evaluate, threads_do_not_change_a_bit, .timeout = 60)
{
    generated g = generate(1);
    edt_coco_result *one = evaluate(&g, (edt_coco_params){.n_threads = 1});
    edt_coco_result *four = evaluate(&g, (edt_coco_params){.n_threads = 4});
    const edt_coco_arrays a = edt_coco_result_arrays(one), b = edt_coco_result_arrays(four);
    const size_t n_recall =
        (size_t)(a.n_thresholds * a.n_categories * a.n_areas * a.n_max_dets);
    const size_t n = n_recall * (size_t)a.n_recalls;
    cr_assert_eq(n, (size_t)10 * 101 * 3 * 4 * 3);
    cr_assert_eq(memcmp(a.precision, b.precision, n * sizeof(double)), 0);
    cr_assert_eq(memcmp(a.scores, b.scores, n * sizeof(double)), 0);
    cr_assert_eq(memcmp(a.recall, b.recall, n_recall * sizeof(double)), 0);
    edt_coco_result_destroy(one);
    edt_coco_result_destroy(four);
    destroy(&g);
}

Test(coco_evaluate, chosen_categories_stay_as_they_were, .timeout = 30)
{
    generated g = generate(1);
    const int64_t ids[] = {18, 3};
    edt_coco_result *all = evaluate(&g, (edt_coco_params){0});
    edt_coco_result *some =
        evaluate(&g, (edt_coco_params){.category_ids = ids, .n_category_ids = 2});
    int64_t n;
    const edt_coco_category *categories = edt_coco_result_categories(some, &n);
    cr_assert_eq(n, 2);
    cr_assert_eq(categories[0].id, 3);
    cr_assert_str_eq(categories[1].name, "c");
    for (int k = 0; k < 2; ++k) {
        double want[EDT_COCO_N_STATS], got[EDT_COCO_N_STATS];
        edt_coco_result_category_stats(all, k + 1, want);
        edt_coco_result_category_stats(some, k, got);
        cr_assert_eq(memcmp(want, got, sizeof want), 0);
    }
    edt_coco_result_destroy(all);
    edt_coco_result_destroy(some);
    edt_error err = {0};
    edt_coco_result *result;
    cr_assert_eq(edt_coco_evaluate(
                     g.gt, g.dt,
                     &(edt_coco_params){.category_ids = (int64_t[]){2}, .n_category_ids = 1},
                     &err, &result),
                 EDT_ERR_NOT_FOUND);
    destroy(&g);
}
