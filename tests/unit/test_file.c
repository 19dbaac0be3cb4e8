#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "core/mem.h"
#include "tests/support/test_dirs.h"

static int count_entries(const char *dir)
{
    DIR *stream = opendir(dir);
    cr_assert_not_null(stream);
    int n = 0;
    while (readdir(stream) != NULL) {
        ++n;
    }
    closedir(stream);
    return n - 2;
}

static void check_contents(const char *path, const char *expected)
{
    edt_error err = {0};
    char *text = NULL;
    size_t n_bytes = 0;
    cr_assert_eq(edt_file_read(path, 1 << 20, &err, &text, &n_bytes), EDT_OK, "%s", err.text);
    cr_assert_eq(n_bytes, strlen(expected));
    cr_assert_str_eq(text, expected);
    edt_mem_free(text);
}

Test(file, commit_publishes_and_close_without_commit_leaves_the_old_contents, .timeout = 10)
{
    const char *dir = edt_test_temp_dir();
    const char *path = edt_test_path(dir, "out");
    edt_error err = {0};
    cr_assert_eq(edt_file_write(path, "old", 3, &err), EDT_OK, "%s", err.text);
    edt_atomic_file *first = NULL;
    edt_atomic_file *second = NULL;
    cr_assert_eq(edt_atomic_file_open(path, &err, &first), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_atomic_file_open(path, &err, &second), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_atomic_file_append(first, "new", 3, &err), EDT_OK);
    cr_assert_eq(edt_atomic_file_append(second, "lost", 4, &err), EDT_OK);
    check_contents(path, "old");
    cr_assert_eq(edt_atomic_file_tell(first), 3);
    cr_assert_eq(edt_atomic_file_commit(first, &err), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_atomic_file_append(first, "x", 1, &err), EDT_ERR_INTERNAL);
    edt_atomic_file_close(first);
    edt_atomic_file_close(second);
    edt_atomic_file_close(NULL);
    check_contents(path, "new");
    cr_assert_eq(count_entries(dir), 1);
}

Test(file, large_and_small_pieces_keep_their_order, .timeout = 30)
{
    const char *path = edt_test_path(edt_test_temp_dir(), "out");
    edt_error err = {0};
    enum { TOTAL = 7000000 };
    uint8_t *data = edt_mem_alloc(EDT_MEM_MISC, TOTAL);
    for (size_t i = 0; i < TOTAL; ++i) {
        data[i] = (uint8_t)(i * 31 + (i >> 9));
    }
    edt_atomic_file *file = NULL;
    cr_assert_eq(edt_atomic_file_open(path, &err, &file), EDT_OK, "%s", err.text);
    static const size_t pieces[] = {1, 1000, 0, 1048575, 1048576, 7, 2500000, 70000};
    size_t done = 0;
    for (int i = 0; done < TOTAL; ++i) {
        size_t n = pieces[i % 8];
        n = n < TOTAL - done ? n : TOTAL - done;
        cr_assert_eq(edt_atomic_file_append(file, data + done, n, &err), EDT_OK, "%s",
                     err.text);
        done += n;
    }
    cr_assert_eq(edt_atomic_file_commit(file, &err), EDT_OK, "%s", err.text);
    edt_atomic_file_close(file);
    edt_mapped_file mapped = {0};
    cr_assert_eq(edt_mapped_file_open(path, &err, &mapped), EDT_OK, "%s", err.text);
    cr_assert_eq(mapped.span.n_bytes, TOTAL);
    cr_assert_eq(memcmp(mapped.span.data, data, TOTAL), 0);
    edt_mapped_file_close(&mapped);
    edt_mapped_file_close(&mapped);
    edt_mem_free(data);
}

Test(file, a_full_disk_is_an_error_and_leaves_nothing, .timeout = 10)
{
    const char *dir = edt_test_temp_dir();
    const char *path = edt_test_path(dir, "out");
    edt_error err = {0};
    static uint8_t data[1 << 21];
    signal(SIGXFSZ, SIG_IGN);
    const struct rlimit limit = {.rlim_cur = 1500000, .rlim_max = RLIM_INFINITY};
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    cr_assert_eq(edt_file_write(path, data, sizeof data, &err), EDT_ERR_IO);
    const struct rlimit none = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
    cr_assert(strstr(err.text, path) != NULL && strstr(err.text, "too large") != NULL, "%s",
              err.text);
    cr_assert_eq(count_entries(dir), 0);
}

Test(file, refuses_targets_that_are_not_files, .timeout = 10)
{
    const char *dir = edt_test_temp_dir();
    edt_error err = {0};
    cr_assert_eq(edt_file_write(dir, "x", 1, &err), EDT_ERR_IO);
    cr_assert(strstr(err.text, "directory") != NULL, "%s", err.text);
    cr_assert_eq(edt_file_write("/dev/null", "x", 1, &err), EDT_ERR_INVALID);
    cr_assert_eq(edt_file_write(edt_test_path(dir, "no/out"), "x", 1, &err), EDT_ERR_NOT_FOUND);
    cr_assert(strstr(err.text, "no/out") != NULL, "%s", err.text);
}

Test(file, reading_checks_the_limit_and_the_name, .timeout = 10)
{
    const char *dir = edt_test_temp_dir();
    const char *path = edt_test_path(dir, "in");
    edt_error err = {0};
    char *text = NULL;
    size_t n_bytes = 0;
    cr_assert_eq(edt_file_write(path, "0123456789", 10, &err), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_file_read(path, 9, &err, &text, &n_bytes), EDT_ERR_INVALID);
    cr_assert(strstr(err.text, "9 bytes") != NULL, "%s", err.text);
    cr_assert_eq(edt_file_read(path, 10, &err, &text, &n_bytes), EDT_OK, "%s", err.text);
    edt_mem_free(text);
    cr_assert_eq(edt_file_read(edt_test_path(dir, "none"), 9, &err, &text, &n_bytes),
                 EDT_ERR_NOT_FOUND);
    cr_assert_eq(edt_file_read(dir, 9, &err, &text, &n_bytes), EDT_ERR_IO);
    edt_mapped_file mapped = {0};
    cr_assert_eq(edt_mapped_file_open(dir, &err, &mapped), EDT_ERR_IO);
    cr_assert_eq(edt_file_write(path, NULL, 0, &err), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_mapped_file_open(path, &err, &mapped), EDT_OK, "%s", err.text);
    cr_assert_eq(mapped.span.n_bytes, 0);
    edt_mapped_file_close(&mapped);
    check_contents(path, "");
}

static void *write_pipe(void *argument)
{
    const int fd = *(const int *)argument;
    static char data[300000];
    memset(data, 'p', sizeof data);
    for (size_t done = 0; done < sizeof data;) {
        const ssize_t n = write(fd, data + done, sizeof data - done);
        if (n <= 0) {
            break;
        }
        done += (size_t)n;
    }
    close(fd);
    return NULL;
}

Test(file, pipes_are_read_to_their_end, .timeout = 10)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    pthread_t writer;
    cr_assert_eq(pthread_create(&writer, NULL, write_pipe, &ends[1]), 0);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", ends[0]);
    edt_error err = {0};
    char *text = NULL;
    size_t n_bytes = 0;
    cr_assert_eq(edt_file_read(path, 1 << 20, &err, &text, &n_bytes), EDT_OK, "%s", err.text);
    cr_assert_eq(n_bytes, 300000);
    pthread_join(writer, NULL);
    edt_mem_free(text);
    close(ends[0]);
}

Test(file, pieces_land_at_their_offsets, .timeout = 10)
{
    const char *path = edt_test_path(edt_test_temp_dir(), "out");
    edt_error err = {0};
    edt_atomic_file *file = NULL;
    cr_assert_eq(edt_atomic_file_open(path, &err, &file), EDT_OK, "%s", err.text);
    // More pieces than one call of the system takes, empty ones among them.
    static const uint8_t letters[] = "abcdefghij";
    edt_span pieces[200];
    char expected[201] = "0";
    for (int i = 0; i < 200; ++i) {
        pieces[i] = (edt_span){letters + i % 10, i % 10 == 3 ? 0 : 1};
        if (i % 10 != 3) {
            strncat(expected, (const char *)letters + i % 10, 1);
        }
    }
    const edt_span zero = {(const uint8_t *)"0", 1};
    cr_assert_eq(edt_atomic_file_write_at(file, 1, pieces, 200, &err), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_atomic_file_write_at(file, 0, &zero, 1, &err), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_atomic_file_commit_unsynced(file, &err), EDT_OK, "%s", err.text);
    edt_atomic_file_close(file);
    check_contents(path, expected);
}

// Threads write pieces of one file: whichever speaks first, the reason is the first failure's.
Test(file, every_write_after_a_failed_one_names_its_reason)
{
    (void)signal(SIGXFSZ, SIG_IGN);
    const struct rlimit limit = {.rlim_cur = 16, .rlim_max = 16};
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    const char *path = edt_test_path(edt_test_temp_dir(), "limited");
    edt_error err = {0};
    edt_atomic_file *file;
    cr_assert_eq(edt_atomic_file_open(path, &err, &file), EDT_OK, "%s", err.text);
    const edt_span piece = {(const uint8_t *)"1234", 4};
    cr_expect_eq(edt_atomic_file_write_at(file, 0, &piece, 1, &err), EDT_OK, "%s", err.text);
    for (int i = 0; i < 2; ++i) {
        err = (edt_error){0};
        cr_expect_eq(edt_atomic_file_write_at(file, 1000, &piece, 1, &err), EDT_ERR_IO);
        cr_expect(strstr(err.text, strerror(EFBIG)) != NULL, "%s", err.text);
    }
    edt_atomic_file_close(file);
}
