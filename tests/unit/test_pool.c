#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

#include "core/pool.h"
#include "core/thread.h"

static void borrow_often(void *ctx)
{
    edt_pool *pool = ctx;
    void *block = NULL;
    for (int i = 0; i < 2000 && edt_pool_take(pool, &block) == EDT_OK; ++i) {
        memset(block, i, 100);
        edt_pool_give(pool, block);
    }
}

Test(pool, lends_distinct_aligned_blocks_to_any_thread, .timeout = 30)
{
    edt_error err = {0};
    edt_pool *pool = NULL;
    void *blocks[4] = {0};
    cr_assert_eq(edt_pool_create(EDT_MEM_SLOT, 100, 3, &err, &pool), EDT_OK, "%s", err.text);
    for (int i = 0; i < 4; ++i) {
        cr_assert_eq(edt_pool_try_take(pool, &blocks[i]), EDT_OK);
        cr_assert_eq((uintptr_t)blocks[i] % EDT_MEM_ALIGN, 0);
    }
    cr_assert(blocks[0] != blocks[1] && blocks[1] != blocks[2] && blocks[0] != blocks[2]);
    cr_assert_null(blocks[3]);
    for (int i = 0; i < 4; ++i) {
        edt_pool_give(pool, blocks[i]);
    }
    const int64_t n_total = edt_mem_get_stats(EDT_MEM_SLOT).n_total;
    edt_thread threads[5] = {0};
    for (int i = 0; i < 5; ++i) {
        cr_assert_eq(edt_thread_start(&threads[i], "borrower", borrow_often, pool, &err),
                     EDT_OK);
    }
    for (int i = 0; i < 5; ++i) {
        edt_thread_join(&threads[i]);
    }
    cr_assert_eq(edt_mem_get_stats(EDT_MEM_SLOT).n_total, n_total);
    edt_pool_cancel(pool);
    cr_assert_eq(edt_pool_take(pool, &blocks[0]), EDT_ERR_CANCELLED);
    edt_pool_destroy(pool);
    edt_pool_destroy(NULL);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

Test(pool, impossible_sizes_are_errors, .timeout = 10)
{
    edt_error err = {0};
    edt_pool *pool = NULL;
    cr_assert_eq(edt_pool_create(EDT_MEM_SLOT, 100, 0, &err, &pool), EDT_ERR_INVALID);
    cr_assert_eq(edt_pool_create(EDT_MEM_SLOT, SIZE_MAX, 1, &err, &pool), EDT_ERR_INVALID);
    cr_assert_eq(edt_pool_create(EDT_MEM_SLOT, SIZE_MAX / 8, 64, &err, &pool), EDT_ERR_INVALID);
}
