// See test_dirs.h.
#include "tests/support/test_dirs.h"

#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *env_or(const char *name, const char *fallback)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : fallback;
}

const char *edt_test_data_dir(void)
{
    return env_or("EDT_DATA_DIR", EDT_DATA_DIR_DEFAULT);
}

const char *edt_test_golden_dir(void)
{
    return env_or("EDT_GOLDEN_DIR", EDT_GOLDEN_DIR_DEFAULT);
}

const char *edt_test_weights_dir(void)
{
    return env_or("EDT_WEIGHTS_DIR", EDT_WEIGHTS_DIR_DEFAULT);
}

bool edt_test_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

bool edt_test_in_ci(void)
{
    return getenv("CI") != NULL;
}

static char *next_buffer(void)
{
    static char buffers[16][4096];
    static int next;
    next = (next + 1) % 16;
    return buffers[next];
}

const char *edt_test_path(const char *dir, const char *fmt, ...)
{
    char *buffer = next_buffer();
    const int used = snprintf(buffer, 4096, "%s/", dir);
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(buffer + used, 4096 - (size_t)used, fmt, args);
    va_end(args);
    return buffer;
}

const char *edt_test_temp_dir(void)
{
    char *buffer = next_buffer();
    (void)snprintf(buffer, 4096, "%s/edt-test-XXXXXX", env_or("TMPDIR", "/tmp"));
    cr_assert(mkdtemp(buffer) != NULL, "no temporary directory at %s", buffer);
    return buffer;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at)
{
    (void)info;
    (void)kind;
    (void)at;
    (void)remove(path);
    return 0;
}

void edt_test_remove_tree(const char *path)
{
    (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
