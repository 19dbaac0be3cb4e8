// See shard_writer.h. Plain records are written by pwritev straight from where their parts lie;
// compressed ones go through one shard_stream per shard.
#include "dataio/shard_writer.h"

#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/crc32c.h"
#include "core/log.h"
#include "core/path.h"
#include "dataio/catalog.h"
#include "dataio/shard_stream.h"
#include "dataio/side_index.h"
#include "dataio/tfrecord.h"

enum { MAX_PARTS = 32 }; // of a record that are written by one call

typedef struct shard {
    edt_atomic_file *file;
    edt_shard_stream *stream;  // NULL: plain
    edt_side_builder *builder; // NULL: no index
    const char *path;          // in the writer's arena
    uint64_t n_bytes;          // reserved
    uint64_t file_bytes;       // of the committed file
} shard;

struct edt_shard_writer {
    edt_shard_writer_options options; // prefix: in the arena
    edt_arena arena;
    shard *shards;        // [n_shards]; only ours, and the path of the first
    pthread_mutex_t lock; // guards the builders
};

static const struct {
    const char *name;
    const char *suffix;
    edt_shard_format format;
} compressions[] = {
    [EDT_SHARD_COMPRESS_NONE] = {"none", ".tfrecord", EDT_SHARD_PLAIN},
    [EDT_SHARD_COMPRESS_GZIP] = {"gzip", ".tfrecord.gz", EDT_SHARD_GZIP},
    [EDT_SHARD_COMPRESS_ZLIB] = {"zlib", ".tfrecord.zz", EDT_SHARD_ZLIB},
    [EDT_SHARD_COMPRESS_ZSTD] = {"zstd", ".tfrecord.zst", EDT_SHARD_ZSTD},
};
enum { N_COMPRESSIONS = sizeof compressions / sizeof compressions[0] };

edt_status edt_shard_compression_parse(const char *text, edt_error *err,
                                       edt_shard_compression *out_compression)
{
    if (text == NULL || text[0] == '\0') {
        *out_compression = EDT_SHARD_COMPRESS_NONE;
        return EDT_OK;
    }
    for (int i = 0; i < N_COMPRESSIONS; ++i) {
        if (strcmp(text, compressions[i].name) == 0) {
            *out_compression = (edt_shard_compression)i;
            return EDT_OK;
        }
    }
    EDT_FAIL(err, EDT_ERR_USAGE, "compression '%s': it takes none, gzip, zlib or zstd", text);
}

const char *edt_shard_compression_suffix(edt_shard_compression compression)
{
    return compressions[compression].suffix;
}

static edt_status check_options(const edt_shard_writer_options *o, edt_error *err)
{
    if (o->n_shards < 1 || o->n_shards > EDT_SHARD_MAX_SHARDS) {
        EDT_FAIL(err, EDT_ERR_USAGE, "number of shards: %" PRId64 ", allowed are 1 to %d",
                 o->n_shards, EDT_SHARD_MAX_SHARDS);
    }
    const int64_t world_size = o->world_size > 0 ? o->world_size : 1;
    if (o->world_size < 0 || o->rank < 0 || o->rank >= world_size) {
        EDT_FAIL(err, EDT_ERR_USAGE, "rank %" PRId64 " of %" PRId64 " processes", o->rank,
                 o->world_size);
    }
    return EDT_OK;
}

static edt_status fail_memory(const edt_shard_writer_options *o, edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %" PRId64 " shards", o->n_shards);
}

static edt_status open_shard(edt_shard_writer *writer, int64_t i, edt_error *err)
{
    const edt_shard_writer_options *o = &writer->options;
    shard *s = &writer->shards[i];
    if (i > 0 && !edt_shard_writer_owns(writer, i)) {
        return EDT_OK;
    }
    s->path = edt_arena_printf(&writer->arena, "%s-%05" PRId64 "-of-%05" PRId64 "%s", o->prefix,
                               i, o->n_shards, compressions[o->compression].suffix);
    if (s->path == NULL) {
        return fail_memory(o, err);
    }
    if (!edt_shard_writer_owns(writer, i)) {
        return EDT_OK;
    }
    EDT_TRY(edt_atomic_file_open(s->path, err, &s->file));
    if (o->compression != EDT_SHARD_COMPRESS_NONE) {
        EDT_TRY(edt_shard_stream_create(s->file, s->path, o->compression, err, &s->stream));
    }
    return o->no_index ? EDT_OK : edt_side_builder_create(err, &s->builder);
}

edt_status edt_shard_writer_open(const edt_shard_writer_options *options, edt_error *err,
                                 edt_shard_writer **out_writer)
{
    EDT_TRY(check_options(options, err));
    edt_status status = EDT_OK;
    edt_shard_writer *writer = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *writer);
    if (writer == NULL) {
        return fail_memory(options, err);
    }
    (void)pthread_mutex_init(&writer->lock, NULL);
    edt_arena_init(&writer->arena, EDT_MEM_ARENA, 0);
    writer->options = *options;
    writer->options.world_size = options->world_size > 0 ? options->world_size : 1;
    writer->options.prefix = edt_arena_strdup(&writer->arena, options->prefix);
    writer->shards =
        edt_mem_calloc(EDT_MEM_MISC, (size_t)options->n_shards, sizeof *writer->shards);
    const char *dir = edt_path_dirname(&writer->arena, options->prefix);
    if (writer->shards == NULL || writer->options.prefix == NULL || dir == NULL) {
        status = fail_memory(options, err);
        goto fail;
    }
    EDT_TRY_GOTO(edt_path_mkdirs(dir, err));
    for (int64_t i = 0; i < options->n_shards; ++i) {
        EDT_TRY_GOTO(open_shard(writer, i, err));
    }
    *out_writer = writer;
    return EDT_OK;

fail:
    edt_shard_writer_close(writer);
    return status;
}

edt_status edt_shard_writer_create(const char *prefix, int64_t n_shards, edt_error *err,
                                   edt_shard_writer **out_writer)
{
    const edt_shard_writer_options options = {.prefix = prefix, .n_shards = n_shards};
    return edt_shard_writer_open(&options, err, out_writer);
}

void edt_shard_writer_close(edt_shard_writer *writer)
{
    if (writer == NULL) {
        return;
    }
    for (int64_t i = 0; writer->shards != NULL && i < writer->options.n_shards; ++i) {
        edt_shard_stream_destroy(writer->shards[i].stream);
        edt_side_builder_destroy(writer->shards[i].builder);
        edt_atomic_file_close(writer->shards[i].file);
    }
    edt_mem_free(writer->shards);
    edt_arena_deinit(&writer->arena);
    (void)pthread_mutex_destroy(&writer->lock);
    edt_mem_free(writer);
}

bool edt_shard_writer_owns(const edt_shard_writer *writer, int64_t i_shard)
{
    return i_shard % writer->options.world_size == writer->options.rank;
}

const char *edt_shard_writer_path(const edt_shard_writer *writer, int64_t i_shard)
{
    return writer->shards[i_shard].path;
}

uint64_t edt_shard_writer_reserve(edt_shard_writer *writer, int64_t i_shard, uint64_t n_bytes)
{
    const uint64_t offset = writer->shards[i_shard].n_bytes;
    writer->shards[i_shard].n_bytes +=
        EDT_TFRECORD_HEADER_BYTES + n_bytes + EDT_TFRECORD_FOOTER_BYTES;
    return offset;
}

static edt_status put_plain(shard *s, uint64_t offset, const edt_span *parts, size_t n_parts,
                            edt_error *err)
{
    for (size_t i = 0; i < n_parts; i += MAX_PARTS) {
        const size_t n = n_parts - i < MAX_PARTS ? n_parts - i : MAX_PARTS;
        EDT_TRY(edt_atomic_file_write_at(s->file, offset, parts + i, n, err));
        for (size_t k = i; k < i + n; ++k) {
            offset += parts[k].n_bytes;
        }
    }
    return EDT_OK;
}

static edt_status add_row(edt_shard_writer *writer, shard *s, uint64_t offset, uint64_t n_bytes,
                          const edt_record_info *info, edt_error *err)
{
    if (s->builder == NULL) {
        return EDT_OK;
    }
    (void)pthread_mutex_lock(&writer->lock);
    const edt_status status = edt_side_builder_add(s->builder, offset, n_bytes, info, err);
    (void)pthread_mutex_unlock(&writer->lock);
    return status;
}

// One run of bytes from parts; the caller frees it.
static uint8_t *join(const edt_span *parts, size_t n_parts, size_t n_bytes)
{
    uint8_t *joined = edt_mem_alloc(EDT_MEM_MISC, n_bytes);
    size_t at = 0;
    for (size_t i = 0; joined != NULL && i < n_parts; ++i) {
        if (parts[i].n_bytes > 0) {
            memcpy(joined + at, parts[i].data, parts[i].n_bytes);
            at += parts[i].n_bytes;
        }
    }
    return joined;
}

// `info` NULL: taken from the payload.
static edt_status put(edt_shard_writer *writer, int64_t i_shard, uint64_t offset,
                      const edt_span *pieces, size_t n_pieces, const edt_record_info *info,
                      edt_error *err)
{
    shard *s = &writer->shards[i_shard];
    edt_status status = EDT_OK;
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 4096);
    uint8_t *record = NULL;
    uint8_t header[EDT_TFRECORD_HEADER_BYTES];
    uint8_t footer[EDT_TFRECORD_FOOTER_BYTES];
    uint64_t n_bytes = 0;
    uint32_t crc = 0;
    edt_span *parts = edt_arena_calloc(&arena, n_pieces + 2, sizeof *parts);
    if (parts == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for %zu pieces", n_pieces);
        goto fail;
    }
    for (size_t i = 0; i < n_pieces; ++i) {
        parts[i + 1] = pieces[i];
        n_bytes += pieces[i].n_bytes;
        crc = edt_crc32c(crc, pieces[i].data, pieces[i].n_bytes);
    }
    edt_tfrecord_put_header(n_bytes, header);
    edt_tfrecord_put_footer(crc, footer);
    parts[0] = (edt_span){header, sizeof header};
    parts[n_pieces + 1] = (edt_span){footer, sizeof footer};
    const bool parse = info == NULL && s->builder != NULL;
    const size_t total = sizeof header + (size_t)n_bytes + sizeof footer;
    if (s->stream != NULL || parse) {
        record = join(parts, n_pieces + 2, total);
        if (record == NULL) {
            status = edt_error_set(err, EDT_ERR_NOMEM,
                                   "no memory for a record of %" PRIu64 " bytes", n_bytes);
            goto fail;
        }
    }
    edt_record_info parsed;
    if (parse) {
        const edt_span payload = {record + sizeof header, (size_t)n_bytes};
        EDT_TRY_GOTO(edt_record_info_from_payload(payload, &arena, err, &parsed));
        info = &parsed;
    }
    EDT_TRY_GOTO(add_row(writer, s, offset, n_bytes, info, err));
    status = s->stream != NULL
                 ? edt_shard_stream_put(s->stream, offset, (edt_span){record, total}, err)
                 : put_plain(s, offset, parts, n_pieces + 2, err);
fail:
    if (status != EDT_OK && s->stream != NULL) {
        edt_shard_stream_stop(s->stream, status);
    }
    edt_mem_free(record);
    edt_arena_deinit(&arena);
    return status;
}

edt_status edt_shard_writer_put(edt_shard_writer *writer, int64_t i_shard, uint64_t offset,
                                const edt_span *pieces, size_t n_pieces, edt_error *err)
{
    return put(writer, i_shard, offset, pieces, n_pieces, NULL, err);
}

edt_status edt_shard_writer_put_example(edt_shard_writer *writer, int64_t i_shard,
                                        uint64_t offset, const edt_tfexample_pieces *example,
                                        edt_error *err)
{
    return put(writer, i_shard, offset, example->pieces, example->n_pieces, example->info, err);
}

static edt_status save_index(edt_shard_writer *writer, shard *s, edt_error *err)
{
    edt_side_index *index = NULL;
    edt_status status =
        edt_side_builder_finish(s->builder, compressions[writer->options.compression].format,
                                s->file_bytes, s->n_bytes, err, &index);
    if (status == EDT_OK) {
        status = edt_side_index_save(index, s->path, err);
    }
    edt_side_index_close(index);
    return status;
}

edt_status edt_shard_writer_commit(edt_shard_writer *writer, edt_error *err)
{
    const edt_shard_writer_options *o = &writer->options;
    for (int64_t i = 0; i < o->n_shards; ++i) {
        if (writer->shards[i].stream != NULL) {
            EDT_TRY(edt_shard_stream_finish(writer->shards[i].stream, err));
        }
    }
    // What an earlier conversion said of these names is void from here on.
    if (!o->no_catalog) {
        EDT_TRY(edt_catalog_remove(writer->shards[0].path, err));
    }
    for (int64_t i = 0; i < o->n_shards; ++i) {
        shard *s = &writer->shards[i];
        if (s->file == NULL) {
            continue;
        }
        EDT_TRY(edt_side_index_remove(s->path, err));
        EDT_TRY(o->sync ? edt_atomic_file_commit(s->file, err)
                        : edt_atomic_file_commit_unsynced(s->file, err));
        struct stat info;
        if (stat(s->path, &info) != 0) {
            EDT_FAIL(err, EDT_ERR_IO, "'%s' is gone right after it was written", s->path);
        }
        s->file_bytes = (uint64_t)info.st_size;
    }
    if (o->no_index) {
        return EDT_OK;
    }
    // The shards are whole whatever becomes of these, which any reader can make.
    edt_error why = {0};
    edt_status status = EDT_OK;
    for (int64_t i = 0; i < o->n_shards && status == EDT_OK; ++i) {
        if (writer->shards[i].file != NULL) {
            status = save_index(writer, &writer->shards[i], &why);
        }
    }
    if (status == EDT_OK && !o->no_catalog) {
        status = edt_catalog_build_if_complete(writer->shards[0].path, &why);
    }
    if (status != EDT_OK) {
        EDT_WARN("the shards are complete, but not their indexes, which the first reader will "
                 "make: %s",
                 why.text);
    }
    return EDT_OK;
}

uint64_t edt_shard_writer_n_bytes(const edt_shard_writer *writer)
{
    uint64_t n = 0;
    for (int64_t i = 0; i < writer->options.n_shards; ++i) {
        n += writer->shards[i].n_bytes;
    }
    return n;
}

uint64_t edt_shard_writer_file_bytes(const edt_shard_writer *writer)
{
    uint64_t n = 0;
    for (int64_t i = 0; i < writer->options.n_shards; ++i) {
        n += writer->shards[i].file_bytes;
    }
    return n;
}
