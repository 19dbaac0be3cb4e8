// The goldens of the converters: a JSON file says with which arguments the reference was run
// and what came out. All functions abort the test on failure.
#ifndef EDT_TESTS_SUPPORT_GOLDEN_CONVERSION_H
#define EDT_TESTS_SUPPORT_GOLDEN_CONVERSION_H

#include <cjson/cJSON.h>

// The file as a tree, to be freed with cJSON_Delete.
cJSON *edt_golden_conversion_load(const char *path);

// The path under a key, its leading DATA/ or HERE/ replaced by where that is; NULL without the
// key. In edt_test_path's buffers.
const char *edt_golden_conversion_path(const cJSON *object, const char *key);

// Two files with the same bytes.
void edt_test_equal_files(const char *want, const char *got);

#endif
