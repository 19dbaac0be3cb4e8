// The global sequence of samples, byte for byte, whatever the number of threads and ranks, the
// prefetch and who is held up when: workers and consumers stall by draws of their own, so that
// rows, batches and windows finish in other orders in every run.
#include <criterion/criterion.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "core/rng.h"
#include "dataio/fingerprint64.h"
#include "tests/support/test_batches.h"
#include "tests/support/test_dirs.h"

// 24 records in global batches of 20: each epoch ends with a batch of 4 and 16 rows of padding.
enum { GLOBAL_ROWS = 20, MAX_WORLD = 4 };

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
// Twenty times slower, and what is looked for there is not in the bytes.
enum { N_STEPS = 3, N_THREAD_COUNTS = 2, N_WORLDS = 2 };
static const int thread_counts[N_THREAD_COUNTS] = {3, 8};
static const int worlds[N_WORLDS] = {1, 2};
#else
enum { N_STEPS = 5, N_THREAD_COUNTS = 4, N_WORLDS = 3 };
static const int thread_counts[N_THREAD_COUNTS] = {1, 2, 3, 8};
static const int worlds[N_WORLDS] = {1, 2, 4};
#endif

static char root[256];

static void set_up(void)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    edt_log_set_level(EDT_LOG_QUIET);
    (void)snprintf(root, sizeof root, "%s", edt_test_temp_dir());
}

static void tear_down(void)
{
    edt_test_remove_tree(root);
}

TestSuite(loader_stalls, .init = set_up, .fini = tear_down, .timeout = 300);

// Gives the processor away: mostly a few times, now and then until all others have moved on.
static void stall(uint64_t run, uint64_t who, uint64_t what)
{
    edt_rng rng;
    edt_rng_init(&rng, run, who, what, 0);
    const uint32_t u = edt_rng_next_u32(&rng);
    const uint32_t n = u % 8 == 0 ? 400 + u / 8 % 400 : u / 8 % 12;
    for (uint32_t i = 0; i < n; ++i) {
        (void)sched_yield();
    }
}

// `ctx` is the number of the run.
static edt_status stalling_targets(void *ctx, int worker, const float *boxes,
                                   const int64_t *labels, int64_t n_boxes, int32_t *out_cls,
                                   float *out_box, float *out_num_positives, edt_error *err)
{
    const edt_span seen = {.data = (const uint8_t *)boxes,
                           .n_bytes = (size_t)n_boxes * 4 * sizeof *boxes};
    stall(*(const uint64_t *)ctx, (uint64_t)worker, edt_fingerprint64(seen));
    return edt_test_fake_targets(ctx, worker, boxes, labels, n_boxes, out_cls, out_box,
                                 out_num_positives, err);
}

typedef struct sequence {
    uint64_t rows[N_STEPS][GLOBAL_ROWS];
    edt_cursor after[N_STEPS];
} sequence;

static void take_step(edt_loader *loader, uint64_t run, int64_t first_row, uint64_t *out_rows,
                      edt_cursor *out_after)
{
    const edt_batch *batch;
    edt_error err = {0};
    stall(run, 1000 + (uint64_t)first_row, (uint64_t)out_rows[0]);
    cr_assert_eq(edt_loader_next(loader, &err, &batch), EDT_OK, "%s", err.text);
    *out_after = edt_loader_cursor(loader);
    for (int64_t i = 0; i < batch->batch_size; ++i) {
        out_rows[first_row + i] = edt_test_hash_row(batch, i, (uint64_t)batch->epoch);
    }
    edt_loader_release(loader, batch);
}

// n steps from `start` by `world` ranks in this process.
static void take_sequence(const edt_hparams *hp, int n_threads, int world, edt_cursor start,
                          int n_steps, sequence *out)
{
    static uint64_t run;
    ++run;
    edt_loader *ranks[MAX_WORLD];
    memset(out, 0, sizeof *out);
    edt_loader_options options = edt_test_train_options(edt_test_coco_pattern());
    options.drop_remainder = false;
    options.batch_size = GLOBAL_ROWS / world;
    options.world_size = world;
    options.n_threads = n_threads;
    options.prefetch = (int64_t)(run % 3);
    options.start = start;
    options.targets = stalling_targets;
    options.targets_ctx = &run;
    for (options.rank = 0; options.rank < world; ++options.rank) {
        ranks[options.rank] = edt_test_open_loader(hp, &options);
    }
    for (int step = 0; step < n_steps; ++step) {
        for (int r = 0; r < world; ++r) {
            edt_cursor after;
            take_step(ranks[r], run, r * options.batch_size, out->rows[step], &after);
            cr_assert(r == 0 || memcmp(&after, &out->after[step], sizeof after) == 0);
            out->after[step] = after;
        }
    }
    for (int r = 0; r < world; ++r) {
        edt_loader_destroy(ranks[r]);
    }
}

// `hparams` with "DIR" for a directory of its own.
static edt_hparams hparams_of(const char *hparams)
{
    char text[600];
    const char *dir = strstr(hparams, "DIR");
    if (dir == NULL) {
        return edt_test_loader_hparams(hparams);
    }
    (void)snprintf(text, sizeof text, "%.*s%s/cache%s", (int)(dir - hparams), hparams, root,
                   dir + 3);
    return edt_test_loader_hparams(text);
}

static void check_one_sequence(const char *hparams)
{
    edt_hparams hp = hparams_of(hparams);
    sequence want, got;
    take_sequence(&hp, 1, 1, (edt_cursor){0}, N_STEPS, &want);
    for (int t = 0; t < N_THREAD_COUNTS; ++t) {
        for (int w = 0; w < N_WORLDS; ++w) {
            take_sequence(&hp, thread_counts[t], worlds[w], (edt_cursor){0}, N_STEPS, &got);
            cr_assert_eq(memcmp(&got, &want, sizeof got), 0, "%s: %d threads, %d ranks",
                         hparams, thread_counts[t], worlds[w]);
        }
    }
    // A cursor saved after any batch is gone on with by any number of threads and ranks.
    for (int step = 0; step + 1 < N_STEPS; ++step) {
        const int n_threads = thread_counts[(step + 2) % N_THREAD_COUNTS];
        const int world = worlds[step % N_WORLDS];
        take_sequence(&hp, n_threads, world, want.after[step], N_STEPS - step - 1, &got);
        cr_assert_eq(memcmp(got.rows, want.rows[step + 1],
                            (size_t)(N_STEPS - step - 1) * sizeof want.rows[0]),
                     0, "%s: from the cursor after batch %d", hparams, step);
    }
    edt_hparams_deinit(&hp);
}

Test(loader_stalls, plain)
{
    check_one_sequence("shuffle=global");
}

Test(loader_stalls, windows)
{
    check_one_sequence("shuffle=window,shuffle_window=7");
}

Test(loader_stalls, augmented)
{
    check_one_sequence("autoaugment_policy=v0,grid_mask=true");
}

Test(loader_stalls, mixed_from_windows)
{
    check_one_sequence("shuffle=window,shuffle_window=9,mosaic_prob=0.5,mixup_prob=0.5,"
                       "copy_paste_prob=0.5,autoaugment_policy=v2");
}

Test(loader_stalls, a_cache_that_fills_on_the_way)
{
    check_one_sequence("decoded_cache=DIR,decoded_cache_bytes=9000000,autoaugment_policy=v1");
}

Test(loader_stalls, negatives_mixed_in)
{
    check_one_sequence("negatives_ratio=0.3");
}
