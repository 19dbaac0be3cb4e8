// The pull parser over arbitrary bytes: no overrun, balanced events, and numbers that agree
// with strtod.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json_pull.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap);

static void check_number(const edt_json_pull *pull)
{
    char copy[128];
    double x;
    int64_t integer;
    (void)edt_json_pull_get_i64(pull, NULL, &integer);
    if (edt_json_pull_get_f64(pull, NULL, &x) != EDT_OK || pull->text.n_bytes >= sizeof copy) {
        return;
    }
    memcpy(copy, pull->text.data, pull->text.n_bytes);
    copy[pull->text.n_bytes] = '\0';
    const double want = strtod(copy, NULL);
    if (x != want && !(x != x && want != want)) {
        (void)fprintf(stderr, "%s: %.17g is not %.17g\n", copy, x, want);
        abort();
    }
}

static bool drain(const uint8_t *data, size_t n, bool allow_nan)
{
    edt_json_pull pull;
    edt_json_pull_init(&pull, (edt_span){data, n},
                       (edt_json_pull_options){.allow_nan = allow_nan});
    edt_error err = {0};
    int depth = 0;
    uint8_t sum = 0;
    bool whole = false;
    for (;;) {
        edt_json_event event;
        if (edt_json_pull_next(&pull, &err, &event) != EDT_OK) {
            if (err.text[0] == '\0') {
                abort();
            }
            break;
        }
        if (event == EDT_JSON_END) {
            if (depth != 0) {
                abort();
            }
            whole = true;
            break;
        }
        depth += event == EDT_JSON_OBJECT_BEGIN || event == EDT_JSON_ARRAY_BEGIN;
        depth -= event == EDT_JSON_OBJECT_END || event == EDT_JSON_ARRAY_END;
        if (event == EDT_JSON_KEY || event == EDT_JSON_STRING) {
            for (size_t i = 0; i < pull.text.n_bytes; ++i) {
                sum = (uint8_t)(sum + (uint8_t)pull.text.data[i]);
            }
        } else if (event == EDT_JSON_NUMBER) {
            check_number(&pull);
        }
    }
    volatile uint8_t used = sum;
    (void)used;
    edt_json_pull_deinit(&pull);
    return whole;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const bool whole = drain(data, n, false);
    (void)drain(data, n, true);
    // Reading over a value must accept exactly what reading it accepts.
    edt_json_pull pull;
    edt_json_pull_init(&pull, (edt_span){data, n}, (edt_json_pull_options){0});
    edt_span raw;
    const bool skipped = edt_json_pull_skip_value(&pull, NULL, &raw) == EDT_OK &&
                         edt_json_pull_expect(&pull, EDT_JSON_END, NULL) == EDT_OK;
    if (skipped != whole ||
        (skipped && (raw.data < data || raw.data + raw.n_bytes > data + n))) {
        abort();
    }
    edt_json_pull_deinit(&pull);
    return 0;
}

size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    static const char *const seeds[] = {
        "{\"images\": [{\"id\": 1, \"file_name\": \"a\\u00e9\\ud83d\\ude00.jpg\", \"width\": "
        "640}], "
        "\"annotations\": [{\"bbox\": [1.5, -2e3, 702.1057499999998, 0], \"iscrowd\": 0, "
        "\"segmentation\": [[239.97, 260.24, 222.04]]}]}",
        "[NaN, Infinity, -Infinity, 9223372036854775807, 1e-400, 123456789012345678901.5]",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041 long enough for a vector of sixteen bytes\"",
        "  [true, false, null, {}, [], {\"a\": {\"b\": [[]]}}]                         \n",
        // Long enough to be read over 64 bytes at a time.
        "[[239.97, 260.24, -0.05, 0, 10, -7.25, 100, 0.0, 222.04, 300.5, 12, 13, 14.75, 1.5], "
        "[1,2.5,-3,0.25,1,2.5,-3,0.25,1,2.5,-3,0.25,1,2.5,-3,0.25,1,2.5,-3,0.25,1,2.5,-3,7]]"};
    if (i >= (int)(sizeof seeds / sizeof seeds[0])) {
        return 0;
    }
    const size_t n = strlen(seeds[i]);
    if (n > cap) {
        return 0;
    }
    memcpy(out, seeds[i], n);
    return n;
}
