// Device memory for the backend: blocks are cut from chunks that the library allocated once,
// and go back to their chunk. cudaMalloc and cudaFree wait for the device, so nothing in a loop
// of steps may reach them; a chunk that lacks users is kept.
#ifndef EDT_BACKEND_CUDA_CUDA_POOL_H
#define EDT_BACKEND_CUDA_CUDA_POOL_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"

typedef struct edt_cuda_pool edt_cuda_pool;

enum { EDT_CUDA_POOL_ALIGN = 256 };

// Where chunks come from; plain functions, so that tests need no device.
typedef struct edt_cuda_pool_source {
    bool (*alloc)(void *user, size_t n_bytes, void **out_chunk); // false: there is no more
    void (*free)(void *user, void *chunk);
    void *user;
} edt_cuda_pool_source;

typedef struct edt_cuda_pool_stats {
    size_t chunk_bytes;   // held from the source
    size_t live_bytes;    // in blocks, rounded up to the alignment
    size_t peak_bytes;    // most of live_bytes
    size_t n_chunks_made; // calls of the source so far
} edt_cuda_pool_stats;

// Chunks of at least `chunk_bytes` (rounded up to the alignment); 0: every block its own chunk,
// given back when freed, so that memory checkers see each block's ends.
edt_status edt_cuda_pool_create(const edt_cuda_pool_source *source, size_t chunk_bytes,
                                edt_error *err, edt_cuda_pool **out_pool);
// Best fit. Where the source has no more, empty chunks are given back first and it is asked
// again. EDT_ERR_NOMEM. 0 bytes give a block, too.
edt_status edt_cuda_pool_alloc(edt_cuda_pool *pool, size_t n_bytes, edt_error *err,
                               void **out_block);
// NULL is fine; the block must be the pool's.
void edt_cuda_pool_free(edt_cuda_pool *pool, void *block);
edt_cuda_pool_stats edt_cuda_pool_get_stats(const edt_cuda_pool *pool);
// NULL is fine. Blocks still in use become invalid.
void edt_cuda_pool_destroy(edt_cuda_pool *pool);

#endif
