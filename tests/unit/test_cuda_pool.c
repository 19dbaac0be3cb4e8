// The pool of device memory, over a source of fake addresses: blocks do not overlap, neighbours
// that are free become one, and a loop of allocations reaches the source only in its first
// turn.
#include <criterion/criterion.h>
#include <stdint.h>

#include "backend/cuda/cuda_pool.h"

typedef struct source {
    size_t left; // bytes
    uintptr_t next;
    int n_allocs, n_frees;
} source;

static bool source_alloc(void *user, size_t n_bytes, void **out_chunk)
{
    source *s = user;
    if (n_bytes > s->left) {
        return false;
    }
    s->left -= n_bytes;
    s->n_allocs++;
    *out_chunk = (void *)s->next;
    s->next += 1 << 20;
    return true;
}

static void source_free(void *user, void *chunk)
{
    (void)chunk;
    ((source *)user)->n_frees++;
}

static edt_cuda_pool *pool_of(source *s, size_t chunk_bytes)
{
    edt_error err = {0};
    edt_cuda_pool *pool = NULL;
    *s = (source){.left = s->left == 0 ? SIZE_MAX : s->left, .next = 1 << 20};
    const edt_cuda_pool_source from = {source_alloc, source_free, s};
    cr_assert_eq(edt_cuda_pool_create(&from, chunk_bytes, &err, &pool), EDT_OK);
    return pool;
}

static char *take(edt_cuda_pool *pool, size_t n_bytes)
{
    edt_error err = {0};
    void *block = NULL;
    cr_assert_eq(edt_cuda_pool_alloc(pool, n_bytes, &err, &block), EDT_OK, "%s", err.text);
    return block;
}

Test(cuda_pool, cuts_aligned_blocks_from_one_chunk, .timeout = 10)
{
    source s = {0};
    edt_cuda_pool *pool = pool_of(&s, 4096);
    char *a = take(pool, 1);
    char *b = take(pool, 257);
    char *c = take(pool, 0);
    cr_expect_eq(b - a, 256);
    cr_expect_eq(c - b, 512);
    cr_expect_eq(s.n_allocs, 1);
    cr_expect_eq(edt_cuda_pool_get_stats(pool).live_bytes, 1024);
    edt_cuda_pool_destroy(pool);
    cr_expect_eq(s.n_frees, 1);
}

Test(cuda_pool, joins_free_neighbours, .timeout = 10)
{
    source s = {0};
    edt_cuda_pool *pool = pool_of(&s, 4096);
    char *blocks[4];
    for (int i = 0; i < 4; i++) {
        blocks[i] = take(pool, 1024);
    }
    edt_cuda_pool_free(pool, blocks[2]);
    edt_cuda_pool_free(pool, blocks[0]);
    edt_cuda_pool_free(pool, blocks[1]); // between two free ones
    cr_expect_eq(take(pool, 3072), blocks[0]);
    cr_expect_eq(s.n_allocs, 1);
    edt_cuda_pool_free(pool, NULL);
    edt_cuda_pool_destroy(pool);
}

Test(cuda_pool, takes_the_smallest_block_that_fits, .timeout = 10)
{
    source s = {0};
    edt_cuda_pool *pool = pool_of(&s, 4096);
    char *large = take(pool, 2048);
    (void)take(pool, 256);
    char *small = take(pool, 512);
    (void)take(pool, 1280);
    edt_cuda_pool_free(pool, large);
    edt_cuda_pool_free(pool, small);
    cr_expect_eq(take(pool, 300), small);
    edt_cuda_pool_destroy(pool);
}

Test(cuda_pool, reaches_the_source_in_the_first_turn_only, .timeout = 10)
{
    source s = {0};
    edt_cuda_pool *pool = pool_of(&s, 8192);
    int after_first = 0;
    for (int turn = 0; turn < 5; turn++) {
        char *blocks[20];
        for (size_t i = 0; i < 20; i++) {
            blocks[i] = take(pool, 700 * (i % 7 + 1));
        }
        for (int i = 19; i >= 0; i--) {
            edt_cuda_pool_free(pool, blocks[i]);
        }
        after_first = turn == 0 ? s.n_allocs : after_first;
    }
    cr_expect_eq(s.n_allocs, after_first);
    cr_expect_eq(edt_cuda_pool_get_stats(pool).live_bytes, 0);
    edt_cuda_pool_destroy(pool);
}

Test(cuda_pool, gives_empty_chunks_back_before_it_fails, .timeout = 10)
{
    source s = {.left = 12288};
    edt_cuda_pool *pool = pool_of(&s, 4096);
    edt_error err = {0};
    void *block = NULL;
    char *first = take(pool, 4096);
    (void)take(pool, 4096);
    edt_cuda_pool_free(pool, first);
    cr_expect_eq(edt_cuda_pool_alloc(pool, 8192, &err, &block), EDT_ERR_NOMEM);
    cr_expect_eq(s.n_frees, 1);
    cr_expect_eq(take(pool, 4096) != NULL, true, "a failure spoiled the pool");
    cr_expect_eq(edt_cuda_pool_alloc(pool, SIZE_MAX - 3, &err, &block), EDT_ERR_NOMEM);
    edt_cuda_pool_destroy(pool);
}

Test(cuda_pool, without_chunks_every_block_comes_and_goes_alone, .timeout = 10)
{
    source s = {0};
    edt_cuda_pool *pool = pool_of(&s, 0);
    char *a = take(pool, 100);
    char *b = take(pool, 100);
    cr_expect_neq(a, b);
    cr_expect_eq(edt_cuda_pool_get_stats(pool).chunk_bytes, 200);
    edt_cuda_pool_free(pool, a);
    cr_expect_eq(s.n_frees, 1);
    edt_cuda_pool_destroy(pool);
    cr_expect_eq(s.n_frees, 2);
}
