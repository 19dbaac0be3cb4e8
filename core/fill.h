// Filling large blocks that nothing reads soon: batch slots and their targets. The stores go
// past the caches, so that the old lines are not fetched first and useful ones stay.
#ifndef EDT_CORE_FILL_H
#define EDT_CORE_FILL_H

#include <stddef.h>
#include <stdint.h>

// Sets n_bytes bytes to `word` repeated from the start of `block`. Any alignment, any size;
// small blocks are filled in the cache. Other threads may look after the usual hand-over.
void edt_fill_words(void *block, uint32_t word, size_t n_bytes);

// For many fills: as edt_fill_words, but other threads may look only after edt_fill_order by
// this thread.
void edt_fill_words_unordered(void *block, uint32_t word, size_t n_bytes);
// Orders streaming stores of this thread (those of others' vector code too) before what it
// writes from here on.
void edt_fill_order(void);

#endif
