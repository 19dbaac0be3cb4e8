// See tf_table_format.h.
#include "model/io/tf_table_format.h"

#include <string.h>

#include "core/mem.h"

void edt_tf_bytes_deinit(edt_tf_bytes *bytes)
{
    edt_mem_free(bytes->data);
    *bytes = (edt_tf_bytes){0};
}

bool edt_tf_bytes_append(edt_tf_bytes *bytes, const void *data, size_t n_bytes)
{
    if (n_bytes > SIZE_MAX / 2 - bytes->n_bytes) {
        return false;
    }
    const size_t want = bytes->n_bytes + n_bytes;
    if (want > bytes->cap) {
        const size_t cap = want < 256 ? 256 : want + want / 2;
        uint8_t *grown = edt_mem_realloc(EDT_MEM_TEXT, bytes->data, cap);
        if (grown == NULL) {
            return false;
        }
        bytes->data = grown;
        bytes->cap = cap;
    }
    if (n_bytes > 0) {
        memcpy(bytes->data + bytes->n_bytes, data, n_bytes);
    }
    bytes->n_bytes = want;
    return true;
}

bool edt_tf_bytes_append_varint(edt_tf_bytes *bytes, uint64_t value)
{
    uint8_t out[10];
    size_t n = 0;
    while (value >= 0x80) {
        out[n++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    out[n++] = (uint8_t)value;
    return edt_tf_bytes_append(bytes, out, n);
}

bool edt_tf_bytes_append_u32(edt_tf_bytes *bytes, uint32_t value)
{
    const uint8_t out[4] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16),
                            (uint8_t)(value >> 24)};
    return edt_tf_bytes_append(bytes, out, sizeof out);
}

bool edt_tf_varint_read(edt_span span, size_t *at, uint64_t *out_value)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (*at >= span.n_bytes) {
            return false;
        }
        const uint8_t byte = span.data[(*at)++];
        if (shift == 63 && byte > 1) {
            return false;
        }
        value |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            *out_value = value;
            return true;
        }
    }
    return false;
}

int edt_tf_compare(edt_span a, edt_span b)
{
    const size_t n = a.n_bytes < b.n_bytes ? a.n_bytes : b.n_bytes;
    const int order = n == 0 ? 0 : memcmp(a.data, b.data, n);
    if (order != 0) {
        return order;
    }
    return (a.n_bytes > b.n_bytes) - (a.n_bytes < b.n_bytes);
}
