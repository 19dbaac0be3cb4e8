// What happens to a decoded cache from outside: other processes that fill it, are killed or
// hold it for another data set, bytes that change, files that are cut off, disks that are full
// and directories that may not be written to. Never wrong pixels, never a crash.
#include "dataio/decoded_store.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/rng.h"
#include "tests/support/test_decoded.h"
#include "tests/support/test_dirs.h"

enum { N = 60 };
static const char set_a[] = "aaaa";
static const char set_b[] = "bbbb";
static char base[512], path[520];
static char logged[8192];

static void keep_line(void *ctx, edt_log_level level, const char *line)
{
    (void)ctx;
    (void)level;
    const size_t n = strlen(logged);
    (void)snprintf(logged + n, sizeof logged - n, "%s\n", line);
}

static void set_up(void)
{
    (void)snprintf(base, sizeof base, "%s", edt_test_temp_dir());
    (void)snprintf(path, sizeof path, "%s/cache", base);
    logged[0] = '\0';
    edt_log_set_sink(keep_line, NULL);
}
static void tear_down(void)
{
    edt_log_set_sink(NULL, NULL);
    edt_test_remove_tree(base);
}
TestSuite(decoded_store, .init = set_up, .fini = tear_down, .timeout = 120);

static edt_status open_as(const char *fingerprint, edt_error *err, edt_decoded_cache **out)
{
    const edt_decoded_cache_options options = {
        .path = path, .fingerprint = fingerprint, .transform = edt_decoded_transform(false)};
    *err = (edt_error){0};
    return edt_decoded_cache_open(&options, err, out);
}

static void make_cache(void)
{
    edt_decoded_cache *cache = edt_test_open_cache(path, set_a, 0, 0);
    edt_test_fill_cache(cache, 0, N);
    edt_decoded_cache_close(cache);
}

// Opens, looks at everything, fills what is missing and looks again.
static void expect_recovery(int64_t n, int64_t *out_n_missing)
{
    edt_decoded_cache *cache = edt_test_open_cache(path, set_a, 0, 0);
    edt_test_found found = edt_test_read_cache(cache, 0, n);
    cr_expect_eq(found.n_wrong, 0);
    *out_n_missing = found.n_missing;
    edt_test_fill_cache(cache, 0, n);
    edt_decoded_flush(cache);
    found = edt_test_read_cache(cache, 0, n);
    cr_expect_eq(found.n_right, n, "only %lld are right after the repair",
                 (long long)found.n_right);
    edt_decoded_cache_close(cache);
}

// Runs `work` in a process of its own; 0 is the exit code hoped for. Tests that do so leave all
// use of caches to such processes: no threads before a fork.
typedef int process(int rank, int fd);

// ThreadSanitizer follows no threads of a forked process (Criterion has some when a test
// forks); tests/cli/test_decoded_cache.sh has processes that it does follow.
#ifdef __SANITIZE_THREAD__
#define SKIP_WITHOUT_FORK() cr_skip_test("forked processes have threads")
#else
#define SKIP_WITHOUT_FORK() (void)0
#endif

static pid_t start(process *work, int rank, int *out_fd)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    const pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        (void)close(ends[0]);
        _exit(work(rank, ends[1]));
    }
    (void)close(ends[1]);
    *out_fd = ends[0];
    return pid;
}

static int end_of(pid_t pid, int fd)
{
    int status = -1;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    (void)close(fd);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int run(process *work, int rank)
{
    int fd;
    const pid_t pid = start(work, rank, &fd);
    return end_of(pid, fd);
}

// Looks at all pictures again and again while offering its own half and a quarter of the
// other's.
static int fill_and_read(int rank, int fd)
{
    (void)fd;
    edt_decoded_cache *cache = edt_test_open_cache(path, set_a, 0, rank);
    for (int64_t i = 0; i < 4 * N; ++i) {
        if (i % 2 == rank || i % 4 == 1) {
            edt_test_fill_cache(cache, i, i + 1);
        }
        if (i % 16 == 0) {
            edt_decoded_flush(cache);
            if (edt_test_read_cache(cache, 0, 4 * N).n_wrong > 0) {
                return 1;
            }
        }
    }
    edt_decoded_cache_close(cache);
    return logged[0] == '\0' ? 0 : 2;
}

static int find_all(int rank, int fd)
{
    (void)rank;
    (void)fd;
    edt_decoded_cache *cache = edt_test_open_cache(path, set_a, 0, 0);
    const bool is_right = edt_test_read_cache(cache, 0, 4 * N).n_right == 4 * N &&
                          edt_decoded_cache_get_stats(cache).n_entries == 4 * N;
    edt_decoded_cache_close(cache);
    return is_right && logged[0] == '\0' ? 0 : 1;
}

Test(decoded_store, is_filled_by_processes_at_once)
{
    SKIP_WITHOUT_FORK();
    int fds[2];
    pid_t pids[2];
    for (int i = 0; i < 2; ++i) {
        pids[i] = start(fill_and_read, i, &fds[i]);
    }
    for (int i = 0; i < 2; ++i) {
        cr_expect_eq(end_of(pids[i], fds[i]), 0);
    }
    cr_expect_eq(run(find_all, 0), 0);
}

enum { N_KILLS = 30, N_LONG = 4000 };

// Says how far it is, so that it can be killed at any point of its work.
static int fill_and_tell(int rank, int fd)
{
    edt_decoded_cache *cache = edt_test_open_cache(path, set_a, 0, rank % 2);
    for (int64_t i = 0; i < N_LONG; ++i) {
        edt_test_fill_cache(cache, i, i + 1);
        if (i % 8 == 0) {
            edt_decoded_flush(cache);
        }
        if (write(fd, "", 1) != 1) {
            break;
        }
    }
    edt_decoded_cache_close(cache);
    return 0;
}

// Kills it after its n-th word and some instructions more.
static void kill_after(pid_t pid, int fd, uint64_t n, uint64_t spin)
{
    char word;
    for (uint64_t i = 0; i < n && read(fd, &word, 1) == 1; ++i) {
    }
    for (volatile uint64_t i = 0; i < spin; i = i + 1) {
    }
    (void)kill(pid, SIGKILL);
    cr_expect_eq(end_of(pid, fd), 128 + SIGKILL);
}

// Nothing is wrong or lost: all entries are right, and sends how many there are.
static int count_right(int rank, int fd)
{
    (void)rank;
    edt_decoded_cache *cache = edt_test_open_cache(path, set_a, 0, 0);
    const int64_t n_entries = edt_decoded_cache_get_stats(cache).n_entries;
    const edt_test_found found = edt_test_read_cache(cache, 0, N_LONG);
    edt_decoded_cache_close(cache);
    const bool told = write(fd, &n_entries, sizeof n_entries) == (ssize_t)sizeof n_entries;
    return told && found.n_wrong == 0 && found.n_right == n_entries && logged[0] == '\0' ? 0
                                                                                         : 1;
}

Test(decoded_store, survives_kills_at_any_moment)
{
    SKIP_WITHOUT_FORK();
    edt_rng rng;
    edt_rng_init(&rng, 2026, 0, 0, 0);
    int64_t n_before = 0;
    for (int i = 0; i < N_KILLS; ++i) {
        int fd;
        const uint64_t n = edt_rng_below(&rng, 150);
        pid_t pid = start(fill_and_tell, i, &fd);
        kill_after(pid, fd, n, edt_rng_below(&rng, 2000000));
        int64_t n_entries = 0;
        pid = start(count_right, 0, &fd);
        cr_assert_eq(read(fd, &n_entries, sizeof n_entries), (ssize_t)sizeof n_entries);
        cr_expect_eq(end_of(pid, fd), 0, "kill %d", i);
        cr_expect_geq(n_entries, n_before);
        n_before = n_entries;
        if (i % 10 == 9) { // once more from the beginning
            cr_expect_gt(n_entries, 0);
            edt_test_remove_tree(path);
            n_before = 0;
        }
    }
}

// Fills beside those that are killed until nobody listens any more.
static int fill_until_told(int rank, int fd)
{
    (void)rank;
    (void)signal(SIGPIPE, SIG_IGN);
    edt_decoded_cache *cache = edt_test_open_cache(path, set_a, 0, 0);
    int64_t n = 0;
    do {
        edt_test_fill_cache(cache, n, n + 4);
        edt_decoded_flush(cache);
        if (edt_test_read_cache(cache, n, n + 4).n_right != 4) {
            return 1;
        }
        n += 4;
    } while (n < N_LONG && write(fd, "", 1) == 1);
    const edt_test_found found = edt_test_read_cache(cache, 0, n);
    edt_decoded_cache_close(cache);
    return found.n_right == n && logged[0] == '\0' ? 0 : 2;
}

Test(decoded_store, goes_on_when_another_filler_is_killed)
{
    SKIP_WITHOUT_FORK();
    edt_rng rng;
    edt_rng_init(&rng, 2027, 0, 0, 0);
    int fd;
    char word;
    const pid_t survivor = start(fill_until_told, 0, &fd);
    cr_assert_eq(read(fd, &word, 1), 1);
    for (int i = 0; i < 10; ++i) {
        int killed_fd;
        const pid_t killed = start(fill_and_tell, i, &killed_fd);
        kill_after(killed, killed_fd, edt_rng_below(&rng, 60), edt_rng_below(&rng, 1000000));
        cr_assert_eq(read(fd, &word, 1), 1);
    }
    (void)close(fd);
    cr_expect_eq(end_of(survivor, -1), 0);
}

static int hold(int rank, int fd)
{
    (void)rank;
    edt_decoded_cache *cache = edt_test_open_cache(path, set_b, 0, 0);
    edt_test_fill_cache(cache, 0, 5);
    if (write(fd, "", 1) == 1) {
        (void)pause();
    }
    return 1;
}

static int find_it_taken(int rank, int fd)
{
    (void)rank;
    (void)fd;
    edt_error err;
    edt_decoded_cache *cache = NULL;
    return open_as(set_a, &err, &cache) == EDT_ERR_MISMATCH &&
                   strstr(err.text, set_b) != NULL &&
                   strstr(err.text, "another directory") != NULL && logged[0] == '\0'
               ? 0
               : 1;
}

static int empty_it(int rank, int fd)
{
    (void)rank;
    (void)fd;
    edt_error err;
    edt_decoded_cache *cache = NULL;
    const bool is_open = open_as(set_a, &err, &cache) == EDT_OK;
    edt_decoded_cache_close(cache);
    return is_open && strstr(logged, set_b) != NULL ? 0 : 1;
}

Test(decoded_store, is_not_emptied_while_another_process_uses_it)
{
    SKIP_WITHOUT_FORK();
    int fd;
    char word;
    const pid_t pid = start(hold, 0, &fd);
    cr_assert_eq(read(fd, &word, 1), 1);
    cr_expect_eq(run(find_it_taken, 0), 0);
    kill_after(pid, fd, 0, 0);
    cr_expect_eq(run(empty_it, 0), 0);
}

static int64_t size_of(const char *name)
{
    struct stat st;
    cr_assert_eq(stat(edt_test_path(path, "%s", name), &st), 0);
    return st.st_size;
}

static void flip(const char *name, int64_t offset, uint8_t mask)
{
    uint8_t byte;
    const int fd = open(edt_test_path(path, "%s", name), O_RDWR);
    cr_assert_geq(fd, 0);
    cr_assert_eq(pread(fd, &byte, 1, offset), 1);
    byte ^= mask;
    cr_assert_eq(pwrite(fd, &byte, 1, offset), 1);
    (void)close(fd);
}

Test(decoded_store, notices_flipped_pixels_and_stores_them_anew)
{
    make_cache();
    const int64_t n = size_of("decoded.pixels");
    for (int64_t k = 0; k < 7; ++k) {
        flip("decoded.pixels", n * k / 7 + 100, 0x40);
    }
    int64_t n_missing;
    expect_recovery(N, &n_missing);
    cr_expect_geq(n_missing, 6);
    cr_expect_leq(n_missing, 7);
    cr_expect_neq(strstr(logged, "is damaged"), NULL, "%s", logged);
    expect_recovery(N, &n_missing);
    cr_expect_eq(n_missing, 0);
}

Test(decoded_store, notices_a_flipped_byte_wherever_it_is)
{
    static const char *const files[] = {"decoded.mdb",     "decoded.mdb",    "decoded.mdb",
                                        "decoded.seal",    "decoded.pixels", "decoded.cache",
                                        "decoded.mdb-lock"};
    edt_rng rng;
    edt_rng_init(&rng, 2028, 0, 0, 0);
    make_cache();
    int64_t n_emptied = 0;
    for (int i = 0; i < 70; ++i) {
        const char *file = files[i % 7];
        const int64_t at = (int64_t)edt_rng_below(&rng, (uint64_t)size_of(file));
        flip(file, at, (uint8_t)(1u << edt_rng_below(&rng, 8)));
        int64_t n_missing;
        expect_recovery(N, &n_missing);
        n_emptied += n_missing == N;
        const bool is_index = i % 7 <= 3;
        cr_expect_eq(n_missing, is_index ? N : n_missing, "%s at %lld", file, (long long)at);
        cr_expect_leq(n_missing, is_index ? N : 1, "%s at %lld", file, (long long)at);
    }
    cr_expect_eq(n_emptied, 40);
}

Test(decoded_store, notices_files_that_are_cut_off_or_gone)
{
    static const char *const files[] = {"decoded.mdb", "decoded.seal", "decoded.pixels",
                                        "decoded.cache", "decoded.mdb-lock"};
    int64_t n_missing;
    make_cache();
    for (int i = 0; i < 5; ++i) {
        const char *file = edt_test_path(path, "%s", files[i]);
        for (int k = 0; k < 2; ++k) {
            cr_assert_eq(truncate(file, size_of(files[i]) * k / 3), 0);
            expect_recovery(N, &n_missing);
        }
        cr_assert_eq(unlink(file), 0);
        expect_recovery(N, &n_missing);
    }
}

// Nothing seals the index of a killed process: its length is looked at all the same.
Test(decoded_store, notices_a_short_index_that_nobody_sealed)
{
    int64_t n_missing;
    for (int64_t k = 0; k < 5; ++k) {
        make_cache();
        cr_assert_eq(unlink(edt_test_path(path, "decoded.seal")), 0);
        cr_assert_eq(
            truncate(edt_test_path(path, "decoded.mdb"), size_of("decoded.mdb") * k / 5), 0);
        expect_recovery(N, &n_missing);
        cr_expect_eq(n_missing, N);
    }
}

Test(decoded_store, stops_when_the_disk_is_full_and_goes_on_reading)
{
    const struct rlimit limit = {.rlim_cur = 1000000, .rlim_max = RLIM_INFINITY};
    (void)signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    edt_decoded_cache *cache = edt_test_open_cache(path, set_a, 0, 0);
    for (int64_t i = 0; i < 200; ++i) {
        edt_test_fill_cache(cache, i, i + 1);
        edt_decoded_flush(cache);
    }
    cr_expect_not(edt_decoded_is_filling(cache));
    const char *words = strstr(logged, "takes no more pictures");
    cr_expect_neq(words, NULL, "%s", logged);
    cr_expect_null(words != NULL ? strstr(words + 1, "takes no more") : NULL);
    const edt_test_found found = edt_test_read_cache(cache, 0, 200);
    cr_expect_eq(found.n_wrong, 0);
    cr_expect_gt(found.n_right, 5);
    cr_expect_eq(found.n_right, edt_decoded_cache_get_stats(cache).n_entries);
    edt_decoded_cache_close(cache);
    const struct rlimit none = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
    int64_t n_missing;
    expect_recovery(200, &n_missing);
    cr_expect_eq(n_missing, 200 - found.n_right);
}

static int make_one(int rank, int fd)
{
    (void)rank;
    (void)fd;
    make_cache();
    return 0;
}

static int read_as_nobody(int rank, int fd)
{
    (void)fd;
    edt_error err;
    edt_decoded_cache *cache = NULL;
    if (geteuid() == 0 && seteuid(65534) != 0) {
        return 2;
    }
    if (rank == 1) { // another set: there is nothing that could be emptied
        return open_as(set_b, &err, &cache) == EDT_ERR_MISMATCH ? 0 : 3;
    }
    if (rank == 2) { // not sealed
        return open_as(set_a, &err, &cache) == EDT_ERR_IO ? 0 : 4;
    }
    cache = edt_test_open_cache(path, set_a, 0, 0);
    edt_test_fill_cache(cache, N, N + 5);
    edt_decoded_flush(cache);
    const edt_test_found found = edt_test_read_cache(cache, 0, N + 5);
    const edt_decoded_cache_stats stats = edt_decoded_cache_get_stats(cache);
    const bool is_right = !edt_decoded_is_filling(cache) && found.n_right == N &&
                          found.n_missing == 5 && stats.n_entries == N && stats.n_refused == 5;
    edt_decoded_cache_close(cache);
    return is_right && strstr(logged, "read only") != NULL ? 0 : 5;
}

Test(decoded_store, is_read_where_it_may_not_be_written)
{
    SKIP_WITHOUT_FORK();
    static const char *const files[] = {"decoded.mdb", "decoded.seal", "decoded.pixels",
                                        "decoded.cache", "decoded.mdb-lock"};
    cr_expect_eq(run(make_one, 0), 0);
    cr_assert_eq(chmod(base, 0755), 0);
    for (int i = 0; i < 5; ++i) {
        cr_assert_eq(chmod(edt_test_path(path, "%s", files[i]), 0444), 0);
    }
    cr_assert_eq(chmod(path, 0555), 0);
    cr_expect_eq(run(read_as_nobody, 0), 0);
    cr_expect_eq(run(read_as_nobody, 1), 0);
    cr_assert_eq(chmod(path, 0755), 0);
    cr_assert_eq(unlink(edt_test_path(path, "decoded.seal")), 0);
    cr_assert_eq(chmod(path, 0555), 0);
    cr_expect_eq(run(read_as_nobody, 2), 0);
    cr_assert_eq(chmod(path, 0755), 0);
}
