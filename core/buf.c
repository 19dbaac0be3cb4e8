// Counted byte buffer; see buf.h.
#include "core/buf.h"

#include <stdatomic.h>

struct edt_buf {
    atomic_int n_refs;
    uint8_t *data;
    size_t n_bytes;
    void (*release)(void *ctx, void *data);
    void *ctx;
};

static void free_data(void *ctx, void *data)
{
    (void)ctx;
    edt_mem_free(data);
}

edt_status edt_buf_create(edt_mem_kind kind, size_t n_bytes, edt_error *err, edt_buf **out_buf)
{
    void *data = edt_mem_alloc(kind, n_bytes);
    if (data == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a buffer of %zu bytes", n_bytes);
    }
    const edt_status status = edt_buf_wrap(data, n_bytes, free_data, NULL, err, out_buf);
    if (status != EDT_OK) {
        edt_mem_free(data);
    }
    return status;
}

edt_status edt_buf_wrap(void *data, size_t n_bytes, void (*release)(void *ctx, void *data),
                        void *ctx, edt_error *err, edt_buf **out_buf)
{
    edt_buf *buf = edt_mem_alloc(EDT_MEM_MISC, sizeof *buf);
    if (buf == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the head of a buffer");
    }
    *buf = (edt_buf){.data = data, .n_bytes = n_bytes, .release = release, .ctx = ctx};
    atomic_init(&buf->n_refs, 1);
    *out_buf = buf;
    return EDT_OK;
}

uint8_t *edt_buf_data(edt_buf *buf)
{
    return buf->data;
}

size_t edt_buf_bytes(const edt_buf *buf)
{
    return buf->n_bytes;
}

edt_buf *edt_buf_ref(edt_buf *buf)
{
    atomic_fetch_add_explicit(&buf->n_refs, 1, memory_order_relaxed);
    return buf;
}

void edt_buf_unref(edt_buf **buf)
{
    edt_buf *b = *buf;
    *buf = NULL;
    // The last holder must see the writes of all others before it releases the bytes.
    if (b != NULL && atomic_fetch_sub_explicit(&b->n_refs, 1, memory_order_acq_rel) == 1) {
        b->release(b->ctx, b->data);
        edt_mem_free(b);
    }
}
