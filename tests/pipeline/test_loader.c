// The loader as a whole: order, determinism, resume, ranks, bad samples, ends.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "augment/normalize.h"
#include "core/log.h"
#include "core/mem.h"
#include "dataio/fingerprint64.h"
#include "dataio/loader.h"
#include "dataio/shard_reader.h"
#include "dataio/shard_writer.h"
#include "tests/support/test_batches.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_records.h"

enum { N_ANCHORS = EDT_TEST_N_ANCHORS, N_CORPUS = 24 };

Test(loader, batches_do_not_depend_on_threads_or_prefetch, .timeout = 120)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    edt_hparams hp = edt_test_loader_hparams(NULL);
    for (int format = 0; format < 2; ++format) {
        uint64_t first[11], again[11];
        static const int threads[] = {1, 2, 7};
        for (int k = 0; k < 3; ++k) {
            edt_loader_options options = edt_test_train_options(edt_test_coco_pattern());
            options.format = format == 0 ? EDT_SLOT_U8 : EDT_SLOT_F32;
            options.n_threads = threads[k];
            options.prefetch = k;
            edt_loader *loader = edt_test_open_loader(&hp, &options);
            cr_assert_eq(edt_loader_batches_per_epoch(loader), 4);
            edt_test_take_batches(loader, 11, k == 0 ? first : again);
            cr_assert(k == 0 || memcmp(first, again, sizeof first) == 0, "%d threads",
                      threads[k]);
            edt_loader_destroy(loader);
        }
        for (int i = 1; i < 11; ++i) {
            cr_assert_neq(first[i], first[i - 1]);
        }
    }
    edt_hparams_deinit(&hp);
}

// The golden shards again, in one zstd shard each.
static void compress_shards(const char *dir)
{
    for (int i = 0; i < 2; ++i) {
        edt_error err = {0};
        const char *from = edt_test_path(edt_test_golden_dir(),
                                         "data/tfrecord/coco-%05d-of-00002.tfrecord", i);
        const edt_shard_writer_options options = {.prefix = edt_test_path(dir, "%d", i),
                                                  .n_shards = 1,
                                                  .compression = EDT_SHARD_COMPRESS_ZSTD};
        edt_shard_writer *writer = NULL;
        edt_shard_reader *reader = NULL;
        cr_assert_eq(edt_shard_writer_open(&options, &err, &writer), EDT_OK, "%s", err.text);
        cr_assert_eq(edt_shard_reader_open(from, NULL, &err, &reader), EDT_OK, "%s", err.text);
        edt_record record;
        while (edt_shard_reader_next(reader, &err, &record) == EDT_OK) {
            const uint64_t at = edt_shard_writer_reserve(writer, 0, record.payload.n_bytes);
            cr_assert_eq(edt_shard_writer_put(writer, 0, at, &record.payload, 1, &err), EDT_OK);
        }
        edt_shard_reader_close(reader);
        cr_assert_eq(edt_shard_writer_commit(writer, &err), EDT_OK, "%s", err.text);
        edt_shard_writer_close(writer);
    }
}

Test(loader, zstd_shards_give_the_batches_of_plain_ones, .timeout = 120)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    char dir[256], pattern[300];
    (void)snprintf(dir, sizeof dir, "%s", edt_test_temp_dir());
    (void)snprintf(pattern, sizeof pattern, "%s/*.zst", dir);
    compress_shards(dir);
    edt_hparams hp = edt_test_loader_hparams(NULL);
    edt_loader_options options = edt_test_train_options(edt_test_coco_pattern());
    uint64_t plain[8], compressed[8];
    edt_loader *loader = edt_test_open_loader(&hp, &options);
    edt_test_take_batches(loader, 8, plain);
    edt_loader_destroy(loader);
    options = edt_test_train_options(pattern);
    loader = edt_test_open_loader(&hp, &options);
    edt_test_take_batches(loader, 8, compressed);
    edt_loader_destroy(loader);
    cr_expect_arr_eq(plain, compressed, sizeof plain);
    edt_hparams_deinit(&hp);
    edt_test_remove_tree(dir);
}

Test(loader, a_cursor_resumes_exactly, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    edt_hparams hp = edt_test_loader_hparams(NULL);
    uint64_t whole[10], rest[4];
    edt_loader_options options = edt_test_train_options(edt_test_coco_pattern());
    options.drop_remainder = false;
    edt_loader *loader = edt_test_open_loader(&hp, &options);
    edt_test_take_batches(loader, 6, whole);
    const edt_cursor cursor = edt_loader_cursor(loader);
    cr_assert_eq(cursor.epoch, 1);
    cr_assert_eq(cursor.position, 5);
    edt_test_take_batches(loader, 4, whole + 6);
    edt_loader_destroy(loader);
    options.start = cursor;
    options.n_threads = 3;
    loader = edt_test_open_loader(&hp, &options);
    edt_test_take_batches(loader, 4, rest);
    cr_assert_eq(memcmp(whole + 6, rest, sizeof rest), 0);
    edt_loader_destroy(loader);
    edt_hparams_deinit(&hp);
}

Test(loader, ranks_share_a_global_batch, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    edt_hparams hp = edt_test_loader_hparams(NULL);
    edt_loader_options options = edt_test_train_options(edt_test_coco_pattern());
    options.batch_size = 6;
    edt_loader *one = edt_test_open_loader(&hp, &options);
    options.batch_size = 2;
    options.world_size = 3;
    edt_loader *part[3];
    for (options.rank = 0; options.rank < 3; ++options.rank) {
        part[options.rank] = edt_test_open_loader(&hp, &options);
    }
    for (int step = 0; step < 6; ++step) {
        const edt_batch *whole, *mine;
        cr_assert_eq(edt_loader_next(one, NULL, &whole), EDT_OK);
        for (int r = 0; r < 3; ++r) {
            cr_assert_eq(edt_loader_next(part[r], NULL, &mine), EDT_OK);
            for (int i = 0; i < 2; ++i) {
                cr_assert_eq(edt_test_hash_row(mine, i, 0),
                             edt_test_hash_row(whole, 2 * r + i, 0));
            }
            edt_loader_release(part[r], mine);
        }
        edt_loader_release(one, whole);
    }
    edt_loader_destroy(one);
    for (int r = 0; r < 3; ++r) {
        edt_loader_destroy(part[r]);
    }
    edt_hparams_deinit(&hp);
}

Test(loader, evaluation_gives_every_record_once_in_order, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    edt_hparams hp = edt_test_loader_hparams(NULL);
    edt_loader_options options = edt_test_train_options(edt_test_coco_pattern());
    options.training = false;
    options.batch_size = 7;
    options.format = EDT_SLOT_F32;
    edt_loader *loader = edt_test_open_loader(&hp, &options);
    cr_assert_eq(edt_loader_batches_per_epoch(loader), 4);
    const edt_batch *batch;
    int64_t next = 0;
    for (int q = 0; q < 4; ++q) {
        cr_assert_eq(edt_loader_next(loader, NULL, &batch), EDT_OK);
        cr_assert_eq(batch->sequence, q);
        cr_assert_eq(batch->n_valid, q < 3 ? 7 : 3);
        for (int i = 0; i < 7; ++i) {
            if (i < batch->n_valid) {
                cr_assert_eq(batch->sample_indices[i], next++);
                cr_assert_gt(batch->valid_hw[2 * i], 0);
                continue;
            }
            cr_assert_eq(batch->sample_indices[i], -1);
            cr_assert_eq(batch->valid_hw[2 * i], 0);
            cr_assert_eq(batch->num_positives[i], 0);
            cr_assert_eq(batch->cls_targets[i * N_ANCHORS], -1);
            cr_assert_eq(batch->groundtruth[i * batch->max_instances * 7 + 6], -1);
            cr_assert_eq(((const float *)batch->images)[i * 96 * 96 * 3], 0);
        }
        edt_loader_release(loader, batch);
    }
    cr_assert_eq(next, N_CORPUS);
    cr_assert_eq(edt_loader_next(loader, NULL, &batch), EDT_END);
    cr_assert_eq(edt_loader_next(loader, NULL, &batch), EDT_END);
    cr_assert_eq(edt_loader_cursor(loader).position, N_CORPUS);
    edt_loader_destroy(loader);
    edt_hparams_deinit(&hp);
}

// Twelve good pictures with records 3 and 8 spoilt, in one shard.
static const char *spoilt_shard(void)
{
    const char *path = edt_test_path(edt_test_temp_dir(), "bad-00000-of-00001.tfrecord");
    const edt_span jpeg =
        edt_test_read_file(edt_test_path(edt_test_data_dir(), "jpeg-corpus/baseline_420.jpg"));
    const float box[4] = {0.1f, 0.2f, 0.7f, 0.9f};
    edt_span payloads[12];
    for (int i = 0; i < 12; ++i) {
        char id[8];
        (void)snprintf(id, sizeof id, "%d", 100 + i);
        const int64_t label = i == 8 ? 91 : 1 + i;
        const edt_span cut = {.data = jpeg.data, .n_bytes = jpeg.n_bytes / 2};
        payloads[i] = edt_test_make_example(i == 3 ? cut : jpeg, id, box, &label, 1);
    }
    edt_test_write_shard(path, payloads, 12);
    for (int i = 0; i < 12; ++i) {
        edt_mem_free((void *)payloads[i].data);
    }
    edt_mem_free((void *)jpeg.data);
    return path;
}

Test(loader, the_first_bad_sample_ends_the_stream_with_file_and_record, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_data_dir());
    edt_hparams hp = edt_test_loader_hparams(NULL);
    const char *path = spoilt_shard();
    for (int n_threads = 1; n_threads < 8; n_threads += 3) {
        edt_loader_options options = edt_test_train_options(path);
        options.training = false;
        options.batch_size = 2;
        options.n_threads = n_threads;
        options.prefetch = 6;
        edt_loader *loader = edt_test_open_loader(&hp, &options);
        const edt_batch *batch;
        edt_error err = {0};
        cr_assert_eq(edt_loader_next(loader, &err, &batch), EDT_OK, "%s", err.text);
        edt_loader_release(loader, batch);
        cr_assert_eq(edt_loader_next(loader, &err, &batch), EDT_ERR_FORMAT);
        cr_assert_not_null(strstr(err.text, "record 3"), "%s", err.text);
        cr_assert_not_null(strstr(err.text, "bad-00000-of-00001.tfrecord"), "%s", err.text);
        err = (edt_error){0};
        cr_assert_eq(edt_loader_next(loader, &err, &batch), EDT_ERR_FORMAT);
        edt_loader_destroy(loader);
    }
    edt_hparams_deinit(&hp);
}

Test(loader, skip_closes_ranks_and_substitute_fills_up, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_data_dir());
    edt_log_set_level(EDT_LOG_QUIET);
    edt_hparams hp = edt_test_loader_hparams(NULL);
    const char *path = spoilt_shard();
    uint64_t hashes[3][6];
    for (int k = 0; k < 3; ++k) {
        cr_assert_eq(edt_hparams_set(&hp, "on_bad_sample", "skip", NULL), EDT_OK);
        edt_loader_options options = edt_test_train_options(path);
        options.n_threads = 1 + 2 * k;
        options.batch_size = 6;
        options.training = false;
        edt_loader *loader = edt_test_open_loader(&hp, &options);
        const edt_batch *batch;
        static const int64_t want[2][6] = {{0, 1, 2, 4, 5, -1}, {6, 7, 9, 10, 11, -1}};
        for (int q = 0; q < 2; ++q) {
            cr_assert_eq(edt_loader_next(loader, NULL, &batch), EDT_OK);
            cr_assert_eq(batch->n_valid, 5);
            for (int i = 0; i < 6; ++i) {
                cr_assert_eq(batch->sample_indices[i], want[q][i]);
                cr_assert_eq(batch->source_ids[i], i < 5 ? 100 + want[q][i] : -1);
                cr_assert_eq(batch->cls_targets[i * N_ANCHORS], i < 5 ? (int)want[q][i] : -1);
            }
            edt_loader_release(loader, batch);
        }
        cr_assert_eq(edt_loader_get_stats(loader).n_bad, 2);
        edt_loader_destroy(loader);

        cr_assert_eq(edt_hparams_set(&hp, "on_bad_sample", "substitute", NULL), EDT_OK);
        options.training = true;
        loader = edt_test_open_loader(&hp, &options);
        for (int q = 0; q < 6; ++q) {
            cr_assert_eq(edt_loader_next(loader, NULL, &batch), EDT_OK);
            cr_assert_eq(batch->n_valid, 6);
            for (int i = 0; i < 6; ++i) {
                cr_assert(batch->sample_indices[i] != 3 && batch->sample_indices[i] != 8);
            }
            hashes[k][q] = edt_test_hash_batch(batch);
            edt_loader_release(loader, batch);
        }
        cr_assert_geq(edt_loader_get_stats(loader).n_bad, 6);
        edt_loader_destroy(loader);
        cr_assert_eq(memcmp(hashes[0], hashes[k], sizeof hashes[0]), 0);
    }
    edt_hparams_deinit(&hp);
}

// Padding of a training batch: pictures of the batch again, nothing to learn from.
static void expect_training_padding(const edt_batch *b)
{
    const size_t image = (size_t)(b->height * b->width * 3);
    for (int64_t i = b->n_valid; i < b->batch_size; ++i) {
        const int64_t from = i % b->n_valid;
        cr_assert_eq(memcmp((const uint8_t *)b->images + (size_t)i * image,
                            (const uint8_t *)b->images + (size_t)from * image, image),
                     0, "row %d", (int)i);
        cr_assert_eq(memcmp(b->valid_hw + 2 * i, b->valid_hw + 2 * from, 8), 0);
        cr_assert_eq(b->sample_indices[i], -1);
        cr_assert_eq(b->source_ids[i], -1);
        cr_assert_eq(b->num_positives[i], 0);
        cr_assert_eq(b->groundtruth[i * b->max_instances * 7 + 6], -1);
        for (int k = 0; k < N_ANCHORS; ++k) {
            cr_assert_eq(b->cls_targets[i * N_ANCHORS + k], EDT_CLS_IGNORED);
            cr_assert_eq(b->box_targets[(i * N_ANCHORS + k) * 4], 0);
        }
    }
}

Test(loader, training_fills_up_with_pictures_that_count_for_nothing, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_data_dir());
    edt_log_set_level(EDT_LOG_QUIET);
    edt_hparams hp = edt_test_loader_hparams(NULL);
    const char *path = spoilt_shard();
    cr_assert_eq(edt_hparams_set(&hp, "on_bad_sample", "skip", NULL), EDT_OK);
    uint64_t hashes[2][5];
    for (int k = 0; k < 2; ++k) {
        edt_loader_options options = edt_test_train_options(path);
        options.n_threads = 1 + 2 * k;
        options.drop_remainder = false; // 12 samples in batches of 5: the third has 2
        edt_loader *loader = edt_test_open_loader(&hp, &options);
        int n_seen[12] = {0};
        for (int q = 0; q < 3; ++q) {
            const edt_batch *batch;
            cr_assert_eq(edt_loader_next(loader, NULL, &batch), EDT_OK);
            for (int64_t i = 0; i < batch->n_valid; ++i) {
                ++n_seen[batch->sample_indices[i]];
            }
            if (batch->n_valid > 0) {
                expect_training_padding(batch);
            }
            hashes[k][q] = edt_test_hash_batch(batch);
            edt_loader_release(loader, batch);
        }
        for (int i = 0; i < 12; ++i) {
            cr_assert_eq(n_seen[i], i != 3 && i != 8, "sample %d", i);
        }
        edt_loader_destroy(loader);
        cr_assert_eq(memcmp(hashes[0], hashes[k], 3 * sizeof hashes[0][0]), 0);
    }
    edt_hparams_deinit(&hp);
}

Test(loader, the_steady_state_allocates_nothing, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    edt_hparams hp = edt_test_loader_hparams(NULL);
    edt_loader_options options = edt_test_train_options(edt_test_coco_pattern());
    options.n_threads = 1; // with more, which worker meets the largest picture last is chance
    edt_loader *loader = edt_test_open_loader(&hp, &options);
    uint64_t hashes[20];
    edt_test_take_batches(loader, 20, hashes);
    const int64_t n_before = edt_mem_get_total().n_total;
    edt_test_take_batches(loader, 20, hashes);
    cr_assert_eq(edt_mem_get_total().n_total, n_before);
    edt_loader_destroy(loader);
    edt_hparams_deinit(&hp);
}

Test(loader, destroy_never_hangs_and_frees_everything, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    edt_hparams hp = edt_test_loader_hparams(NULL);
    const int64_t n_live = edt_mem_get_total().n_live;
    for (int i = 0; i < 12; ++i) {
        edt_loader_options options = edt_test_train_options(edt_test_coco_pattern());
        options.n_threads = 1 + i % 4;
        edt_loader *loader = edt_test_open_loader(&hp, &options);
        for (int k = 0; k < i % 3; ++k) { // held batches are not given back
            const edt_batch *batch;
            cr_assert_eq(edt_loader_next(loader, NULL, &batch), EDT_OK);
        }
        edt_loader_destroy(loader);
    }
    edt_loader_destroy(NULL);
    cr_assert_eq(edt_mem_get_total().n_live, n_live);
    edt_hparams_deinit(&hp);
}

Test(loader, holding_every_slot_is_an_error_not_a_deadlock, .timeout = 30)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    edt_hparams hp = edt_test_loader_hparams(NULL);
    const edt_loader_options options = edt_test_train_options(edt_test_coco_pattern());
    edt_loader *loader = edt_test_open_loader(&hp, &options);
    const edt_batch *batch;
    for (int i = 0; i < 3; ++i) {
        cr_assert_eq(edt_loader_next(loader, NULL, &batch), EDT_OK);
    }
    cr_assert_eq(edt_loader_next(loader, NULL, &batch), EDT_ERR_INTERNAL);
    const edt_batch foreign = {0};
    edt_loader_release(loader, &foreign);
    cr_assert_eq(edt_loader_next(loader, NULL, &batch), EDT_ERR_INTERNAL,
                 "a batch of somebody else's freed a slot");
    edt_loader_destroy(loader);
    edt_hparams_deinit(&hp);
}

Test(loader, u8_slots_stay_within_half_a_level_of_f32, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    edt_hparams hp = edt_test_loader_hparams(NULL);
    edt_normalize normalize;
    cr_assert_eq(edt_normalize_init(&hp, NULL, &normalize), EDT_OK);
    edt_loader_options options = edt_test_train_options(edt_test_coco_pattern());
    edt_loader *levels = edt_test_open_loader(&hp, &options);
    options.format = EDT_SLOT_F32;
    edt_loader *exact = edt_test_open_loader(&hp, &options);
    for (int q = 0; q < 4; ++q) {
        const edt_batch *a, *b;
        cr_assert_eq(edt_loader_next(levels, NULL, &a), EDT_OK);
        cr_assert_eq(edt_loader_next(exact, NULL, &b), EDT_OK);
        for (int64_t i = 0; i < a->batch_size * a->height * a->width; ++i) {
            const int64_t row = i / (a->height * a->width);
            const bool inside = i / a->width % a->height < a->valid_hw[2 * row] &&
                                i % a->width < a->valid_hw[2 * row + 1];
            for (int c = 0; c < 3; ++c) {
                const double level = ((const uint8_t *)a->images)[3 * i + c];
                const double value = ((const float *)b->images)[3 * i + c];
                if (!inside) {
                    cr_assert(level == 0 && value == 0);
                    continue;
                }
                const double want = value * normalize.stddev[c] + normalize.mean[c];
                cr_assert_leq(fabs(level - want), 0.5 + 1e-4);
            }
        }
        edt_loader_release(levels, a);
        edt_loader_release(exact, b);
    }
    edt_loader_destroy(levels);
    edt_loader_destroy(exact);
    edt_hparams_deinit(&hp);
}

Test(loader, shards_that_are_not_there_and_batches_too_large_are_refused, .timeout = 30)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    edt_hparams hp = edt_test_loader_hparams(NULL);
    edt_loader_options options = edt_test_train_options("/nonexistent/*.tfrecord");
    edt_loader *loader = NULL;
    edt_error err = {0};
    cr_assert_eq(edt_loader_create(&hp, &options, &err, &loader), EDT_ERR_NOT_FOUND);
    options = edt_test_train_options(edt_test_coco_pattern());
    options.batch_size = 25;
    cr_assert_eq(edt_loader_create(&hp, &options, &err, &loader), EDT_ERR_USAGE);
    edt_hparams_deinit(&hp);
}
