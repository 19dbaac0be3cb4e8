// The framing of a TFRecord file (spec/data.md 1): length, its masked CRC, payload, its masked
// CRC. Functions over bytes in memory; files are shard_reader.h's and shard_writer.h's
// business.
#ifndef EDT_DATAIO_TFRECORD_H
#define EDT_DATAIO_TFRECORD_H

#include <stdbool.h>

#include "core/error.h"
#include "core/span.h"

enum { EDT_TFRECORD_HEADER_BYTES = 12, EDT_TFRECORD_FOOTER_BYTES = 4 };

// What is wrong with a record; the numbering is stable (reports use the names).
typedef enum edt_tfrecord_fault {
    EDT_TFRECORD_OK,
    EDT_TFRECORD_LENGTH_CRC,
    EDT_TFRECORD_DATA_CRC,
    EDT_TFRECORD_TRUNCATED, // the file ends inside a header, payload or data CRC
    EDT_TFRECORD_TOO_LARGE, // a length that no file can hold, with a valid CRC
} edt_tfrecord_fault;

// "length_crc", "data_crc", "truncated", "too_large", "none".
const char *edt_tfrecord_fault_name(edt_tfrecord_fault fault);

// The 12 bytes before and the 4 bytes after a payload of n_bytes with the (unmasked) CRC-32C
// `crc`.
void edt_tfrecord_put_header(uint64_t n_bytes, uint8_t out[EDT_TFRECORD_HEADER_BYTES]);
void edt_tfrecord_put_footer(uint32_t crc, uint8_t out[EDT_TFRECORD_FOOTER_BYTES]);

// True when the first 12 bytes are a length with its valid CRC.
bool edt_tfrecord_is_header(edt_span bytes);

// Checks the 12 header bytes alone: OK, LENGTH_CRC or TOO_LARGE.
edt_tfrecord_fault edt_tfrecord_get_header(const uint8_t header[EDT_TFRECORD_HEADER_BYTES],
                                           uint64_t *out_n_bytes);

// The record that starts at `offset` of `file`. `*out_payload` is borrowed from `file`,
// `*out_next` is where the following record starts. `verify` false leaves the data CRC
// unchecked.
edt_tfrecord_fault edt_tfrecord_get(edt_span file, uint64_t offset, bool verify,
                                    edt_span *out_payload, uint64_t *out_next);

// The message and status for a fault: CORRUPT for a wrong CRC, FORMAT otherwise. `i_record` -1
// when unknown.
edt_status edt_tfrecord_fail(edt_error *err, edt_tfrecord_fault fault, const char *path,
                             int64_t i_record, uint64_t offset);

#endif
