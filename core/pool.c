// Block pool; see pool.h. The free blocks wait in a queue as long as the pool, which a returned
// block therefore always fits into.
#include "core/pool.h"

#include <stdbool.h>

#include "core/queue.h"

struct edt_pool {
    edt_queue *free_blocks;
    uint8_t *memory;
};

edt_status edt_pool_create(edt_mem_kind kind, size_t block_bytes, int64_t n_blocks,
                           edt_error *err, edt_pool **out_pool)
{
    edt_status status = EDT_OK;
    const size_t align = EDT_MEM_ALIGN;
    const size_t stride = (block_bytes + align - 1) / align * align;
    size_t total_bytes;
    if (stride < block_bytes || n_blocks < 1 ||
        __builtin_mul_overflow(stride, (size_t)n_blocks, &total_bytes)) {
        EDT_FAIL(err, EDT_ERR_INVALID, "a pool of %lld blocks of %zu bytes is not possible",
                 (long long)n_blocks, block_bytes);
    }
    edt_pool *pool = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *pool);
    if (pool == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a pool");
    }
    EDT_TRY_GOTO(edt_queue_create(n_blocks, err, &pool->free_blocks));
    pool->memory = edt_mem_alloc(kind, total_bytes);
    if (pool->memory == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for %lld blocks of %zu bytes",
                               (long long)n_blocks, block_bytes);
        goto fail;
    }
    for (int64_t i = 0; i < n_blocks; ++i) {
        edt_pool_give(pool, pool->memory + (size_t)i * stride);
    }
    *out_pool = pool;
    return EDT_OK;

fail:
    edt_pool_destroy(pool);
    return status;
}

void edt_pool_destroy(edt_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    edt_queue_destroy(pool->free_blocks);
    edt_mem_free(pool->memory);
    edt_mem_free(pool);
}

edt_status edt_pool_take(edt_pool *pool, void **out_block)
{
    return edt_queue_pop(pool->free_blocks, out_block);
}

edt_status edt_pool_try_take(edt_pool *pool, void **out_block)
{
    return edt_queue_try_pop(pool->free_blocks, out_block);
}

void edt_pool_give(edt_pool *pool, void *block)
{
    if (block != NULL) {
        bool pushed;
        // Fails only on a cancelled pool, which lends nothing any more.
        (void)edt_queue_try_push(pool->free_blocks, block, &pushed);
    }
}

void edt_pool_cancel(edt_pool *pool)
{
    edt_queue_cancel(pool->free_blocks);
}
