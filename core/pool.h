// A fixed number of equal blocks that threads borrow and any thread returns: memory is
// allocated once, and an empty pool is the back-pressure.
#ifndef EDT_CORE_POOL_H
#define EDT_CORE_POOL_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/mem.h"

typedef struct edt_pool edt_pool;

// Blocks are EDT_MEM_ALIGN aligned.
edt_status edt_pool_create(edt_mem_kind kind, size_t block_bytes, int64_t n_blocks,
                           edt_error *err, edt_pool **out_pool);
// Frees the memory of all blocks, lent ones too. NULL is fine.
void edt_pool_destroy(edt_pool *pool);

// Waits for a free block. EDT_ERR_CANCELLED after edt_pool_cancel.
edt_status edt_pool_take(edt_pool *pool, void **out_block);
// EDT_OK with *out_block NULL: none is free now.
edt_status edt_pool_try_take(edt_pool *pool, void **out_block);
// Never waits; NULL is fine.
void edt_pool_give(edt_pool *pool, void *block);
// Wakes everyone who waits.
void edt_pool_cancel(edt_pool *pool);

#endif
