// See repair.h.
#include "dataio/repair.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/log.h"
#include "core/path.h"
#include "dataio/record_scan.h"
#include "dataio/shard_stream.h"
#include "dataio/side_index.h"

typedef struct repairer {
    const edt_repair_options *options;
    edt_repair_result result;
    edt_arena arena;
    const char **out_paths; // [n_files]
    edt_atomic_file *file;  // of the shard at work
    edt_shard_stream *stream;
    uint64_t offset; // in it, uncompressed
    int64_t n_bad_before;
} repairer;

static bool is_same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static edt_status name_outputs(repairer *r, edt_error *err)
{
    const edt_repair_options *o = r->options;
    const bool is_dir = edt_path_is_dir(o->out) || edt_path_has_suffix(o->out, "/");
    if (o->n_files > 1 && !is_dir) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "--repair=%s: %" PRId64
                 " shards go into a directory: give one that exists, or "
                 "a name that ends with '/'",
                 o->out, o->n_files);
    }
    r->out_paths = edt_arena_calloc(&r->arena, (size_t)o->n_files + 1, sizeof *r->out_paths);
    const char **sorted = edt_arena_calloc(&r->arena, (size_t)o->n_files + 1, sizeof *sorted);
    if (r->out_paths == NULL || sorted == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for file names");
    }
    for (int64_t i = 0; i < o->n_files; ++i) {
        const char *base = edt_path_basename(&r->arena, o->paths[i]);
        r->out_paths[i] = !is_dir        ? o->out
                          : base != NULL ? edt_path_join(&r->arena, o->out, base)
                                         : NULL;
        if (r->out_paths[i] == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for file names");
        }
        sorted[i] = r->out_paths[i];
        if (is_same_file(o->paths[i], r->out_paths[i])) {
            EDT_FAIL(err, EDT_ERR_USAGE,
                     "--repair=%s: '%s' would be replaced by what is left of it; give another "
                     "name, so that nothing is lost",
                     o->out, o->paths[i]);
        }
    }
    qsort(sorted, (size_t)o->n_files, sizeof *sorted, compare_texts);
    for (int64_t i = 1; i < o->n_files; ++i) {
        if (strcmp(sorted[i], sorted[i - 1]) == 0) {
            EDT_FAIL(err, EDT_ERR_USAGE, "--repair=%s: two shards would become '%s'", o->out,
                     sorted[i]);
        }
    }
    const char *dir = edt_path_dirname(&r->arena, r->out_paths[0]);
    if (dir == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for file names");
    }
    return edt_path_mkdirs(dir, err);
}

static edt_shard_compression compression_of(const char *path)
{
    return edt_path_has_suffix(path, ".gz")    ? EDT_SHARD_COMPRESS_GZIP
           : edt_path_has_suffix(path, ".zz")  ? EDT_SHARD_COMPRESS_ZLIB
           : edt_path_has_suffix(path, ".zst") ? EDT_SHARD_COMPRESS_ZSTD
                                               : EDT_SHARD_COMPRESS_NONE;
}

static edt_status open_output(repairer *r, int64_t i_file, edt_error *err)
{
    const char *path = r->out_paths[i_file];
    const edt_shard_compression compression = compression_of(path);
    r->offset = 0;
    r->n_bad_before = r->result.n_bad;
    EDT_TRY(edt_atomic_file_open(path, err, &r->file));
    return compression == EDT_SHARD_COMPRESS_NONE
               ? EDT_OK
               : edt_shard_stream_create(r->file, path, compression, err, &r->stream);
}

static void close_output(repairer *r)
{
    edt_shard_stream_destroy(r->stream);
    edt_atomic_file_close(r->file);
    r->stream = NULL;
    r->file = NULL;
}

static edt_status put_record(repairer *r, edt_span payload, edt_error *err)
{
    // The whole record lies there as it is framed.
    const edt_span record = {payload.data - EDT_TFRECORD_HEADER_BYTES,
                             EDT_TFRECORD_HEADER_BYTES + payload.n_bytes +
                                 EDT_TFRECORD_FOOTER_BYTES};
    EDT_TRY(r->stream != NULL
                ? edt_shard_stream_put(r->stream, r->offset, record, err)
                : edt_atomic_file_append(r->file, record.data, record.n_bytes, err));
    r->offset += record.n_bytes;
    ++r->result.n_kept;
    return EDT_OK;
}

static edt_status finish_output(repairer *r, const edt_scan_item *item, edt_error *err)
{
    if (r->stream != NULL) {
        EDT_TRY(edt_shard_stream_finish(r->stream, err));
    }
    EDT_TRY(edt_atomic_file_commit(r->file, err));
    // The index of a shard that lay under this name is not this one's.
    EDT_TRY(edt_side_index_remove(r->out_paths[item->i_file], err));
    close_output(r);
    ++r->result.n_files;
    r->result.n_damaged_files += r->result.n_bad > r->n_bad_before;
    return EDT_OK;
}

// See edt_scan_spec.
static edt_status take_item(void *ctx, const edt_scan_item *item, edt_error *err)
{
    repairer *r = ctx;
    if (item->kind == EDT_SCAN_NO_FILE) {
        EDT_FAIL(err, EDT_ERR_NOT_FOUND, "'%s': %s", item->path, item->words);
    }
    if (r->file == NULL) {
        EDT_TRY(open_output(r, item->i_file, err));
    }
    switch (item->kind) {
    case EDT_SCAN_FILE_END: return finish_output(r, item, err);
    case EDT_SCAN_RECORD:
        if (item->fault == EDT_TFRECORD_OK) {
            return put_record(r, item->payload, err);
        }
        r->result.lost_bytes +=
            EDT_TFRECORD_HEADER_BYTES + item->payload.n_bytes + EDT_TFRECORD_FOOTER_BYTES;
        break;
    case EDT_SCAN_DAMAGE: r->result.lost_bytes += item->lost_bytes; break;
    case EDT_SCAN_STREAM:
    case EDT_SCAN_NO_FILE: break;
    }
    ++r->result.n_bad;
    EDT_WARN("lost: %s: record %" PRId64 ", offset %" PRIu64 ": %s", item->path, item->i_record,
             item->offset, item->words);
    return EDT_OK;
}

edt_status edt_repair_run(const edt_repair_options *options, edt_error *err,
                          edt_repair_result *out_result)
{
    repairer r = {.options = options};
    edt_arena_init(&r.arena, EDT_MEM_ARENA, 0);
    const edt_scan_spec spec = {.paths = options->paths,
                                .n_files = options->n_files,
                                .n_threads = options->n_threads,
                                .check_data_crc = true,
                                .progress = options->show_progress ? "repair" : NULL,
                                .ctx = &r,
                                .consume = take_item};
    edt_status status = name_outputs(&r, err);
    if (status == EDT_OK) {
        status = edt_record_scan(&spec, err);
    }
    if (r.stream != NULL) {
        edt_shard_stream_stop(r.stream, EDT_ERR_CANCELLED);
    }
    close_output(&r);
    edt_arena_deinit(&r.arena);
    if (status == EDT_OK) {
        *out_result = r.result;
    }
    return status;
}
