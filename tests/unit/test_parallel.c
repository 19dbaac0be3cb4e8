#include <criterion/criterion.h>
#include <stdatomic.h>

#include "core/parallel.h"

typedef struct visit {
    atomic_int seen[1000];
    int64_t fails_at;
} visit;

static edt_status mark(void *ctx, int worker, int64_t i, edt_error *err)
{
    visit *v = ctx;
    if (worker < 0 || worker >= 7) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "worker %d", worker);
    }
    atomic_fetch_add(&v->seen[i], 1);
    if (i == v->fails_at) {
        EDT_FAIL(err, EDT_ERR_INVALID, "item %d", (int)i);
    }
    return EDT_OK;
}

Test(parallel, visits_every_index_once, .timeout = 30)
{
    for (int threads = 1; threads <= 7; threads += 3) {
        visit v = {.fails_at = -1};
        edt_error err = {0};
        cr_assert_eq(edt_parallel_for(threads, 1000, mark, &v, &err), EDT_OK, "%s", err.text);
        for (int i = 0; i < 1000; ++i) {
            cr_assert_eq(atomic_load(&v.seen[i]), 1);
        }
    }
    visit none = {.fails_at = -1};
    cr_assert_eq(edt_parallel_for(4, 0, mark, &none, NULL), EDT_OK);
}

Test(parallel, failure_is_returned_and_stops_the_loop, .timeout = 30)
{
    for (int threads = 1; threads <= 7; threads += 3) {
        visit v = {.fails_at = 3};
        edt_error err = {0};
        cr_assert_eq(edt_parallel_for(threads, 1000, mark, &v, &err), EDT_ERR_INVALID);
        cr_assert_str_eq(err.text, "item 3");
        cr_assert(threads > 1 || atomic_load(&v.seen[4]) == 0);
    }
}
