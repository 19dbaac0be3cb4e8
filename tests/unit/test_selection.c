#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "model/selection.h"

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

enum { N = 300000, N_KEEP = 1000 };

typedef struct values {
    float *data;
    uint64_t *want;
} values;

static values draw(uint64_t n_values)
{
    uint64_t seed = n_values;
    values v = {malloc(N * sizeof(float)), malloc(N * sizeof(uint64_t))};
    for (int64_t i = 0; i < N; ++i) {
        v.data[i] = (float)(next_random(&seed) % n_values) - (float)n_values / 2;
    }
    return v;
}

static void check(values *v, bool by_sample, const char *what)
{
    edt_error err = {0};
    edt_selection selection;
    for (int64_t i = 0; i < N; ++i) {
        v->want[i] = edt_topk_key(v->data[i], (uint32_t)i);
    }
    qsort(v->want, N, sizeof *v->want, by_key_descending);
    cr_assert_eq(edt_selection_init(&selection, N_KEEP, N, &err), EDT_OK);
    const float *const runs[] = {v->data, v->data + 200001, v->data + 200008};
    const int64_t n[] = {200001, 7, N - 200008};
    for (int threads = 0; threads <= 3; ++threads) {
        edt_backend *backend = NULL;
        if (threads > 0) {
            cr_assert_eq(edt_backend_cpu_create(threads, &err, &backend), EDT_OK);
        }
        edt_selection_run(&selection, backend, runs, n, 3);
        cr_expect_eq(selection.by_sample, by_sample, "%s", what);
        cr_assert_eq(selection.n, N_KEEP);
        cr_assert_arr_eq(selection.keys, v->want, N_KEEP * sizeof *v->want, "%s, %d threads",
                         what, threads);
        edt_backend_destroy(&backend);
    }
    edt_selection_deinit(&selection);
    free(v->data);
    free(v->want);
}

Test(selection, equals_a_full_sort_whatever_the_number_of_threads, .timeout = 60)
{
    values v = draw(1000000);
    v.data[5] = v.data[N - 1] = NAN;
    v.data[7] = v.data[N - 9] = INFINITY;
    check(&v, true, "spread values");
    v = draw(400);
    check(&v, true, "ties at the end of the selection");
    v = draw(2);
    check(&v, true, "two different values");
    v = draw(1);
    v.data[77] = 1;
    check(&v, true, "all the same but one");
}

Test(selection, a_sample_that_misleads_costs_time_alone, .timeout = 60)
{
    values v = draw(1000000);
    for (int64_t i = 0; i < N; ++i) {
        v.data[i] = i >= 3000 && i < 3900 ? 2e6F : i % 1000 ? NAN : -INFINITY;
    }
    check(&v, false, "hardly a number");
    v = draw(1000000);
    for (int64_t i = 0; i < 9000; ++i) {
        v.data[i / 16 * 240 + i % 16 + 48] = 3e6F; // between the pieces of the sample
    }
    check(&v, false, "more than there is room for, where the sample does not look");
}
