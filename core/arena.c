// Arena blocks; see arena.h.
#include "core/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { ARENA_ALIGN = 16, DEFAULT_BLOCK_BYTES = 64 * 1024 };

struct edt_arena_block {
    edt_arena_block *next;
    size_t size_bytes;
    size_t used_bytes;
    _Alignas(16) unsigned char data[];
};

void edt_arena_init(edt_arena *arena, edt_mem_kind kind, size_t block_bytes)
{
    *arena = (edt_arena){
        .block_bytes = block_bytes != 0 ? block_bytes : DEFAULT_BLOCK_BYTES,
        .kind = kind,
    };
}

void edt_arena_deinit(edt_arena *arena)
{
    for (edt_arena_block *b = arena->first; b != NULL;) {
        edt_arena_block *next = b->next;
        edt_mem_free(b);
        b = next;
    }
    arena->first = NULL;
    arena->current = NULL;
}

void edt_arena_reset(edt_arena *arena)
{
    for (edt_arena_block *b = arena->first; b != NULL; b = b->next) {
        b->used_bytes = 0;
    }
    arena->current = arena->first;
}

void *edt_arena_alloc(edt_arena *arena, size_t n_bytes)
{
    if (n_bytes > SIZE_MAX / 2) {
        return NULL;
    }
    const size_t need = (n_bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    while (arena->current != NULL) {
        edt_arena_block *b = arena->current;
        if (b->size_bytes - b->used_bytes >= need) {
            void *result = b->data + b->used_bytes;
            b->used_bytes += need;
            return result;
        }
        if (b->next == NULL) {
            break;
        }
        arena->current = b->next;
    }
    const size_t size = need > arena->block_bytes ? need : arena->block_bytes;
    edt_arena_block *b = edt_mem_alloc(arena->kind, sizeof *b + size);
    if (b == NULL) {
        return NULL;
    }
    *b = (edt_arena_block){.size_bytes = size, .used_bytes = need};
    if (arena->current != NULL) {
        arena->current->next = b;
    } else {
        arena->first = b;
    }
    arena->current = b;
    return b->data;
}

void *edt_arena_calloc(edt_arena *arena, size_t n_items, size_t item_bytes)
{
    size_t n_bytes;
    if (__builtin_mul_overflow(n_items, item_bytes, &n_bytes)) {
        return NULL;
    }
    void *result = edt_arena_alloc(arena, n_bytes);
    if (result != NULL) {
        memset(result, 0, n_bytes);
    }
    return result;
}

char *edt_arena_strndup(edt_arena *arena, const char *text, size_t n_bytes)
{
    char *copy = edt_arena_alloc(arena, n_bytes + 1);
    if (copy != NULL) {
        memcpy(copy, text, n_bytes);
        copy[n_bytes] = '\0';
    }
    return copy;
}

char *edt_arena_strdup(edt_arena *arena, const char *text)
{
    return edt_arena_strndup(arena, text, strlen(text));
}

char *edt_arena_printf(edt_arena *arena, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    va_list again;
    va_copy(again, args);
    const int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *text = n < 0 ? NULL : edt_arena_alloc(arena, (size_t)n + 1);
    if (text != NULL) {
        (void)vsnprintf(text, (size_t)n + 1, fmt, again);
    }
    va_end(again);
    return text;
}
