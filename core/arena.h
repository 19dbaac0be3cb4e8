// Bump allocation for things that live and die together: a graph, a configuration, one sample's
// scratch. Blocks are kept on reset, so a reused arena reaches a steady state without allocations.
// Not thread-safe: one arena, one owner.
#ifndef EDT_CORE_ARENA_H
#define EDT_CORE_ARENA_H

#include <stddef.h>

#include "core/mem.h"

typedef struct edt_arena_block edt_arena_block;

typedef struct edt_arena {
    edt_arena_block *first;
    edt_arena_block *current;
    size_t block_bytes;
    edt_mem_kind kind;
} edt_arena;

// `block_bytes` 0 means 64 KiB. Allocates nothing yet, cannot fail.
void edt_arena_init(edt_arena *arena, edt_mem_kind kind, size_t block_bytes);
// Frees everything. A zeroed arena is legal.
void edt_arena_deinit(edt_arena *arena);
// Forgets every allocation but keeps the blocks.
void edt_arena_reset(edt_arena *arena);

// 16-byte aligned memory, NULL when out of memory.
void *edt_arena_alloc(edt_arena *arena, size_t n_bytes);
// As edt_arena_alloc, zeroed; checks n_items * item_bytes for overflow.
void *edt_arena_calloc(edt_arena *arena, size_t n_items, size_t item_bytes);
// A null-terminated copy.
char *edt_arena_strdup(edt_arena *arena, const char *text);
char *edt_arena_strndup(edt_arena *arena, const char *text, size_t n_bytes);
char *edt_arena_printf(edt_arena *arena, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif
