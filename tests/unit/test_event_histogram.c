// Histograms: every finite value is counted once, in buckets that join.
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "core/rng.h"
#include "train/event_histogram.h"

static edt_histogram count_all(const float *values, int64_t n)
{
    edt_histogram h = {0};
    edt_histogram_widen(&h, values, n);
    edt_histogram_count(&h, values, n);
    return h;
}

Test(event_histogram, groups_are_stages_of_the_network, .timeout = 30)
{
    static const struct {
        const char *name, *group;
    } rows[] = {
        {"efficientnet-b0/blocks_3/conv2d/kernel", "efficientnet-b0/blocks_3"},
        {"efficientnet-b0/stem/conv2d/kernel", "efficientnet-b0/stem"},
        {"fpn_cells/cell_0/fnode0/WSM", "fpn_cells/cell_0"},
        {"resample_p6/conv2d/kernel", "resample_p6"},
        {"class_net/class-predict/bias", "class_net"},
        {"box_net/box-0/bias", "box_net"},
        {"efficientnet-b0/scale", "efficientnet-b0"},
        {"bias", "bias"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
        cr_expect_eq(edt_histogram_group_bytes(rows[i].name), strlen(rows[i].group), "%s",
                     rows[i].name);
    }
}

Test(event_histogram, counts_every_finite_value_once, .timeout = 30)
{
    enum { N = 1000 };
    float values[N];
    edt_rng rng;
    edt_rng_init(&rng, 7, 0, 0, 0);
    for (int i = 0; i < N; ++i) {
        values[i] = 10.0F * edt_rng_uniform_f32(&rng) - 3.0F;
    }
    values[10] = NAN;
    values[20] = INFINITY;
    values[30] = 50.0F; // the largest one lies in the last bucket
    edt_histogram h = count_all(values, N);
    cr_expect_eq(h.n, N - 2);
    cr_expect_eq(h.n_not_finite, 2);
    edt_event_bucket buckets[EDT_HISTOGRAM_BUCKETS];
    cr_assert_eq(edt_histogram_buckets(&h, buckets), EDT_HISTOGRAM_BUCKETS);
    double sum = 0.0;
    for (int i = 0; i < EDT_HISTOGRAM_BUCKETS; ++i) {
        sum += buckets[i].count;
        cr_expect_lt(buckets[i].left, buckets[i].right);
        cr_expect(i == 0 || buckets[i].left == buckets[i - 1].right);
    }
    cr_expect_eq(sum, N - 2);
    cr_expect_eq(buckets[EDT_HISTOGRAM_BUCKETS - 1].right, 50.0);
    cr_expect_eq(buckets[EDT_HISTOGRAM_BUCKETS - 1].count, 1);
}

Test(event_histogram, equal_values_and_none_have_their_forms, .timeout = 30)
{
    static const float ones[5] = {1.0F, 1.0F, 1.0F, 1.0F, 1.0F};
    static const float bad[2] = {NAN, -INFINITY};
    edt_event_bucket buckets[EDT_HISTOGRAM_BUCKETS];
    edt_histogram h = count_all(ones, 5);
    cr_assert_eq(edt_histogram_buckets(&h, buckets), 1);
    cr_expect_eq(buckets[0].left, 0.5);
    cr_expect_eq(buckets[0].right, 1.5);
    cr_expect_eq(buckets[0].count, 5);
    h = count_all(bad, 2);
    cr_expect_eq(edt_histogram_buckets(&h, buckets), 0);
    // A range that a double holds and a float's difference does not.
    static const float wide[3] = {-3e38F, 0.0F, 3e38F};
    h = count_all(wide, 3);
    cr_assert_eq(edt_histogram_buckets(&h, buckets), EDT_HISTOGRAM_BUCKETS);
    cr_expect_eq(
        buckets[0].count + buckets[15].count + buckets[EDT_HISTOGRAM_BUCKETS - 1].count, 3);
}
