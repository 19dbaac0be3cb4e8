// Loaders of several processes over one decoded cache: cold, filled, damaged, and after one of
// them was killed. What they give is what loaders without a cache give, byte for byte.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/log.h"
#include "dataio/decoded_cache.h"
#include "tests/support/test_batches.h"
#include "tests/support/test_dirs.h"

// ThreadSanitizer follows no threads of a forked process; tests/cli/test_decoded_cache.sh has
// processes that it does follow.
#ifdef __SANITIZE_THREAD__
#define SKIP_WITHOUT_FORK() cr_skip_test("forked processes have threads")
#else
#define SKIP_WITHOUT_FORK() (void)0
#endif

enum { WORLD = 2, N_STEPS = 18, N_RECORDS = 24 }; // batches of 4: three epochs

typedef struct order {
    char hparams[600];
    uint64_t expected[WORLD][N_STEPS];
    char fingerprint[128]; // of the data set
} order;

static void take_as(int rank, const char *hparams, uint64_t *out_hashes, char *out_fingerprint)
{
    edt_hparams hp = edt_test_loader_hparams(hparams);
    edt_loader_options options = edt_test_train_options(edt_test_coco_pattern());
    options.batch_size = 2;
    options.rank = rank;
    options.world_size = WORLD;
    options.n_threads = 2;
    edt_loader *loader = edt_test_open_loader(&hp, &options);
    edt_test_take_batches(loader, N_STEPS, out_hashes);
    (void)snprintf(out_fingerprint, 128, "%s", edt_loader_fingerprint(loader));
    edt_loader_destroy(loader);
    edt_hparams_deinit(&hp);
}

static int end_of(pid_t pid)
{
    int status = -1;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// All loaders run in processes of their own, these too: no threads before a fork.
static void expect_as_without(const char *hparams, order *o)
{
    for (int rank = 0; rank < WORLD; ++rank) {
        int ends[2];
        cr_assert_eq(pipe(ends), 0);
        const pid_t pid = fork();
        cr_assert_geq(pid, 0);
        if (pid == 0) {
            take_as(rank, hparams, o->expected[rank], o->fingerprint);
            _exit(write(ends[1], o, sizeof *o) == (ssize_t)sizeof *o ? 0 : 1);
        }
        (void)close(ends[1]);
        order result;
        cr_assert_eq(read(ends[0], &result, sizeof result), (ssize_t)sizeof result);
        memcpy(o->expected[rank], result.expected[rank], sizeof result.expected[rank]);
        memcpy(o->fingerprint, result.fingerprint, sizeof result.fingerprint);
        cr_assert_eq(end_of(pid), 0);
        (void)close(ends[0]);
    }
}

// A process that takes the batches of its rank and ends with 0 when they are the expected ones.
static pid_t start_rank(const order *o, int rank)
{
    const pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        uint64_t hashes[N_STEPS];
        char fingerprint[128];
        take_as(rank, o->hparams, hashes, fingerprint);
        _exit(memcmp(hashes, o->expected[rank], sizeof hashes) == 0 ? 0 : 1);
    }
    return pid;
}

static void expect_world(const order *o, const char *when)
{
    pid_t pids[WORLD];
    for (int rank = 0; rank < WORLD; ++rank) {
        pids[rank] = start_rank(o, rank);
    }
    for (int rank = 0; rank < WORLD; ++rank) {
        cr_expect_eq(end_of(pids[rank]), 0, "%s: rank %d of %s", when, rank, o->hparams);
    }
}

static void look_at_all(const order *o, const char *dir)
{
    const edt_decoded_cache_options options = {.path = edt_test_path(dir, "cache"),
                                               .fingerprint = o->fingerprint,
                                               .transform = edt_decoded_transform(false)};
    edt_error err = {0};
    edt_decoded_cache *cache = NULL;
    edt_decoded_reader *reader = NULL;
    cr_assert_eq(edt_decoded_cache_open(&options, &err, &cache), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_decoded_reader_create(cache, &err, &reader), EDT_OK, "%s", err.text);
    for (int64_t i = 0; i < N_RECORDS; ++i) {
        bool found;
        edt_image image;
        cr_assert_eq(edt_decoded_get(reader, i, &err, &found, &image), EDT_OK);
        cr_assert(found);
    }
    cr_assert_eq(edt_decoded_cache_get_stats(cache).n_entries, N_RECORDS);
    edt_decoded_reader_destroy(reader);
    edt_decoded_cache_close(cache);
}

static void expect_all_there(const order *o, const char *dir)
{
    const pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        look_at_all(o, dir);
        _exit(0);
    }
    cr_expect_eq(end_of(pid), 0);
}

static void flip_pixels(const char *dir)
{
    struct stat st;
    uint8_t byte;
    const int fd = open(edt_test_path(dir, "cache/decoded.pixels"), O_RDWR);
    cr_assert_geq(fd, 0);
    cr_assert_eq(fstat(fd, &st), 0);
    for (int i = 0; i < 9; ++i) {
        const off_t at = st.st_size / 9 * i + 1000;
        cr_assert_eq(pread(fd, &byte, 1, at), 1);
        byte ^= 0x80;
        cr_assert_eq(pwrite(fd, &byte, 1, at), 1);
    }
    (void)close(fd);
}

static void check_world(const char *hparams)
{
    char dir[256];
    order o = {.hparams = ""};
    (void)snprintf(dir, sizeof dir, "%s", edt_test_temp_dir());
    expect_as_without(hparams, &o);
    (void)snprintf(o.hparams, sizeof o.hparams, "%s,decoded_cache=%s/cache", hparams, dir);
    expect_world(&o, "cold");
    expect_world(&o, "filled");
    expect_all_there(&o, dir);
    flip_pixels(dir);
    expect_world(&o, "damaged");
    expect_all_there(&o, dir);
    expect_world(&o, "repaired");
    edt_test_remove_tree(dir);
}

Test(cached_loaders, ranks_in_processes_share_one_cache, .timeout = 240)
{
    SKIP_WITHOUT_FORK();
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    edt_log_set_level(EDT_LOG_ERROR);
    check_world("decoded_cache_zstd=0");
    check_world("decoded_cache_zstd=1,autoaugment_policy=v1,mosaic_prob=0.3");
}

Test(cached_loaders, what_a_killed_rank_left_changes_no_batch, .timeout = 240)
{
    SKIP_WITHOUT_FORK();
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    edt_log_set_level(EDT_LOG_ERROR);
    char dir[256];
    order o = {.hparams = ""};
    (void)snprintf(dir, sizeof dir, "%s", edt_test_temp_dir());
    expect_as_without(NULL, &o);
    (void)snprintf(o.hparams, sizeof o.hparams, "decoded_cache=%s/cache", dir);
    for (int i = 0; i < 10; ++i) {
        const pid_t killed = start_rank(&o, 0);
        const pid_t other = start_rank(&o, 1);
        for (volatile int64_t k = 0; k < 3000000 * (int64_t)i; k = k + 1) {
        }
        (void)kill(killed, SIGKILL);
        const int code = end_of(killed);
        cr_expect(code == 0 || code == 128 + SIGKILL, "%d", code);
        cr_expect_eq(end_of(other), 0);
        if (i % 3 == 2) {
            expect_world(&o, "after a kill");
            edt_test_remove_tree(edt_test_path(dir, "cache"));
        }
    }
    edt_test_remove_tree(dir);
}
