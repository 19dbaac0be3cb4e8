// Heap memory with per-kind statistics. Every allocation of the libraries goes through here, so
// that "the steady state allocates nothing" can be asserted and a program can print where its
// memory went.
#ifndef EDT_CORE_MEM_H
#define EDT_CORE_MEM_H

#include <stddef.h>
#include <stdint.h>

typedef enum edt_mem_kind {
    EDT_MEM_MISC,
    EDT_MEM_ARENA,      // graph, configuration, sample scratch
    EDT_MEM_TEXT,       // parsers, file contents
    EDT_MEM_IMAGE,      // decoded pictures
    EDT_MEM_SLOT,       // batch slots
    EDT_MEM_PARAM,      // parameters, gradients, slots, EMA
    EDT_MEM_ACTIVATION, // planned activations
    EDT_MEM_WORKSPACE,  // kernel scratch and packed weights
    EDT_MEM_EVAL,       // evaluator tables
    EDT_MEM_N_KINDS
} edt_mem_kind;

// Alignment of every block; enough for 512-bit vectors and a cache line.
enum { EDT_MEM_ALIGN = 64 };

// All return NULL when memory is exhausted or the size overflows; size 0 gives a valid pointer.
// Free with edt_mem_free (NULL is fine). Thread-safe.
void *edt_mem_alloc(edt_mem_kind kind, size_t n_bytes);
void *edt_mem_calloc(edt_mem_kind kind, size_t n_items, size_t item_bytes); // zeroed
// As realloc: on failure the old block stays valid.
void *edt_mem_realloc(edt_mem_kind kind, void *block, size_t n_bytes);
char *edt_mem_strdup(edt_mem_kind kind, const char *text);
void edt_mem_free(void *block);

typedef struct edt_mem_stats {
    int64_t n_live;     // blocks now allocated
    int64_t live_bytes; // bytes now allocated (as asked for)
    int64_t peak_bytes;
    int64_t n_total; // allocations so far
} edt_mem_stats;

// Of the whole process, from any thread; while others allocate, the numbers of a reading may be
// of slightly different moments.
const char *edt_mem_kind_name(edt_mem_kind kind);
edt_mem_stats edt_mem_get_stats(edt_mem_kind kind);
// Sum over kinds (peak: of the sum).
edt_mem_stats edt_mem_get_total(void);

#endif
