// Where the tests find sample data, goldens and trained weights (EDT_DATA_DIR, EDT_GOLDEN_DIR,
// EDT_WEIGHTS_DIR; defaults beside the checkout), and what a test does when something is absent:
// skip with a line, but fail in CI when the whole directory is missing.
#ifndef EDT_TESTS_SUPPORT_TEST_DIRS_H
#define EDT_TESTS_SUPPORT_TEST_DIRS_H

#include <criterion/criterion.h>
#include <stdbool.h>

const char *edt_test_data_dir(void);
const char *edt_test_golden_dir(void);
const char *edt_test_weights_dir(void);
bool edt_test_exists(const char *path);
bool edt_test_in_ci(void);

// "<dir>/<printf-formatted rest>" in one of 16 rotating static buffers.
const char *edt_test_path(const char *dir, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

// A fresh directory for outputs, removed by the caller or the system. Aborts the test on failure.
const char *edt_test_temp_dir(void);
// Removes a directory with everything in it; one that is not there is fine.
void edt_test_remove_tree(const char *path);

// In a Criterion test: leave it unless `path` exists.
#define EDT_TEST_NEEDS_DIR(dir)                                                        \
    do {                                                                               \
        if (!edt_test_exists(dir)) {                                                   \
            cr_assert(!edt_test_in_ci(), "%s is missing; CI needs it", (dir));         \
            cr_skip_test("%s is not there", (dir));                                    \
        }                                                                              \
    } while (0)
#define EDT_TEST_NEEDS_FILE(path)                     \
    do {                                              \
        if (!edt_test_exists(path)) {                 \
            cr_skip_test("%s is not there", (path));  \
        }                                             \
    } while (0)

#endif
