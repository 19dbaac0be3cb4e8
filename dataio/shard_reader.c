// See shard_reader.h. Compressed files are inflated from chunks read into a buffer, compressed
// memory from where it lies.
#include "dataio/shard_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "core/mem.h"
#include "core/path.h"
#include "dataio/shard_zstd.h"

enum {
    INFLATE_STEP_BYTES = 1 << 16, // a damaged length cannot make us allocate ahead of the data
    CHUNK_BYTES = 1 << 18,        // of a compressed file, read at a time
    WINDOW_BITS = 15,
    WINDOW_BITS_GZIP = 15 + 16,
};

struct edt_shard_reader {
    char *path;
    edt_shard_reader_options options;
    edt_shard_format format;
    edt_mapped_file file; // of a reader over a plain file
    edt_span bytes;       // of the mapping or the caller's; shrinks with the file. A compressed
                          // file: the chunk at chunk_offset
    int fd;               // to watch the size of a file and to read a compressed one; -1: none
    bool is_cut;          // the file has become shorter since it was opened
    uint64_t file_bytes;  // when it was opened
    uint64_t offset;      // of the next record, uncompressed
    int64_t n_read;
    edt_tfrecord_fault fault;

    // Streams only.
    z_stream inflater;
    bool has_inflater;
    edt_zstd_decoder *decoder;
    bool stream_ended; // at the end of a member or of a frame
    size_t consumed;   // bytes of the file given to the inflater
    uint8_t *chunk;    // of a compressed file; NULL: the whole stream lies in `bytes`
    size_t chunk_offset;
    uint8_t *buffer; // one record
    size_t capacity;
};

const char *edt_shard_format_name(edt_shard_format format)
{
    switch (format) {
    case EDT_SHARD_GZIP: return "gzip";
    case EDT_SHARD_ZLIB: return "zlib";
    case EDT_SHARD_ZSTD: return "zstd";
    case EDT_SHARD_PLAIN: break;
    }
    return "plain";
}

static edt_status start_inflater(edt_shard_reader *reader, edt_error *err)
{
    const int bits = reader->format == EDT_SHARD_GZIP ? WINDOW_BITS_GZIP : WINDOW_BITS;
    if (inflateInit2(&reader->inflater, bits) != Z_OK) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "'%s': no memory to decompress it", reader->path);
    }
    reader->has_inflater = true;
    return EDT_OK;
}

static edt_status fail_stream(const edt_shard_reader *reader, edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_FORMAT, "'%s': its %s stream is damaged at byte %zu: %s",
             reader->path, edt_shard_format_name(reader->format), reader->consumed,
             reader->inflater.msg != NULL ? reader->inflater.msg : "invalid data");
}

// What of the compressed stream has not been consumed and is in memory; empty at its end only.
static edt_status get_input(edt_shard_reader *reader, edt_error *err, edt_span *out_input)
{
    size_t used = reader->consumed - reader->chunk_offset;
    if (reader->chunk != NULL && used == reader->bytes.n_bytes) {
        const size_t left = (size_t)reader->file_bytes - reader->consumed;
        ssize_t n;
        do {
            n = pread(reader->fd, reader->chunk, left < CHUNK_BYTES ? left : CHUNK_BYTES,
                      (off_t)reader->consumed);
        } while (n < 0 && errno == EINTR);
        if (n < 0) {
            return edt_error_set_errno(err, EDT_ERR_IO, errno, "cannot read '%s'",
                                       reader->path);
        }
        if (n == 0 && left > 0) {
            EDT_FAIL(err, EDT_ERR_MISMATCH,
                     "'%s' ends at byte %zu, but had %zu bytes when it was opened; restore it "
                     "and start again",
                     reader->path, reader->consumed, (size_t)reader->file_bytes);
        }
        reader->chunk_offset = reader->consumed;
        reader->bytes = (edt_span){reader->chunk, (size_t)n};
        used = 0;
    }
    *out_input = (edt_span){reader->bytes.data + used, reader->bytes.n_bytes - used};
    return EDT_OK;
}

static edt_status decode_zstd(edt_shard_reader *reader, uint8_t *out, size_t n_bytes,
                              edt_error *err, size_t *out_n)
{
    size_t done = 0;
    for (;;) {
        edt_span in = {0};
        EDT_TRY(get_input(reader, err, &in));
        size_t used = 0, n = 0;
        EDT_TRY(edt_zstd_decode_next(reader->decoder, in, reader->consumed, &used, reader->path,
                                     out + done, n_bytes - done, err, &n,
                                     &reader->stream_ended));
        reader->consumed += used;
        done += n;
        if (done == n_bytes || (used == 0 && n == 0)) {
            *out_n = done;
            return EDT_OK;
        }
    }
}

// Decompresses up to `n_bytes`; fewer only at the end of the stream or of the file.
static edt_status inflate_bytes(edt_shard_reader *reader, uint8_t *out, size_t n_bytes,
                                edt_error *err, size_t *out_n)
{
    if (reader->format == EDT_SHARD_ZSTD) {
        return decode_zstd(reader, out, n_bytes, err, out_n);
    }
    z_stream *z = &reader->inflater;
    size_t done = 0;
    while (done < n_bytes) {
        edt_span in = {0};
        EDT_TRY(get_input(reader, err, &in));
        if (reader->stream_ended) {
            if (in.n_bytes == 0) {
                break;
            }
            // Only gzip knows concatenated members.
            if (reader->format != EDT_SHARD_GZIP) {
                EDT_FAIL(err, EDT_ERR_FORMAT,
                         "'%s': %zu bytes follow the end of its zlib stream at byte %zu",
                         reader->path, (size_t)reader->file_bytes - reader->consumed,
                         reader->consumed);
            }
            if (inflateReset(z) != Z_OK) {
                return fail_stream(reader, err);
            }
            reader->stream_ended = false;
        }
        const size_t left = in.n_bytes;
        const size_t give = left < INFLATE_STEP_BYTES ? left : INFLATE_STEP_BYTES;
        const size_t room = n_bytes - done < (1u << 30) ? n_bytes - done : (1u << 30);
        // zlib takes a mutable pointer but only reads through it.
        z->next_in = (z_const Bytef *)(uintptr_t)in.data;
        z->avail_in = (uInt)give;
        z->next_out = out + done;
        z->avail_out = (uInt)room;
        const int result = inflate(z, Z_NO_FLUSH);
        reader->consumed += give - z->avail_in;
        done += room - z->avail_out;
        if (result == Z_STREAM_END) {
            reader->stream_ended = true;
        } else if (result == Z_BUF_ERROR && left == 0) {
            break;
        } else if (result != Z_OK) {
            return fail_stream(reader, err);
        }
    }
    *out_n = done;
    return EDT_OK;
}

static bool looks_like_zlib(edt_span bytes)
{
    return bytes.n_bytes >= 2 && (bytes.data[0] & 0x0f) == 8 && bytes.data[0] >> 4 <= 7 &&
           (bytes.data[0] * 256 + bytes.data[1]) % 31 == 0 && (bytes.data[1] & 0x20) == 0;
}

// A plain shard whose first length is damaged can begin like a zlib stream: it is taken for one
// only when a record header comes out, or nothing at all.
static bool inflates_to_records(edt_span bytes)
{
    uint8_t header[EDT_TFRECORD_HEADER_BYTES];
    z_stream z = {0};
    if (inflateInit2(&z, WINDOW_BITS) != Z_OK) {
        return false;
    }
    const size_t give = bytes.n_bytes < INFLATE_STEP_BYTES ? bytes.n_bytes : INFLATE_STEP_BYTES;
    z.next_in = (z_const Bytef *)(uintptr_t)bytes.data;
    z.avail_in = (uInt)give;
    z.next_out = header;
    z.avail_out = sizeof header;
    const int result = inflate(&z, Z_NO_FLUSH);
    const size_t n = sizeof header - z.avail_out;
    (void)inflateEnd(&z);
    return (n == sizeof header && edt_tfrecord_is_header((edt_span){header, n})) ||
           (result == Z_STREAM_END && n == 0);
}

edt_shard_format edt_shard_detect_format(edt_span bytes)
{
    if (edt_tfrecord_is_header(bytes)) {
        return EDT_SHARD_PLAIN;
    }
    if (bytes.n_bytes >= 3 && memcmp(bytes.data, "\x1f\x8b\x08", 3) == 0) {
        return EDT_SHARD_GZIP;
    }
    if (edt_zstd_is_frame(bytes)) {
        return EDT_SHARD_ZSTD;
    }
    return looks_like_zlib(bytes) && inflates_to_records(bytes) ? EDT_SHARD_ZLIB
                                                                : EDT_SHARD_PLAIN;
}

// The reader takes the mapping over, also on failure; over memory it is a zeroed one.
static edt_status create(edt_span bytes, edt_mapped_file *take_file, const char *name,
                         const edt_shard_reader_options *options, edt_error *err,
                         edt_shard_reader **out_reader)
{
    edt_status status = EDT_OK;
    edt_shard_reader *reader = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *reader);
    if (reader == NULL) {
        edt_mapped_file_close(take_file);
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to read '%s'", name);
    }
    reader->fd = -1;
    reader->file = *take_file;
    reader->bytes = bytes;
    reader->file_bytes = bytes.n_bytes;
    if (options != NULL) {
        reader->options = *options;
    }
    reader->path = edt_mem_strdup(EDT_MEM_MISC, name);
    if (reader->path == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory to read '%s'", name);
        goto fail;
    }
    reader->format = edt_shard_detect_format(bytes);
    if (reader->format == EDT_SHARD_ZSTD) {
        EDT_TRY_GOTO(edt_zstd_decoder_create(err, &reader->decoder));
    } else if (reader->format != EDT_SHARD_PLAIN) {
        EDT_TRY_GOTO(start_inflater(reader, err));
    }
    *out_reader = reader;
    return EDT_OK;

fail:
    edt_shard_reader_close(reader);
    return status;
}

edt_status edt_shard_reader_open(const char *path, const edt_shard_reader_options *options,
                                 edt_error *err, edt_shard_reader **out_reader)
{
    edt_mapped_file file = {0};
    edt_shard_reader *reader = NULL;
    EDT_TRY(edt_mapped_file_open(path, err, &file));
    EDT_TRY(create(file.span, &file, path, options, err, &reader));
    // Without it the size is not watched, which is all.
    reader->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (reader->fd < 0 || reader->format == EDT_SHARD_PLAIN) {
        *out_reader = reader;
        return EDT_OK;
    }
    // A stream needs no mapping, whose missing pages could end the process.
    reader->chunk = edt_mem_alloc(EDT_MEM_MISC, CHUNK_BYTES);
    if (reader->chunk == NULL) {
        edt_shard_reader_close(reader);
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to read '%s'", path);
    }
    edt_mapped_file_close(&reader->file);
    reader->bytes = (edt_span){reader->chunk, 0};
    *out_reader = reader;
    return EDT_OK;
}

edt_status edt_shard_reader_open_memory(edt_span bytes, const char *name,
                                        const edt_shard_reader_options *options, edt_error *err,
                                        edt_shard_reader **out_reader)
{
    edt_mapped_file none = {0};
    return create(bytes, &none, name, options, err, out_reader);
}

void edt_shard_reader_close(edt_shard_reader *reader)
{
    if (reader == NULL) {
        return;
    }
    if (reader->has_inflater) {
        (void)inflateEnd(&reader->inflater);
    }
    edt_zstd_decoder_destroy(reader->decoder);
    if (reader->fd >= 0) {
        (void)close(reader->fd);
    }
    edt_mapped_file_close(&reader->file);
    edt_mem_free(reader->chunk);
    edt_mem_free(reader->buffer);
    edt_mem_free(reader->path);
    edt_mem_free(reader);
}

const char *edt_shard_reader_path(const edt_shard_reader *reader)
{
    return reader->path;
}

edt_shard_format edt_shard_reader_format(const edt_shard_reader *reader)
{
    return reader->format;
}

edt_span edt_shard_reader_bytes(const edt_shard_reader *reader)
{
    return reader->format == EDT_SHARD_PLAIN ? reader->bytes : (edt_span){0};
}

uint64_t edt_shard_reader_file_bytes(const edt_shard_reader *reader)
{
    return reader->file_bytes;
}

uint64_t edt_shard_reader_stream_bytes(const edt_shard_reader *reader)
{
    return reader->format == EDT_SHARD_PLAIN ? reader->bytes.n_bytes : reader->offset;
}

edt_tfrecord_fault edt_shard_reader_fault(const edt_shard_reader *reader, uint64_t *out_offset)
{
    *out_offset = reader->offset;
    return reader->fault;
}

static edt_status fail_record(edt_shard_reader *reader, edt_tfrecord_fault fault,
                              edt_error *err)
{
    reader->fault = fault;
    return edt_tfrecord_fail(err, fault, reader->path, reader->n_read, reader->offset);
}

// Less than a header is left at a record's boundary.
static edt_status end_or_stray(edt_shard_reader *reader, size_t n_left, edt_error *err)
{
    if ((n_left == 0 && !reader->is_cut) || reader->options.lenient_tail) {
        return EDT_END;
    }
    return fail_record(reader, EDT_TFRECORD_TRUNCATED, err);
}

// Touching pages behind the end of a file that was cut off would end the process.
static void watch_size(edt_shard_reader *reader)
{
    struct stat info;
    if (reader->fd < 0 || fstat(reader->fd, &info) != 0 ||
        (uint64_t)info.st_size >= reader->file_bytes) {
        return;
    }
    reader->is_cut = true;
    if (reader->chunk != NULL) {
        return;
    }
    const size_t used = (size_t)reader->offset;
    reader->bytes.n_bytes = (size_t)info.st_size > used ? (size_t)info.st_size : used;
}

static edt_status next_plain(edt_shard_reader *reader, edt_error *err, edt_span *out_payload,
                             uint64_t *out_next)
{
    const edt_span file = reader->bytes;
    const size_t left = file.n_bytes - (size_t)reader->offset;
    if (left < EDT_TFRECORD_HEADER_BYTES) {
        return end_or_stray(reader, left, err);
    }
    const edt_tfrecord_fault fault = edt_tfrecord_get(
        file, reader->offset, !reader->options.skip_data_crc, out_payload, out_next);
    return fault == EDT_TFRECORD_OK ? EDT_OK : fail_record(reader, fault, err);
}

static edt_status grow_buffer(edt_shard_reader *reader, size_t n_bytes, edt_error *err)
{
    if (n_bytes > reader->capacity) {
        uint8_t *grown = edt_mem_realloc(EDT_MEM_MISC, reader->buffer, n_bytes);
        if (grown == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "'%s': no memory for a record of %zu bytes",
                     reader->path, n_bytes);
        }
        reader->buffer = grown;
        reader->capacity = n_bytes;
    }
    return EDT_OK;
}

static edt_status next_inflated(edt_shard_reader *reader, edt_error *err, edt_span *out_payload,
                                uint64_t *out_next)
{
    size_t n;
    EDT_TRY(grow_buffer(reader, INFLATE_STEP_BYTES, err));
    EDT_TRY(inflate_bytes(reader, reader->buffer, EDT_TFRECORD_HEADER_BYTES, err, &n));
    if (n < EDT_TFRECORD_HEADER_BYTES) {
        // The file is over before its stream is: it was cut, even at a record's boundary.
        return reader->stream_ended ? end_or_stray(reader, n, err)
                                    : fail_record(reader, EDT_TFRECORD_TRUNCATED, err);
    }
    uint64_t n_payload;
    const edt_tfrecord_fault fault = edt_tfrecord_get_header(reader->buffer, &n_payload);
    if (fault != EDT_TFRECORD_OK) {
        return fail_record(reader, fault, err);
    }
    const size_t total =
        EDT_TFRECORD_HEADER_BYTES + (size_t)n_payload + EDT_TFRECORD_FOOTER_BYTES;
    for (size_t have = EDT_TFRECORD_HEADER_BYTES; have < total; have += n) {
        const size_t step =
            total - have < have + INFLATE_STEP_BYTES ? total - have : have + INFLATE_STEP_BYTES;
        EDT_TRY(grow_buffer(reader, have + step, err));
        EDT_TRY(inflate_bytes(reader, reader->buffer + have, step, err, &n));
        if (n < step) {
            return fail_record(reader, EDT_TFRECORD_TRUNCATED, err);
        }
    }
    uint64_t end;
    const edt_tfrecord_fault data_fault =
        edt_tfrecord_get((edt_span){reader->buffer, total}, 0, !reader->options.skip_data_crc,
                         out_payload, &end);
    if (data_fault != EDT_TFRECORD_OK) {
        return fail_record(reader, data_fault, err);
    }
    *out_next = reader->offset + end;
    return EDT_OK;
}

edt_status edt_shard_reader_next(edt_shard_reader *reader, edt_error *err,
                                 edt_record *out_record)
{
    if (reader->fault != EDT_TFRECORD_OK) {
        return fail_record(reader, reader->fault, err);
    }
    watch_size(reader);
    edt_span payload;
    uint64_t next;
    EDT_TRY(reader->format == EDT_SHARD_PLAIN ? next_plain(reader, err, &payload, &next)
                                              : next_inflated(reader, err, &payload, &next));
    *out_record =
        (edt_record){.payload = payload, .index = reader->n_read, .offset = reader->offset};
    reader->offset = next;
    ++reader->n_read;
    return EDT_OK;
}

edt_status edt_shard_reader_read_at(const edt_shard_reader *reader, uint64_t offset,
                                    int64_t i_record, edt_error *err, edt_span *out_payload)
{
    if (reader->format != EDT_SHARD_PLAIN) {
        EDT_FAIL(
            err, EDT_ERR_UNSUPPORTED,
            "'%s' is one %s stream and can only be read in order; random access needs plain "
            "shards",
            reader->path, edt_shard_format_name(reader->format));
    }
    uint64_t next;
    const edt_tfrecord_fault fault = edt_tfrecord_get(
        reader->bytes, offset, !reader->options.skip_data_crc, out_payload, &next);
    return fault == EDT_TFRECORD_OK
               ? EDT_OK
               : edt_tfrecord_fail(err, fault, reader->path, i_record, offset);
}
