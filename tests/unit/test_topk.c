#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "model/topk.h"

static int by_key_descending(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x < y) - (x > y);
}

static uint64_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 33;
}

// Few different values make nearly everything a tie.
static void compare(int64_t n, int64_t n_keep, uint64_t n_values, uint64_t seed)
{
    float *values = malloc((size_t)n * sizeof *values);
    uint64_t *want = malloc((size_t)n * sizeof *want);
    for (int64_t i = 0; i < n; ++i) {
        values[i] = (float)(next_random(&seed) % n_values) - (float)n_values / 2;
        if (next_random(&seed) % 50 == 0) {
            values[i] = -0.0F;
        } else if (next_random(&seed) % 50 == 0) {
            values[i] = i % 2 ? NAN : -INFINITY;
        }
        want[i] = edt_topk_key(values[i], (uint32_t)i);
    }
    qsort(want, (size_t)n, sizeof *want, by_key_descending);
    edt_topk topk;
    edt_error err = {0};
    cr_assert_eq(edt_topk_init(&topk, n_keep, &err), EDT_OK);
    for (int pass = 0; pass < 2; ++pass) {
        edt_topk_begin(&topk);
        const int64_t split = n / 3;
        edt_topk_push(&topk, values, split, 0);
        edt_topk_push(&topk, values + split, n - split, (uint32_t)split);
        edt_topk_finish(&topk);
        cr_assert_eq(topk.n, n < n_keep ? n : n_keep);
        for (int64_t i = 0; i < topk.n; ++i) {
            cr_assert_eq(topk.keys[i], want[i], "%lld of %lld", (long long)i, (long long)n);
        }
    }
    edt_topk_deinit(&topk);
    free(values);
    free(want);
}

Test(topk, equals_a_full_sort_with_ties_infinities_and_nan, .timeout = 60)
{
    compare(1, 1, 3, 1);
    compare(100, 200, 10, 2);
    compare(20000, 5000, 7, 3);
    compare(50000, 1, 1000000, 4);
    compare(50000, 300, 1000000, 5);
    compare(300000, 5000, 100000, 6);
}

Test(topk, keys_order_by_value_then_index_and_decode, .timeout = 10)
{
    cr_assert_gt(edt_topk_key(1.0F, 5), edt_topk_key(1.0F, 6));
    cr_assert_gt(edt_topk_key(-1.0F, 6), edt_topk_key(-2.0F, 5));
    cr_assert_gt(edt_topk_key(0.0F, 1), edt_topk_key(-0.0F, 2));
    cr_assert_gt(edt_topk_key(-INFINITY, 2), edt_topk_key(NAN, 1));
    cr_assert_eq(edt_topk_index(edt_topk_key(-3.5F, 77)), 77);
    cr_assert_eq(edt_topk_value(edt_topk_key(-3.5F, 77)), -3.5F);
}
