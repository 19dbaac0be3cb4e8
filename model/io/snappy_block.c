// See snappy_block.h. A block is a varint with the unpacked length, then elements: a tag whose
// two low bits say literal or copy with an offset of 1, 2 or 4 bytes.
#include "model/io/snappy_block.h"

#include "core/mem.h"

// An element of 3 bytes gives at most 64.
enum { MAX_EXPANSION = 22 };

typedef struct element {
    bool is_literal;
    size_t n, offset;
} element;

static size_t load(const uint8_t *p, size_t n)
{
    size_t value = 0;
    for (size_t i = 0; i < n; ++i) {
        value |= (size_t)p[i] << (8 * i);
    }
    return value;
}

// Reads a tag and what belongs to it; false when it is cut.
static bool read_element(edt_span block, size_t *at, element *out)
{
    const uint8_t tag = block.data[(*at)++];
    const size_t high = tag >> 2;
    size_t n_extra;
    switch (tag & 3) {
    case 0: n_extra = high < 60 ? 0 : high - 59; break;
    case 1: n_extra = 1; break;
    case 2: n_extra = 2; break;
    default: n_extra = 4; break;
    }
    if (n_extra > block.n_bytes - *at) {
        return false;
    }
    const size_t extra = load(block.data + *at, n_extra);
    *at += n_extra;
    switch (tag & 3) {
    case 0: *out = (element){true, (high < 60 ? high : extra) + 1, 0}; break;
    case 1: *out = (element){false, (high & 7) + 4, (high >> 3) << 8 | extra}; break;
    default: *out = (element){false, high + 1, extra}; break;
    }
    return true;
}

static bool unpack(edt_span block, size_t at, uint8_t *out, size_t n_out)
{
    size_t n = 0;
    while (at < block.n_bytes) {
        element e;
        if (!read_element(block, &at, &e) || e.n > n_out - n) {
            return false;
        }
        if (e.is_literal && e.n > block.n_bytes - at) {
            return false;
        }
        if (!e.is_literal && (e.offset == 0 || e.offset > n)) {
            return false;
        }
        // Byte by byte: a copy may run into what it writes.
        const uint8_t *from = e.is_literal ? block.data + at : out + n - e.offset;
        for (size_t i = 0; i < e.n; ++i) {
            out[n + i] = from[i];
        }
        at += e.is_literal ? e.n : 0;
        n += e.n;
    }
    return n == n_out;
}

edt_snappy_result edt_snappy_unpack(edt_span block, edt_tf_bytes *out)
{
    size_t at = 0;
    uint64_t n = 0;
    if (!edt_tf_varint_read(block, &at, &n) || n > (uint64_t)MAX_EXPANSION * block.n_bytes) {
        return EDT_SNAPPY_MALFORMED;
    }
    if (n > out->cap) {
        uint8_t *grown = edt_mem_realloc(EDT_MEM_TEXT, out->data, (size_t)n);
        if (grown == NULL) {
            return EDT_SNAPPY_NO_MEMORY;
        }
        out->data = grown;
        out->cap = (size_t)n;
    }
    out->n_bytes = (size_t)n;
    return unpack(block, at, out->data, (size_t)n) ? EDT_SNAPPY_OK : EDT_SNAPPY_MALFORMED;
}
