// How long it takes to open a data set of train2017's size (118 287 records in 256 shards, 860
// 001 boxes; the pictures are a few bytes): with side indexes and catalog there, with them
// missing, and what random access costs. Beside it: reading the bytes of all indexes. Prints
// one JSON line each.
//   bench_open [DIR]   (default: a fresh directory under /tmp, removed again)
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/path.h"
#include "dataio/record_index.h"
#include "dataio/shard_writer.h"

enum { N_RECORDS = 118287, N_SHARDS = 256, N_PASSES = 11, PICTURE_BYTES = 600, MAX_BOXES = 32 };

static int compare_f64(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_ms(const char *what, double *seconds, int n)
{
    qsort(seconds, (size_t)n, sizeof *seconds, compare_f64);
    printf("{\"what\":\"%s\",\"value\":%.2f,\"median\":%.2f,\"unit\":\"ms\",\"records\":%d,"
           "\"shards\":%d}\n",
           what, 1e3 * seconds[0], 1e3 * seconds[n / 2], N_RECORDS, N_SHARDS);
}

static edt_feature feature(const char *key, edt_feature_kind kind, size_t n)
{
    return (edt_feature){.key = {key, strlen(key)}, .kind = kind, .n = n};
}

static edt_status put(edt_shard_writer *writer, int64_t i, edt_arena *arena, edt_error *err)
{
    static const char *const sides[4] = {"image/object/bbox/ymin", "image/object/bbox/xmin",
                                         "image/object/bbox/ymax", "image/object/bbox/xmax"};
    static uint8_t picture[PICTURE_BYTES];
    static float values[MAX_BOXES];
    static int64_t labels[MAX_BOXES], crowd[MAX_BOXES], size[2] = {480, 640};
    edt_span names[MAX_BOXES];
    // 7.3 on average.
    const size_t n = (size_t)(i % 15) + (i % 15 == 14 || i % 15 == 3 || i % 60 == 0 ? 2 : 0);
    char id[32];
    (void)snprintf(id, sizeof id, "%" PRId64, 3 * i + 9);
    const edt_span id_span = {(const uint8_t *)id, strlen(id)};
    const edt_span encoded = {picture, PICTURE_BYTES};
    for (size_t k = 0; k < n; ++k) {
        labels[k] = 1 + (i + (int64_t)k) % 80;
        names[k] = (edt_span){(const uint8_t *)"a class name" + labels[k] % 10, 3};
        values[k] = 0.5F;
    }
    edt_feature features[11] = {feature("image/encoded", EDT_FEATURE_BYTES, 1),
                                feature("image/source_id", EDT_FEATURE_BYTES, 1),
                                feature("image/height", EDT_FEATURE_INT64, 1),
                                feature("image/width", EDT_FEATURE_INT64, 1),
                                feature("image/object/class/label", EDT_FEATURE_INT64, n),
                                feature("image/object/is_crowd", EDT_FEATURE_INT64, n),
                                feature("image/object/class/text", EDT_FEATURE_BYTES, n)};
    features[0].value.bytes = &encoded;
    features[1].value.bytes = &id_span;
    features[2].value.ints = &size[0];
    features[3].value.ints = &size[1];
    features[4].value.ints = labels;
    features[5].value.ints = crowd;
    features[6].value.bytes = names;
    for (int k = 0; k < 4; ++k) {
        features[7 + k] = feature(sides[k], EDT_FEATURE_FLOAT, n);
        features[7 + k].value.floats = values;
    }
    edt_tfexample_pieces pieces;
    edt_arena_reset(arena);
    EDT_TRY(edt_tfexample_write(features, 11, arena, err, &pieces));
    const uint64_t at = edt_shard_writer_reserve(writer, i % N_SHARDS, pieces.n_bytes);
    return edt_shard_writer_put_example(writer, i % N_SHARDS, at, &pieces, err);
}

static edt_status make_set(const char *prefix, edt_error *err)
{
    edt_shard_writer *writer = NULL;
    EDT_TRY(edt_shard_writer_create(prefix, N_SHARDS, err, &writer));
    edt_status status = EDT_OK;
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    for (int64_t i = 0; i < N_RECORDS && status == EDT_OK; ++i) {
        status = put(writer, i, &arena, err);
    }
    const double begin = edt_clock_now_s();
    if (status == EDT_OK) {
        status = edt_shard_writer_commit(writer, err);
    }
    double seconds = edt_clock_now_s() - begin;
    print_ms("commit with indexes and catalog", &seconds, 1);
    edt_shard_writer_close(writer);
    edt_arena_deinit(&arena);
    return status;
}

static edt_status time_open(const edt_path_list *files, edt_error *err, double *out_s,
                            int64_t *out_rebuilt)
{
    edt_record_index *index = NULL;
    const double begin = edt_clock_now_s();
    EDT_TRY(edt_record_index_create(files->path, files->n, NULL, err, &index));
    *out_s = edt_clock_now_s() - begin;
    *out_rebuilt = edt_record_index_n_rebuilt(index);
    const int64_t n = edt_record_index_n_records(index);
    edt_record_index_destroy(index);
    if (n != N_RECORDS) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "%" PRId64 " records", n);
    }
    return EDT_OK;
}

static edt_status read_at_random(const edt_path_list *files, edt_error *err)
{
    edt_record_index *index = NULL;
    edt_record_scratch *scratch = NULL;
    edt_status status = EDT_OK;
    EDT_TRY_GOTO(edt_record_index_create(files->path, files->n, NULL, err, &index));
    EDT_TRY_GOTO(edt_record_scratch_create(err, &scratch));
    double seconds[N_PASSES];
    uint64_t at = 1;
    for (int k = 0; k < N_PASSES; ++k) {
        const double begin = edt_clock_now_s();
        for (int i = 0; i < 10000; ++i) {
            at = at * 6364136223846793005u + 1442695040888963407u;
            edt_span payload;
            EDT_TRY_GOTO(edt_record_index_read_into(index, (int64_t)((at >> 33) % N_RECORDS),
                                                    scratch, err, &payload));
        }
        seconds[k] = edt_clock_now_s() - begin;
    }
    print_ms("10000 records at random", seconds, N_PASSES);
fail:
    edt_record_scratch_destroy(scratch);
    edt_record_index_destroy(index);
    return status;
}

static edt_status remove_hidden(const char *dir, edt_arena *arena, edt_error *err)
{
    edt_path_list files;
    EDT_TRY(edt_path_list_dir(edt_arena_printf(arena, "%s/.edt", dir), arena, err, &files));
    for (int64_t i = 0; i < files.n; ++i) {
        (void)unlink(files.path[i]);
    }
    return EDT_OK;
}

static edt_status read_indexes(const char *dir, edt_arena *arena, edt_error *err)
{
    edt_path_list files;
    EDT_TRY(edt_path_list_dir(edt_arena_printf(arena, "%s/.edt", dir), arena, err, &files));
    double seconds[N_PASSES];
    size_t total = 0;
    for (int k = 0; k < N_PASSES; ++k) {
        const double begin = edt_clock_now_s();
        total = 0;
        for (int64_t i = 0; i < files.n; ++i) {
            char *text;
            size_t n;
            EDT_TRY(edt_file_read(files.path[i], (size_t)1 << 30, err, &text, &n));
            total += n;
            edt_mem_free(text);
        }
        seconds[k] = edt_clock_now_s() - begin;
    }
    print_ms("ceiling: reading the files of the indexes", seconds, N_PASSES);
    printf("{\"what\":\"bytes of indexes and catalog\",\"value\":%zu,\"unit\":\"bytes\"}\n",
           total);
    return EDT_OK;
}

static edt_status run(const char *dir, edt_arena *arena, edt_error *err)
{
    EDT_TRY(make_set(edt_arena_printf(arena, "%s/set", dir), err));
    edt_path_list files;
    EDT_TRY(edt_path_glob(edt_arena_printf(arena, "%s/set-*", dir), arena, err, &files));
    double seconds[N_PASSES];
    int64_t n_rebuilt;
    for (int i = 0; i < N_PASSES; ++i) {
        EDT_TRY(time_open(&files, err, &seconds[i], &n_rebuilt));
        if (n_rebuilt != 0) {
            EDT_FAIL(err, EDT_ERR_INTERNAL, "%" PRId64 " indexes were made again", n_rebuilt);
        }
    }
    print_ms("open with indexes and catalog", seconds, N_PASSES);
    EDT_TRY(read_indexes(dir, arena, err));
    EDT_TRY(read_at_random(&files, err));
    for (int i = 0; i < 3; ++i) {
        EDT_TRY(remove_hidden(dir, arena, err));
        EDT_TRY(time_open(&files, err, &seconds[i], &n_rebuilt));
    }
    print_ms("open without, making them", seconds, 3);
    EDT_TRY(remove_hidden(dir, arena, err));
    for (int64_t i = 0; i < files.n; ++i) {
        (void)unlink(files.path[i]);
    }
    (void)rmdir(edt_arena_printf(arena, "%s/.edt", dir));
    (void)rmdir(dir);
    return EDT_OK;
}

int main(int argc, char **argv)
{
    char fresh[] = "/tmp/edt_bench_open_XXXXXX";
    const char *dir = argc > 1 ? argv[1] : mkdtemp(fresh);
    edt_error err = {0};
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    const edt_status status =
        dir != NULL ? run(dir, &arena, &err) : edt_error_set(&err, EDT_ERR_IO, "no directory");
    edt_arena_deinit(&arena);
    if (status != EDT_OK) {
        (void)fprintf(stderr, "%s\n", err.text);
    }
    return edt_status_exit_code(status);
}
