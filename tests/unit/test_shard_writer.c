// Shards written with every compression, from one thread and from several in any order: the
// bytes do not differ, records read back, and the side index says where they lie.
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/log.h"
#include "core/mem.h"
#include "core/parallel.h"
#include "core/path.h"
#include "dataio/shard_reader.h"
#include "dataio/shard_writer.h"
#include "dataio/side_index.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_records.h"

enum { N_RECORDS = 60, N_SHARDS = 2, MAX_BYTES = 90000 };

typedef struct job {
    edt_shard_writer *writer;
    uint64_t offsets[N_RECORDS];
    uint64_t n_bytes[N_RECORDS];
} job;

static uint64_t size_of(int64_t i)
{
    return i == 7 ? 0 : (uint64_t)(i * i * 7919 % MAX_BYTES);
}

static void fill(int64_t i, uint8_t *out, uint64_t n)
{
    uint32_t state = (uint32_t)i + 1;
    for (uint64_t k = 0; k < n; ++k) {
        state = state * 1664525u + 1013904223u;
        out[k] = (uint8_t)(k % 3 == 0 ? state >> 24 : (uint32_t)i);
    }
}

static edt_status put(void *ctx, int worker, int64_t k, edt_error *err)
{
    (void)worker;
    job *j = ctx;
    // Neighbours are swapped, so that records arrive before their turn.
    const int64_t i = k ^ 2;
    uint8_t *payload = edt_mem_alloc(EDT_MEM_MISC, MAX_BYTES);
    fill(i, payload, j->n_bytes[i]);
    const edt_span pieces[2] = {
        {payload, (size_t)j->n_bytes[i] / 2},
        {payload + j->n_bytes[i] / 2, (size_t)(j->n_bytes[i] - j->n_bytes[i] / 2)}};
    const edt_status status =
        edt_shard_writer_put(j->writer, i % N_SHARDS, j->offsets[i], pieces, 2, err);
    edt_mem_free(payload);
    return status;
}

static void write_shards(const char *prefix, edt_shard_compression compression, int n_threads,
                         int64_t rank, int64_t world_size)
{
    edt_error err = {0};
    job j = {0};
    const edt_shard_writer_options options = {.prefix = prefix,
                                              .n_shards = N_SHARDS,
                                              .compression = compression,
                                              .rank = rank,
                                              .world_size = world_size};
    cr_assert_eq(edt_shard_writer_open(&options, &err, &j.writer), EDT_OK, "%s", err.text);
    for (int64_t i = 0; i < N_RECORDS; ++i) {
        j.n_bytes[i] = size_of(i);
        if (edt_shard_writer_owns(j.writer, i % N_SHARDS)) {
            j.offsets[i] = edt_shard_writer_reserve(j.writer, i % N_SHARDS, j.n_bytes[i]);
        }
    }
    if (world_size > 1) {
        for (int64_t k = 0; k < N_RECORDS; ++k) {
            if (edt_shard_writer_owns(j.writer, (k ^ 2) % N_SHARDS)) {
                cr_assert_eq(put(&j, 0, k, &err), EDT_OK, "%s", err.text);
            }
        }
    } else {
        cr_assert_eq(edt_parallel_for(n_threads, N_RECORDS, put, &j, &err), EDT_OK, "%s",
                     err.text);
    }
    cr_assert_eq(edt_shard_writer_commit(j.writer, &err), EDT_OK, "%s", err.text);
    cr_assert_gt(edt_shard_writer_file_bytes(j.writer), 0);
    edt_shard_writer_close(j.writer);
}

static void check_shard(const char *path, int i_shard, edt_shard_format format)
{
    edt_error err = {0};
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    edt_side_index *index = NULL;
    cr_assert_eq(edt_side_index_open(edt_side_index_path(&arena, path), &err, &index), EDT_OK,
                 "%s", err.text);
    const edt_side_summary *s = edt_side_index_summary(index);
    struct stat info;
    cr_assert_eq(stat(path, &info), 0);
    cr_expect_eq(s->shard_bytes, (uint64_t)info.st_size);
    cr_expect_eq(s->format, format);
    cr_assert_eq(s->n_records, N_RECORDS / N_SHARDS);
    edt_shard_reader *reader = NULL;
    cr_assert_eq(edt_shard_reader_open(path, NULL, &err, &reader), EDT_OK, "%s", err.text);
    cr_expect_eq(edt_shard_reader_format(reader), format);
    static uint8_t want[MAX_BYTES];
    edt_record record;
    edt_status status;
    int64_t n = 0;
    while ((status = edt_shard_reader_next(reader, &err, &record)) == EDT_OK) {
        const int64_t i = i_shard + N_SHARDS * n;
        const edt_side_record *row = &edt_side_index_records(index)[n];
        cr_assert_eq(record.payload.n_bytes, size_of(i));
        fill(i, want, size_of(i));
        cr_assert_arr_eq(record.payload.data, want, size_of(i));
        cr_expect_eq(row->offset, record.offset);
        cr_expect_eq(row->n_bytes, record.payload.n_bytes);
        ++n;
    }
    cr_expect_eq(status, EDT_END, "%s", err.text);
    cr_expect_eq(n, N_RECORDS / N_SHARDS);
    edt_shard_reader_close(reader);
    edt_side_index_close(index);
    edt_arena_deinit(&arena);
}

static void expect_same_files(const char *a, const char *b)
{
    const edt_span x = edt_test_read_file(a);
    const edt_span y = edt_test_read_file(b);
    cr_expect(x.n_bytes == y.n_bytes && memcmp(x.data, y.data, x.n_bytes) == 0, "%s and %s", a,
              b);
    edt_mem_free((void *)(uintptr_t)x.data);
    edt_mem_free((void *)(uintptr_t)y.data);
}

ParameterizedTestParameters(shard_writer, bytes_depend_on_the_records_alone)
{
    static int compressions[] = {EDT_SHARD_COMPRESS_NONE, EDT_SHARD_COMPRESS_GZIP,
                                 EDT_SHARD_COMPRESS_ZLIB, EDT_SHARD_COMPRESS_ZSTD};
    return cr_make_param_array(int, compressions, 4);
}

ParameterizedTest(int *compression, shard_writer, bytes_depend_on_the_records_alone,
                  .timeout = 60)
{
    static const edt_shard_format formats[] = {EDT_SHARD_PLAIN, EDT_SHARD_GZIP, EDT_SHARD_ZLIB,
                                               EDT_SHARD_ZSTD};
    const edt_shard_compression c = (edt_shard_compression)*compression;
    const char *suffix = edt_shard_compression_suffix(c);
    char *dir = edt_mem_strdup(EDT_MEM_TEXT, edt_test_temp_dir());
    write_shards(edt_test_path(dir, "one/a"), c, 1, 0, 1);
    write_shards(edt_test_path(dir, "four/a"), c, 4, 0, 1);
    write_shards(edt_test_path(dir, "ranks/a"), c, 1, 1, 2);
    write_shards(edt_test_path(dir, "ranks/a"), c, 1, 0, 2);
    static const char *const folders[] = {"one", "four", "ranks"};
    for (int i = 0; i < N_SHARDS; ++i) {
        const char *one = edt_test_path(dir, "one/a-%05d-of-%05d%s", i, N_SHARDS, suffix);
        check_shard(one, i, formats[c]);
        for (int k = 1; k < 3; ++k) {
            expect_same_files(one, edt_test_path(dir, "%s/a-%05d-of-%05d%s", folders[k], i,
                                                 N_SHARDS, suffix));
            expect_same_files(
                edt_test_path(dir, "one/.edt/a-%05d-of-%05d%s.index", i, N_SHARDS, suffix),
                edt_test_path(dir, "%s/.edt/a-%05d-of-%05d%s.index", folders[k], i, N_SHARDS,
                              suffix));
        }
    }
    for (int k = 1; k < 3; ++k) {
        expect_same_files(
            edt_test_path(dir, "one/.edt/a-of-%05d%s.catalog", N_SHARDS, suffix),
            edt_test_path(dir, "%s/.edt/a-of-%05d%s.catalog", folders[k], N_SHARDS, suffix));
    }
    edt_test_remove_tree(dir);
    edt_mem_free(dir);
}

Test(shard_writer, without_a_commit_nothing_stays, .timeout = 30)
{
    const char *dir = edt_test_temp_dir();
    edt_error err = {0};
    edt_shard_writer *writer = NULL;
    const edt_shard_writer_options options = {.prefix = edt_test_path(dir, "a"),
                                              .n_shards = 3,
                                              .compression = EDT_SHARD_COMPRESS_ZSTD};
    cr_assert_eq(edt_shard_writer_open(&options, &err, &writer), EDT_OK, "%s", err.text);
    const edt_span piece = {(const uint8_t *)"abc", 3};
    const uint64_t at = edt_shard_writer_reserve(writer, 1, 3);
    cr_assert_eq(edt_shard_writer_put(writer, 1, at, &piece, 1, &err), EDT_OK, "%s", err.text);
    // A place that is never filled: the commit must not pass it over.
    (void)edt_shard_writer_reserve(writer, 1, 3);
    const uint64_t late = edt_shard_writer_reserve(writer, 1, 3);
    cr_assert_eq(edt_shard_writer_put(writer, 1, late, &piece, 1, &err), EDT_OK);
    cr_expect_eq(edt_shard_writer_commit(writer, &err), EDT_ERR_INTERNAL);
    edt_shard_writer_close(writer);
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    edt_path_list list;
    cr_assert_eq(edt_path_list_dir(dir, &arena, &err, &list), EDT_OK);
    cr_expect_eq(list.n, 0);
    edt_arena_deinit(&arena);
    edt_test_remove_tree(dir);
}

Test(shard_writer, shards_stand_where_their_indexes_cannot_be_written, .timeout = 30)
{
    char dir[256];
    (void)snprintf(dir, sizeof dir, "%s", edt_test_temp_dir());
    edt_log_set_level(EDT_LOG_QUIET);
    cr_assert_eq(edt_file_write(edt_test_path(dir, ".edt"), "x", 1, NULL), EDT_OK);
    write_shards(edt_test_path(dir, "a"), EDT_SHARD_COMPRESS_NONE, 1, 0, 1);
    cr_expect(edt_test_exists(edt_test_path(dir, "a-00001-of-00002.tfrecord")));
    edt_test_remove_tree(dir);
}

Test(shard_writer, unknown_compressions_and_ranks_are_refused, .timeout = 30)
{
    edt_error err = {0};
    edt_shard_compression compression;
    cr_expect_eq(edt_shard_compression_parse("bzip2", &err, &compression), EDT_ERR_USAGE);
    cr_expect_not_null(strstr(err.text, "none, gzip, zlib or zstd"), "%s", err.text);
    cr_expect_eq(edt_shard_compression_parse("", &err, &compression), EDT_OK);
    cr_expect_eq(compression, EDT_SHARD_COMPRESS_NONE);
    edt_shard_writer *writer = NULL;
    const edt_shard_writer_options options = {
        .prefix = "a", .n_shards = 3, .rank = 2, .world_size = 2};
    cr_expect_eq(edt_shard_writer_open(&options, &err, &writer), EDT_ERR_USAGE);
}
