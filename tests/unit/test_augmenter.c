// Plans for any picture, boxes and draws: regions inside, columns that stay together, the same
// plan for the same draws; and what the corrections change.
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "augment/augmenter.h"

enum { MAX_OBJECTS = 64 };

typedef struct object_rows {
    float boxes[4 * MAX_OBJECTS], area[MAX_OBJECTS];
    int64_t labels[MAX_OBJECTS];
    bool is_crowd[MAX_OBJECTS];
} object_rows;

static edt_objects view_of(object_rows *rows, int64_t n)
{
    return (edt_objects){.n = n,
                         .boxes = rows->boxes,
                         .labels = rows->labels,
                         .is_crowd = rows->is_crowd,
                         .area = rows->area};
}

static edt_augment_config configure(const char *text)
{
    edt_hparams hp;
    edt_augment_config config;
    cr_assert_eq(edt_hparams_init(&hp, NULL), EDT_OK);
    cr_assert_eq(edt_hparams_override(&hp, text, NULL), EDT_OK, "%s", text);
    cr_assert_eq(edt_augment_configure(&hp, NULL, &config), EDT_OK, "%s", text);
    edt_hparams_deinit(&hp);
    return config;
}

Test(augmenter, an_unknown_policy_is_refused_with_the_allowed_ones, .timeout = 10)
{
    edt_hparams hp;
    edt_augment_config config;
    edt_error err = {0};
    cr_assert_eq(edt_hparams_init(&hp, NULL), EDT_OK);
    hp.autoaugment_policy = "v9";
    cr_assert_eq(edt_augment_configure(&hp, &err, &config), EDT_ERR_USAGE);
    cr_assert(strstr(err.text, "v9") != NULL && strstr(err.text, "randaug") != NULL, "%s",
              err.text);
    edt_hparams_deinit(&hp);
}

static float no_uniform(void *ctx)
{
    (void)ctx;
    cr_assert_fail("nothing is to be drawn");
    return 0;
}

static int64_t no_integer(void *ctx, int64_t low, int64_t high)
{
    (void)ctx, (void)high;
    cr_assert_fail("nothing is to be drawn");
    return low;
}

Test(augmenter, nothing_is_drawn_when_all_is_off, .timeout = 10)
{
    const edt_augment_config config = configure("randaug_corrected=true");
    cr_assert(!edt_augment_is_on(&config));
    const edt_draws draws = {
        .uniform = no_uniform, .integer = no_integer, .normal = no_uniform};
    object_rows rows = {.boxes = {0, 0, 1, 1}};
    edt_objects objects = view_of(&rows, 1);
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    edt_augment_plan plan;
    cr_assert_eq(edt_augment_plan_draw(&config, 10, 10, &draws, &arena, NULL, &objects, &plan),
                 EDT_OK);
    cr_assert(plan.n_ops == 0 && !plan.needs_whole_picture && objects.n == 1);
    edt_arena_deinit(&arena);
}

static void fill_rows(object_rows *rows, edt_rng *rng, int64_t n)
{
    static const float odd[] = {NAN, INFINITY, -INFINITY, -0.5f, 0, 1, 1.5f, 1e30f};
    for (int64_t i = 0; i < 4 * n; ++i) {
        const uint64_t pick = edt_rng_below(rng, 40);
        rows->boxes[i] = pick < 8 ? odd[pick] : edt_rng_uniform_f32(rng);
    }
    for (int64_t i = 0; i < n; ++i) {
        rows->labels[i] = i + 1;
        rows->is_crowd[i] = i % 2 == 0;
        rows->area[i] = (float)(i + 1);
    }
}

Test(augmenter, any_boxes_in_any_picture_give_regions_inside_it, .timeout = 60)
{
    static const char *const configs[] = {
        "autoaugment_policy=v0,grid_mask=true",
        "autoaugment_policy=v1,autoaugment_drop_outside=true",
        "autoaugment_policy=v2",
        "autoaugment_policy=v3",
        "autoaugment_policy=test,grid_mask=true,grid_mask_corrected=true",
        "autoaugment_policy=randaug",
        "autoaugment_policy=randaug,randaug_corrected=true,autoaugment_drop_outside=true",
    };
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    for (int i_config = 0; i_config < 7; ++i_config) {
        const edt_augment_config config = configure(configs[i_config]);
        cr_assert(edt_augment_is_on(&config));
        for (uint64_t sample = 0; sample < 3000; ++sample) {
            edt_rng rng;
            edt_rng_init(&rng, 1, 2, sample, 7);
            const int64_t h = 1 + (int64_t)edt_rng_below(&rng, sample % 3 == 0 ? 4 : 300);
            const int64_t w = 1 + (int64_t)edt_rng_below(&rng, sample % 3 == 1 ? 4 : 300);
            const int64_t n = (int64_t)edt_rng_below(&rng, MAX_OBJECTS + 1);
            object_rows rows, again;
            fill_rows(&rows, &rng, n);
            again = rows;
            edt_objects objects = view_of(&rows, n), repeated = view_of(&again, n);
            edt_augment_plan plan, second;
            edt_rng copy = rng;
            edt_draws draws = edt_draws_from_rng(&rng);
            edt_arena_reset(&arena);
            cr_assert_eq(
                edt_augment_plan_draw(&config, h, w, &draws, &arena, NULL, &objects, &plan),
                EDT_OK);
            for (int64_t i = 0; i < plan.n_ops; ++i) {
                const edt_region r = plan.ops[i].region;
                cr_assert(r.y >= 0 && r.x >= 0 && r.h > 0 && r.w > 0 && r.y + r.h <= h &&
                              r.x + r.w <= w,
                          "%s", configs[i_config]);
            }
            cr_assert(objects.n == n || (config.drop_outside && objects.n < n));
            for (int64_t i = 0; i < objects.n; ++i) {
                // Rows stay together and in order.
                cr_assert_eq(rows.area[i], (float)rows.labels[i]);
                cr_assert_eq(rows.is_crowd[i], rows.labels[i] % 2 == 1);
                cr_assert(i == 0 || rows.labels[i] > rows.labels[i - 1]);
            }
            // The same draws give the same plan.
            draws = edt_draws_from_rng(&copy);
            cr_assert_eq(
                edt_augment_plan_draw(&config, h, w, &draws, &arena, NULL, &repeated, &second),
                EDT_OK);
            cr_assert_eq(plan.n_ops, second.n_ops);
            cr_assert_eq(objects.n, repeated.n);
            cr_assert_eq(memcmp(&rows, &again, sizeof rows), 0);
            cr_assert(plan.n_ops == 0 ||
                      memcmp(plan.ops, second.ops, (size_t)plan.n_ops * sizeof *plan.ops) == 0);
        }
    }
    edt_arena_deinit(&arena);
}

// Runs one operation always.
static edt_augment_config single(edt_sub_policy *sub, edt_policy *policy, edt_policy_op op,
                                 int magnitude)
{
    *sub = (edt_sub_policy){.n_steps = 1,
                            .steps = {{.op = op, .probability = 1, .magnitude = magnitude}}};
    *policy = (edt_policy){.name = "single", .n = 1, .sub_policies = sub};
    return (edt_augment_config){.policy = policy};
}

Test(augmenter, boxes_outside_stay_as_strips_or_go, .timeout = 10)
{
    edt_sub_policy sub;
    edt_policy policy;
    edt_augment_config config = single(&sub, &policy, EDT_POLICY_TRANSLATE_X_BBOX, 4);
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    int n_dropped = 0;
    for (uint64_t sample = 0; sample < 16; ++sample) {
        for (int drop = 0; drop < 2; ++drop) {
            // By 100 pixels to one side or the other: one of the outer boxes leaves.
            object_rows rows = {
                .boxes = {0.1f, 0.05f, 0.5f, 0.1f, 0.1f, 0.4f, 0.5f, 0.6f, 0.1f, 0.9f, 0.5f, 1},
                .labels = {1, 2, 3}};
            edt_objects objects = view_of(&rows, 3);
            edt_rng rng;
            edt_rng_init(&rng, 3, 0, sample, 2);
            const edt_draws draws = edt_draws_from_rng(&rng);
            edt_augment_plan plan;
            config.drop_outside = drop;
            cr_assert_eq(
                edt_augment_plan_draw(&config, 480, 640, &draws, &arena, NULL, &objects, &plan),
                EDT_OK);
            cr_assert_eq(plan.n_ops, 1);
            cr_assert(!plan.needs_whole_picture);
            if (!drop) {
                cr_assert_eq(objects.n, 3);
                const bool left = plan.ops[0].a[2] > 0;
                const float *strip = rows.boxes + (left ? 0 : 8);
                cr_assert_float_eq(strip[1], left ? 0 : 0.95, 1e-7);
                cr_assert_float_eq(strip[3], left ? 0.05 : 1, 1e-7);
            } else {
                cr_assert_eq(objects.n, 2);
                cr_assert_eq(rows.labels[0], plan.ops[0].a[2] > 0 ? 2 : 1);
                cr_assert_eq(rows.labels[1], rows.labels[0] + 1);
                n_dropped++;
            }
        }
    }
    cr_assert_eq(n_dropped, 16);
    edt_arena_deinit(&arena);
}

// What 4000 plans of a 400x600 picture look like.
typedef struct plan_counts {
    int n, n_with_ops;
    int64_t least_period, most_period;
    float least_angle, most_angle;
    int32_t amount;
    bool magnitude_15, wrapped, identity; // of Solarize and SolarizeAdd
} plan_counts;

static plan_counts count_plans(const char *text)
{
    const edt_augment_config config = configure(text);
    plan_counts counts = {
        .n = 4000, .least_period = 1000, .least_angle = 10, .most_angle = -10};
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    for (int i = 0; i < counts.n; ++i) {
        object_rows rows = {.boxes = {0.1f, 0.1f, 0.5f, 0.5f}};
        edt_objects objects = view_of(&rows, 1);
        edt_rng rng;
        edt_rng_init(&rng, 4, 0, (uint64_t)i, 2);
        const edt_draws draws = edt_draws_from_rng(&rng);
        edt_augment_plan plan;
        edt_arena_reset(&arena);
        cr_assert_eq(
            edt_augment_plan_draw(&config, 400, 600, &draws, &arena, NULL, &objects, &plan),
            EDT_OK);
        counts.n_with_ops += plan.n_ops > 0;
        for (int64_t k = 0; k < plan.n_ops; ++k) {
            const edt_pixel_op *op = &plan.ops[k];
            if (op->kind == EDT_PIXEL_GRID_MASK) {
                const edt_grid *g = &op->grid;
                counts.least_period =
                    g->period < counts.least_period ? g->period : counts.least_period;
                counts.most_period =
                    g->period > counts.most_period ? g->period : counts.most_period;
                counts.least_angle = fminf(counts.least_angle, g->angle);
                counts.most_angle = fmaxf(counts.most_angle, g->angle);
                counts.amount = op->amount;
                cr_assert(plan.needs_whole_picture && g->bar >= 1 && g->bar < g->period);
            } else if (op->kind == EDT_PIXEL_SOLARIZE) {
                counts.wrapped = counts.wrapped || op->amount == 128;
                counts.identity = counts.identity || op->amount == 256;
            } else if (op->kind == EDT_PIXEL_SOLARIZE_ADD) {
                counts.magnitude_15 = counts.magnitude_15 || op->amount == 165;
            }
        }
    }
    edt_arena_deinit(&arena);
    return counts;
}

Test(augmenter, randaug_as_the_reference_and_corrected, .timeout = 30)
{
    const plan_counts reference = count_plans("autoaugment_policy=randaug");
    cr_assert(reference.magnitude_15 && reference.wrapped && !reference.identity);
    // Every operation runs; a cutout of half size 150 is never empty.
    cr_assert_eq(reference.n_with_ops, reference.n);
    const plan_counts corrected =
        count_plans("autoaugment_policy=randaug,randaug_corrected=true");
    cr_assert(!corrected.magnitude_15 && !corrected.wrapped && corrected.identity);
    // Probabilities of 0.2 to 0.8: half of them run.
    cr_assert(abs(corrected.n_with_ops - corrected.n / 2) < corrected.n / 20, "%d",
              corrected.n_with_ops);
}

Test(augmenter, grid_mask_as_the_reference_and_corrected, .timeout = 30)
{
    const float degree = 3.14159265f / 180;
    const plan_counts reference = count_plans("grid_mask=true");
    cr_assert(reference.least_period == 180 && reference.most_period == 200);
    cr_assert(reference.least_angle < -30 * degree && reference.most_angle < 30 * degree);
    cr_assert_eq(reference.amount, 0);
    cr_assert(fabs(reference.n_with_ops / 4000.0 - 0.6915) < 0.03, "%d", reference.n_with_ops);
    const plan_counts corrected = count_plans("grid_mask=true,grid_mask_corrected=true");
    cr_assert(corrected.least_period == 120 && corrected.most_period == 200);
    cr_assert(corrected.least_angle >= -10.001f * degree &&
              corrected.least_angle < -9 * degree);
    cr_assert(corrected.most_angle <= 10.001f * degree && corrected.most_angle > 9 * degree);
    cr_assert_eq(corrected.amount, 128);
    cr_assert(fabs(corrected.n_with_ops / 4000.0 - 0.5) < 0.03, "%d", corrected.n_with_ops);
}

Test(augmenter, a_plan_cut_into_bands_keeps_every_row, .timeout = 10)
{
    const edt_pixel_op ops[] = {
        {.kind = EDT_PIXEL_FILL, .region = {.y = 3, .x = 1, .h = 10, .w = 2}},
        {.kind = EDT_PIXEL_SOLARIZE, .region = {.y = 0, .x = 0, .h = 5, .w = 9}},
    };
    const edt_augment_plan plan = {.n_ops = 2, .ops = ops};
    int64_t n_rows[2] = {0, 0};
    for (int64_t y = 0; y < 20; y += 4) {
        edt_pixel_op cut[2];
        const int64_t n = edt_augment_plan_cut(&plan, y, 4, cut);
        for (int64_t i = 0; i < n; ++i) {
            const int which = cut[i].kind == EDT_PIXEL_SOLARIZE;
            cr_assert(cut[i].region.y >= 0 && cut[i].region.y + cut[i].region.h <= 4);
            cr_assert(cut[i].region.y + y >= ops[which].region.y);
            cr_assert_eq(cut[i].region.x, ops[which].region.x);
            n_rows[which] += cut[i].region.h;
        }
    }
    cr_assert(n_rows[0] == 10 && n_rows[1] == 5);
}
