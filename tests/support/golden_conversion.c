// See golden_conversion.h.
#include "tests/support/golden_conversion.h"

#include <criterion/criterion.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "tests/support/test_dirs.h"

cJSON *edt_golden_conversion_load(const char *path)
{
    char *text = NULL;
    size_t n_bytes;
    cr_assert_eq(edt_file_read(path, 1u << 28, NULL, &text, &n_bytes), EDT_OK, "%s", path);
    cJSON *json = cJSON_ParseWithLength(text, n_bytes);
    edt_mem_free(text);
    cr_assert_not_null(json, "%s", path);
    return json;
}

const char *edt_golden_conversion_path(const cJSON *object, const char *key)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(object, key));
    if (text == NULL) {
        return NULL;
    }
    const char *dir = edt_test_data_dir();
    if (strncmp(text, "HERE/", 5) == 0) {
        dir = edt_test_path(edt_test_golden_dir(), "data/tfrecord");
    }
    return edt_test_path(dir, "%s", text + 5);
}

void edt_test_equal_files(const char *want, const char *got)
{
    char *x = NULL;
    char *y = NULL;
    size_t n_x;
    size_t n_y;
    cr_assert_eq(edt_file_read(want, 1u << 28, NULL, &x, &n_x), EDT_OK, "%s", want);
    cr_assert_eq(edt_file_read(got, 1u << 28, NULL, &y, &n_y), EDT_OK, "%s", got);
    cr_assert(n_x == n_y && memcmp(x, y, n_x) == 0, "%s differs from %s", got, want);
    edt_mem_free(x);
    edt_mem_free(y);
}
