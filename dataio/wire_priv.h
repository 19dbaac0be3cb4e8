// The protobuf wire format, field by field, over borrowed bytes. Private to the record readers.
#ifndef EDT_DATAIO_WIRE_PRIV_H
#define EDT_DATAIO_WIRE_PRIV_H

#include <stdbool.h>

#include "core/span.h"

enum { EDT_WIRE_VARINT = 0, EDT_WIRE_FIXED64 = 1, EDT_WIRE_BYTES = 2, EDT_WIRE_FIXED32 = 5 };

typedef struct edt_wire {
    const uint8_t *at;
    const uint8_t *end;
} edt_wire;

typedef struct edt_wire_field {
    uint32_t number;
    uint32_t type;
    uint64_t varint; // EDT_WIRE_VARINT
    edt_span bytes;  // the content of the other types: 8, 4 or any number of bytes
} edt_wire_field;

static inline edt_wire edt_wire_over(edt_span bytes)
{
    // A null pointer is fine here: an empty run is never dereferenced.
    return (edt_wire){.at = bytes.data,
                      .end = bytes.n_bytes > 0 ? bytes.data + bytes.n_bytes : bytes.data};
}

static inline bool edt_wire_varint(edt_wire *wire, uint64_t *out_value)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (wire->at == wire->end) {
            return false;
        }
        const uint8_t byte = *wire->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out_value = value;
            return true;
        }
    }
    return false;
}

typedef enum edt_wire_result { EDT_WIRE_FIELD, EDT_WIRE_END, EDT_WIRE_BAD } edt_wire_result;

// The next field of a message. Groups are malformed here: no message of ours has any.
static inline edt_wire_result edt_wire_next(edt_wire *wire, edt_wire_field *out_field)
{
    if (wire->at == wire->end) {
        return EDT_WIRE_END;
    }
    uint64_t tag;
    if (!edt_wire_varint(wire, &tag) || tag >> 3 == 0 || tag >> 3 > 0x1fffffff) {
        return EDT_WIRE_BAD;
    }
    out_field->number = (uint32_t)(tag >> 3);
    out_field->type = (uint32_t)(tag & 7);
    out_field->varint = 0;
    out_field->bytes = (edt_span){.data = wire->at, .n_bytes = 0};
    uint64_t n_bytes = 0;
    switch (out_field->type) {
    case EDT_WIRE_VARINT:
        return edt_wire_varint(wire, &out_field->varint) ? EDT_WIRE_FIELD : EDT_WIRE_BAD;
    case EDT_WIRE_FIXED64: n_bytes = 8; break;
    case EDT_WIRE_FIXED32: n_bytes = 4; break;
    case EDT_WIRE_BYTES:
        if (!edt_wire_varint(wire, &n_bytes)) {
            return EDT_WIRE_BAD;
        }
        break;
    default: return EDT_WIRE_BAD;
    }
    if (n_bytes > (uint64_t)(wire->end - wire->at)) {
        return EDT_WIRE_BAD;
    }
    out_field->bytes = (edt_span){.data = wire->at, .n_bytes = (size_t)n_bytes};
    wire->at += n_bytes;
    return EDT_WIRE_FIELD;
}

#endif
