// Shards of arbitrary bytes, plain and compressed: no overrun, payloads inside the file, and
// random access agrees with reading in order.
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "core/crc32c.h"
#include "dataio/shard_reader.h"
#include "dataio/shard_zstd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap);

static void drain(edt_span bytes, const edt_shard_reader_options *options)
{
    edt_error err = {0};
    edt_shard_reader *reader = NULL;
    if (edt_shard_reader_open_memory(bytes, "fuzz", options, &err, &reader) != EDT_OK) {
        return;
    }
    const bool plain = edt_shard_reader_format(reader) == EDT_SHARD_PLAIN;
    uint8_t sum = 0;
    edt_record record;
    edt_status status;
    while ((status = edt_shard_reader_next(reader, &err, &record)) == EDT_OK) {
        for (size_t i = 0; i < record.payload.n_bytes; ++i) {
            sum = (uint8_t)(sum + record.payload.data[i]);
        }
        edt_span again;
        if (plain && (edt_shard_reader_read_at(reader, record.offset, record.index, NULL,
                                               &again) != EDT_OK ||
                      again.data != record.payload.data)) {
            abort();
        }
    }
    uint64_t offset;
    if (status != EDT_END &&
        (err.text[0] == '\0' || edt_shard_reader_next(reader, NULL, &record) == EDT_OK)) {
        abort();
    }
    if (status == EDT_END && edt_shard_reader_fault(reader, &offset) != EDT_TFRECORD_OK) {
        abort();
    }
    volatile uint8_t used = sum;
    (void)used;
    edt_shard_reader_close(reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const edt_shard_reader_options loose = {.skip_data_crc = true, .lenient_tail = true};
    drain((edt_span){data, n}, NULL);
    drain((edt_span){data, n}, &loose);
    return 0;
}

static size_t put_record(uint8_t *out, size_t n_payload)
{
    edt_tfrecord_put_header(n_payload, out);
    memset(out + EDT_TFRECORD_HEADER_BYTES, 'x', n_payload);
    edt_tfrecord_put_footer(edt_crc32c(0, out + EDT_TFRECORD_HEADER_BYTES, n_payload),
                            out + EDT_TFRECORD_HEADER_BYTES + n_payload);
    return EDT_TFRECORD_HEADER_BYTES + n_payload + EDT_TFRECORD_FOOTER_BYTES;
}

size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    uint8_t plain[1024];
    size_t n = 0;
    n += put_record(plain + n, 5);
    n += put_record(plain + n, 0);
    n += put_record(plain + n, 300);
    if (i > 3) {
        return 0;
    }
    if (i == 0) {
        memcpy(out, plain, n);
        return n;
    }
    if (i == 3) {
        edt_zstd_encoder *encoder = NULL;
        size_t n_out = 0;
        if (edt_zstd_encoder_create(NULL, &encoder) != EDT_OK ||
            edt_zstd_encode(encoder, (edt_span){plain, n}, out, cap, NULL, &n_out) != EDT_OK) {
            abort();
        }
        edt_zstd_encoder_destroy(encoder);
        return n_out;
    }
    z_stream z = {0};
    if (deflateInit2(&z, 6, Z_DEFLATED, i == 1 ? 31 : 15, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
        return 0;
    }
    z.next_in = plain;
    z.avail_in = (uInt)n;
    z.next_out = out;
    z.avail_out = (uInt)cap;
    (void)deflate(&z, Z_FINISH);
    (void)deflateEnd(&z);
    return cap - z.avail_out;
}
