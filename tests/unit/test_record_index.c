// Data sets opened through side indexes and a catalog: what is up to date is used, what is not
// is made again and never believed, changed sets are refused, and nothing that happens to a
// shard while it is in use ends the process.
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/log.h"
#include "core/mem.h"
#include "core/path.h"
#include "dataio/record_index.h"
#include "dataio/shard_writer.h"
#include "dataio/shard_zstd.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_records.h"

enum { N_SHARDS = 3, N_RECORDS = 40 };

typedef struct set {
    char dir[256];
    const char *suffix;
    char paths[N_SHARDS][400];
    const char *list[N_SHARDS];
} set;

static const char *index_of(const set *s, int i)
{
    return edt_test_path(s->dir, ".edt/set-%05d-of-%05d%s.index", i, N_SHARDS, s->suffix);
}

static const char *catalog_of(const set *s)
{
    return edt_test_path(s->dir, ".edt/set-of-%05d%s.catalog", N_SHARDS, s->suffix);
}

// Record i has i % 4 boxes; every fifth has an id that is no number.
static void put_example(edt_shard_writer *writer, int i)
{
    edt_error err = {0};
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    static uint8_t picture[50000];
    memset(picture, i, sizeof picture);
    const edt_span encoded = {picture, (size_t)(5000 + 137 * i)};
    char text[32];
    (void)snprintf(text, sizeof text, i % 5 == 4 ? "name-%d" : "%d", 1000 - i);
    const edt_span id = {(const uint8_t *)text, strlen(text)};
    const float low[3] = {0.125F, 0.25F, 0.5F};
    const float high[3] = {0.5F, 0.75F, 1.0F};
    const int64_t labels[3] = {7, (int64_t)1 << 33, i % 3};
    const int64_t crowd[3] = {0, 1, 0};
    const edt_span names[3] = {{(const uint8_t *)"cat", 3},
                               {(const uint8_t *)"b\xc3\xa4r", 4},
                               {(const uint8_t *)"abc", (size_t)(i % 3 + 1)}};
    const int64_t size[2] = {480 + i, 640};
    const size_t n = (size_t)(i % 4);
#define LIST(name, k, count, member, values)                                                   \
    {                                                                                          \
        .key = {name, sizeof name - 1}, .kind = k, .n = count, .value.member = values          \
    }
    const edt_feature features[] = {
        LIST("image/encoded", EDT_FEATURE_BYTES, 1, bytes, &encoded),
        LIST("image/source_id", EDT_FEATURE_BYTES, 1, bytes, &id),
        LIST("image/height", EDT_FEATURE_INT64, 1, ints, &size[0]),
        LIST("image/width", EDT_FEATURE_INT64, 1, ints, &size[1]),
        LIST("image/object/bbox/ymin", EDT_FEATURE_FLOAT, n, floats, low),
        LIST("image/object/bbox/xmin", EDT_FEATURE_FLOAT, n, floats, low),
        LIST("image/object/bbox/ymax", EDT_FEATURE_FLOAT, n, floats, high),
        LIST("image/object/bbox/xmax", EDT_FEATURE_FLOAT, n, floats, high),
        LIST("image/object/class/label", EDT_FEATURE_INT64, n, ints, labels),
        LIST("image/object/is_crowd", EDT_FEATURE_INT64, n, ints, crowd),
        LIST("image/object/class/text", EDT_FEATURE_BYTES, n, bytes, names),
    };
#undef LIST
    edt_tfexample_pieces pieces;
    cr_assert_eq(edt_tfexample_write(features, sizeof features / sizeof features[0], &arena,
                                     &err, &pieces),
                 EDT_OK, "%s", err.text);
    const uint64_t at = edt_shard_writer_reserve(writer, i % N_SHARDS, pieces.n_bytes);
    cr_assert_eq(edt_shard_writer_put_example(writer, i % N_SHARDS, at, &pieces, &err), EDT_OK,
                 "%s", err.text);
    edt_arena_deinit(&arena);
}

static set make_set(edt_shard_compression compression, int n_records)
{
    edt_log_set_level(EDT_LOG_QUIET);
    set s = {.suffix = edt_shard_compression_suffix(compression)};
    (void)snprintf(s.dir, sizeof s.dir, "%s", edt_test_temp_dir());
    const edt_shard_writer_options options = {.prefix = edt_test_path(s.dir, "set"),
                                              .n_shards = N_SHARDS,
                                              .compression = compression,
                                              .sync = true};
    edt_error err = {0};
    edt_shard_writer *writer = NULL;
    cr_assert_eq(edt_shard_writer_open(&options, &err, &writer), EDT_OK, "%s", err.text);
    for (int i = 0; i < n_records; ++i) {
        put_example(writer, i);
    }
    cr_assert_eq(edt_shard_writer_commit(writer, &err), EDT_OK, "%s", err.text);
    for (int i = 0; i < N_SHARDS; ++i) {
        (void)snprintf(s.paths[i], sizeof s.paths[i], "%s", edt_shard_writer_path(writer, i));
    }
    edt_shard_writer_close(writer);
    return s;
}

static edt_record_index *open_set(set *s, edt_status want, edt_error *err)
{
    edt_record_index *index = NULL;
    *err = (edt_error){0};
    for (int i = 0; i < N_SHARDS; ++i) {
        s->list[i] = s->paths[i];
    }
    cr_assert_eq(edt_record_index_create(s->list, N_SHARDS, NULL, err, &index), want, "%s",
                 err->text);
    return index;
}

static int64_t rebuilt_by_open(set *s)
{
    edt_error err;
    edt_record_index *index = open_set(s, EDT_OK, &err);
    const int64_t n = edt_record_index_n_rebuilt(index);
    edt_record_index_destroy(index);
    return n;
}

static void release(edt_span bytes)
{
    edt_mem_free((void *)(uintptr_t)bytes.data);
}

static void flip_byte(const char *path, long at)
{
    FILE *file = fopen(path, "r+b");
    cr_assert_not_null(file, "%s", path);
    cr_assert_eq(fseek(file, at, at < 0 ? SEEK_END : SEEK_SET), 0);
    const int c = fgetc(file);
    cr_assert_eq(fseek(file, -1, SEEK_CUR), 0);
    cr_assert_neq(fputc(c ^ 0x20, file), EOF);
    cr_assert_eq(fclose(file), 0);
}

// As if the shard had been written after its index.
static void make_newer(const char *path)
{
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = time(NULL) + 100}};
    cr_assert_eq(utimensat(AT_FDCWD, path, times, 0), 0);
}

Test(record_index, a_compressed_shard_is_refused_with_the_remedy, .timeout = 30)
{
    // An empty gzip stream.
    static const char gzip[] = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"
                               "\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    const char *dir = edt_test_temp_dir();
    const char *path = edt_test_path(dir, "a.tfrecord");
    edt_error err = {0};
    cr_assert_eq(edt_file_write(path, gzip, sizeof gzip - 1, &err), EDT_OK, "%s", err.text);
    edt_record_index *index = NULL;
    cr_expect_eq(edt_record_index_create(&path, 1, NULL, &err, &index), EDT_ERR_UNSUPPORTED);
    cr_expect_not_null(strstr(err.text, "a.tfrecord"), "%s", err.text);
    cr_expect_not_null(strstr(err.text, "gzip"), "%s", err.text);
    cr_expect_not_null(strstr(err.text, "without compression"), "%s", err.text);
    edt_test_remove_tree(dir);
}

ParameterizedTestParameters(record_index, a_rebuilt_index_equals_the_converters)
{
    static int compressions[] = {EDT_SHARD_COMPRESS_NONE, EDT_SHARD_COMPRESS_ZSTD};
    return cr_make_param_array(int, compressions, 2);
}

ParameterizedTest(int *compression, record_index, a_rebuilt_index_equals_the_converters,
                  .timeout = 30)
{
    set s = make_set((edt_shard_compression)*compression, N_RECORDS);
    edt_error err;
    cr_expect_eq(rebuilt_by_open(&s), 0);
    edt_span before[N_SHARDS];
    for (int i = 0; i < N_SHARDS; ++i) {
        before[i] = edt_test_read_file(index_of(&s, i));
        cr_assert_eq(unlink(index_of(&s, i)), 0);
    }
    const edt_span catalog = edt_test_read_file(catalog_of(&s));
    cr_assert_eq(unlink(catalog_of(&s)), 0);
    edt_record_index *index = open_set(&s, EDT_OK, &err);
    cr_expect_eq(edt_record_index_n_rebuilt(index), N_SHARDS);
    for (int i = 0; i < N_SHARDS; ++i) {
        const edt_span after = edt_test_read_file(index_of(&s, i));
        cr_assert_eq(after.n_bytes, before[i].n_bytes);
        cr_expect_arr_eq(after.data, before[i].data, after.n_bytes);
        release(after);
        release(before[i]);
    }
    const edt_span again = edt_test_read_file(catalog_of(&s));
    cr_assert_eq(again.n_bytes, catalog.n_bytes);
    cr_expect_arr_eq(again.data, catalog.data, again.n_bytes);
    release(again);
    release(catalog);
    // And both say what is in the records.
    edt_record_scratch *scratch = NULL;
    cr_assert_eq(edt_record_scratch_create(&err, &scratch), EDT_OK);
    for (int64_t k = 0; k < edt_record_index_n_records(index); ++k) {
        const edt_record_ref ref = edt_record_index_get(index, k);
        const int i = ref.i_file + N_SHARDS * (int)ref.i_local;
        const edt_side_record *row = edt_record_index_row(index, k);
        cr_expect_eq(row->height, 480 + i);
        cr_expect_eq(row->width, 640);
        cr_expect_eq(row->n_boxes, i % 4);
        if (i % 5 != 4) {
            cr_expect_eq(row->image_id, 1000 - i);
            cr_expect_eq(edt_record_index_find(index, 1000 - i), k);
        } else {
            cr_expect_eq(row->flags & EDT_RECORD_INFO_HASH, EDT_RECORD_INFO_HASH);
        }
        if (row->n_boxes > 1) {
            const edt_side_box *boxes = edt_record_index_boxes(index, k);
            cr_expect_eq(boxes[1].label, (int64_t)1 << 33);
            cr_expect_eq(boxes[1].is_crowd, 1);
            cr_expect_eq(boxes[1].box[3], 0.75F);
        }
        edt_span payload;
        cr_assert_eq(edt_record_index_read_into(index, k, scratch, &err, &payload), EDT_OK,
                     "%s", err.text);
        cr_expect_eq(payload.n_bytes, ref.n_bytes);
    }
    const edt_text name = edt_record_index_label_name(index, (int64_t)1 << 33);
    cr_expect(name.n_bytes == 4 && memcmp(name.data, "b\xc3\xa4r", 4) == 0);
    cr_expect_eq(edt_record_index_label_name(index, 99).n_bytes, 0);
    edt_record_scratch_destroy(scratch);
    edt_record_index_destroy(index);
    edt_test_remove_tree(s.dir);
}

Test(record_index, damaged_and_stale_indexes_are_made_again, .timeout = 30)
{
    set s = make_set(EDT_SHARD_COMPRESS_NONE, N_RECORDS);
    struct stat info;
    cr_assert_eq(stat(index_of(&s, 1), &info), 0);
    // The header, a row, the last byte; each is caught by its CRC.
    const long places[] = {20, 100, -1};
    for (int i = 0; i < 3; ++i) {
        flip_byte(index_of(&s, 1), places[i]);
        cr_expect_eq(rebuilt_by_open(&s), 1, "byte %ld", places[i]);
        cr_expect_eq(rebuilt_by_open(&s), 0);
    }
    cr_assert_eq(truncate(index_of(&s, 0), 50), 0);
    cr_expect_eq(rebuilt_by_open(&s), 1);
    // An index of another shard under this one's name.
    const edt_span other = edt_test_read_file(index_of(&s, 2));
    cr_assert_eq(edt_file_write(index_of(&s, 0), other.data, other.n_bytes, NULL), EDT_OK);
    release(other);
    cr_expect_eq(rebuilt_by_open(&s), 1);
    make_newer(s.paths[2]);
    cr_expect_eq(rebuilt_by_open(&s), 1);
    edt_test_remove_tree(s.dir);
}

Test(record_index, a_set_that_its_catalog_does_not_know_is_refused, .timeout = 30)
{
    set s = make_set(EDT_SHARD_COMPRESS_NONE, N_RECORDS);
    set other = make_set(EDT_SHARD_COMPRESS_NONE, N_RECORDS - 1);
    edt_error err;
    edt_record_index *index = open_set(&s, EDT_OK, &err);
    char before[EDT_FINGERPRINT_TEXT_BYTES];
    (void)strcpy(before, edt_record_index_fingerprint(index));
    edt_record_index_destroy(index);
    edt_catalog *catalog = NULL;
    cr_assert_eq(edt_catalog_open(catalog_of(&s), &err, &catalog), EDT_OK, "%s", err.text);
    const edt_catalog_summary *sum = edt_catalog_get_summary(catalog);
    cr_expect_str_eq(sum->fingerprint, before);
    cr_expect_eq(sum->n_records, N_RECORDS);
    cr_expect_eq(sum->n_boxes, 60);
    cr_expect_eq(sum->n_crowd, 20);
    cr_expect_eq(sum->n_empty, 10);
    edt_catalog_label label;
    cr_assert_eq(edt_catalog_get_label(catalog, sum->n_labels - 1, &err, &label), EDT_OK);
    cr_expect_eq(label.label, (int64_t)1 << 33);
    cr_expect_eq(label.n_boxes, 20);
    cr_expect(label.name.n_bytes == 4 && memcmp(label.name.data, "b\xc3\xa4r", 4) == 0);
    int64_t i_shard, i_local;
    cr_expect_eq(edt_catalog_find(catalog, 1000 - 8, &err, &i_shard, &i_local), EDT_OK);
    cr_expect(i_shard == 2 && i_local == 2);
    cr_expect_eq(edt_catalog_find(catalog, 5, &err, &i_shard, &i_local), EDT_ERR_NOT_FOUND);
    edt_catalog_close(catalog);

    // One shard of another data set.
    const edt_span bytes = edt_test_read_file(other.paths[0]);
    cr_assert_eq(edt_file_write(s.paths[0], bytes.data, bytes.n_bytes, NULL), EDT_OK);
    release(bytes);
    cr_expect_null(open_set(&s, EDT_ERR_MISMATCH, &err));
    cr_expect_not_null(strstr(err.text, "00000-of-00003"), "%s", err.text);
    cr_expect_not_null(strstr(err.text, "remove '"), "%s", err.text);
    cr_assert_eq(unlink(catalog_of(&s)), 0);
    index = open_set(&s, EDT_OK, &err);
    cr_expect_str_neq(edt_record_index_fingerprint(index), before);
    edt_record_index_destroy(index);
    // A damaged catalog is none, and is replaced.
    flip_byte(catalog_of(&s), 5000);
    edt_record_index_destroy(open_set(&s, EDT_OK, &err));
    cr_assert_eq(edt_catalog_open(catalog_of(&s), &err, &catalog), EDT_OK, "%s", err.text);
    edt_catalog_close(catalog);
    edt_test_remove_tree(s.dir);
    edt_test_remove_tree(other.dir);
}

Test(record_index, indexes_stay_in_memory_where_they_cannot_be_written, .timeout = 30)
{
    set s = make_set(EDT_SHARD_COMPRESS_NONE, N_RECORDS);
    edt_test_remove_tree(edt_test_path(s.dir, ".edt"));
    // A file where the directory should be stops root as well.
    cr_assert_eq(edt_file_write(edt_test_path(s.dir, ".edt"), "x", 1, NULL), EDT_OK);
    cr_expect_eq(rebuilt_by_open(&s), N_SHARDS);
    cr_expect_eq(rebuilt_by_open(&s), N_SHARDS);
    // Nor may root write to what is marked read-only.
    cr_assert_eq(unlink(edt_test_path(s.dir, ".edt")), 0);
    cr_assert_eq(chmod(s.dir, 0555), 0);
    cr_expect_eq(rebuilt_by_open(&s), N_SHARDS);
    cr_expect_not(edt_test_exists(edt_test_path(s.dir, ".edt")));
    cr_assert_eq(chmod(s.dir, 0755), 0);
    cr_expect_eq(rebuilt_by_open(&s), N_SHARDS);
    cr_expect_eq(rebuilt_by_open(&s), 0);
    edt_test_remove_tree(s.dir);
}

Test(record_index, shards_that_change_while_in_use_give_an_error, .timeout = 30)
{
    for (int k = 0; k < 2; ++k) {
        set s = make_set(k == 0 ? EDT_SHARD_COMPRESS_NONE : EDT_SHARD_COMPRESS_ZSTD, N_RECORDS);
        edt_error err;
        edt_record_index *index = open_set(&s, EDT_OK, &err);
        edt_span payload;
        cr_assert_eq(edt_record_index_read(index, 5, &err, &payload), EDT_OK, "%s", err.text);
        cr_assert_eq(truncate(s.paths[0], 30), 0);
        cr_expect_eq(edt_record_index_read(index, 5, &err, &payload), EDT_ERR_MISMATCH);
        cr_expect_not_null(strstr(err.text, "record 5"), "%s", err.text);
        cr_expect_not_null(strstr(err.text, "cut off or replaced"), "%s", err.text);
        edt_record_index_destroy(index);
        edt_test_remove_tree(s.dir);
    }
}

Test(record_index, damage_in_a_record_is_reported_where_it_is, .timeout = 30)
{
    set s = make_set(EDT_SHARD_COMPRESS_NONE, N_RECORDS);
    edt_error err;
    edt_record_index *index = open_set(&s, EDT_OK, &err);
    const edt_record_ref ref = edt_record_index_get(index, 3);
    edt_record_index_destroy(index);
    flip_byte(s.paths[0], (long)ref.offset + 40);
    index = open_set(&s, EDT_OK, &err);
    edt_span payload;
    cr_expect_eq(edt_record_index_read(index, 3, &err, &payload), EDT_ERR_CORRUPT);
    cr_expect_not_null(strstr(err.text, "record 3, offset"), "%s", err.text);
    cr_expect_eq(edt_record_index_read(index, 4, &err, &payload), EDT_OK, "%s", err.text);
    edt_record_index_destroy(index);
    edt_test_remove_tree(s.dir);
}

// Eight processes open a set whose indexes are not there, four of them killed at seeded
// moments.
Test(record_index, processes_share_a_set_and_survive_killed_builders, .timeout = 60)
{
#ifdef __SANITIZE_THREAD__
    cr_skip_test("the thread sanitizer allows no threads in a forked child");
#endif
    set s = make_set(EDT_SHARD_COMPRESS_NONE, 300);
    edt_error err;
    edt_record_index *index = open_set(&s, EDT_OK, &err);
    char fingerprint[EDT_FINGERPRINT_TEXT_BYTES];
    (void)strcpy(fingerprint, edt_record_index_fingerprint(index));
    edt_record_index_destroy(index);
    uint32_t state = 20;
    for (int round = 0; round < 12; ++round) {
        edt_test_remove_tree(edt_test_path(s.dir, ".edt"));
        pid_t children[8];
        for (int i = 0; i < 8; ++i) {
            children[i] = fork();
            cr_assert_geq(children[i], 0);
            if (children[i] == 0) {
                edt_record_index *mine = NULL;
                const bool ok =
                    edt_record_index_create(s.list, N_SHARDS, NULL, &err, &mine) == EDT_OK &&
                    strcmp(edt_record_index_fingerprint(mine), fingerprint) == 0;
                _exit(ok ? 0 : 1);
            }
        }
        for (int i = 0; i < 8; ++i) {
            if (i % 2 == 0) {
                state = state * 1664525u + 1013904223u;
                const struct timespec pause = {.tv_nsec = (long)(state >> 8) % 3000000};
                (void)nanosleep(&pause, NULL);
                (void)kill(children[i], SIGKILL);
            }
        }
        for (int i = 0; i < 8; ++i) {
            int status;
            cr_assert_eq(waitpid(children[i], &status, 0), children[i]);
            cr_expect(i % 2 == 0 || (WIFEXITED(status) && WEXITSTATUS(status) == 0),
                      "round %d, process %d", round, i);
        }
        edt_record_index_destroy(open_set(&s, EDT_OK, &err));
        cr_expect_eq(rebuilt_by_open(&s), 0);
    }
    edt_test_remove_tree(s.dir);
}

// Frames that know nothing of records, with checksums in the seek table, as other programs
// write.
Test(record_index, foreign_zstd_frames_have_random_access, .timeout = 30)
{
    enum { FRAME_BYTES = 1000, ENTRY_BYTES = 12 };
    set s = make_set(EDT_SHARD_COMPRESS_NONE, N_RECORDS);
    edt_error err = {0};
    const edt_span plain = edt_test_read_file(s.paths[0]);
    edt_zstd_encoder *encoder = NULL;
    cr_assert_eq(edt_zstd_encoder_create(&err, &encoder), EDT_OK);
    const size_t n_frames = (plain.n_bytes + FRAME_BYTES - 1) / FRAME_BYTES;
    const size_t table_bytes = 8 + n_frames * ENTRY_BYTES + 9;
    uint8_t *out = edt_mem_calloc(EDT_MEM_MISC, 1, 2 * plain.n_bytes + 4096 + table_bytes);
    uint8_t *table = edt_mem_calloc(EDT_MEM_MISC, 1, table_bytes);
    size_t n_out = 0;
    for (size_t i = 0; i < n_frames; ++i) {
        const size_t left = plain.n_bytes - i * FRAME_BYTES;
        const edt_span part = {plain.data + i * FRAME_BYTES,
                               left < FRAME_BYTES ? left : FRAME_BYTES};
        size_t n;
        cr_assert_eq(edt_zstd_encode(encoder, part, out + n_out,
                                     edt_zstd_frame_bound(part.n_bytes), &err, &n),
                     EDT_OK, "%s", err.text);
        const uint32_t entry[3] = {(uint32_t)n, (uint32_t)part.n_bytes, 0};
        memcpy(table + 8 + i * ENTRY_BYTES, entry, sizeof entry);
        n_out += n;
    }
    const uint32_t head[2] = {0x184D2A5E, (uint32_t)(table_bytes - 8)};
    const uint32_t count = (uint32_t)n_frames;
    const uint32_t tail = 0x8F92EAB1;
    memcpy(table, head, sizeof head);
    memcpy(table + table_bytes - 9, &count, 4);
    table[table_bytes - 5] = 0x80;
    memcpy(table + table_bytes - 4, &tail, 4);
    const size_t n_frames_bytes = n_out;
    memcpy(out + n_out, table, table_bytes);
    n_out += table_bytes;
    const char *path = edt_test_path(s.dir, "foreign.zst");
    cr_assert_eq(edt_file_write(path, out, n_out, &err), EDT_OK, "%s", err.text);
    edt_record_index *index = NULL;
    edt_record_index *want = NULL;
    cr_assert_eq(edt_record_index_create(&path, 1, NULL, &err, &index), EDT_OK, "%s", err.text);
    const char *first = s.paths[0];
    cr_assert_eq(edt_record_index_create(&first, 1, NULL, &err, &want), EDT_OK, "%s", err.text);
    const int64_t n = edt_record_index_n_records(want);
    cr_assert_eq(edt_record_index_n_records(index), n);
    for (int64_t i = n; i-- > 0;) {
        edt_span a, b;
        cr_assert_eq(edt_record_index_read(index, i, &err, &a), EDT_OK, "%s", err.text);
        cr_assert_eq(edt_record_index_read(want, i, &err, &b), EDT_OK, "%s", err.text);
        cr_assert_eq(a.n_bytes, b.n_bytes);
        cr_expect_arr_eq(a.data, b.data, a.n_bytes);
    }
    edt_record_index_destroy(index);
    edt_record_index_destroy(want);
    // Without the table: one stream, with the remedy.
    cr_assert_eq(edt_file_write(path, out, n_frames_bytes, &err), EDT_OK, "%s", err.text);
    cr_expect_eq(edt_record_index_create(&path, 1, NULL, &err, &index), EDT_ERR_UNSUPPORTED);
    cr_expect_not_null(strstr(err.text, "zstd -d"), "%s", err.text);
    edt_zstd_encoder_destroy(encoder);
    release(plain);
    edt_mem_free(out);
    edt_mem_free(table);
    edt_test_remove_tree(s.dir);
}
