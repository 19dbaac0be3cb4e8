// See cuda_pool.h. Blocks of a chunk are a list in order of address; neighbours that are free
// are one block. A program has some tens of blocks, so looking through all of them is nothing.
#include "backend/cuda/cuda_pool.h"

#include <stdint.h>

#include "core/mem.h"

typedef struct block {
    struct block *next; // the one behind it in the chunk
    char *at;
    size_t n_bytes;
    bool used;
} block;

typedef struct chunk {
    struct chunk *next;
    block *first;
    void *memory;
    size_t n_bytes;
} chunk;

struct edt_cuda_pool {
    edt_cuda_pool_source source;
    size_t chunk_bytes;
    chunk *chunks;
    edt_cuda_pool_stats stats;
};

edt_status edt_cuda_pool_create(const edt_cuda_pool_source *source, size_t chunk_bytes,
                                edt_error *err, edt_cuda_pool **out_pool)
{
    edt_cuda_pool *pool = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof(*pool));
    if (pool == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "cuda: no memory for the pool");
    }
    pool->source = *source;
    pool->chunk_bytes = chunk_bytes;
    *out_pool = pool;
    return EDT_OK;
}

static void chunk_destroy(edt_cuda_pool *pool, chunk *gone)
{
    while (gone->first != NULL) {
        block *next = gone->first->next;
        edt_mem_free(gone->first);
        gone->first = next;
    }
    pool->stats.chunk_bytes -= gone->n_bytes;
    pool->source.free(pool->source.user, gone->memory);
    edt_mem_free(gone);
}

static bool is_empty(const chunk *each)
{
    return !each->first->used && each->first->next == NULL;
}

static void drop_empty_chunks(edt_cuda_pool *pool)
{
    chunk **link = &pool->chunks;
    while (*link != NULL) {
        chunk *each = *link;
        if (is_empty(each)) {
            *link = each->next;
            chunk_destroy(pool, each);
        } else {
            link = &each->next;
        }
    }
}

static edt_status chunk_create(edt_cuda_pool *pool, size_t n_bytes, edt_error *err)
{
    chunk *made = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof(*made));
    block *whole = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof(*whole));
    if (made == NULL || whole == NULL) {
        edt_mem_free(made);
        edt_mem_free(whole);
        EDT_FAIL(err, EDT_ERR_NOMEM, "cuda: no memory for a chunk of the pool");
    }
    bool there = pool->source.alloc(pool->source.user, n_bytes, &made->memory);
    if (!there) {
        drop_empty_chunks(pool);
        there = pool->source.alloc(pool->source.user, n_bytes, &made->memory);
    }
    if (!there) {
        edt_mem_free(made);
        edt_mem_free(whole);
        EDT_FAIL(err, EDT_ERR_NOMEM, "the device has no %zu bytes left; %zu are in use here",
                 n_bytes, pool->stats.live_bytes);
    }
    whole->at = made->memory;
    whole->n_bytes = n_bytes;
    made->first = whole;
    made->n_bytes = n_bytes;
    made->next = pool->chunks;
    pool->chunks = made;
    pool->stats.chunk_bytes += n_bytes;
    pool->stats.n_chunks_made++;
    return EDT_OK;
}

static block *best_fit(const edt_cuda_pool *pool, size_t n_bytes)
{
    block *best = NULL;
    for (const chunk *each = pool->chunks; each != NULL; each = each->next) {
        for (block *b = each->first; b != NULL; b = b->next) {
            if (!b->used && b->n_bytes >= n_bytes &&
                (best == NULL || b->n_bytes < best->n_bytes)) {
                best = b;
            }
        }
    }
    return best;
}

edt_status edt_cuda_pool_alloc(edt_cuda_pool *pool, size_t n_bytes, edt_error *err,
                               void **out_block)
{
    if (n_bytes > SIZE_MAX - EDT_CUDA_POOL_ALIGN) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "the device has no %zu bytes", n_bytes);
    }
    const size_t align = EDT_CUDA_POOL_ALIGN;
    // Memory checkers want the exact size of a block that is its own chunk.
    const size_t rounded = n_bytes == 0 ? align : (n_bytes + align - 1) / align * align;
    const bool own = pool->chunk_bytes == 0;
    block *found = own ? NULL : best_fit(pool, rounded);
    if (found == NULL) {
        const size_t wanted = own                           ? (n_bytes == 0 ? 1 : n_bytes)
                              : rounded > pool->chunk_bytes ? rounded
                                                            : pool->chunk_bytes;
        EDT_TRY(chunk_create(pool, wanted, err));
        found = pool->chunks->first;
    }
    if (!own && found->n_bytes > rounded) {
        block *rest = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof(*rest));
        if (rest == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "cuda: no memory for a block of the pool");
        }
        rest->next = found->next;
        rest->at = found->at + rounded;
        rest->n_bytes = found->n_bytes - rounded;
        found->next = rest;
        found->n_bytes = rounded;
    }
    found->used = true;
    pool->stats.live_bytes += found->n_bytes;
    if (pool->stats.live_bytes > pool->stats.peak_bytes) {
        pool->stats.peak_bytes = pool->stats.live_bytes;
    }
    *out_block = found->at;
    return EDT_OK;
}

// Makes one block of `b` and the free one behind it.
static void join_next(block *b)
{
    block *next = b->next;
    if (next != NULL && !next->used) {
        b->n_bytes += next->n_bytes;
        b->next = next->next;
        edt_mem_free(next);
    }
}

void edt_cuda_pool_free(edt_cuda_pool *pool, void *block_at)
{
    for (chunk **link = &pool->chunks; block_at != NULL && *link != NULL;
         link = &(*link)->next) {
        chunk *each = *link;
        block *before = NULL;
        for (block *b = each->first; b != NULL; before = b, b = b->next) {
            if (b->at != block_at || !b->used) {
                continue;
            }
            b->used = false;
            pool->stats.live_bytes -= b->n_bytes;
            join_next(b);
            if (before != NULL && !before->used) {
                join_next(before);
            }
            if (pool->chunk_bytes == 0) {
                *link = each->next;
                chunk_destroy(pool, each);
            }
            return;
        }
    }
}

edt_cuda_pool_stats edt_cuda_pool_get_stats(const edt_cuda_pool *pool)
{
    return pool->stats;
}

void edt_cuda_pool_destroy(edt_cuda_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    while (pool->chunks != NULL) {
        chunk *gone = pool->chunks;
        pool->chunks = gone->next;
        chunk_destroy(pool, gone);
    }
    edt_mem_free(pool);
}
