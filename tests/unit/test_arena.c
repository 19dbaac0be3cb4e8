#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

#include "core/arena.h"

Test(arena, reset_reuses_the_blocks, .timeout = 10)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 256);
    for (int i = 0; i < 100; ++i) {
        void *p = edt_arena_alloc(&arena, 40);
        cr_assert_not_null(p);
        cr_assert_eq((uintptr_t)p % 16, 0);
        memset(p, i, 40);
    }
    const int64_t n = edt_mem_get_stats(EDT_MEM_ARENA).n_total;
    edt_arena_reset(&arena);
    for (int i = 0; i < 100; ++i) {
        cr_assert_not_null(edt_arena_alloc(&arena, 40));
    }
    cr_assert_eq(edt_mem_get_stats(EDT_MEM_ARENA).n_total, n);
    edt_arena_deinit(&arena);
    cr_assert_eq(edt_mem_get_stats(EDT_MEM_ARENA).n_live, 0);
}

Test(arena, large_and_impossible_requests, .timeout = 10)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    cr_assert_not_null(edt_arena_alloc(&arena, 1 << 20));
    cr_assert_null(edt_arena_alloc(&arena, SIZE_MAX - 8));
    cr_assert_null(edt_arena_calloc(&arena, SIZE_MAX / 2, 3));
    cr_assert_str_eq(edt_arena_printf(&arena, "%s-%d", "x", 7), "x-7");
    edt_arena_deinit(&arena);
}
