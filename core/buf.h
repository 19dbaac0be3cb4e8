// A counted byte buffer: what crosses threads when several may hold it. The count is atomic,
// the bytes are not guarded: write before sharing.
#ifndef EDT_CORE_BUF_H
#define EDT_CORE_BUF_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/mem.h"

typedef struct edt_buf edt_buf;

// Uninitialised bytes, EDT_MEM_ALIGN aligned, with one reference.
edt_status edt_buf_create(edt_mem_kind kind, size_t n_bytes, edt_error *err, edt_buf **out_buf);
// Counts bytes of someone else: release(ctx, data) runs with the last unref, on its thread.
edt_status edt_buf_wrap(void *data, size_t n_bytes, void (*release)(void *ctx, void *data),
                        void *ctx, edt_error *err, edt_buf **out_buf);

uint8_t *edt_buf_data(edt_buf *buf);
size_t edt_buf_bytes(const edt_buf *buf);

// Adds a reference and returns `buf`.
edt_buf *edt_buf_ref(edt_buf *buf);
// Drops the caller's reference and sets *buf to NULL. NULL inside is fine.
void edt_buf_unref(edt_buf **buf);

#endif
