#include <cjson/cJSON.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "dataio/labels.h"
#include "tests/support/test_dirs.h"

Test(labels_golden, builtin_tables_are_the_official_ones, .timeout = 10)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    char *text = NULL;
    size_t n_bytes;
    const char *path = edt_test_path(edt_test_golden_dir(), "data/label_maps.json");
    cr_assert_eq(edt_file_read(path, 1 << 20, NULL, &text, &n_bytes), EDT_OK);
    cJSON *json = cJSON_ParseWithLength(text, n_bytes);
    static const char *const names[] = {"coco", "voc", "waymo"};
    for (int i = 0; i < 3; ++i) {
        const cJSON *table = cJSON_GetObjectItem(json, names[i]);
        const edt_label_map *map = edt_labels_predefined(names[i]);
        cr_assert_not_null(map);
        cr_assert_eq(map->n, cJSON_GetArraySize(table));
        const cJSON *entry;
        cJSON_ArrayForEach(entry, table)
        {
            const int64_t id = atoll(entry->string);
            cr_assert_str_eq(edt_labels_find(map, id), entry->valuestring);
        }
    }
    cJSON_Delete(json);
    edt_mem_free(text);
}
