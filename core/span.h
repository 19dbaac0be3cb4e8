// A borrowed run of bytes. Whoever hands one out says in its comment who owns the memory and for
// how long.
#ifndef EDT_CORE_SPAN_H
#define EDT_CORE_SPAN_H

#include <stddef.h>
#include <stdint.h>

typedef struct edt_span {
    const uint8_t *data; // NULL only when n_bytes is 0
    size_t n_bytes;
} edt_span;

// Borrowed text, not null-terminated.
typedef struct edt_text {
    const char *data;
    size_t n_bytes;
} edt_text;

#endif
