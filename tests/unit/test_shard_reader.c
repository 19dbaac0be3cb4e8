// The sequential reader on shards that change while they are read.
#include <criterion/criterion.h>
#include <string.h>
#include <unistd.h>

#include "core/mem.h"
#include "core/path.h"
#include "dataio/shard_reader.h"
#include "dataio/shard_writer.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_records.h"

enum { N_RECORDS = 6, RECORD_BYTES = 40000 };

static uint64_t record_end(int64_t n_records)
{
    return (uint64_t)n_records *
           (RECORD_BYTES + EDT_TFRECORD_HEADER_BYTES + EDT_TFRECORD_FOOTER_BYTES);
}

// Reads two records, cuts the file, reads on; returns how many records came and what ended
// them.
static edt_status read_while_cut(const char *path, off_t n_left, int64_t *out_n,
                                 edt_tfrecord_fault *out_fault)
{
    edt_error err = {0};
    edt_shard_reader *reader = NULL;
    cr_assert_eq(edt_shard_reader_open(path, NULL, &err, &reader), EDT_OK, "%s", err.text);
    edt_record record;
    edt_status status;
    *out_n = 0;
    while ((status = edt_shard_reader_next(reader, &err, &record)) == EDT_OK) {
        if (++*out_n == 2) {
            cr_assert_eq(truncate(path, n_left), 0);
        }
    }
    uint64_t offset;
    *out_fault = edt_shard_reader_fault(reader, &offset);
    edt_shard_reader_close(reader);
    return status;
}

Test(shard_reader, a_shard_cut_off_while_it_is_read_ends_with_an_error, .timeout = 30)
{
    static const uint8_t zeros[RECORD_BYTES];
    const edt_span payloads[N_RECORDS] = {{zeros, RECORD_BYTES}, {zeros, RECORD_BYTES},
                                          {zeros, RECORD_BYTES}, {zeros, RECORD_BYTES},
                                          {zeros, RECORD_BYTES}, {zeros, RECORD_BYTES}};
    const char *dir = edt_test_temp_dir();
    const char *path = edt_test_path(dir, "a.tfrecord");
    // Inside a record, at a boundary, before what has been read.
    const uint64_t cuts[] = {record_end(3) + 5000, record_end(4), 100};
    const int64_t n_wanted[] = {3, 4, 2};
    for (int i = 0; i < 3; ++i) {
        edt_test_write_shard(path, payloads, N_RECORDS);
        int64_t n;
        edt_tfrecord_fault fault;
        cr_expect_eq(read_while_cut(path, (off_t)cuts[i], &n, &fault), EDT_ERR_FORMAT);
        cr_expect_eq(n, n_wanted[i], "cut %d", i);
        cr_expect_eq(fault, EDT_TFRECORD_TRUNCATED);
    }
    edt_test_remove_tree(dir);
}

Test(shard_reader, zstd_shards_are_told_by_content_and_damage_is_named, .timeout = 30)
{
    edt_error err = {0};
    const char *dir = edt_test_temp_dir();
    const edt_shard_writer_options options = {.prefix = edt_test_path(dir, "a"),
                                              .n_shards = 1,
                                              .compression = EDT_SHARD_COMPRESS_ZSTD,
                                              .no_index = true};
    edt_shard_writer *writer = NULL;
    cr_assert_eq(edt_shard_writer_open(&options, &err, &writer), EDT_OK, "%s", err.text);
    const edt_span piece = {(const uint8_t *)"some payload", 12};
    for (int i = 0; i < 3; ++i) {
        const uint64_t at = edt_shard_writer_reserve(writer, 0, piece.n_bytes);
        cr_assert_eq(edt_shard_writer_put(writer, 0, at, &piece, 1, &err), EDT_OK);
    }
    cr_assert_eq(edt_shard_writer_commit(writer, &err), EDT_OK, "%s", err.text);
    const edt_span bytes = edt_test_read_file(edt_shard_writer_path(writer, 0));
    edt_shard_writer_close(writer);
    cr_expect_not(edt_test_exists(edt_test_path(dir, ".edt")));
    // Any name, any cut: whole records, then an error.
    const size_t table_bytes = 8 + 3 * 8 + 9;
    for (size_t n = 1; n < bytes.n_bytes - table_bytes; ++n) {
        edt_shard_reader *reader = NULL;
        cr_assert_eq(edt_shard_reader_open_memory((edt_span){bytes.data, n}, "x.tfrecord", NULL,
                                                  &err, &reader),
                     EDT_OK);
        edt_record record;
        edt_status status;
        int64_t n_read = 0;
        while ((status = edt_shard_reader_next(reader, &err, &record)) == EDT_OK) {
            cr_expect_eq(record.payload.n_bytes, 12);
            ++n_read;
        }
        cr_expect_lt(n_read, 3);
        // Between two frames nothing tells that there was more but the missing seek table.
        const bool at_boundary = n % ((bytes.n_bytes - table_bytes) / 3) == 0;
        cr_expect_eq(status == EDT_END, at_boundary, "%zu bytes: %s", n, err.text);
        edt_shard_reader_close(reader);
    }
    edt_test_remove_tree(dir);
    edt_mem_free((void *)(uintptr_t)bytes.data);
}
