// Aligned blocks with a hidden header that remembers size and kind; see mem.h.
#include "core/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

typedef struct mem_header {
    size_t n_bytes;
    uint32_t kind;
} mem_header;

_Static_assert(sizeof(mem_header) <= EDT_MEM_ALIGN, "header must fit before an aligned block");

typedef struct mem_counters {
    atomic_llong n_live;
    atomic_llong live_bytes;
    atomic_llong peak_bytes;
    atomic_llong n_total;
} mem_counters;

// The last entry counts the sum of all kinds.
static mem_counters counters[EDT_MEM_N_KINDS + 1];

static void count_one(mem_counters *c, long long blocks, long long bytes)
{
    atomic_fetch_add_explicit(&c->n_live, blocks, memory_order_relaxed);
    const long long live =
        atomic_fetch_add_explicit(&c->live_bytes, bytes, memory_order_relaxed) + bytes;
    if (blocks > 0) {
        atomic_fetch_add_explicit(&c->n_total, 1, memory_order_relaxed);
    }
    long long peak = atomic_load_explicit(&c->peak_bytes, memory_order_relaxed);
    while (live > peak && !atomic_compare_exchange_weak_explicit(
                              &c->peak_bytes, &peak, live, memory_order_relaxed, memory_order_relaxed)) {
    }
}

static void count(uint32_t kind, long long blocks, long long bytes)
{
    count_one(&counters[kind], blocks, bytes);
    count_one(&counters[EDT_MEM_N_KINDS], blocks, bytes);
}

static mem_header *header_of(void *block)
{
    return (mem_header *)(void *)((char *)block - EDT_MEM_ALIGN);
}

void *edt_mem_alloc(edt_mem_kind kind, size_t n_bytes)
{
    if (n_bytes > SIZE_MAX - 2 * EDT_MEM_ALIGN) {
        return NULL;
    }
    // Not aligned_alloc, which wants a rounded size and so hides short overruns from sanitizers.
    void *base = NULL;
    if (posix_memalign(&base, EDT_MEM_ALIGN, EDT_MEM_ALIGN + n_bytes) != 0) {
        return NULL;
    }
    void *block = (char *)base + EDT_MEM_ALIGN;
    *header_of(block) = (mem_header){.n_bytes = n_bytes, .kind = (uint32_t)kind};
    count((uint32_t)kind, 1, (long long)n_bytes);
    return block;
}

void *edt_mem_calloc(edt_mem_kind kind, size_t n_items, size_t item_bytes)
{
    size_t n_bytes;
    if (__builtin_mul_overflow(n_items, item_bytes, &n_bytes)) {
        return NULL;
    }
    void *block = edt_mem_alloc(kind, n_bytes);
    if (block != NULL) {
        memset(block, 0, n_bytes);
    }
    return block;
}

void *edt_mem_realloc(edt_mem_kind kind, void *block, size_t n_bytes)
{
    void *moved = edt_mem_alloc(kind, n_bytes);
    if (moved != NULL && block != NULL) {
        const size_t old_bytes = header_of(block)->n_bytes;
        memcpy(moved, block, old_bytes < n_bytes ? old_bytes : n_bytes);
        edt_mem_free(block);
    }
    return moved;
}

char *edt_mem_strdup(edt_mem_kind kind, const char *text)
{
    const size_t n_bytes = strlen(text) + 1;
    char *copy = edt_mem_alloc(kind, n_bytes);
    if (copy != NULL) {
        memcpy(copy, text, n_bytes);
    }
    return copy;
}

void edt_mem_free(void *block)
{
    if (block == NULL) {
        return;
    }
    mem_header *header = header_of(block);
    count(header->kind, -1, -(long long)header->n_bytes);
    free(header);
}

const char *edt_mem_kind_name(edt_mem_kind kind)
{
    static const char *const names[EDT_MEM_N_KINDS] = {
        "misc", "arena", "text", "image", "slot", "param", "activation", "workspace", "eval",
    };
    return (unsigned)kind < EDT_MEM_N_KINDS ? names[kind] : "unknown";
}

static edt_mem_stats read_stats(mem_counters *c)
{
    return (edt_mem_stats){
        .n_live = atomic_load(&c->n_live),
        .live_bytes = atomic_load(&c->live_bytes),
        .peak_bytes = atomic_load(&c->peak_bytes),
        .n_total = atomic_load(&c->n_total),
    };
}

edt_mem_stats edt_mem_get_stats(edt_mem_kind kind)
{
    return read_stats(&counters[kind]);
}

edt_mem_stats edt_mem_get_total(void)
{
    return read_stats(&counters[EDT_MEM_N_KINDS]);
}
