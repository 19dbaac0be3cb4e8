// See shard_writer.h. Records are written by pwritev straight from where their parts lie.
#include "dataio/shard_writer.h"

#include <inttypes.h>
#include <string.h>

#include "core/crc32c.h"
#include "core/path.h"
#include "dataio/tfrecord.h"

enum { MAX_PARTS = 32 }; // of a record that are written by one call

typedef struct shard {
    edt_atomic_file *file;
    uint64_t n_bytes; // reserved
} shard;

struct edt_shard_writer {
    int64_t n_shards;
    shard *shards;
};

edt_status edt_shard_writer_create(const char *prefix, int64_t n_shards, edt_error *err,
                                   edt_shard_writer **out_writer)
{
    if (n_shards < 1 || n_shards > EDT_SHARD_MAX_SHARDS) {
        EDT_FAIL(err, EDT_ERR_USAGE, "number of shards: %" PRId64 ", allowed are 1 to %d",
                 n_shards, EDT_SHARD_MAX_SHARDS);
    }
    edt_status status = EDT_OK;
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    edt_shard_writer *writer = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *writer);
    shard *shards = edt_mem_calloc(EDT_MEM_MISC, (size_t)n_shards, sizeof *shards);
    const char *dir = edt_path_dirname(&arena, prefix);
    if (writer == NULL || shards == NULL || dir == NULL) {
        edt_mem_free(shards);
        status =
            edt_error_set(err, EDT_ERR_NOMEM, "no memory for %" PRId64 " shards", n_shards);
        goto fail;
    }
    writer->n_shards = n_shards;
    writer->shards = shards;
    EDT_TRY_GOTO(edt_path_mkdirs(dir, err));
    for (int64_t i = 0; i < n_shards; ++i) {
        const char *path = edt_arena_printf(
            &arena, "%s-%05" PRId64 "-of-%05" PRId64 ".tfrecord", prefix, i, n_shards);
        if (path == NULL) {
            status =
                edt_error_set(err, EDT_ERR_NOMEM, "no memory for %" PRId64 " shards", n_shards);
            goto fail;
        }
        EDT_TRY_GOTO(edt_atomic_file_open(path, err, &shards[i].file));
        edt_arena_reset(&arena);
    }
    edt_arena_deinit(&arena);
    *out_writer = writer;
    return EDT_OK;

fail:
    edt_arena_deinit(&arena);
    edt_shard_writer_close(writer);
    return status;
}

void edt_shard_writer_close(edt_shard_writer *writer)
{
    if (writer != NULL) {
        for (int64_t i = 0; i < writer->n_shards; ++i) {
            edt_atomic_file_close(writer->shards[i].file);
        }
        edt_mem_free(writer->shards);
        edt_mem_free(writer);
    }
}

uint64_t edt_shard_writer_reserve(edt_shard_writer *writer, int64_t i_shard, uint64_t n_bytes)
{
    const uint64_t offset = writer->shards[i_shard].n_bytes;
    writer->shards[i_shard].n_bytes +=
        EDT_TFRECORD_HEADER_BYTES + n_bytes + EDT_TFRECORD_FOOTER_BYTES;
    return offset;
}

edt_status edt_shard_writer_put(edt_shard_writer *writer, int64_t i_shard, uint64_t offset,
                                const edt_span *pieces, size_t n_pieces, edt_error *err)
{
    edt_atomic_file *file = writer->shards[i_shard].file;
    uint8_t header[EDT_TFRECORD_HEADER_BYTES];
    uint8_t footer[EDT_TFRECORD_FOOTER_BYTES];
    uint64_t n_bytes = 0;
    uint32_t crc = 0;
    for (size_t i = 0; i < n_pieces; ++i) {
        n_bytes += pieces[i].n_bytes;
        crc = edt_crc32c(crc, pieces[i].data, pieces[i].n_bytes);
    }
    edt_tfrecord_put_header(n_bytes, header);
    edt_tfrecord_put_footer(crc, footer);
    edt_span parts[MAX_PARTS];
    size_t n_parts = 0;
    uint64_t part_bytes = 0;
    // Header, pieces, footer, in as few calls as a fixed number of parts allows.
    for (size_t i = 0; i < n_pieces + 2; ++i) {
        const edt_span part = i == 0              ? (edt_span){header, sizeof header}
                              : i == n_pieces + 1 ? (edt_span){footer, sizeof footer}
                                                  : pieces[i - 1];
        parts[n_parts++] = part;
        part_bytes += part.n_bytes;
        if (n_parts == MAX_PARTS || i == n_pieces + 1) {
            EDT_TRY(edt_atomic_file_write_at(file, offset, parts, n_parts, err));
            offset += part_bytes;
            n_parts = 0;
            part_bytes = 0;
        }
    }
    return EDT_OK;
}

edt_status edt_shard_writer_commit(edt_shard_writer *writer, edt_error *err)
{
    for (int64_t i = 0; i < writer->n_shards; ++i) {
        EDT_TRY(edt_atomic_file_commit_unsynced(writer->shards[i].file, err));
    }
    return EDT_OK;
}

uint64_t edt_shard_writer_n_bytes(const edt_shard_writer *writer)
{
    uint64_t n = 0;
    for (int64_t i = 0; i < writer->n_shards; ++i) {
        n += writer->shards[i].n_bytes;
    }
    return n;
}
