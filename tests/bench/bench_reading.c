// Speed of reading records of COCO's mean size with their CRCs verified, second pass (from the
// page cache), one thread: in order from the mapping, at random into a buffer as the loader
// does, and the same from zstd. Ceilings of the same run: CRC-32C over the same mapping, pread
// alone. Prints one JSON line each.
//   bench_reading [MEGABYTES]   (default 512)
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/crc32c.h"
#include "core/path.h"
#include "dataio/record_index.h"
#include "dataio/shard_writer.h"

enum { RECORD_BYTES = 160 * 1000, N_PASSES = 7 };

typedef struct bench {
    const char *path;
    int64_t n_records;
    uint32_t sum; // keeps the work from being optimised away
} bench;

static int compare_f64(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef edt_status pass_function(bench *b, edt_error *err);

static edt_status measure(const char *what, pass_function *pass, bench *b, edt_error *err)
{
    double rates[N_PASSES];
    EDT_TRY(pass(b, err));
    for (int i = 0; i < N_PASSES; ++i) {
        const double begin = edt_clock_now_s();
        EDT_TRY(pass(b, err));
        rates[i] =
            (double)RECORD_BYTES * (double)b->n_records / (edt_clock_now_s() - begin) * 1e-9;
    }
    qsort(rates, N_PASSES, sizeof rates[0], compare_f64);
    printf("{\"what\":\"%s\",\"value\":%.2f,\"median\":%.2f,\"unit\":\"GB/s\",\"threads\":1,"
           "\"records\":%" PRId64 ",\"bytes\":%d}\n",
           what, rates[N_PASSES - 1], rates[N_PASSES / 2], b->n_records, RECORD_BYTES);
    return EDT_OK;
}

static edt_shard_reader *mapped; // stays open: the second pass finds its pages mapped

static edt_status pass_crc_of_mapping(bench *b, edt_error *err)
{
    (void)err;
    const edt_span bytes = edt_shard_reader_bytes(mapped);
    for (size_t at = 0; at + RECORD_BYTES <= bytes.n_bytes; at += RECORD_BYTES) {
        b->sum ^= edt_crc32c(0, bytes.data + at, RECORD_BYTES);
    }
    return EDT_OK;
}

static edt_status pass_mapped(bench *b, edt_error *err)
{
    uint64_t offset = 0;
    for (int64_t i = 0; i < b->n_records; ++i) {
        edt_span payload;
        EDT_TRY(edt_shard_reader_read_at(mapped, offset, i, err, &payload));
        offset += payload.n_bytes + EDT_TFRECORD_HEADER_BYTES + EDT_TFRECORD_FOOTER_BYTES;
        b->sum ^= payload.data[0];
    }
    return EDT_OK;
}

static edt_status pass_opened_and_mapped(bench *b, edt_error *err)
{
    edt_shard_reader *reader = NULL;
    EDT_TRY(edt_shard_reader_open(b->path, NULL, err, &reader));
    edt_record record;
    edt_status status;
    while ((status = edt_shard_reader_next(reader, err, &record)) == EDT_OK) {
        b->sum ^= record.payload.data[0];
    }
    edt_shard_reader_close(reader);
    return status == EDT_END ? EDT_OK : status;
}

static edt_status pass_random(bench *b, edt_error *err)
{
    edt_record_index *index = NULL;
    edt_record_scratch *scratch = NULL;
    edt_status status = EDT_OK;
    EDT_TRY_GOTO(edt_record_index_create(&b->path, 1, NULL, err, &index));
    EDT_TRY_GOTO(edt_record_scratch_create(err, &scratch));
    uint64_t at = 1;
    for (int64_t i = 0; i < b->n_records; ++i) {
        at = at * 6364136223846793005u + 1442695040888963407u;
        edt_span payload;
        EDT_TRY_GOTO(edt_record_index_read_into(
            index, (int64_t)((at >> 33) % (uint64_t)b->n_records), scratch, err, &payload));
        b->sum ^= payload.data[0];
    }
fail:
    edt_record_scratch_destroy(scratch);
    edt_record_index_destroy(index);
    return status;
}

static edt_status pass_pread(bench *b, edt_error *err)
{
    static uint8_t buffer[RECORD_BYTES];
    const int fd = open(b->path, O_RDONLY);
    for (int64_t i = 0; i < b->n_records; ++i) {
        if (pread(fd, buffer, RECORD_BYTES, (off_t)(i * RECORD_BYTES)) != RECORD_BYTES) {
            EDT_FAIL(err, EDT_ERR_IO, "cannot read %s", b->path);
        }
        b->sum ^= buffer[0];
    }
    (void)close(fd);
    return EDT_OK;
}

static edt_status write_set(const char *prefix, edt_shard_compression compression,
                            int64_t n_records, edt_error *err)
{
    static uint8_t payload[RECORD_BYTES];
    const edt_shard_writer_options options = {
        .prefix = prefix, .n_shards = 1, .compression = compression};
    edt_shard_writer *writer = NULL;
    EDT_TRY(edt_shard_writer_open(&options, err, &writer));
    edt_status status = EDT_OK;
    uint64_t state = 88172645463325252u;
    for (int64_t i = 0; i < n_records && status == EDT_OK; ++i) {
        // As incompressible as a JPEG.
        for (size_t k = 0; k + 8 <= RECORD_BYTES; k += 8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            memcpy(payload + k, &state, 8);
        }
        const edt_span piece = {payload, RECORD_BYTES};
        const uint64_t at = edt_shard_writer_reserve(writer, 0, RECORD_BYTES);
        status = edt_shard_writer_put(writer, 0, at, &piece, 1, err);
    }
    if (status == EDT_OK) {
        status = edt_shard_writer_commit(writer, err);
    }
    edt_shard_writer_close(writer);
    return status;
}

static edt_status run(const char *dir, int64_t megabytes, edt_arena *arena, edt_error *err)
{
    const char *prefix = edt_arena_printf(arena, "%s/set", dir);
    bench b = {.path = edt_arena_printf(arena, "%s-00000-of-00001.tfrecord", prefix),
               .n_records = megabytes * 1000000 / RECORD_BYTES};
    bench z = {.path = edt_arena_printf(arena, "%s.zst", b.path), .n_records = b.n_records};
    edt_status status = EDT_OK;
    EDT_TRY_GOTO(write_set(prefix, EDT_SHARD_COMPRESS_NONE, b.n_records, err));
    EDT_TRY_GOTO(write_set(prefix, EDT_SHARD_COMPRESS_ZSTD, b.n_records, err));
    EDT_TRY_GOTO(edt_shard_reader_open(b.path, NULL, err, &mapped));
    EDT_TRY_GOTO(measure("ceiling: CRC-32C of the mapping", pass_crc_of_mapping, &b, err));
    EDT_TRY_GOTO(measure("mapped, in order, second pass", pass_mapped, &b, err));
    EDT_TRY_GOTO(measure("opened and mapped anew, in order", pass_opened_and_mapped, &b, err));
    EDT_TRY_GOTO(measure("ceiling: pread alone", pass_pread, &b, err));
    EDT_TRY_GOTO(measure("into a buffer, at random", pass_random, &b, err));
    EDT_TRY_GOTO(measure("zstd, at random", pass_random, &z, err));
    status = b.sum == 0x12345678 ? EDT_ERR_INTERNAL : EDT_OK;
fail:
    edt_shard_reader_close(mapped);
    (void)unlink(b.path);
    (void)unlink(z.path);
    static const char *const hidden[] = {
        "set-00000-of-00001.tfrecord.index", "set-00000-of-00001.tfrecord.zst.index",
        "set-of-00001.tfrecord.catalog", "set-of-00001.tfrecord.zst.catalog"};
    for (size_t i = 0; i < sizeof hidden / sizeof hidden[0]; ++i) {
        (void)unlink(edt_arena_printf(arena, "%s/.edt/%s", dir, hidden[i]));
    }
    (void)rmdir(edt_arena_printf(arena, "%s/.edt", dir));
    (void)rmdir(dir);
    return status;
}

int main(int argc, char **argv)
{
    char dir[] = "/tmp/edt_bench_reading_XXXXXX";
    edt_error err = {0};
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    const edt_status status = mkdtemp(dir) != NULL
                                  ? run(dir, argc > 1 ? atoll(argv[1]) : 512, &arena, &err)
                                  : edt_error_set(&err, EDT_ERR_IO, "no directory in /tmp");
    edt_arena_deinit(&arena);
    if (status != EDT_OK) {
        (void)fprintf(stderr, "%s\n", err.text);
    }
    return edt_status_exit_code(status);
}
