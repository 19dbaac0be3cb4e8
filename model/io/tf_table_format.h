// What the table's reader and writer share: constants of the format and growing byte buffers.
#ifndef EDT_MODEL_IO_TF_TABLE_FORMAT_H
#define EDT_MODEL_IO_TF_TABLE_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/span.h"

enum {
    EDT_TF_TABLE_TRAILER_BYTES = 5, // type, masked CRC
    EDT_TF_TABLE_FOOTER_BYTES = 48,
    EDT_TF_TABLE_RAW = 0,
    EDT_TF_TABLE_SNAPPY = 1,
};
#define EDT_TF_TABLE_MAGIC UINT64_C(0xdb4775248b80fb57)

typedef struct edt_tf_bytes {
    uint8_t *data;
    size_t n_bytes, cap;
} edt_tf_bytes;

void edt_tf_bytes_deinit(edt_tf_bytes *bytes);
// All false when out of memory; the buffer then keeps what it had.
bool edt_tf_bytes_append(edt_tf_bytes *bytes, const void *data, size_t n_bytes);
bool edt_tf_bytes_append_varint(edt_tf_bytes *bytes, uint64_t value);
bool edt_tf_bytes_append_u32(edt_tf_bytes *bytes, uint32_t value);

// Reads a varint of at most 64 bits at *at and moves it on; false when it is cut or too long.
bool edt_tf_varint_read(edt_span span, size_t *at, uint64_t *out_value);

static inline uint32_t edt_tf_load_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

// <0, 0, >0 as memcmp over the common part, then by length.
int edt_tf_compare(edt_span a, edt_span b);

#endif
