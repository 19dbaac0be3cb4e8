// A loader that runs for long: 100 epochs of the sample data and more, with everything random
// on, take no more memory than the first ones. Counted by the allocator, and as the system sees
// it.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "core/mem.h"
#include "tests/support/test_batches.h"
#include "tests/support/test_dirs.h"

enum { BATCH = 8 };

// Of this process, in KiB; 0 when the system does not say.
static long resident_kib(void)
{
    char line[256];
    long value = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "VmRSS: %ld", &value) == 1) {
            break;
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return value;
}

typedef struct memory {
    edt_mem_stats mem;
    long rss;
} memory;

static memory look(void)
{
    return (memory){.mem = edt_mem_get_total(), .rss = resident_kib()};
}

static void take_epoch(edt_loader *loader, int64_t epoch)
{
    const int64_t n = edt_loader_batches_per_epoch(loader);
    for (int64_t q = 0; q < n; ++q) {
        const edt_batch *batch;
        edt_error err = {0};
        cr_assert_eq(edt_loader_next(loader, &err, &batch), EDT_OK, "%s", err.text);
        cr_assert_eq(batch->epoch, epoch);
        edt_loader_release(loader, batch);
    }
}

// The state after 10 epochs, half of them and all.
static void run(const char *hparams, int n_threads, int n_epochs, memory out_after[3])
{
    edt_hparams hp = edt_test_loader_hparams(hparams);
    edt_loader_options options = edt_test_train_options(edt_test_coco_pattern());
    options.batch_size = BATCH;
    options.n_threads = n_threads;
    edt_loader *loader = edt_test_open_loader(&hp, &options);
    for (int epoch = 0; epoch < n_epochs; ++epoch) {
        take_epoch(loader, epoch);
        if (epoch + 1 == 10) {
            out_after[0] = look();
        } else if (epoch + 1 == n_epochs / 2) {
            out_after[1] = look();
        }
    }
    out_after[2] = look();
    edt_loader_destroy(loader);
    edt_hparams_deinit(&hp);
}

// A row of pixels lost with each picture would be 4 MiB in 90 epochs; mixing decodes more.
static void expect_flat_rss(memory before, memory after)
{
    cr_expect_leq(after.rss, before.rss + 3 * 1024, "from %ld to %ld KiB", before.rss,
                  after.rss);
}

static void set_up(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    cr_skip_test("sanitizers keep memory of their own, and take minutes for this");
#endif
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    edt_log_set_level(EDT_LOG_QUIET);
}

TestSuite(loader_memory, .init = set_up, .timeout = 600);

// With one worker what it has met follows from the seed: from the first epochs on nothing is
// allocated at all.
Test(loader_memory, one_worker_allocates_nothing_after_the_first_epochs)
{
    memory after[3];
    run("autoaugment_policy=v0,grid_mask=true", 1, 100, after);
    cr_expect_eq(after[2].mem.n_total, after[1].mem.n_total, "%d allocations",
                 (int)(after[2].mem.n_total - after[1].mem.n_total));
    cr_expect_eq(after[2].mem.n_live, after[0].mem.n_live);
    cr_expect_eq(after[2].mem.live_bytes, after[1].mem.live_bytes);
    cr_expect_leq(after[1].mem.n_total - after[0].mem.n_total, 10);
    expect_flat_rss(after[0], after[2]);
}

// Which worker meets the largest pictures is chance, and one that is held up gets its buffers
// late: by half of the time all have theirs.
Test(loader_memory, several_workers_keep_what_they_have)
{
    memory after[3];
    run("autoaugment_policy=v0,mosaic_prob=0.2,mixup_prob=0.2", 3, 200, after);
    cr_expect_leq(after[2].mem.live_bytes,
                  after[0].mem.live_bytes + after[0].mem.live_bytes / 4);
    cr_expect_leq(after[2].mem.n_live, after[0].mem.n_live + 30);
    expect_flat_rss(after[1], after[2]);
}
