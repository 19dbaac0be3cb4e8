// zstd shards of arbitrary bytes: seek tables that do not describe their file, damaged frames,
// ranges across frames. No overrun; where the stream decodes in order and the table is
// accepted, ranges either fail with words or hold the same bytes.
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "dataio/shard_zstd.h"

enum { STREAM_BYTES = 1 << 18 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap);

static edt_status read_memory(void *ctx, uint64_t offset, uint8_t *out, size_t n_bytes,
                              edt_error *err)
{
    (void)err;
    const edt_span *file = ctx;
    if (offset > file->n_bytes || n_bytes > file->n_bytes - offset) {
        abort(); // the table was checked against the file's size
    }
    if (n_bytes > 0) {
        memcpy(out, file->data + offset, n_bytes);
    }
    return EDT_OK;
}

static void read_ranges(edt_zstd_decoder *decoder, edt_span file, edt_span stream,
                        bool is_whole)
{
    edt_zstd_seek_table table;
    edt_error err = {0};
    const uint64_t n_table =
        file.n_bytes < EDT_ZSTD_FOOTER_BYTES
            ? 0
            : edt_zstd_seek_table_find(file.data + file.n_bytes - EDT_ZSTD_FOOTER_BYTES,
                                       file.n_bytes);
    if (n_table == 0 || edt_zstd_seek_table_parse(
                            (edt_span){file.data + file.n_bytes - n_table, (size_t)n_table},
                            file.n_bytes, "fuzz", &err, &table) != EDT_OK) {
        return;
    }
    static uint8_t out[4096];
    const uint64_t n_stream = edt_zstd_seek_table_stream_bytes(&table);
    for (uint64_t at = 0; at <= n_stream && at < 3000; at += 1 + at / 2) {
        const size_t n = n_stream - at < sizeof out ? (size_t)(n_stream - at) : sizeof out;
        err.text[0] = '\0';
        const edt_status status = edt_zstd_decode_range(decoder, &table, read_memory, &file,
                                                        "fuzz", at, out, n, &err);
        if (status != EDT_OK && err.text[0] == '\0') {
            abort();
        }
        // The frames of an honest table are those of the stream.
        if (status == EDT_OK && is_whole && n_stream == stream.n_bytes &&
            at + n <= stream.n_bytes && table.n_frames == 1 &&
            memcmp(out, stream.data + at, n) != 0) {
            abort();
        }
    }
    edt_zstd_seek_table_deinit(&table);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static uint8_t stream[STREAM_BYTES];
    edt_zstd_decoder *decoder = NULL;
    edt_error err = {0};
    if (edt_zstd_decoder_create(&err, &decoder) != EDT_OK) {
        abort();
    }
    const edt_span file = {data, n};
    size_t consumed = 0;
    size_t n_stream = 0;
    bool whole = false;
    const edt_status status = edt_zstd_decode_next(decoder, file, 0, &consumed, "fuzz", stream,
                                                   STREAM_BYTES, &err, &n_stream, &whole);
    if (consumed > n || n_stream > STREAM_BYTES || (status != EDT_OK && err.text[0] == '\0')) {
        abort();
    }
    read_ranges(decoder, file, (edt_span){stream, n_stream},
                status == EDT_OK && whole && consumed == n);
    edt_zstd_decoder_destroy(decoder);
    return 0;
}

size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    static uint8_t content[5000];
    for (size_t k = 0; k < sizeof content; ++k) {
        content[k] = (uint8_t)(k * k >> 7);
    }
    static const size_t sizes[3][3] = {{300, 0, 0}, {700, 1, 900}, {2500, 40, 2000}};
    if (i > 3) {
        return 0;
    }
    edt_zstd_encoder *encoder = NULL;
    edt_zstd_place places[4] = {{0}};
    edt_zstd_seek_table table = {.places = places};
    size_t n_out = 0;
    if (edt_zstd_encoder_create(NULL, &encoder) != EDT_OK) {
        abort();
    }
    for (int k = 0; i < 3 && k < 3 && sizes[i][k] > 0; ++k) {
        size_t n;
        if (edt_zstd_encode(encoder, (edt_span){content, sizes[i][k]}, out + n_out, cap - n_out,
                            NULL, &n) != EDT_OK) {
            abort();
        }
        n_out += n;
        places[++table.n_frames] = (edt_zstd_place){
            .file_offset = n_out, .stream_offset = places[k].stream_offset + sizes[i][k]};
    }
    edt_zstd_encoder_destroy(encoder);
    edt_zstd_seek_table_put(&table, out + n_out);
    return n_out + edt_zstd_seek_table_bytes(table.n_frames);
}
