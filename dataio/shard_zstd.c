// See shard_zstd.h. The format is that of zstd's contrib/seekable_format
// (zstd_seekable_compression_format.md, version 0.1.0); numbers are little endian as the host.
#include "dataio/shard_zstd.h"

#include <inttypes.h>
#include <string.h>
#include <zstd.h>

#include "core/mem.h"

enum {
    LEVEL = 3,
    SKIPPABLE_HEADER_BYTES = 8,
    ENTRY_BYTES = 8, // with a checksum: 12
    CHECKSUM_BYTES = 4,
    CHECKSUM_FLAG = 0x80,
    RESERVED_BITS = 0x7c,
    SKIP_BYTES = 1 << 17, // decoded at once of what lies before a range
};
static const uint32_t seekable_magic = 0x8F92EAB1u;
static const uint32_t table_frame_magic = 0x184D2A5Eu;
static const uint32_t max_frames = 0x8000000u;

struct edt_zstd_encoder {
    ZSTD_CCtx *context;
};

struct edt_zstd_decoder {
    ZSTD_DCtx *context;
    bool is_inside; // of a frame of the stream
    uint8_t *input; // one frame of the file
    size_t capacity;
    uint8_t *skipped; // [SKIP_BYTES]
};

static uint32_t get_u32(const uint8_t *data)
{
    uint32_t value;
    memcpy(&value, data, sizeof value);
    return value;
}

static void put_u32(uint8_t *data, uint32_t value)
{
    memcpy(data, &value, sizeof value);
}

bool edt_zstd_is_frame(edt_span bytes)
{
    return bytes.n_bytes >= 4 &&
           (get_u32(bytes.data) == ZSTD_MAGICNUMBER ||
            (get_u32(bytes.data) & 0xFFFFFFF0u) == ZSTD_MAGIC_SKIPPABLE_START);
}

edt_status edt_zstd_encoder_create(edt_error *err, edt_zstd_encoder **out_encoder)
{
    edt_zstd_encoder *encoder = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *encoder);
    if (encoder != NULL) {
        encoder->context = ZSTD_createCCtx();
    }
    if (encoder == NULL || encoder->context == NULL ||
        ZSTD_isError(
            ZSTD_CCtx_setParameter(encoder->context, ZSTD_c_compressionLevel, LEVEL))) {
        edt_zstd_encoder_destroy(encoder);
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to compress by zstd");
    }
    *out_encoder = encoder;
    return EDT_OK;
}

void edt_zstd_encoder_destroy(edt_zstd_encoder *encoder)
{
    if (encoder != NULL) {
        (void)ZSTD_freeCCtx(encoder->context);
        edt_mem_free(encoder);
    }
}

size_t edt_zstd_frame_bound(size_t n_bytes)
{
    return ZSTD_compressBound(n_bytes);
}

edt_status edt_zstd_encode(edt_zstd_encoder *encoder, edt_span bytes, uint8_t *out,
                           size_t capacity, edt_error *err, size_t *out_n)
{
    const size_t n = ZSTD_compress2(encoder->context, out, capacity, bytes.data, bytes.n_bytes);
    if (ZSTD_isError(n)) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "cannot compress %zu bytes by zstd: %s", bytes.n_bytes,
                 ZSTD_getErrorName(n));
    }
    *out_n = n;
    return EDT_OK;
}

void edt_zstd_seek_table_deinit(edt_zstd_seek_table *table)
{
    edt_mem_free(table->places);
    *table = (edt_zstd_seek_table){0};
}

uint64_t edt_zstd_seek_table_stream_bytes(const edt_zstd_seek_table *table)
{
    return table->places[table->n_frames].stream_offset;
}

size_t edt_zstd_seek_table_bytes(uint64_t n_frames)
{
    return SKIPPABLE_HEADER_BYTES + (size_t)n_frames * ENTRY_BYTES + EDT_ZSTD_FOOTER_BYTES;
}

void edt_zstd_seek_table_put(const edt_zstd_seek_table *table, uint8_t *out)
{
    const size_t n = edt_zstd_seek_table_bytes(table->n_frames);
    put_u32(out, table_frame_magic);
    put_u32(out + 4, (uint32_t)(n - SKIPPABLE_HEADER_BYTES));
    uint8_t *entry = out + SKIPPABLE_HEADER_BYTES;
    for (uint64_t i = 0; i < table->n_frames; ++i, entry += ENTRY_BYTES) {
        const edt_zstd_place *a = &table->places[i];
        put_u32(entry, (uint32_t)(a[1].file_offset - a->file_offset));
        put_u32(entry + 4, (uint32_t)(a[1].stream_offset - a->stream_offset));
    }
    put_u32(entry, (uint32_t)table->n_frames);
    entry[4] = 0;
    put_u32(entry + 5, seekable_magic);
}

uint64_t edt_zstd_seek_table_find(const uint8_t footer[EDT_ZSTD_FOOTER_BYTES],
                                  uint64_t file_bytes)
{
    if (get_u32(footer + 5) != seekable_magic || (footer[4] & RESERVED_BITS) != 0) {
        return 0;
    }
    const uint64_t n_frames = get_u32(footer);
    const uint64_t entry_bytes =
        ENTRY_BYTES + ((footer[4] & CHECKSUM_FLAG) != 0 ? CHECKSUM_BYTES : 0);
    const uint64_t n_bytes =
        SKIPPABLE_HEADER_BYTES + n_frames * entry_bytes + EDT_ZSTD_FOOTER_BYTES;
    return n_frames <= max_frames && n_bytes <= file_bytes ? n_bytes : 0;
}

static edt_status fail_table(const char *path, const char *what, edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_FORMAT, "'%s': its zstd seek table is damaged: %s", path, what);
}

edt_status edt_zstd_seek_table_parse(edt_span bytes, uint64_t file_bytes, const char *path,
                                     edt_error *err, edt_zstd_seek_table *out_table)
{
    if (bytes.n_bytes < SKIPPABLE_HEADER_BYTES + EDT_ZSTD_FOOTER_BYTES ||
        edt_zstd_seek_table_find(bytes.data + bytes.n_bytes - EDT_ZSTD_FOOTER_BYTES,
                                 file_bytes) != bytes.n_bytes ||
        get_u32(bytes.data) != table_frame_magic ||
        get_u32(bytes.data + 4) != bytes.n_bytes - SKIPPABLE_HEADER_BYTES) {
        return fail_table(path, "it is not a frame of the size that its end states", err);
    }
    const uint8_t *footer = bytes.data + bytes.n_bytes - EDT_ZSTD_FOOTER_BYTES;
    const uint64_t n_frames = get_u32(footer);
    const size_t entry_bytes =
        ENTRY_BYTES + ((footer[4] & CHECKSUM_FLAG) != 0 ? (size_t)CHECKSUM_BYTES : 0);
    edt_zstd_seek_table table = {.n_frames = n_frames};
    table.places = edt_mem_alloc(EDT_MEM_MISC, ((size_t)n_frames + 1) * sizeof *table.places);
    if (table.places == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "'%s': no memory for a seek table of %" PRIu64 " frames",
                 path, n_frames);
    }
    const uint8_t *entry = bytes.data + SKIPPABLE_HEADER_BYTES;
    edt_zstd_place place = {0};
    for (uint64_t i = 0; i < n_frames; ++i, entry += entry_bytes) {
        table.places[i] = place;
        place.file_offset += get_u32(entry);
        place.stream_offset += get_u32(entry + 4);
    }
    table.places[n_frames] = place;
    if (place.file_offset != file_bytes - bytes.n_bytes) {
        edt_zstd_seek_table_deinit(&table);
        return fail_table(path, "the sizes of the frames do not add up to the file's", err);
    }
    *out_table = table;
    return EDT_OK;
}

edt_status edt_zstd_decoder_create(edt_error *err, edt_zstd_decoder **out_decoder)
{
    edt_zstd_decoder *decoder = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *decoder);
    if (decoder != NULL) {
        decoder->context = ZSTD_createDCtx();
    }
    if (decoder == NULL || decoder->context == NULL) {
        edt_zstd_decoder_destroy(decoder);
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to decompress by zstd");
    }
    *out_decoder = decoder;
    return EDT_OK;
}

void edt_zstd_decoder_destroy(edt_zstd_decoder *decoder)
{
    if (decoder != NULL) {
        (void)ZSTD_freeDCtx(decoder->context);
        edt_mem_free(decoder->input);
        edt_mem_free(decoder->skipped);
        edt_mem_free(decoder);
    }
}

static edt_status fail_frame(const char *path, uint64_t i_frame, uint64_t offset,
                             const char *what, edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_FORMAT,
             "'%s': its zstd frame %" PRIu64 " at byte %" PRIu64 " is damaged: %s", path,
             i_frame, offset, what);
}

uint64_t edt_zstd_seek_table_frame(const edt_zstd_seek_table *table, uint64_t offset)
{
    uint64_t low = 0;
    uint64_t high = table->n_frames;
    while (high - low > 1) {
        const uint64_t middle = low + (high - low) / 2;
        if (table->places[middle].stream_offset <= offset) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

static edt_status load_frame(edt_zstd_decoder *decoder, edt_zstd_read_fn *read, void *ctx,
                             uint64_t offset, size_t n_bytes, edt_error *err)
{
    if (n_bytes > decoder->capacity) {
        uint8_t *grown = edt_mem_realloc(EDT_MEM_MISC, decoder->input, n_bytes + n_bytes / 4);
        if (grown == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a zstd frame of %zu bytes", n_bytes);
        }
        decoder->input = grown;
        decoder->capacity = n_bytes + n_bytes / 4;
    }
    return read(ctx, offset, decoder->input, n_bytes, err);
}

// Bytes skip .. skip + n_bytes of the frame's content, without holding the rest of it.
static const char *decode_part(edt_zstd_decoder *decoder, size_t n_input, uint64_t skip,
                               uint8_t *out, size_t n_bytes)
{
    if (decoder->skipped == NULL) {
        decoder->skipped = edt_mem_alloc(EDT_MEM_MISC, SKIP_BYTES);
        if (decoder->skipped == NULL) {
            return "no memory to decode it";
        }
    }
    (void)ZSTD_DCtx_reset(decoder->context, ZSTD_reset_session_only);
    ZSTD_inBuffer in = {.src = decoder->input, .size = n_input, .pos = 0};
    size_t done = 0;
    while (done < n_bytes) {
        const size_t room =
            skip > 0 ? (size_t)(skip < SKIP_BYTES ? skip : SKIP_BYTES) : n_bytes - done;
        ZSTD_outBuffer part = {.dst = skip > 0 ? decoder->skipped : out + done, .size = room};
        const size_t before = in.pos;
        const size_t result = ZSTD_decompressStream(decoder->context, &part, &in);
        if (ZSTD_isError(result)) {
            return ZSTD_getErrorName(result);
        }
        if (part.pos == 0 && in.pos == before) {
            return "it holds less than the seek table says";
        }
        if (skip > 0) {
            skip -= part.pos;
        } else {
            done += part.pos;
        }
    }
    return NULL;
}

edt_status edt_zstd_decode_range(edt_zstd_decoder *decoder, const edt_zstd_seek_table *table,
                                 edt_zstd_read_fn *read, void *ctx, const char *path,
                                 uint64_t offset, uint8_t *out, size_t n_bytes, edt_error *err)
{
    const uint64_t stream_bytes = edt_zstd_seek_table_stream_bytes(table);
    if (offset > stream_bytes || n_bytes > stream_bytes - offset) {
        EDT_FAIL(err, EDT_ERR_FORMAT,
                 "'%s': bytes %" PRIu64 " to %" PRIu64 " of a stream of %" PRIu64, path, offset,
                 offset + n_bytes, stream_bytes);
    }
    decoder->is_inside = false;
    for (uint64_t i = n_bytes > 0 ? edt_zstd_seek_table_frame(table, offset) : 0; n_bytes > 0;
         ++i) {
        const edt_zstd_place *frame = &table->places[i];
        const size_t n_input = (size_t)(frame[1].file_offset - frame->file_offset);
        const uint64_t content = frame[1].stream_offset - frame->stream_offset;
        const uint64_t skip = offset - frame->stream_offset;
        const size_t n = content - skip < n_bytes ? (size_t)(content - skip) : n_bytes;
        EDT_TRY(load_frame(decoder, read, ctx, frame->file_offset, n_input, err));
        const char *problem = NULL;
        if (n == content) {
            const size_t result =
                ZSTD_decompressDCtx(decoder->context, out, n, decoder->input, n_input);
            if (ZSTD_isError(result)) {
                problem = ZSTD_getErrorName(result);
            } else if (result != n) {
                problem = "it holds less than the seek table says";
            }
        } else {
            problem = decode_part(decoder, n_input, skip, out, n);
        }
        if (problem != NULL) {
            return fail_frame(path, i, frame->file_offset, problem, err);
        }
        out += n;
        offset += n;
        n_bytes -= n;
    }
    return EDT_OK;
}

edt_status edt_zstd_decode_next(edt_zstd_decoder *decoder, edt_span bytes, uint64_t offset,
                                size_t *consumed, const char *path, uint8_t *out,
                                size_t n_bytes, edt_error *err, size_t *out_n, bool *out_whole)
{
    ZSTD_inBuffer in = {.src = bytes.data, .size = bytes.n_bytes, .pos = *consumed};
    ZSTD_outBuffer part = {.dst = out, .size = n_bytes};
    while (part.pos < n_bytes) {
        const size_t in_before = in.pos;
        const size_t out_before = part.pos;
        if (in.pos == in.size && !decoder->is_inside) {
            break;
        }
        const size_t result = ZSTD_decompressStream(decoder->context, &part, &in);
        if (ZSTD_isError(result)) {
            EDT_FAIL(err, EDT_ERR_FORMAT,
                     "'%s': its zstd stream is damaged at byte %" PRIu64 ": %s", path,
                     offset + in_before, ZSTD_getErrorName(result));
        }
        decoder->is_inside = result != 0;
        if (part.pos == out_before && in.pos == in_before) {
            break;
        }
    }
    *consumed = in.pos;
    *out_n = part.pos;
    *out_whole = !(part.pos < n_bytes && decoder->is_inside);
    return EDT_OK;
}
