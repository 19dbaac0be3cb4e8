// See tfrecord.h. The host is little endian, as the file is.
#include "dataio/tfrecord.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/crc32c.h"

// Beyond this a length is refused outright: offset arithmetic in 64 bits stays exact.
static const uint64_t max_payload_bytes = UINT64_C(1) << 62;

const char *edt_tfrecord_fault_name(edt_tfrecord_fault fault)
{
    switch (fault) {
    case EDT_TFRECORD_LENGTH_CRC: return "length_crc";
    case EDT_TFRECORD_DATA_CRC: return "data_crc";
    case EDT_TFRECORD_TRUNCATED: return "truncated";
    case EDT_TFRECORD_TOO_LARGE: return "too_large";
    case EDT_TFRECORD_OK: break;
    }
    return "none";
}

void edt_tfrecord_put_header(uint64_t n_bytes, uint8_t out[EDT_TFRECORD_HEADER_BYTES])
{
    memcpy(out, &n_bytes, 8);
    edt_tfrecord_put_footer(edt_crc32c(0, out, 8), out + 8);
}

void edt_tfrecord_put_footer(uint32_t crc, uint8_t out[EDT_TFRECORD_FOOTER_BYTES])
{
    const uint32_t masked = edt_crc32c_mask(crc);
    memcpy(out, &masked, sizeof masked);
}

static bool crc_matches(const uint8_t *data, size_t n_bytes, const uint8_t *stored)
{
    uint32_t masked;
    memcpy(&masked, stored, sizeof masked);
    return edt_crc32c_mask(edt_crc32c(0, data, n_bytes)) == masked;
}

bool edt_tfrecord_is_header(edt_span bytes)
{
    return bytes.n_bytes >= EDT_TFRECORD_HEADER_BYTES &&
           crc_matches(bytes.data, 8, bytes.data + 8);
}

edt_tfrecord_fault edt_tfrecord_get_header(const uint8_t header[EDT_TFRECORD_HEADER_BYTES],
                                           uint64_t *out_n_bytes)
{
    if (!crc_matches(header, 8, header + 8)) {
        return EDT_TFRECORD_LENGTH_CRC;
    }
    uint64_t n_bytes;
    memcpy(&n_bytes, header, sizeof n_bytes);
    if (n_bytes > max_payload_bytes) {
        return EDT_TFRECORD_TOO_LARGE;
    }
    *out_n_bytes = n_bytes;
    return EDT_TFRECORD_OK;
}

edt_tfrecord_fault edt_tfrecord_get(edt_span file, uint64_t offset, bool verify,
                                    edt_span *out_payload, uint64_t *out_next)
{
    if (offset > file.n_bytes || file.n_bytes - offset < EDT_TFRECORD_HEADER_BYTES) {
        return EDT_TFRECORD_TRUNCATED;
    }
    const uint8_t *record = file.data + offset;
    const uint64_t left = file.n_bytes - offset - EDT_TFRECORD_HEADER_BYTES;
    uint64_t n_bytes;
    const edt_tfrecord_fault fault = edt_tfrecord_get_header(record, &n_bytes);
    if (fault != EDT_TFRECORD_OK) {
        return fault;
    }
    if (left < EDT_TFRECORD_FOOTER_BYTES || n_bytes > left - EDT_TFRECORD_FOOTER_BYTES) {
        return EDT_TFRECORD_TRUNCATED;
    }
    const uint8_t *payload = record + EDT_TFRECORD_HEADER_BYTES;
    if (verify && !crc_matches(payload, (size_t)n_bytes, payload + n_bytes)) {
        return EDT_TFRECORD_DATA_CRC;
    }
    *out_payload = (edt_span){.data = payload, .n_bytes = (size_t)n_bytes};
    *out_next = offset + EDT_TFRECORD_HEADER_BYTES + n_bytes + EDT_TFRECORD_FOOTER_BYTES;
    return EDT_TFRECORD_OK;
}

edt_status edt_tfrecord_fail(edt_error *err, edt_tfrecord_fault fault, const char *path,
                             int64_t i_record, uint64_t offset)
{
    char where[64] = "";
    if (i_record >= 0) {
        (void)snprintf(where, sizeof where, "record %" PRId64 ", ", i_record);
    }
    const char *hint = i_record == 0 ? " (is this even a TFRecord file?)" : "";
    switch (fault) {
    case EDT_TFRECORD_LENGTH_CRC:
        EDT_FAIL(err, EDT_ERR_CORRUPT,
                 "'%s': corrupted record: %soffset %" PRIu64
                 ": the CRC of the length does not match%s",
                 path, where, offset, hint);
    case EDT_TFRECORD_DATA_CRC:
        EDT_FAIL(err, EDT_ERR_CORRUPT,
                 "'%s': corrupted record: %soffset %" PRIu64
                 ": the CRC of the payload at %" PRIu64 " does not match%s",
                 path, where, offset, offset + EDT_TFRECORD_HEADER_BYTES, hint);
    case EDT_TFRECORD_TRUNCATED:
        EDT_FAIL(err, EDT_ERR_FORMAT,
                 "'%s': truncated record: %soffset %" PRIu64 ": the file ends inside it%s",
                 path, where, offset, hint);
    case EDT_TFRECORD_TOO_LARGE:
        EDT_FAIL(err, EDT_ERR_FORMAT, "'%s': %soffset %" PRIu64 ": record size too large", path,
                 where, offset);
    case EDT_TFRECORD_OK: break;
    }
    return EDT_OK;
}
