#include <criterion/criterion.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "core/crc32c.h"
#include "tests/support/test_dirs.h"

static bool fill(const char *content, size_t n_bytes, uint8_t *data)
{
    if (strncmp(content, "ascii ", 6) == 0) {
        memcpy(data, content + 6, n_bytes);
        return strlen(content + 6) == n_bytes;
    }
    if (strcmp(content, "pattern") == 0) {
        for (size_t i = 0; i < n_bytes; ++i) {
            data[i] = (uint8_t)(i * 167 + 13 * n_bytes + (i >> 8));
        }
        return true;
    }
    const bool is_ones = strcmp(content, "ones") == 0;
    memset(data, is_ones ? 0xff : 0, n_bytes);
    return is_ones || strcmp(content, "zeros") == 0;
}

Test(crc32c_golden, table_of_the_reference, .timeout = 30)
{
    const char *path = edt_test_path(edt_test_golden_dir(), "data/crc32c.tsv");
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file, "%s", path);
    static uint8_t data[8192];
    char line[256];
    int n_rows = 0;
    cr_assert_not_null(fgets(line, sizeof line, file));
    while (fgets(line, sizeof line, file) != NULL) {
        char content[64];
        size_t n_bytes = 0;
        uint32_t crc = 0;
        uint32_t masked = 0;
        uint32_t masked_length = 0;
        cr_assert_eq(sscanf(line, "%63[^\t]\t%zu\t%x\t%x\t%x", content, &n_bytes, &crc, &masked,
                            &masked_length),
                     5, "%s", line);
        cr_assert_leq(n_bytes, sizeof data);
        cr_assert(fill(content, n_bytes, data), "%s", line);
        cr_assert_eq(edt_crc32c(0, data, n_bytes), crc, "%s", line);
        cr_assert_eq(edt_crc32c_portable(0, data, n_bytes), crc, "%s", line);
        cr_assert_eq(edt_crc32c_mask(crc), masked, "%s", line);
        uint8_t length_field[8];
        for (int i = 0; i < 8; ++i) {
            length_field[i] = (uint8_t)((uint64_t)n_bytes >> (8 * i));
        }
        cr_assert_eq(edt_crc32c_mask(edt_crc32c(0, length_field, 8)), masked_length, "%s",
                     line);
        ++n_rows;
    }
    cr_assert_eq(n_rows, 118);
    fclose(file);
}
