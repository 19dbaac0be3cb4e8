// The loader over windows, compressed streams and mixtures: same bytes whatever the storage,
// the threads, their delays and the ranks; resume; bad records; ends.
#include <criterion/criterion.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/mem.h"
#include "dataio/example.h"
#include "dataio/loader.h"
#include "dataio/record_index.h"
#include "dataio/shard_reader.h"
#include "dataio/shard_writer.h"
#include "tests/support/test_batches.h"
#include "tests/support/test_dirs.h"

enum { N_RECORDS = 24, N_SHARDS = 4, FULL_SHARD = 1, N_BATCHES = 13 };

static const edt_shard_compression plain[N_SHARDS] = {0};
static const edt_shard_compression zstd[N_SHARDS] = {
    EDT_SHARD_COMPRESS_ZSTD, EDT_SHARD_COMPRESS_ZSTD, EDT_SHARD_COMPRESS_ZSTD,
    EDT_SHARD_COMPRESS_ZSTD};
static const edt_shard_compression gzip[N_SHARDS] = {
    EDT_SHARD_COMPRESS_GZIP, EDT_SHARD_COMPRESS_GZIP, EDT_SHARD_COMPRESS_GZIP,
    EDT_SHARD_COMPRESS_GZIP};
static const edt_shard_compression mixed[N_SHARDS] = {
    EDT_SHARD_COMPRESS_ZLIB, EDT_SHARD_COMPRESS_NONE, EDT_SHARD_COMPRESS_GZIP,
    EDT_SHARD_COMPRESS_ZSTD};

// A shard is a data set of its own for the writer, so that each can be stored in its own way;
// their names sort alike however they are stored.
typedef struct set {
    char dir[256], pattern[300];
    char paths[N_SHARDS][300];
} set;

typedef struct copying {
    edt_shard_writer *writers[N_SHARDS];
    int64_t n, i_damaged;
} copying;

static void put_record(copying *c, edt_span payload)
{
    // Uneven shards: 2, 10, 1 and 11 records.
    static const int64_t ends[N_SHARDS] = {2, 12, 13, N_RECORDS};
    int shard = 0;
    while (c->n >= ends[shard]) {
        ++shard;
    }
    edt_error err = {0};
    uint8_t *copy = edt_mem_alloc(EDT_MEM_MISC, payload.n_bytes);
    memcpy(copy, payload.data, payload.n_bytes);
    if (c->n == c->i_damaged) {
        // Its picture is no picture any more; lengths and CRCs stay right.
        edt_arena arena;
        edt_example example;
        edt_arena_init(&arena, EDT_MEM_ARENA, 0);
        cr_assert_eq(edt_example_decode(payload, 0, &arena, &err, &example), EDT_OK);
        memset(copy + (example.encoded.data - payload.data), 0, example.encoded.n_bytes);
        edt_arena_deinit(&arena);
    }
    const edt_span piece = {copy, payload.n_bytes};
    const uint64_t at = edt_shard_writer_reserve(c->writers[shard], 0, piece.n_bytes);
    cr_assert_eq(edt_shard_writer_put(c->writers[shard], 0, at, &piece, 1, &err), EDT_OK);
    edt_mem_free(copy);
    ++c->n;
}

// The 24 records of the COCO shards, that of i_damaged (-1: none) without its picture.
static set make_set(const edt_shard_compression how[static N_SHARDS], int64_t i_damaged)
{
    set s;
    edt_error err = {0};
    (void)snprintf(s.dir, sizeof s.dir, "%s", edt_test_temp_dir());
    (void)snprintf(s.pattern, sizeof s.pattern, "%s/*.tfrecord*", s.dir);
    copying c = {.i_damaged = i_damaged};
    for (int i = 0; i < N_SHARDS; ++i) {
        const edt_shard_writer_options options = {
            .prefix = edt_test_path(s.dir, "%d", i), .n_shards = 1, .compression = how[i]};
        cr_assert_eq(edt_shard_writer_open(&options, &err, &c.writers[i]), EDT_OK, "%s",
                     err.text);
        (void)snprintf(s.paths[i], sizeof s.paths[i], "%s/%d-00000-of-00001%s", s.dir, i,
                       edt_shard_compression_suffix(how[i]));
    }
    for (int i = 0; i < 2; ++i) {
        edt_shard_reader *reader = NULL;
        edt_record record;
        const char *from = edt_test_path(edt_test_golden_dir(),
                                         "data/tfrecord/coco-%05d-of-00002.tfrecord", i);
        cr_assert_eq(edt_shard_reader_open(from, NULL, &err, &reader), EDT_OK, "%s", err.text);
        while (edt_shard_reader_next(reader, &err, &record) == EDT_OK) {
            put_record(&c, record.payload);
        }
        edt_shard_reader_close(reader);
    }
    cr_assert_eq(c.n, N_RECORDS);
    for (int i = 0; i < N_SHARDS; ++i) {
        cr_assert_eq(edt_shard_writer_commit(c.writers[i], &err), EDT_OK, "%s", err.text);
        edt_shard_writer_close(c.writers[i]);
    }
    return s;
}

static edt_hparams window_hparams(const char *more)
{
    char text[256];
    (void)snprintf(text, sizeof text, "image_size=64,shuffle=window,shuffle_window=7%s%s",
                   more[0] != '\0' ? "," : "", more);
    return edt_test_loader_hparams(text);
}

static void take_from(const edt_hparams *hp, const edt_loader_options *options, int n,
                      uint64_t *out_hashes)
{
    edt_loader *loader = edt_test_open_loader(hp, options);
    edt_test_take_batches(loader, n, out_hashes);
    edt_loader_destroy(loader);
}

Test(windowed_loader, batches_do_not_depend_on_storage_or_threads, .timeout = 120)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    static const edt_shard_compression *const kinds[] = {plain, zstd, gzip, mixed};
    static const int threads[] = {1, 2, 3, 8};
    edt_hparams hp = window_hparams("");
    uint64_t want[N_BATCHES], have[N_BATCHES];
    for (int i = 0; i < 4; ++i) {
        set s = make_set(kinds[i], -1);
        for (int k = 0; k < 4; ++k) {
            edt_loader_options options = edt_test_train_options(s.pattern);
            options.n_threads = threads[k];
            options.prefetch = k;
            take_from(&hp, &options, N_BATCHES, i + k == 0 ? want : have);
            cr_assert(i + k == 0 || memcmp(want, have, sizeof want) == 0,
                      "storage %d, %d threads", i, threads[k]);
        }
        edt_test_remove_tree(s.dir);
    }
    edt_hparams_deinit(&hp);
}

// Holds rows up for as long as chance, not the row, wants.
static edt_status delayed_targets(void *ctx, int worker, const float *boxes,
                                  const int64_t *labels, int64_t n_boxes, int32_t *out_cls,
                                  float *out_box, float *out_num_positives, edt_error *err)
{
    atomic_uint *state = ctx;
    const unsigned n = atomic_fetch_add(state, 1) * 2654435761u >> 20;
    for (unsigned k = n % 4 == 0 ? n : 0; k > 0; --k) {
        (void)sched_yield();
    }
    return edt_test_fake_targets(NULL, worker, boxes, labels, n_boxes, out_cls, out_box,
                                 out_num_positives, err);
}

Test(windowed_loader, delays_of_workers_change_nothing, .timeout = 120)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    static const char *const shuffles[] = {"window", "none", "global"};
    set s = make_set(gzip, -1), p = make_set(plain, -1);
    for (int i = 0; i < 3; ++i) {
        edt_hparams hp = window_hparams("");
        edt_error err = {0};
        cr_assert_eq(edt_hparams_set(&hp, "shuffle", shuffles[i], &err), EDT_OK);
        uint64_t want[N_BATCHES], have[N_BATCHES];
        edt_loader_options options = edt_test_train_options(i < 2 ? s.pattern : p.pattern);
        take_from(&hp, &options, N_BATCHES, want);
        for (unsigned k = 0; k < 4; ++k) {
            atomic_uint state = 977 * k;
            options.n_threads = (int)(2 * k + 1);
            options.prefetch = k;
            options.targets = delayed_targets;
            options.targets_ctx = &state;
            take_from(&hp, &options, N_BATCHES, have);
            cr_assert_arr_eq(want, have, sizeof want, "shuffle=%s", shuffles[i]);
        }
        edt_hparams_deinit(&hp);
    }
    edt_test_remove_tree(s.dir);
    edt_test_remove_tree(p.dir);
}

// The rows of n global batches, rank after rank; rows of padding are 0.
static void take_ranks(const edt_hparams *hp, const edt_loader_options *common, int64_t world,
                       int n, uint64_t *out_rows)
{
    const int64_t batch = 8 / world;
    for (int64_t rank = 0; rank < world; ++rank) {
        edt_loader_options options = *common;
        options.batch_size = batch;
        options.world_size = world;
        options.rank = rank;
        options.n_threads = (int)(1 + rank % 3);
        edt_loader *loader = edt_test_open_loader(hp, &options);
        for (int q = 0; q < n; ++q) {
            const edt_batch *b;
            edt_error err = {0};
            cr_assert_eq(edt_loader_next(loader, &err, &b), EDT_OK, "%s", err.text);
            for (int64_t i = 0; i < batch; ++i) {
                out_rows[q * 8 + rank * batch + i] =
                    i < b->n_valid ? edt_test_hash_row(b, i, 1) : 0;
            }
            edt_loader_release(loader, b);
        }
        edt_loader_destroy(loader);
    }
}

Test(windowed_loader, rows_of_all_ranks_are_those_of_one, .timeout = 120)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    enum { N_STEPS = 7 };
    static const edt_shard_compression *const kinds[] = {plain, mixed};
    for (int i = 0; i < 2; ++i) {
        set s = make_set(kinds[i], 5);
        for (int k = 0; k < 3; ++k) {
            edt_hparams hp = window_hparams(k == 2   ? "on_bad_sample=substitute"
                                            : k == 1 ? "on_bad_sample=skip"
                                                     : "on_bad_sample=substitute,mixup_prob=1");
            edt_loader_options options = edt_test_train_options(s.pattern);
            options.drop_remainder = k == 2;
            options.start.position = 3; // so that epochs end in a part of a batch
            uint64_t one[8 * N_STEPS], many[8 * N_STEPS];
            take_ranks(&hp, &options, 1, N_STEPS, one);
            for (int64_t world = 2; world <= 4; world *= 2) {
                take_ranks(&hp, &options, world, N_STEPS, many);
                // Skipping closes ranks within each rank's rows: compare as sets of a step.
                for (int r = 0; r < 8 * N_STEPS; ++r) {
                    bool is_there = one[r] == 0;
                    for (int j = r / 8 * 8; j < r / 8 * 8 + 8; ++j) {
                        is_there = is_there ||
                                   (k == 1 ? one[r] == many[j] : j == r && one[r] == many[j]);
                    }
                    cr_assert(is_there, "storage %d, policy %d, world %d, row %d", i, k,
                              (int)world, r);
                }
            }
            edt_hparams_deinit(&hp);
        }
        edt_test_remove_tree(s.dir);
    }
}

Test(windowed_loader, a_cursor_resumes_exactly_anywhere, .timeout = 120)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    set s = make_set(mixed, 9);
    static const char *const settings[] = {"on_bad_sample=skip", "on_bad_sample=substitute",
                                           "on_bad_sample=skip,shuffle=none"};
    for (int k = 0; k < 3; ++k) {
        edt_hparams hp = window_hparams(settings[k]);
        edt_loader_options options = edt_test_train_options(s.pattern);
        options.drop_remainder = k == 1;
        uint64_t want[N_BATCHES];
        edt_cursor cursors[N_BATCHES];
        edt_loader *loader = edt_test_open_loader(&hp, &options);
        for (int q = 0; q < N_BATCHES; ++q) {
            cursors[q] = edt_loader_cursor(loader);
            edt_test_take_batches(loader, 1, &want[q]);
        }
        edt_loader_destroy(loader);
        for (int q = 0; q < N_BATCHES; ++q) {
            uint64_t have[2];
            const int n = q + 1 < N_BATCHES ? 2 : 1;
            options.start = cursors[q];
            take_from(&hp, &options, n, have);
            cr_assert_arr_eq(have, want + q, (size_t)n * sizeof *have, "batch %d", q);
        }
        edt_hparams_deinit(&hp);
    }
    edt_test_remove_tree(s.dir);
}

Test(windowed_loader, evaluation_over_streams_equals_plain, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    set sets[3] = {make_set(plain, -1), make_set(gzip, -1), make_set(mixed, -1)};
    // The order asked for is training's alone.
    edt_hparams hp = window_hparams("shuffle=global,dataset_weights=[1]");
    for (int64_t world = 1; world <= 2; ++world) {
        for (int64_t rank = 0; rank < world; ++rank) {
            uint64_t want[8] = {0};
            for (int i = 0; i < 3; ++i) {
                edt_loader_options options = edt_test_train_options(sets[i].pattern);
                options.training = false;
                options.format = EDT_SLOT_F32;
                options.world_size = world;
                options.rank = rank;
                options.n_threads = i + 1;
                edt_loader *loader = edt_test_open_loader(&hp, &options);
                const int64_t n = edt_loader_batches_per_epoch(loader);
                cr_assert_eq(n, world == 1 ? 5 : 3);
                for (int64_t q = 0; q < n; ++q) {
                    uint64_t hash;
                    edt_test_take_batches(loader, 1, &hash);
                    cr_assert(i == 0 || hash == want[q]);
                    want[q] = hash;
                }
                const edt_batch *batch;
                cr_assert_eq(edt_loader_next(loader, NULL, &batch), EDT_END);
                // A single record of a stream can be had, too.
                edt_span record;
                edt_error err = {0};
                cr_assert_eq(edt_loader_record(loader, N_RECORDS - 2, &err, &record), EDT_OK,
                             "%s", err.text);
                edt_loader_destroy(loader);
            }
        }
    }
    edt_hparams_deinit(&hp);
    for (int i = 0; i < 3; ++i) {
        edt_test_remove_tree(sets[i].dir);
    }
}

static void refuse(const char *hparams, const char *pattern, edt_status want, const char *words)
{
    edt_hparams hp = edt_test_loader_hparams(hparams);
    const edt_loader_options options = edt_test_train_options(pattern);
    edt_loader *loader = NULL;
    edt_error err = {0};
    cr_expect_eq(edt_loader_create(&hp, &options, &err, &loader), want, "%s", hparams);
    cr_expect_not_null(strstr(err.text, words), "%s", err.text);
    edt_hparams_deinit(&hp);
}

Test(windowed_loader, orders_that_cannot_be_are_refused_with_the_remedy, .timeout = 30)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    set s = make_set(gzip, -1), p = make_set(plain, -1);
    refuse("shuffle=global", s.pattern, EDT_ERR_UNSUPPORTED, "shuffle=window");
    refuse("shuffle=none,negatives_ratio=0", s.pattern, EDT_ERR_UNSUPPORTED, "(gzip)");
    refuse("shuffle=window,dataset_weights=[1]", p.pattern, EDT_ERR_USAGE, "shuffle=global");
    refuse("dataset_weights=1*2", p.pattern, EDT_ERR_USAGE,
           "dataset_weights has 2 weights for 1 patterns");
    const char *overlapping = edt_test_path(p.dir, "*.tfrecord,%s/0*", p.dir);
    refuse("dataset_weights=1*2", overlapping, EDT_ERR_USAGE, "matches two patterns");
    refuse("negatives_ratio=0.5", p.paths[FULL_SHARD], EDT_ERR_USAGE,
           "0 are without objects and 10 have some");
    edt_test_remove_tree(s.dir);
    edt_test_remove_tree(p.dir);
}

Test(windowed_loader, mixtures_have_their_shares_on_any_threads_and_ranks, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    enum { N_STEPS = 6 };
    set p = make_set(plain, -1);
    const char *pattern = edt_test_path(p.dir, "[01]*.tfrecord,%s/[23]*.tfrecord", p.dir);
    static const char *const shuffles[] = {"global", "none"};
    for (int k = 0; k < 2; ++k) {
        char text[128];
        (void)snprintf(text, sizeof text, "image_size=64,shuffle=%s,dataset_weights=1*3",
                       shuffles[k]);
        edt_hparams hp = edt_test_loader_hparams(text);
        edt_loader_options options = edt_test_train_options(pattern);
        uint64_t one[8 * N_STEPS], many[8 * N_STEPS];
        take_ranks(&hp, &options, 1, N_STEPS, one);
        for (int64_t world = 2; world <= 4; world *= 2) {
            take_ranks(&hp, &options, world, N_STEPS, many);
            cr_assert_arr_eq(one, many, sizeof one);
        }
        // A record that comes twice in an epoch is drawn anew.
        for (int i = 0; i < 24; ++i) {
            for (int j = 0; j < i; ++j) {
                cr_assert_neq(one[i], one[j]);
            }
        }
        options.batch_size = 8;
        edt_loader *loader = edt_test_open_loader(&hp, &options);
        for (int epoch = 0; epoch < 2; ++epoch) {
            int n_second = 0;
            for (int q = 0; q < 3; ++q) {
                const edt_batch *b;
                edt_error err = {0};
                cr_assert_eq(edt_loader_next(loader, &err, &b), EDT_OK, "%s", err.text);
                for (int64_t i = 0; i < 8; ++i) {
                    n_second += b->sample_indices[i] >= 12;
                }
                edt_loader_release(loader, b);
            }
            cr_assert_eq(n_second, 18);
        }
        edt_loader_destroy(loader);
        edt_hparams_deinit(&hp);
    }
    edt_test_remove_tree(p.dir);
}

Test(windowed_loader, pictures_without_objects_have_the_share_asked_for, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    set p = make_set(plain, -1);
    const char *const paths[N_SHARDS] = {p.paths[0], p.paths[1], p.paths[2], p.paths[3]};
    edt_record_index *index = NULL;
    edt_error err = {0};
    cr_assert_eq(edt_record_index_create(paths, N_SHARDS, NULL, &err, &index), EDT_OK, "%s",
                 err.text);
    edt_hparams hp = edt_test_loader_hparams("image_size=64,negatives_ratio=0.25");
    edt_loader_options options = edt_test_train_options(p.pattern);
    options.batch_size = N_RECORDS;
    edt_loader *loader = edt_test_open_loader(&hp, &options);
    for (int epoch = 0; epoch < 3; ++epoch) {
        const edt_batch *b;
        cr_assert_eq(edt_loader_next(loader, &err, &b), EDT_OK, "%s", err.text);
        int n_empty = 0;
        for (int64_t i = 0; i < N_RECORDS; ++i) {
            n_empty += edt_record_index_row(index, b->sample_indices[i])->n_boxes == 0;
        }
        cr_assert_eq(n_empty, 6);
        edt_loader_release(loader, b);
    }
    edt_loader_destroy(loader);
    edt_record_index_destroy(index);
    edt_hparams_deinit(&hp);
    edt_test_remove_tree(p.dir);
}

Test(windowed_loader, errors_keep_their_place_and_ends_never_hang, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    static const int threads[] = {1, 2, 8};
    set s = make_set(gzip, 20);
    edt_hparams hp = window_hparams("");
    int n_before = -1;
    for (int k = 0; k < 3; ++k) {
        edt_loader_options options = edt_test_train_options(s.pattern);
        options.n_threads = threads[k];
        edt_loader *loader = edt_test_open_loader(&hp, &options);
        edt_error err = {0};
        const edt_batch *batch;
        int n = 0;
        while (edt_loader_next(loader, &err, &batch) == EDT_OK) {
            edt_loader_release(loader, batch);
            cr_assert_lt(++n, 20);
        }
        cr_expect_not_null(strstr(err.text, "record 7"), "%s", err.text);
        cr_expect(n_before < 0 || n == n_before, "%d batches, %d before", n, n_before);
        n_before = n;
        edt_loader_destroy(loader);
    }
    // At any moment, with batches held and without.
    for (int i = 0; i < 40; ++i) {
        edt_loader_options options = edt_test_train_options(s.pattern);
        options.n_threads = threads[i % 3];
        options.batch_size = 1 + i % 3 * 11; // below and above a window
        edt_loader *loader = edt_test_open_loader(&hp, &options);
        const edt_batch *batch;
        edt_error err = {0};
        for (int k = 0; k < 200 * (i % 5); ++k) {
            (void)sched_yield();
        }
        if (i % 4 == 1) {
            (void)edt_loader_next(loader, &err, &batch);
        }
        edt_loader_destroy(loader);
    }
    edt_hparams_deinit(&hp);
    edt_test_remove_tree(s.dir);
}

Test(windowed_loader, memory_is_that_of_two_windows, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    set s = make_set(gzip, -1);
    edt_hparams hp = window_hparams("");
    const edt_loader_options options = edt_test_train_options(s.pattern);
    edt_loader *loader = edt_test_open_loader(&hp, &options);
    uint64_t hashes[8];
    int64_t settled = 0;
    for (int i = 0; i < 12; ++i) {
        edt_test_take_batches(loader, 8, hashes);
        const int64_t live = edt_mem_get_total().live_bytes;
        // Which worker has seen the largest picture is chance; a window more would be 4 MiB.
        cr_assert(i < 3 || live < settled + (1 << 20), "%d: %lld bytes, %lld before", i,
                  (long long)live, (long long)settled);
        settled = i < 3 ? live : settled;
    }
    edt_loader_destroy(loader);
    edt_hparams_deinit(&hp);
    edt_test_remove_tree(s.dir);
}
