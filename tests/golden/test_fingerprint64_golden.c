#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "dataio/fingerprint64.h"
#include "tests/support/test_dirs.h"

static edt_span as_span(const char *text)
{
    return (edt_span){(const uint8_t *)text, strlen(text)};
}

Test(fingerprint64_golden, published_values, .timeout = 10)
{
    cr_assert(edt_fingerprint64(as_span("")) == 11160318154034397263u);
    cr_assert(edt_fingerprint64(as_span("a")) == 12917804110809363939u);
    cr_assert(edt_fingerprint64(as_span("hello")) == 13009744463427800296u);
}

Test(fingerprint64_golden, table_of_the_reference, .timeout = 30)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    FILE *file = fopen(edt_test_path(edt_test_golden_dir(), "data/fingerprint64.tsv"), "r");
    cr_assert_not_null(file);
    static uint8_t data[1 << 16];
    char line[256], content[128];
    int n_rows = 0, n_files = 0;
    cr_assert_not_null(fgets(line, sizeof line, file));
    while (fgets(line, sizeof line, file) != NULL) {
        size_t n_bytes;
        long long want;
        cr_assert_eq(sscanf(line, "%127[^\t]\t%zu\t%lld", content, &n_bytes, &want), 3, "%s",
                     line);
        const char *path = edt_test_path(edt_test_data_dir(), "%s", content);
        edt_span bytes = {data, n_bytes};
        char *text = NULL;
        if (strcmp(content, "pattern") == 0) {
            cr_assert_leq(n_bytes, sizeof data);
            for (size_t i = 0; i < n_bytes; ++i) {
                data[i] = (uint8_t)((i * 167 + 13 * n_bytes + (i >> 8)) & 255);
            }
        } else if (edt_file_read(path, 1u << 28, NULL, &text, &bytes.n_bytes) == EDT_OK) {
            bytes.data = (const uint8_t *)text;
            ++n_files;
        } else {
            continue;
        }
        cr_assert_eq((long long)edt_fingerprint64_source_id(bytes), want, "%s", line);
        edt_mem_free(text);
        ++n_rows;
    }
    fclose(file);
    cr_assert_geq(n_rows, 140);
    cr_assert(n_files == 3 || !edt_test_exists(edt_test_data_dir()));
}
