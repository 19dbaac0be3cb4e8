// See shard_stream.h. zstd frames are compressed by the threads that bring the records; gzip
// and zlib are one stream each, deflated by whoever brings the bytes whose turn it is.
#include "dataio/shard_stream.h"

#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <zlib.h>

#include "core/mem.h"
#include "dataio/shard_zstd.h"

enum {
    OUT_BYTES = 1 << 18,
    WAITING_BYTES = 32 << 20, // of one stream, before a thread waits for its turn
    WINDOW_BITS = 15,
    WINDOW_BITS_GZIP = 15 + 16,
    MEMORY_LEVEL = 8,
};

// Bytes that came before their turn, or now have it.
typedef struct piece {
    struct piece *next;
    uint64_t offset; // in the uncompressed shard
    size_t n_stream; // bytes of it there
    size_t n_bytes;  // of data: as they are, or one zstd frame
    uint8_t data[];
} piece;

typedef struct idle_encoder {
    struct idle_encoder *next;
    edt_zstd_encoder *encoder;
} idle_encoder;

struct edt_shard_stream {
    edt_atomic_file *file;
    const char *path;
    edt_shard_compression compression;
    pthread_mutex_t lock; // guards what follows
    pthread_cond_t moved; // next_offset has grown, or a failure
    uint64_t next_offset;
    piece *waiting; // by offset
    size_t waiting_bytes;
    edt_status status; // of the first failure
    idle_encoder *encoders;

    z_stream deflater;
    bool has_deflater;
    uint8_t *out; // [OUT_BYTES]

    edt_zstd_seek_table table;
    uint64_t capacity; // places allocated
};

edt_status edt_shard_stream_create(edt_atomic_file *file, const char *path,
                                   edt_shard_compression compression, edt_error *err,
                                   edt_shard_stream **out_stream)
{
    edt_shard_stream *stream = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *stream);
    if (stream == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to write '%s'", path);
    }
    (void)pthread_mutex_init(&stream->lock, NULL);
    (void)pthread_cond_init(&stream->moved, NULL);
    stream->file = file;
    stream->path = path;
    stream->compression = compression;
    if (compression != EDT_SHARD_COMPRESS_ZSTD) {
        const int bits =
            compression == EDT_SHARD_COMPRESS_GZIP ? WINDOW_BITS_GZIP : WINDOW_BITS;
        stream->out = edt_mem_alloc(EDT_MEM_MISC, OUT_BYTES);
        if (stream->out == NULL ||
            deflateInit2(&stream->deflater, Z_DEFAULT_COMPRESSION, Z_DEFLATED, bits,
                         MEMORY_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK) {
            edt_shard_stream_destroy(stream);
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to compress '%s'", path);
        }
        stream->has_deflater = true;
    }
    *out_stream = stream;
    return EDT_OK;
}

void edt_shard_stream_destroy(edt_shard_stream *stream)
{
    if (stream == NULL) {
        return;
    }
    while (stream->waiting != NULL) {
        piece *next = stream->waiting->next;
        edt_mem_free(stream->waiting);
        stream->waiting = next;
    }
    while (stream->encoders != NULL) {
        idle_encoder *next = stream->encoders->next;
        edt_zstd_encoder_destroy(stream->encoders->encoder);
        edt_mem_free(stream->encoders);
        stream->encoders = next;
    }
    if (stream->has_deflater) {
        (void)deflateEnd(&stream->deflater);
    }
    edt_zstd_seek_table_deinit(&stream->table);
    edt_mem_free(stream->out);
    (void)pthread_cond_destroy(&stream->moved);
    (void)pthread_mutex_destroy(&stream->lock);
    edt_mem_free(stream);
}

static edt_status deflate_bytes(edt_shard_stream *stream, edt_span bytes, int flush,
                                edt_error *err)
{
    z_stream *z = &stream->deflater;
    int result = Z_OK;
    do {
        const size_t give = bytes.n_bytes < (1u << 30) ? bytes.n_bytes : (1u << 30);
        // zlib takes a mutable pointer but only reads through it.
        z->next_in = (z_const Bytef *)(uintptr_t)bytes.data;
        z->avail_in = (uInt)give;
        do {
            z->next_out = stream->out;
            z->avail_out = OUT_BYTES;
            result = deflate(z, flush);
            if (result == Z_STREAM_ERROR) {
                EDT_FAIL(err, EDT_ERR_INTERNAL, "cannot compress '%s'", stream->path);
            }
            EDT_TRY(edt_atomic_file_append(stream->file, stream->out, OUT_BYTES - z->avail_out,
                                           err));
        } while (z->avail_out == 0);
        bytes.data = give > 0 ? bytes.data + give : bytes.data; // NULL when there are none
        bytes.n_bytes -= give;
    } while (bytes.n_bytes > 0);
    return EDT_OK;
}

static edt_status push_frame(edt_shard_stream *stream, const piece *p, edt_error *err)
{
    edt_zstd_seek_table *table = &stream->table;
    if (table->n_frames + 2 > stream->capacity) {
        const uint64_t capacity = stream->capacity > 0 ? 2 * stream->capacity : 256;
        edt_zstd_place *places =
            edt_mem_realloc(EDT_MEM_MISC, table->places, (size_t)capacity * sizeof *places);
        if (places == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the seek table of '%s'", stream->path);
        }
        if (stream->capacity == 0) {
            places[0] = (edt_zstd_place){0};
        }
        table->places = places;
        stream->capacity = capacity;
    }
    EDT_TRY(edt_atomic_file_append(stream->file, p->data, p->n_bytes, err));
    const edt_zstd_place last = table->places[table->n_frames];
    table->places[++table->n_frames] =
        (edt_zstd_place){.file_offset = last.file_offset + p->n_bytes,
                         .stream_offset = last.stream_offset + p->n_stream};
    return EDT_OK;
}

// With the lock held: writes the pieces whose turn has come.
static edt_status drain(edt_shard_stream *stream, edt_error *err)
{
    while (stream->waiting != NULL && stream->waiting->offset == stream->next_offset) {
        piece *p = stream->waiting;
        const edt_status status =
            stream->compression == EDT_SHARD_COMPRESS_ZSTD
                ? push_frame(stream, p, err)
                : deflate_bytes(stream, (edt_span){p->data, p->n_bytes}, Z_NO_FLUSH, err);
        if (status != EDT_OK) {
            return status;
        }
        stream->next_offset += p->n_stream;
        stream->waiting_bytes -= p->n_bytes;
        stream->waiting = p->next;
        edt_mem_free(p);
    }
    return EDT_OK;
}

static void insert(edt_shard_stream *stream, piece *p)
{
    piece **at = &stream->waiting;
    while (*at != NULL && (*at)->offset < p->offset) {
        at = &(*at)->next;
    }
    p->next = *at;
    *at = p;
    stream->waiting_bytes += p->n_bytes;
}

static edt_status take_turn(edt_shard_stream *stream, piece *take_piece, edt_error *err)
{
    (void)pthread_mutex_lock(&stream->lock);
    while (stream->status == EDT_OK && take_piece->offset != stream->next_offset &&
           stream->waiting_bytes > WAITING_BYTES) {
        (void)pthread_cond_wait(&stream->moved, &stream->lock);
    }
    edt_status status = stream->status;
    if (status != EDT_OK) {
        status = edt_error_set(err, status, "'%s': an earlier record could not be written",
                               stream->path);
        edt_mem_free(take_piece);
    } else {
        insert(stream, take_piece);
        if (take_piece->offset == stream->next_offset) {
            status = stream->status = drain(stream, err);
            (void)pthread_cond_broadcast(&stream->moved);
        }
    }
    (void)pthread_mutex_unlock(&stream->lock);
    return status;
}

static edt_status borrow_encoder(edt_shard_stream *stream, edt_error *err,
                                 idle_encoder **out_encoder)
{
    (void)pthread_mutex_lock(&stream->lock);
    idle_encoder *idle = stream->encoders;
    if (idle != NULL) {
        stream->encoders = idle->next;
    }
    (void)pthread_mutex_unlock(&stream->lock);
    if (idle == NULL) {
        idle = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *idle);
        if (idle == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to compress '%s'", stream->path);
        }
        const edt_status status = edt_zstd_encoder_create(err, &idle->encoder);
        if (status != EDT_OK) {
            edt_mem_free(idle);
            return status;
        }
    }
    *out_encoder = idle;
    return EDT_OK;
}

static void return_encoder(edt_shard_stream *stream, idle_encoder *idle)
{
    (void)pthread_mutex_lock(&stream->lock);
    idle->next = stream->encoders;
    stream->encoders = idle;
    (void)pthread_mutex_unlock(&stream->lock);
}

static edt_status make_piece(edt_shard_stream *stream, edt_span bytes, edt_error *err,
                             piece **out_piece)
{
    const bool is_zstd = stream->compression == EDT_SHARD_COMPRESS_ZSTD;
    const size_t capacity = is_zstd ? edt_zstd_frame_bound(bytes.n_bytes) : bytes.n_bytes;
    piece *p = edt_mem_alloc(EDT_MEM_MISC, sizeof *p + capacity);
    if (p == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a record of %zu bytes of '%s'",
                 bytes.n_bytes, stream->path);
    }
    p->n_stream = p->n_bytes = bytes.n_bytes;
    if (is_zstd) {
        idle_encoder *encoder = NULL;
        edt_status status = borrow_encoder(stream, err, &encoder);
        if (status == EDT_OK) {
            status =
                edt_zstd_encode(encoder->encoder, bytes, p->data, capacity, err, &p->n_bytes);
            return_encoder(stream, encoder);
        }
        if (status != EDT_OK) {
            edt_mem_free(p);
            return status;
        }
    } else {
        memcpy(p->data, bytes.data, bytes.n_bytes);
    }
    *out_piece = p;
    return EDT_OK;
}

void edt_shard_stream_stop(edt_shard_stream *stream, edt_status status)
{
    (void)pthread_mutex_lock(&stream->lock);
    if (stream->status == EDT_OK) {
        stream->status = status;
    }
    (void)pthread_cond_broadcast(&stream->moved);
    (void)pthread_mutex_unlock(&stream->lock);
}

edt_status edt_shard_stream_put(edt_shard_stream *stream, uint64_t offset, edt_span bytes,
                                edt_error *err)
{
    while (bytes.n_bytes > 0) {
        const edt_span part = {bytes.data, bytes.n_bytes < EDT_ZSTD_MAX_FRAME_BYTES
                                               ? bytes.n_bytes
                                               : EDT_ZSTD_MAX_FRAME_BYTES};
        piece *p = NULL;
        edt_status status = make_piece(stream, part, err, &p);
        if (status == EDT_OK) {
            p->offset = offset;
            status = take_turn(stream, p, err);
        }
        if (status != EDT_OK) {
            edt_shard_stream_stop(stream, status);
            return status;
        }
        offset += part.n_bytes;
        bytes.data += part.n_bytes;
        bytes.n_bytes -= part.n_bytes;
    }
    return EDT_OK;
}

edt_status edt_shard_stream_finish(edt_shard_stream *stream, edt_error *err)
{
    if (stream->status != EDT_OK || stream->waiting != NULL) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "'%s': records before offset %" PRIu64 " never came",
                 stream->path,
                 stream->waiting != NULL ? stream->waiting->offset : stream->next_offset);
    }
    if (stream->has_deflater) {
        return deflate_bytes(stream, (edt_span){0}, Z_FINISH, err);
    }
    static edt_zstd_place nothing[1];
    const edt_zstd_seek_table table =
        stream->table.n_frames > 0 ? stream->table : (edt_zstd_seek_table){.places = nothing};
    const size_t n_bytes = edt_zstd_seek_table_bytes(table.n_frames);
    uint8_t *bytes = edt_mem_alloc(EDT_MEM_MISC, n_bytes);
    if (bytes == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the seek table of '%s'", stream->path);
    }
    edt_zstd_seek_table_put(&table, bytes);
    const edt_status status = edt_atomic_file_append(stream->file, bytes, n_bytes, err);
    edt_mem_free(bytes);
    return status;
}
