// Growing text for writers: appending never fails half-way; running out of memory is remembered
// and asked once at the end. Zero-initialised is empty.
#ifndef EDT_CORE_STRBUF_H
#define EDT_CORE_STRBUF_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"

typedef struct edt_strbuf {
    char *text; // null-terminated once anything was appended, else NULL
    size_t n_bytes;
    size_t capacity;
    bool failed; // out of memory: later appends do nothing
} edt_strbuf;

void edt_strbuf_append(edt_strbuf *buf, const char *bytes, size_t n_bytes);
void edt_strbuf_puts(edt_strbuf *buf, const char *text);
void edt_strbuf_printf(edt_strbuf *buf, const char *fmt, ...) EDT_PRINTF(2, 3);
// With <, >, & and quotes as HTML writes them, for contents and values of attributes.
void edt_strbuf_put_html(edt_strbuf *buf, const char *text);
// Forgets the text, keeps the memory and clears `failed`.
void edt_strbuf_clear(edt_strbuf *buf);
void edt_strbuf_deinit(edt_strbuf *buf);

// The shortest decimal that reads back as `x`, written as Python's repr does: 0.1, 1e-07, 5.0,
// 1e+16, nan, inf. Returns its length; `out` needs 32 bytes.
size_t edt_format_f64(double x, char out[32]);

#endif
