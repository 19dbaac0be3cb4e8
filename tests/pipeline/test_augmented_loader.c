// Augmentation, mixing and the decoded cache through the whole loader: the same batches for any
// threads, prefetch, ranks and cursors; what changes and what must not.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "core/mem.h"
#include "tests/support/test_batches.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_records.h"

static const char *const policies[] = {
    "autoaugment_policy=v0",   "autoaugment_policy=v1",
    "autoaugment_policy=v2",   "autoaugment_policy=v3",
    "autoaugment_policy=test", "autoaugment_policy=randaug",
    "grid_mask=true",          "grid_mask=true,autoaugment_policy=v1",
};
static const char *const mixings[] = {
    "mosaic_prob=0.6",
    "mixup_prob=0.6",
    "copy_paste_prob=0.6",
    "mosaic_prob=0.4,mixup_prob=0.4,copy_paste_prob=0.6,autoaugment_policy=v2,grid_mask=true",
};
// In another order than the others: not compared with them.
static const char *const windowed =
    "shuffle=window,shuffle_window=7,mosaic_prob=0.5,mixup_prob=0.5,autoaugment_policy=v1";
enum {
    N_POLICIES = sizeof policies / sizeof policies[0],
    N_MIXINGS = sizeof mixings / sizeof mixings[0],
    N_MODES = N_POLICIES + N_MIXINGS,
    N_STEPS = 6, // of 5 rows; an epoch has 24
    N_ROWS = 5 * N_STEPS,
};

static const char *mode(int i)
{
    return i < N_POLICIES ? policies[i] : i < N_MODES ? mixings[i - N_POLICIES] : windowed;
}

// Records with instance masks: copy-paste goes along them.
static const char *masks_pattern(void)
{
    return edt_test_path(edt_test_golden_dir(), "data/tfrecord/coco_masks-*-of-00002.tfrecord");
}

static void take_with(const char *hparams, const edt_loader_options *options, int n,
                      uint64_t *out_hashes)
{
    edt_hparams hp = edt_test_loader_hparams(hparams);
    edt_loader *loader = edt_test_open_loader(&hp, options);
    edt_test_take_batches(loader, n, out_hashes);
    edt_loader_destroy(loader);
    edt_hparams_deinit(&hp);
}

Test(augmented_loader, batches_do_not_depend_on_threads_or_prefetch, .timeout = 240)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    static const int threads[] = {1, 2, 3, 8};
    for (int i = 0; i <= N_MODES; ++i) {
        uint64_t first[N_STEPS], again[N_STEPS];
        for (int k = 0; k < 4; ++k) {
            edt_loader_options options = edt_test_train_options(edt_test_coco_pattern());
            options.n_threads = threads[k];
            options.prefetch = k;
            take_with(mode(i), &options, N_STEPS, k == 0 ? first : again);
            cr_assert(k == 0 || memcmp(first, again, sizeof first) == 0, "%s: %d threads",
                      mode(i), threads[k]);
        }
    }
}

Test(augmented_loader, ranks_share_the_rows_of_one, .timeout = 240)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    for (int i = 0; i <= N_MODES; ++i) {
        edt_hparams hp = edt_test_loader_hparams(mode(i));
        for (int world = 2; world <= 4; world += 2) {
            edt_loader_options options = edt_test_train_options(edt_test_coco_pattern());
            options.drop_remainder = false; // the last batch is padded with repeated pictures
            options.batch_size = 8;
            edt_loader *one = edt_test_open_loader(&hp, &options), *part[4];
            options.batch_size = 8 / world;
            options.world_size = world;
            for (options.rank = 0; options.rank < world; ++options.rank) {
                part[options.rank] = edt_test_open_loader(&hp, &options);
            }
            for (int step = 0; step < 4; ++step) {
                const edt_batch *whole, *mine;
                cr_assert_eq(edt_loader_next(one, NULL, &whole), EDT_OK);
                for (int row = 0; row < 8; ++row) {
                    const int rank = row / (8 / world), own = row % (8 / world);
                    if (own == 0) {
                        cr_assert_eq(edt_loader_next(part[rank], NULL, &mine), EDT_OK);
                    }
                    cr_assert_eq(edt_test_hash_row(mine, own, 0),
                                 edt_test_hash_row(whole, row, 0), "%s: world %d row %d",
                                 mode(i), world, row);
                    if (own + 1 == 8 / world) {
                        edt_loader_release(part[rank], mine);
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
}

Test(augmented_loader, any_cursor_resumes_exactly, .timeout = 240)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    for (int i = 0; i <= N_MODES; i += 3) {
        edt_hparams hp = edt_test_loader_hparams(mode(i));
        edt_loader_options options = edt_test_train_options(edt_test_coco_pattern());
        edt_cursor cursors[N_STEPS];
        uint64_t whole[N_STEPS];
        edt_loader *loader = edt_test_open_loader(&hp, &options);
        for (int step = 0; step < N_STEPS; ++step) {
            cursors[step] = edt_loader_cursor(loader);
            edt_test_take_batches(loader, 1, &whole[step]);
        }
        edt_loader_destroy(loader);
        for (int step = 1; step < N_STEPS; ++step) {
            uint64_t again;
            options.start = cursors[step];
            options.n_threads = 1 + step % 3;
            loader = edt_test_open_loader(&hp, &options);
            edt_test_take_batches(loader, 1, &again);
            cr_assert_eq(again, whole[step], "%s: batch %d", mode(i), step);
            edt_loader_destroy(loader);
        }
        edt_hparams_deinit(&hp);
    }
}

static edt_status check_boxes(void *ctx, int worker, const float *boxes, const int64_t *labels,
                              int64_t n_boxes, int32_t *out_cls, float *out_box,
                              float *out_num_positives, edt_error *err)
{
    (void)worker, (void)out_cls, (void)out_box;
    for (int64_t i = 0; i < n_boxes; ++i) {
        const float *b = boxes + 4 * i;
        if (!(b[0] >= 0 && b[1] >= 0 && b[0] < b[2] && b[1] < b[3] && b[2] <= 95 &&
              b[3] <= 95) ||
            labels[i] < 1 || labels[i] > 90) {
            EDT_FAIL(err, EDT_ERR_INTERNAL, "%s: box %g %g %g %g, label %d", (const char *)ctx,
                     (double)b[0], (double)b[1], (double)b[2], (double)b[3], (int)labels[i]);
        }
    }
    *out_num_positives = (float)n_boxes;
    return EDT_OK;
}

// Of one mode beside the same samples without it.
static void compare_with_plain(const char *hparams, bool mixes, int *out_n_changed,
                               int *out_n_more)
{
    edt_hparams hp = edt_test_loader_hparams(hparams), plain = edt_test_loader_hparams(NULL);
    edt_loader_options options = edt_test_train_options(edt_test_coco_pattern());
    options.targets = check_boxes;
    options.targets_ctx = (void *)hparams;
    edt_loader *a = edt_test_open_loader(&hp, &options);
    edt_loader *b = edt_test_open_loader(&plain, &options);
    const size_t image_bytes = 96 * 96 * 3;
    *out_n_changed = *out_n_more = 0;
    for (int step = 0; step < N_STEPS; ++step) {
        const edt_batch *x, *y;
        edt_error err = {0};
        cr_assert_eq(edt_loader_next(a, &err, &x), EDT_OK, "%s", err.text);
        cr_assert_eq(edt_loader_next(b, &err, &y), EDT_OK, "%s", err.text);
        for (int i = 0; i < 5; ++i) {
            cr_assert_eq(x->sample_indices[i], y->sample_indices[i]);
            cr_assert_eq(x->source_ids[i], y->source_ids[i]);
            // Mirror, scale and crop come from a stream of their own; only a mosaic has
            // another size.
            if (!mixes) {
                cr_assert_eq(x->image_scales[i], y->image_scales[i], "%s", hparams);
                cr_assert_eq(memcmp(x->valid_hw + 2 * i, y->valid_hw + 2 * i, 8), 0, "%s",
                             hparams);
            }
            *out_n_changed +=
                memcmp((uint8_t *)x->images + (size_t)i * image_bytes,
                       (uint8_t *)y->images + (size_t)i * image_bytes, image_bytes) != 0;
            *out_n_more += x->num_positives[i] > y->num_positives[i];
        }
        edt_loader_release(a, x);
        edt_loader_release(b, y);
    }
    edt_loader_destroy(a);
    edt_loader_destroy(b);
    edt_hparams_deinit(&plain);
    edt_hparams_deinit(&hp);
}

Test(augmented_loader, pictures_change_while_geometry_and_order_stay, .timeout = 120)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    for (int i = 0; i < N_MODES; ++i) {
        const bool mixes = i >= N_POLICIES;
        int n_changed, n_more;
        compare_with_plain(mode(i), mixes, &n_changed, &n_more);
        cr_assert(3 * n_changed >= N_ROWS, "%s: %d pictures changed", mode(i), n_changed);
        cr_assert(!mixes || 6 * n_more >= N_ROWS, "%s: %d pictures have more objects", mode(i),
                  n_more);
    }
    // Sub-policy of one: every picture.
    int n_changed, n_more;
    compare_with_plain("autoaugment_policy=test", false, &n_changed, &n_more);
    cr_assert_eq(n_changed, N_ROWS);
    compare_with_plain("mosaic_prob=1", true, &n_changed, &n_more);
    cr_assert_eq(n_changed, N_ROWS);
}

Test(augmented_loader, evaluation_sees_none_of_it, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    uint64_t plain[4], augmented[4];
    edt_loader_options options = edt_test_train_options(edt_test_coco_pattern());
    options.training = false;
    options.format = EDT_SLOT_F32;
    take_with(NULL, &options, 4, plain);
    take_with("autoaugment_policy=v1,grid_mask=true,mosaic_prob=1,mixup_prob=1,"
              "copy_paste_prob=1,decoded_cache=/nonexistent/cache",
              &options, 4, augmented);
    cr_expect_arr_eq(plain, augmented, sizeof plain);
}

enum { N_SHARD = 12 };

// Twelve records of one picture in one shard; where they are spoilt, 3 is cut off and 8 has a
// label beyond the classes.
static const char *write_shard(const char *dir, bool is_spoilt)
{
    const char *path = edt_test_path(dir, "made-00000-of-00001.tfrecord");
    const edt_span jpeg =
        edt_test_read_file(edt_test_path(edt_test_data_dir(), "jpeg-corpus/baseline_420.jpg"));
    const float box[4] = {0.1f, 0.2f, 0.7f, 0.9f};
    edt_span payloads[N_SHARD];
    for (int i = 0; i < N_SHARD; ++i) {
        char id[8];
        (void)snprintf(id, sizeof id, "%d", 100 + i);
        const int64_t label = is_spoilt && i == 8 ? 91 : 1 + i;
        const edt_span cut = {.data = jpeg.data, .n_bytes = jpeg.n_bytes / 2};
        payloads[i] =
            edt_test_make_example(is_spoilt && i == 3 ? cut : jpeg, id, box, &label, 1);
    }
    edt_test_write_shard(path, payloads, N_SHARD);
    for (int i = 0; i < N_SHARD; ++i) {
        edt_mem_free((void *)payloads[i].data);
    }
    edt_mem_free((void *)jpeg.data);
    return path;
}

// Every buffer is as large as the largest picture needs once each operation has met it: with
// pictures of one size, soon.
static void check_allocations(const char *hparams, const char *pattern)
{
    edt_hparams hp = edt_test_loader_hparams(hparams);
    edt_loader_options options = edt_test_train_options(pattern);
    options.n_threads = 1;
    edt_loader *loader = edt_test_open_loader(&hp, &options);
    uint64_t hashes[40];
    edt_test_take_batches(loader, 40, hashes);
    const int64_t before = edt_mem_get_total().n_total;
    edt_test_take_batches(loader, 20, hashes);
    cr_expect_eq(edt_mem_get_total().n_total, before, "%s: %d allocations",
                 hparams != NULL ? hparams : "plain",
                 (int)(edt_mem_get_total().n_total - before));
    edt_loader_destroy(loader);
    edt_hparams_deinit(&hp);
}

Test(augmented_loader, nothing_is_allocated_in_the_steady_state, .timeout = 240)
{
    EDT_TEST_NEEDS_DIR(edt_test_data_dir());
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    const char *dir = edt_test_temp_dir();
    const char *path = write_shard(dir, false);
    for (int i = 0; i < N_MODES; ++i) {
        check_allocations(mode(i), path);
    }
    check_allocations(NULL, edt_test_coco_pattern());
    check_allocations("copy_paste_prob=1", masks_pattern());
    edt_test_remove_tree(dir);
}

Test(augmented_loader, objects_with_masks_are_pasted_repeatably, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    uint64_t pasted[4], again[4], plain[4];
    edt_loader_options options = edt_test_train_options(masks_pattern());
    options.batch_size = 4;
    take_with("copy_paste_prob=1", &options, 4, pasted);
    options.n_threads = 3;
    take_with("copy_paste_prob=1", &options, 4, again);
    cr_expect_arr_eq(pasted, again, sizeof pasted);
    take_with(NULL, &options, 4, plain);
    for (int i = 0; i < 4; ++i) {
        cr_expect_neq(pasted[i], plain[i]);
    }
}

// Batches come out of a cold cache, one being filled, and a full one as without any.
static void check_cached(const char *hparams, const char *cache_hparams)
{
    char dir[256], with[1024];
    (void)snprintf(dir, sizeof dir, "%s", edt_test_temp_dir());
    (void)snprintf(with, sizeof with, "%s%sdecoded_cache=%s/cache%s", hparams,
                   hparams[0] != '\0' ? "," : "", dir, cache_hparams);
    uint64_t plain[N_STEPS], cached[N_STEPS];
    edt_loader_options options = edt_test_train_options(edt_test_coco_pattern());
    take_with(hparams[0] != '\0' ? hparams : NULL, &options, N_STEPS, plain);
    for (int pass = 0; pass < 3; ++pass) {
        options.n_threads = 1 + pass;
        take_with(with, &options, N_STEPS, cached);
        cr_assert_eq(memcmp(plain, cached, sizeof plain), 0, "'%s', pass %d", with, pass);
    }
    cr_assert(edt_test_exists(edt_test_path(dir, "cache")));
    edt_test_remove_tree(dir);
}

Test(augmented_loader, a_decoded_cache_changes_no_batch, .timeout = 240)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    check_cached("", "");
    check_cached("", ",decoded_cache_bytes=5000000");
    check_cached("autoaugment_policy=v1", ",decoded_cache_zstd=1");
    for (int i = N_POLICIES; i < N_MODES; ++i) {
        check_cached(mode(i), "");
    }
    check_cached("exif_rotate=true,autoaugment_policy=v3", "");
}

Test(augmented_loader, a_bad_partner_ends_the_stream_by_name, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_data_dir());
    static const char *const modes[] = {"mosaic_prob=1", "mixup_prob=1", "copy_paste_prob=1"};
    const char *dir = edt_test_temp_dir();
    const char *path = write_shard(dir, true);
    for (int i = 0; i < 3; ++i) {
        edt_hparams hp = edt_test_loader_hparams(modes[i]);
        char words[3][EDT_ERROR_TEXT_BYTES];
        for (int n_threads = 1; n_threads <= 3; ++n_threads) {
            edt_loader_options options = edt_test_train_options(path);
            options.n_threads = n_threads;
            edt_loader *loader = edt_test_open_loader(&hp, &options);
            const edt_batch *batch;
            edt_error err = {0};
            edt_status status;
            while ((status = edt_loader_next(loader, &err, &batch)) == EDT_OK) {
                edt_loader_release(loader, batch);
            }
            cr_assert(status == EDT_ERR_FORMAT || status == EDT_ERR_INVALID);
            (void)snprintf(words[n_threads - 1], sizeof words[0], "%s", err.text);
            edt_loader_destroy(loader);
        }
        cr_assert_str_eq(words[0], words[1]);
        cr_assert_str_eq(words[0], words[2]);
        cr_assert(strstr(words[0], "record 3") != NULL || strstr(words[0], "record 8") != NULL,
                  "%s", words[0]);
        edt_hparams_deinit(&hp);
    }
    edt_test_remove_tree(dir);
}

Test(augmented_loader, another_partner_stands_in_for_a_bad_one, .timeout = 120)
{
    EDT_TEST_NEEDS_DIR(edt_test_data_dir());
    edt_log_set_level(EDT_LOG_QUIET);
    static const char *const settings[] = {
        "on_bad_sample=skip,mosaic_prob=1",     "on_bad_sample=substitute,mosaic_prob=1",
        "on_bad_sample=skip,mixup_prob=1",      "on_bad_sample=substitute,mixup_prob=1",
        "on_bad_sample=skip,copy_paste_prob=1", "on_bad_sample=substitute,copy_paste_prob=1",
    };
    const char *dir = edt_test_temp_dir();
    const char *path = write_shard(dir, true);
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; ++i) {
        edt_hparams hp = edt_test_loader_hparams(settings[i]);
        uint64_t hashes[3][6];
        for (int k = 0; k < 3; ++k) {
            edt_loader_options options = edt_test_train_options(path);
            options.n_threads = 1 + k;
            options.batch_size = 6;
            edt_loader *loader = edt_test_open_loader(&hp, &options);
            for (int q = 0; q < 6; ++q) {
                const edt_batch *batch;
                edt_error err = {0};
                cr_assert_eq(edt_loader_next(loader, &err, &batch), EDT_OK, "%s", err.text);
                hashes[k][q] = edt_test_hash_batch(batch);
                for (int row = 0; row < batch->n_valid; ++row) {
                    cr_assert(batch->sample_indices[row] != 3 &&
                              batch->sample_indices[row] != 8);
                    // Neither of the bad ones' objects is in any picture.
                    for (int g = 0; g < 8; ++g) {
                        const float label =
                            batch->groundtruth[(row * batch->max_instances + g) * 7 + 6];
                        cr_assert(label != 4.0f && label != 91.0f, "%s", settings[i]);
                    }
                }
                edt_loader_release(loader, batch);
            }
            // Three epochs with two bad samples each; and partners.
            cr_assert_gt(edt_loader_get_stats(loader).n_bad, 6);
            edt_loader_destroy(loader);
            cr_assert_eq(memcmp(hashes[0], hashes[k], sizeof hashes[0]), 0, "%s", settings[i]);
        }
        edt_hparams_deinit(&hp);
    }
    edt_test_remove_tree(dir);
}

Test(augmented_loader, exif_orientation_is_applied_on_request, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_data_dir());
    const char *dir = edt_test_temp_dir();
    const char *path = edt_test_path(dir, "turned-00000-of-00001.tfrecord");
    const edt_span jpeg = edt_test_read_file(
        edt_test_path(edt_test_data_dir(), "jpeg-corpus/exif_orientation_6_nonsquare.jpg"));
    const float box[4] = {0.0f, 0.0f, 1.0f, 1.0f};
    const int64_t label = 1;
    const edt_span payload = edt_test_make_example(jpeg, "1", box, &label, 1);
    edt_test_write_shard(path, &payload, 1);
    int32_t valid[2][2];
    for (int k = 0; k < 2; ++k) {
        edt_hparams hp = edt_test_loader_hparams(k == 0 ? NULL : "exif_rotate=true");
        edt_loader_options options = edt_test_train_options(path);
        options.training = false;
        options.batch_size = 1;
        edt_loader *loader = edt_test_open_loader(&hp, &options);
        const edt_batch *batch;
        edt_error err = {0};
        cr_assert_eq(edt_loader_next(loader, &err, &batch), EDT_OK, "%s", err.text);
        memcpy(valid[k], batch->valid_hw, sizeof valid[k]);
        edt_loader_destroy(loader);
        edt_hparams_deinit(&hp);
    }
    // A quarter turn: the sides change places.
    cr_expect_neq(valid[0][0], valid[0][1]);
    cr_expect_eq(valid[0][0], valid[1][1]);
    cr_expect_eq(valid[0][1], valid[1][0]);
    edt_mem_free((void *)payload.data);
    edt_mem_free((void *)jpeg.data);
    edt_test_remove_tree(dir);
}

// Corners far outside, inverted, without area and, where the reference's defects are kept, no
// numbers: nothing may go wrong with them, above all not in the integer arithmetic of boxes.
Test(augmented_loader, wild_boxes_do_no_harm, .timeout = 120)
{
    EDT_TEST_NEEDS_DIR(edt_test_data_dir());
    static const float corners[] = {0.0f,   1.0f,  0.5f,   0.25f, -0.3f,  1.7f,   -5.0f,   1e9f,
                                    -1e10f, 1e30f, -3e38f, 3e38f, 1e-30f, 0.999f, 1.0001f, NAN};
    enum { N_CORNERS = sizeof corners / sizeof corners[0], N_BOXES = 40 };
    const char *dir = edt_test_temp_dir();
    const edt_span jpeg =
        edt_test_read_file(edt_test_path(edt_test_data_dir(), "jpeg-corpus/baseline_420.jpg"));
    for (int has_nan = 0; has_nan < 2; ++has_nan) {
        const char *path = edt_test_path(dir, "wild%d-00000-of-00001.tfrecord", has_nan);
        edt_span payloads[6];
        unsigned state = 1;
        for (int i = 0; i < 6; ++i) {
            float boxes[4 * N_BOXES];
            int64_t labels[N_BOXES];
            for (int k = 0; k < 4 * N_BOXES; ++k) {
                state = state * 1664525u + 1013904223u;
                boxes[k] = corners[(state >> 16) % (unsigned)(N_CORNERS - 1 + has_nan)];
                labels[k / 4] = 1 + k % 90;
            }
            payloads[i] = edt_test_make_example(jpeg, "1", boxes, labels, N_BOXES);
        }
        edt_test_write_shard(path, payloads, 6);
        for (int i = 0; i < 6; ++i) {
            edt_mem_free((void *)payloads[i].data);
        }
        for (int i = 0; i < N_MODES; ++i) {
            char hparams[256];
            (void)snprintf(hparams, sizeof hparams, "%s%s", mode(i),
                           has_nan ? ",reference_defects=true" : "");
            edt_hparams hp = edt_test_loader_hparams(hparams);
            edt_loader_options options = edt_test_train_options(path);
            options.batch_size = 6;
            options.n_threads = 2;
            edt_loader *loader = edt_test_open_loader(&hp, &options);
            for (int q = 0; q < 12; ++q) {
                const edt_batch *batch;
                edt_error err = {0};
                // A full table of ground truth is refused in the reference.
                const edt_status status = edt_loader_next(loader, &err, &batch);
                if (has_nan && status == EDT_ERR_INVALID) {
                    break;
                }
                cr_assert_eq(status, EDT_OK, "%s: %s", hparams, err.text);
                edt_loader_release(loader, batch);
            }
            edt_loader_destroy(loader);
            edt_hparams_deinit(&hp);
        }
    }
    edt_mem_free((void *)jpeg.data);
    edt_test_remove_tree(dir);
}
