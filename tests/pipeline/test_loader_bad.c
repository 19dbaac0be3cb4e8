// Bad records through the whole loader: what the report says of them, that it is complete and
// follows the data alone, and that what the system refuses is never taken for a bad record.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "core/mem.h"
#include "tests/support/test_batches.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_records.h"

enum { N_RECORDS = 12, N_ANCHORS = EDT_TEST_N_ANCHORS };

static char root[256], shard[300], report_path[300];

// What is wrong with a record of the shard: 1 an id that is no number, 3 a picture cut in the
// middle, 5 no Example, 8 a label beyond the classes, 10 a checksum (of the payload, spoilt
// after the shard is written).
enum { ID = 1, CUT = 3, NO_EXAMPLE = 5, LABEL = 8, CHECKSUM = 10, N_BAD = 5 };

static void spoil(const char *path, const char *mark)
{
    const edt_span file = edt_test_read_file(path);
    uint8_t *at = memmem(file.data, file.n_bytes, mark, strlen(mark));
    cr_assert_not_null(at);
    *at ^= 0x20;
    FILE *out = fopen(path, "wb");
    cr_assert(out != NULL && fwrite(file.data, 1, file.n_bytes, out) == file.n_bytes);
    cr_assert_eq(fclose(out), 0);
    edt_mem_free((void *)file.data);
}

static void set_up(void)
{
    EDT_TEST_NEEDS_DIR(edt_test_data_dir());
    edt_log_set_level(EDT_LOG_QUIET);
    (void)snprintf(root, sizeof root, "%s", edt_test_temp_dir());
    (void)snprintf(shard, sizeof shard, "%s/bad-00000-of-00001.tfrecord", root);
    (void)snprintf(report_path, sizeof report_path, "%s/quarantine.json", root);
    const edt_span jpeg =
        edt_test_read_file(edt_test_path(edt_test_data_dir(), "jpeg-corpus/baseline_420.jpg"));
    const float box[4] = {0.1f, 0.2f, 0.7f, 0.9f};
    edt_span payloads[N_RECORDS];
    for (int i = 0; i < N_RECORDS; ++i) {
        char id[16] = "one";
        if (i != ID) {
            (void)snprintf(id, sizeof id, "%d", 987100 + i);
        }
        const int64_t label = i == LABEL ? 91 : 1 + i;
        const edt_span cut = {.data = jpeg.data, .n_bytes = jpeg.n_bytes / 2};
        payloads[i] = edt_test_make_example(i == CUT ? cut : jpeg, id, box, &label, 1);
    }
    const edt_span example = payloads[NO_EXAMPLE];
    payloads[NO_EXAMPLE] = (edt_span){(const uint8_t *)"\xff\xff\xff", 3};
    edt_test_write_shard(shard, payloads, N_RECORDS);
    payloads[NO_EXAMPLE] = example;
    for (int i = 0; i < N_RECORDS; ++i) {
        edt_mem_free((void *)payloads[i].data);
    }
    edt_mem_free((void *)jpeg.data);
    spoil(shard, "987110");
}

static void tear_down(void)
{
    edt_test_remove_tree(root);
}

TestSuite(loader_bad, .init = set_up, .fini = tear_down, .timeout = 60);

static bool is_bad(int64_t i)
{
    return i == ID || i == CUT || i == NO_EXAMPLE || i == LABEL || i == CHECKSUM;
}

static edt_loader_options options_for(int n_threads)
{
    edt_loader_options options = edt_test_train_options(shard);
    options.n_threads = n_threads;
    options.quarantine_path = report_path;
    return options;
}

// Batches until the end or `n`, with the rule for rows of a batch checked.
static void take(edt_loader *loader, int n, uint64_t *out_hashes)
{
    for (int q = 0; q < n; ++q) {
        const edt_batch *b;
        edt_error err = {0};
        const edt_status status = edt_loader_next(loader, &err, &b);
        if (status == EDT_END) {
            return;
        }
        cr_assert_eq(status, EDT_OK, "%s", err.text);
        for (int64_t i = 0; i < b->batch_size; ++i) {
            cr_assert(i < b->n_valid
                          ? b->sample_indices[i] >= 0 && !is_bad(b->sample_indices[i])
                          : b->sample_indices[i] == -1);
        }
        if (out_hashes != NULL) {
            out_hashes[q] = edt_test_hash_batch(b);
        }
        edt_loader_release(loader, b);
    }
}

typedef struct report {
    edt_arena arena;
    const edt_json_node *root;
} report;

static report read_report(void)
{
    report r;
    edt_error err = {0};
    const edt_span text = edt_test_read_file(report_path);
    edt_arena_init(&r.arena, EDT_MEM_TEXT, 0);
    cr_assert_eq(edt_json_parse(text, &r.arena, &err, &r.root), EDT_OK, "%s", err.text);
    edt_mem_free((void *)text.data);
    return r;
}

static double number(const edt_json_node *node, const char *key)
{
    const edt_json_node *value = edt_json_get(node, key);
    cr_assert_not_null(value, "%s", key);
    return value->number;
}

// The whole report, each record met `times` times.
static void expect_report(int times)
{
    static const struct {
        int record;
        const char *reason;
    } want[N_BAD] = {{ID, "source_id"},
                     {CUT, "JPEG"},
                     {NO_EXAMPLE, "xample"},
                     {LABEL, "91"},
                     {CHECKSUM, "CRC"}};
    report r = read_report();
    cr_expect_eq(number(r.root, "n_samples"), N_RECORDS);
    cr_expect_eq(number(r.root, "bad_records"), N_BAD);
    cr_expect_eq(number(r.root, "times_met"), N_BAD * times);
    const edt_json_node *record = edt_json_get(r.root, "records")->first;
    for (int i = 0; i < N_BAD; ++i, record = record->next) {
        cr_assert_not_null(record);
        const char *reason = edt_json_get(record, "reason")->text;
        cr_expect_str_eq(edt_json_get(record, "file")->text, shard);
        cr_expect_eq(number(record, "record"), want[i].record);
        cr_expect_eq(number(record, "times_met"), times, "record %d: %d times", want[i].record,
                     (int)number(record, "times_met"));
        cr_expect_not_null(strstr(reason, want[i].reason), "%s", reason);
        if (want[i].record == CUT || want[i].record == LABEL) {
            cr_expect_eq(number(record, "source_id"), 987100 + want[i].record);
        }
    }
    cr_expect_null(record);
    edt_arena_deinit(&r.arena);
}

Test(loader_bad, the_report_names_each_record_and_goes_on_in_the_next_run)
{
    edt_hparams hp = edt_test_loader_hparams("on_bad_sample=skip");
    for (int run = 0; run < 3; ++run) {
        edt_loader_options options = options_for(1 + 2 * run);
        options.training = false;
        edt_loader *loader = edt_test_open_loader(&hp, &options);
        take(loader, 100, NULL);
        cr_expect_eq(edt_loader_get_stats(loader).n_bad, N_BAD);
        cr_expect_eq(edt_loader_get_stats(loader).n_bad_records, N_BAD);
        edt_loader_destroy(loader);
        expect_report(run + 1);
    }
    edt_hparams_deinit(&hp);
}

Test(loader_bad, nothing_is_written_where_nothing_is_bad)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    edt_hparams hp = edt_test_loader_hparams("on_bad_sample=skip");
    edt_loader_options options = edt_test_train_options(edt_test_coco_pattern());
    options.quarantine_path = report_path;
    uint64_t hashes[5];
    edt_loader *loader = edt_test_open_loader(&hp, &options);
    edt_test_take_batches(loader, 5, hashes);
    edt_loader_log_bad(loader);
    edt_loader_destroy(loader);
    cr_expect_not(edt_test_exists(report_path));
    // A report of another data set is no part of this one's.
    cr_assert_eq(
        edt_file_write(report_path, "{\"fingerprint\": \"0\", \"records\": []}", 36, NULL),
        EDT_OK);
    loader = edt_test_open_loader(&hp, &options);
    edt_test_take_batches(loader, 5, hashes);
    cr_expect_eq(edt_loader_get_stats(loader).n_bad_records, 0);
    edt_loader_destroy(loader);
    edt_hparams_deinit(&hp);
}

// Workers are ahead of the consumer by chance; the report is not.
Test(loader_bad, the_report_follows_the_batches_handed_over)
{
    static const int n_threads[] = {1, 3, 8};
    static const char *const settings[] = {"on_bad_sample=substitute,mosaic_prob=0.6",
                                           "on_bad_sample=skip,mixup_prob=0.6"};
    for (int s = 0; s < 2; ++s) {
        edt_hparams hp = edt_test_loader_hparams(settings[s]);
        edt_span first = {0};
        for (int k = 0; k < 3; ++k) {
            (void)unlink(report_path);
            edt_loader_options options = options_for(n_threads[k]);
            options.prefetch = 2 * k;
            edt_loader *loader = edt_test_open_loader(&hp, &options);
            take(loader, 7, NULL);
            const int64_t n_bad = edt_loader_get_stats(loader).n_bad;
            edt_loader_destroy(loader);
            report r = read_report();
            cr_expect_eq(number(r.root, "times_met"), (double)n_bad);
            edt_arena_deinit(&r.arena);
            const edt_span text = edt_test_read_file(report_path);
            if (k == 0) {
                first = text;
                continue;
            }
            cr_assert(text.n_bytes == first.n_bytes &&
                          memcmp(text.data, first.data, first.n_bytes) == 0,
                      "%d threads: %.*s\n%.*s", n_threads[k], (int)text.n_bytes,
                      (const char *)text.data, (int)first.n_bytes, (const char *)first.data);
            edt_mem_free((void *)text.data);
        }
        edt_mem_free((void *)first.data);
        edt_hparams_deinit(&hp);
    }
}

// A record that is known to be bad is passed over without a look: that must give the batches of
// a loader that has not met it yet, which is every one that resumes.
Test(loader_bad, what_was_met_before_changes_no_batch)
{
    enum { N_BATCHES = 12 };
    static const char *const settings[] = {
        "on_bad_sample=skip,drop_remainder=false",
        "on_bad_sample=substitute",
        "on_bad_sample=substitute,shuffle=window,shuffle_window=5",
        "on_bad_sample=skip,mosaic_prob=0.7",
        "on_bad_sample=substitute,mixup_prob=0.7,autoaugment_policy=v1",
    };
    for (size_t k = 0; k < sizeof settings / sizeof settings[0]; ++k) {
        edt_hparams hp = edt_test_loader_hparams(settings[k]);
        edt_loader_options options = options_for(1);
        options.drop_remainder = hp.drop_remainder;
        edt_cursor cursors[N_BATCHES];
        uint64_t whole[N_BATCHES];
        edt_loader *loader = edt_test_open_loader(&hp, &options);
        for (int q = 0; q < N_BATCHES; ++q) {
            cursors[q] = edt_loader_cursor(loader);
            take(loader, 1, &whole[q]);
        }
        edt_loader_destroy(loader);
        for (int q = 0; q < N_BATCHES; ++q) {
            uint64_t fresh;
            edt_loader_options from = options_for(1 + q % 3);
            from.drop_remainder = hp.drop_remainder;
            from.start = cursors[q];
            from.quarantine_path = q % 2 == 0 ? NULL : report_path;
            loader = edt_test_open_loader(&hp, &from);
            take(loader, 1, &fresh);
            edt_loader_destroy(loader);
            cr_assert_eq(fresh, whole[q], "%s: batch %d", settings[k], q);
        }
        edt_hparams_deinit(&hp);
    }
}

// The last batch of an epoch is filled up with pictures of its first rows, wherever these are.
Test(loader_bad, ranks_share_substitutes_and_the_pictures_that_fill_up)
{
    enum { ROWS = 8, N_STEPS = 6 };
    edt_hparams hp =
        edt_test_loader_hparams("on_bad_sample=substitute,drop_remainder=false,mixup_prob=0.3");
    for (int world = 2; world <= 4; world += 2) {
        const int share = ROWS / world;
        edt_loader_options options = options_for(2);
        options.drop_remainder = false;
        options.quarantine_path = NULL;
        options.batch_size = ROWS;
        edt_loader *one = edt_test_open_loader(&hp, &options), *part[4];
        options.batch_size = share;
        options.world_size = world;
        for (options.rank = 0; options.rank < world; ++options.rank) {
            part[options.rank] = edt_test_open_loader(&hp, &options);
        }
        for (int step = 0; step < N_STEPS; ++step) {
            const edt_batch *whole, *mine = NULL;
            cr_assert_eq(edt_loader_next(one, NULL, &whole), EDT_OK);
            for (int row = 0; row < ROWS; ++row) {
                if (row % share == 0) {
                    cr_assert_eq(edt_loader_next(part[row / share], NULL, &mine), EDT_OK);
                }
                cr_assert_eq(edt_test_hash_row(mine, row % share, 0),
                             edt_test_hash_row(whole, row, 0), "world %d, batch %d, row %d",
                             world, step, row);
                if (row % share + 1 == share) {
                    edt_loader_release(part[row / share], mine);
                }
            }
            edt_loader_release(one, whole);
        }
        edt_loader_destroy(one);
        for (int r = 0; r < world; ++r) {
            edt_loader_destroy(part[r]);
        }
    }
    edt_hparams_deinit(&hp);
}

// With batches of one row a bad sample leaves a batch without any: all padding, and nothing in
// it that a loss could take up.
Test(loader_bad, a_batch_whose_samples_are_all_bad_counts_for_nothing)
{
    edt_hparams hp = edt_test_loader_hparams("on_bad_sample=skip");
    edt_loader_options options = options_for(2);
    options.batch_size = 1;
    edt_loader *loader = edt_test_open_loader(&hp, &options);
    int n_empty = 0;
    for (int q = 0; q < N_RECORDS; ++q) {
        const edt_batch *b;
        cr_assert_eq(edt_loader_next(loader, NULL, &b), EDT_OK);
        n_empty += b->n_valid == 0;
        for (int k = 0; b->n_valid == 0 && k < N_ANCHORS; ++k) {
            cr_assert_eq(b->cls_targets[k], EDT_CLS_IGNORED);
            cr_assert_eq(b->box_targets[4 * k], 0.0f);
        }
        cr_assert(b->n_valid == 1 || (b->num_positives[0] == 0.0f && b->source_ids[0] == -1));
        edt_loader_release(loader, b);
    }
    cr_expect_eq(n_empty, N_BAD);
    edt_loader_destroy(loader);
    edt_hparams_deinit(&hp);
}

// The last row fails, so that a whole epoch of rows finds no substitute.
Test(loader_bad, no_good_sample_at_all_is_an_error_that_says_so)
{
    const edt_span nothing = {(const uint8_t *)"\xff", 1};
    edt_span payloads[6];
    for (int i = 0; i < 6; ++i) {
        payloads[i] = nothing;
    }
    char path[320];
    (void)snprintf(path, sizeof path, "%s/all-00000-of-00001.tfrecord", root);
    edt_test_write_shard(path, payloads, 6);
    edt_hparams hp = edt_test_loader_hparams("on_bad_sample=substitute");
    for (int n_threads = 1; n_threads <= 3; ++n_threads) {
        edt_loader_options options = options_for(n_threads);
        options.file_pattern = path;
        edt_loader *loader = edt_test_open_loader(&hp, &options);
        const edt_batch *b;
        edt_error err = {0};
        cr_assert_eq(edt_loader_next(loader, &err, &b), EDT_ERR_FORMAT);
        cr_expect_not_null(strstr(err.text, "6 bad samples in a row"), "%s", err.text);
        edt_loader_destroy(loader);
        report r = read_report();
        cr_expect_eq(number(r.root, "bad_records"), 6);
        edt_arena_deinit(&r.arena);
        (void)unlink(report_path);
    }
    edt_hparams_deinit(&hp);
}

// Damage behind the rows that a crop wants is seen by nobody, whatever else reads the picture.
Test(loader_bad, the_decoded_cache_makes_no_sample_bad_that_is_good_without)
{
    char with[400];
    (void)snprintf(with, sizeof with, "on_bad_sample=skip,decoded_cache=%s/cache", root);
    // A second start-of-image marker: what comes after the last row is looked at by those who
    // want that row.
    const edt_span jpeg =
        edt_test_read_file(edt_test_path(edt_test_data_dir(), "jpeg-corpus/baseline_420.jpg"));
    const size_t n_kept = jpeg.n_bytes * 3 / 4;
    uint8_t *cut = edt_mem_alloc(EDT_MEM_MISC, n_kept + 4);
    memcpy(cut, jpeg.data, n_kept);
    memcpy(cut + n_kept, "\xff\xd8\xff\xd9", 4);
    const float box[4] = {0.1f, 0.2f, 0.7f, 0.9f};
    const int64_t label = 1;
    const edt_span payload =
        edt_test_make_example((edt_span){cut, n_kept + 4}, "1", box, &label, 1);
    char path[320];
    (void)snprintf(path, sizeof path, "%s/cut-00000-of-00001.tfrecord", root);
    edt_test_write_shard(path, &payload, 1);
    enum { N_BATCHES = 40 };
    uint64_t hashes[2][N_BATCHES];
    int64_t n_bad[2];
    for (int k = 0; k < 2; ++k) {
        edt_hparams hp = edt_test_loader_hparams(k == 0 ? "on_bad_sample=skip" : with);
        cr_assert_eq(edt_hparams_override(&hp, "jitter_min=1.0,jitter_max=3.0", NULL), EDT_OK);
        edt_loader_options options = options_for(1);
        options.file_pattern = path;
        options.batch_size = 1;
        options.prefetch = 0;
        options.quarantine_path = NULL;
        edt_loader *loader = edt_test_open_loader(&hp, &options);
        edt_test_take_batches(loader, N_BATCHES, hashes[k]);
        n_bad[k] = edt_loader_get_stats(loader).n_bad;
        edt_loader_destroy(loader);
        edt_hparams_deinit(&hp);
    }
    cr_expect_arr_eq(hashes[0], hashes[1], sizeof hashes[0]);
    cr_expect(n_bad[0] > 0 && n_bad[0] < N_BATCHES, "%d bad", (int)n_bad[0]);
    edt_mem_free((void *)payload.data);
    edt_mem_free(cut);
    edt_mem_free((void *)jpeg.data);
}

// The shard is cut behind the loader's back: the machine's or somebody's fault, not a record's.
Test(loader_bad, a_shard_that_shrinks_ends_the_loader_under_every_policy)
{
    static const char *const settings[] = {"on_bad_sample=skip", "on_bad_sample=substitute"};
    for (int k = 0; k < 2; ++k) {
        edt_hparams hp = edt_test_loader_hparams(settings[k]);
        edt_loader_options options = options_for(2);
        options.prefetch = 0;
        options.batch_size = 1;
        options.quarantine_path = NULL;
        edt_loader *loader = edt_test_open_loader(&hp, &options);
        cr_assert_eq(truncate(shard, 4000), 0);
        const edt_batch *b;
        edt_error err = {0};
        edt_status status = EDT_OK;
        for (int q = 0; q < 4 * N_RECORDS && status == EDT_OK; ++q) {
            status = edt_loader_next(loader, &err, &b);
            if (status == EDT_OK) {
                edt_loader_release(loader, b);
            }
        }
        cr_expect_eq(status, EDT_ERR_MISMATCH, "%s", err.text);
        cr_expect_not_null(strstr(err.text, shard), "%s", err.text);
        edt_loader_destroy(loader);
        edt_hparams_deinit(&hp);
        tear_down();
        set_up();
    }
}

// What a kill would leave: the report as it is while the loader is at work.
Test(loader_bad, the_report_is_whole_before_the_end)
{
    edt_hparams hp = edt_test_loader_hparams("on_bad_sample=skip");
    // One worker has written before it takes another row.
    edt_loader_options options = options_for(1);
    edt_loader *loader = edt_test_open_loader(&hp, &options);
    take(loader, 10, NULL);
    report r = read_report();
    const int n = (int)number(r.root, "bad_records");
    cr_expect(n >= 1 && n <= N_BAD, "%d", n);
    cr_expect_eq(edt_json_get(r.root, "records")->n, n);
    edt_arena_deinit(&r.arena);
    edt_loader_destroy(loader);
    r = read_report();
    cr_expect_eq(number(r.root, "bad_records"), N_BAD);
    edt_arena_deinit(&r.arena);
    edt_hparams_deinit(&hp);
}

Test(loader_bad, a_report_that_cannot_be_written_stops_nobody)
{
    edt_hparams hp = edt_test_loader_hparams("on_bad_sample=skip");
    edt_loader_options options = options_for(2);
    options.training = false;
    options.quarantine_path = "/proc/none/quarantine.json";
    edt_loader *loader = edt_test_open_loader(&hp, &options);
    take(loader, 100, NULL);
    cr_expect_eq(edt_loader_get_stats(loader).n_bad, N_BAD);
    edt_loader_destroy(loader);
    edt_hparams_deinit(&hp);
}
