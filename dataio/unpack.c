// See unpack.h.
#include "dataio/unpack.h"

#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>

#include "dataio/shard_file.h"
#include "dataio/shard_reader.h"

static edt_status needs_copy(const char *path, edt_error *err, bool *out_needed)
{
    edt_shard_file *file = NULL;
    const edt_status status = edt_shard_file_open(path, NULL, false, err, &file);
    edt_shard_file_close(file);
    *out_needed = status == EDT_ERR_UNSUPPORTED;
    return *out_needed ? EDT_OK : status;
}

static edt_status copy_records(const char *from, const char *to, int64_t max_records,
                               edt_error *err)
{
    edt_shard_reader *reader = NULL;
    edt_atomic_file *file = NULL;
    edt_record record;
    edt_status status = edt_shard_reader_open(from, NULL, err, &reader);
    if (status == EDT_OK) {
        status = edt_atomic_file_open(to, err, &file);
    }
    for (int64_t i = 0; status == EDT_OK && i < max_records; ++i) {
        status = edt_shard_reader_next(reader, err, &record);
        if (status == EDT_OK) {
            // The record lies there as it is framed.
            status = edt_atomic_file_append(
                file, record.payload.data - EDT_TFRECORD_HEADER_BYTES,
                EDT_TFRECORD_HEADER_BYTES + record.payload.n_bytes + EDT_TFRECORD_FOOTER_BYTES,
                err);
        }
    }
    if (status == EDT_OK || status == EDT_END) {
        status = edt_atomic_file_commit_unsynced(file, err);
    }
    edt_atomic_file_close(file);
    edt_shard_reader_close(reader);
    return status;
}

edt_status edt_unpack_shards(const char *dir, int64_t max_records, edt_arena *arena,
                             edt_path_list *files, edt_error *err, int64_t *out_n)
{
    const char **paths = edt_arena_calloc(arena, (size_t)files->n + 1, sizeof *paths);
    bool *needed = edt_arena_calloc(arena, (size_t)files->n + 1, sizeof *needed);
    int64_t n = 0, done = 0;
    if (paths == NULL || needed == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the list of shards");
    }
    for (int64_t i = 0; i < files->n; ++i) {
        EDT_TRY(needs_copy(files->path[i], err, &needed[i]));
        n += needed[i];
    }
    for (int64_t i = 0; i < files->n; ++i) {
        paths[i] = files->path[i];
        if (!needed[i]) {
            continue;
        }
        // Shards of one name from several directories stay apart.
        const char *own = edt_arena_printf(arena, "%s/%" PRId64, dir, i);
        const char *base = edt_path_basename(arena, paths[i]);
        const char *to = own != NULL && base != NULL ? edt_path_join(arena, own, base) : NULL;
        if (to == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the list of shards");
        }
        EDT_TRY(edt_path_mkdirs(own, err));
        const int64_t share = max_records / n + (done < max_records % n);
        EDT_TRY(copy_records(paths[i], to, share, err));
        paths[i] = to;
        ++done;
    }
    files->path = paths;
    *out_n = n;
    return EDT_OK;
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *place)
{
    (void)info, (void)type, (void)place;
    // What stays behind harms nobody.
    (void)remove(path);
    return 0;
}

void edt_unpack_remove(const char *dir)
{
    (void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
