// Writes the records of shards, in order, as shards of another compression:
//   rewrite_shards PATTERN PREFIX N_SHARDS none|gzip|zlib|zstd
#include <stdio.h>
#include <stdlib.h>

#include "core/path.h"
#include "dataio/shard_reader.h"
#include "dataio/shard_writer.h"

static edt_status copy_shard(const char *path, int64_t n_shards, edt_shard_writer *writer,
                             int64_t *n_records, edt_error *err)
{
    edt_shard_reader *reader = NULL;
    EDT_TRY(edt_shard_reader_open(path, NULL, err, &reader));
    edt_record record;
    edt_status status;
    while ((status = edt_shard_reader_next(reader, err, &record)) == EDT_OK) {
        const int64_t i_shard = (*n_records)++ % n_shards;
        const uint64_t at = edt_shard_writer_reserve(writer, i_shard, record.payload.n_bytes);
        status = edt_shard_writer_put(writer, i_shard, at, &record.payload, 1, err);
        if (status != EDT_OK) {
            break;
        }
    }
    edt_shard_reader_close(reader);
    return status == EDT_END ? EDT_OK : status;
}

static edt_status rewrite(char **argv, edt_arena *arena, edt_error *err)
{
    edt_shard_writer_options options = {.prefix = argv[2], .n_shards = atoll(argv[3])};
    EDT_TRY(edt_shard_compression_parse(argv[4], err, &options.compression));
    edt_path_list files;
    EDT_TRY(edt_path_glob(argv[1], arena, err, &files));
    edt_shard_writer *writer = NULL;
    EDT_TRY(edt_shard_writer_open(&options, err, &writer));
    edt_status status = EDT_OK;
    int64_t n_records = 0;
    for (int64_t i = 0; i < files.n && status == EDT_OK; ++i) {
        status = copy_shard(files.path[i], options.n_shards, writer, &n_records, err);
    }
    if (status == EDT_OK) {
        status = edt_shard_writer_commit(writer, err);
    }
    edt_shard_writer_close(writer);
    return status;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        (void)fprintf(stderr, "usage: rewrite_shards PATTERN PREFIX N_SHARDS COMPRESSION\n");
        return 2;
    }
    edt_error err = {0};
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    const edt_status status = rewrite(argv, &arena, &err);
    edt_arena_deinit(&arena);
    if (status != EDT_OK) {
        (void)fprintf(stderr, "%s\n", err.text);
    }
    return edt_status_exit_code(status);
}
