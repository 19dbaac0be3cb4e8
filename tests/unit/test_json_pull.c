#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json_pull.h"

static edt_json_pull pull;
static edt_error err;

static void begin(const char *text, edt_json_pull_options options)
{
    edt_json_pull_init(&pull, (edt_span){(const uint8_t *)text, strlen(text)}, options);
}

static edt_json_event next(void)
{
    edt_json_event event;
    cr_assert_eq(edt_json_pull_next(&pull, &err, &event), EDT_OK, "%s", err.text);
    return event;
}

// Reads everything; the status of the first error.
static edt_status drain(const char *text, edt_json_pull_options options)
{
    begin(text, options);
    edt_json_event event = EDT_JSON_NULL;
    edt_status status = EDT_OK;
    while (status == EDT_OK && event != EDT_JSON_END) {
        status = edt_json_pull_next(&pull, &err, &event);
    }
    edt_json_pull_deinit(&pull);
    return status;
}

Test(json_pull, events_in_order, .timeout = 30)
{
    begin(" {\"a\" : [1, -2.5e3,true,false,null, \"x\"] ,\"b\":{}, \"c\":[]} \n",
          (edt_json_pull_options){0});
    static const edt_json_event expected[] = {
        EDT_JSON_OBJECT_BEGIN, EDT_JSON_KEY,       EDT_JSON_ARRAY_BEGIN, EDT_JSON_NUMBER,
        EDT_JSON_NUMBER,       EDT_JSON_TRUE,      EDT_JSON_FALSE,       EDT_JSON_NULL,
        EDT_JSON_STRING,       EDT_JSON_ARRAY_END, EDT_JSON_KEY,         EDT_JSON_OBJECT_BEGIN,
        EDT_JSON_OBJECT_END,   EDT_JSON_KEY,       EDT_JSON_ARRAY_BEGIN, EDT_JSON_ARRAY_END,
        EDT_JSON_OBJECT_END,   EDT_JSON_END,       EDT_JSON_END,
    };
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; ++i) {
        cr_assert_eq(next(), expected[i], "event %zu", i);
    }
    edt_json_pull_deinit(&pull);
}

Test(json_pull, strings_are_borrowed_unless_escaped, .timeout = 30)
{
    const char *text = "[\"plain text of more than sixteen bytes\", "
                       "\"\\u00e9\\ud83d\\ude00\\n\\\"\\\\\\/\", \"\\ud800x\", \"\xC3\xA9\"]";
    begin(text, (edt_json_pull_options){0});
    cr_assert_eq(next(), EDT_JSON_ARRAY_BEGIN);
    cr_assert_eq(next(), EDT_JSON_STRING);
    cr_assert(edt_text_is(pull.text, "plain text of more than sixteen bytes"));
    cr_assert_eq(pull.text.data, text + 2);
    next();
    cr_assert(edt_text_is(pull.text, "\xC3\xA9\xF0\x9F\x98\x80\n\"\\/"));
    next();
    cr_assert(edt_text_is(pull.text, "\xEF\xBF\xBDx"));
    next();
    cr_assert(edt_text_is(pull.text, "\xC3\xA9"));
    edt_json_pull_deinit(&pull);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

Test(json_pull, decoded_strings_stay_in_the_arena, .timeout = 30)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    begin("[\"\\t1\",\"\\t2\"]", (edt_json_pull_options){.arena = &arena});
    next();
    next();
    const edt_text first = pull.text;
    next();
    cr_assert(edt_text_is(first, "\t1") && edt_text_is(pull.text, "\t2"));
    edt_json_pull_deinit(&pull);
    edt_arena_deinit(&arena);
}

Test(json_pull, doubles_are_correctly_rounded, .timeout = 60)
{
    static const char *const hard[] = {"0",
                                       "-0",
                                       "0.1",
                                       "123456789012345678",
                                       "9007199254740993",
                                       "1e22",
                                       "1e23",
                                       "-1.5E-7",
                                       "2.2250738585072011e-308",
                                       "5e-324",
                                       "2e-324",
                                       "1.7976931348623157e308",
                                       "0.000000000000001",
                                       "702.1057499999998",
                                       "8.98846567431158e307",
                                       "1e-400",
                                       "0e999999999999",
                                       "1797693134862315807937289714053034150799341327100378269"
                                       "36173778980444968292764750946649017977"
                                       "5872070963302864166928879109465555478519404026306574886"
                                       "7150582068190890200070838367627385484"
                                       "5817711531764475730270069855571366959622842914819860834"
                                       "9364752927190741684443655107043427115"
                                       "59699508093042880177904174497791.9"};
    for (size_t i = 0; i < sizeof hard / sizeof hard[0]; ++i) {
        begin(hard[i], (edt_json_pull_options){0});
        double x;
        cr_assert_eq(edt_json_pull_expect_f64(&pull, &err, &x), EDT_OK, "%s", err.text);
        const double want = strtod(hard[i], NULL);
        cr_assert_eq(memcmp(&x, &want, sizeof x), 0, "%s: %.17g", hard[i], x);
        edt_json_pull_deinit(&pull);
    }
    uint64_t state = 1;
    for (int i = 0; i < 20000; ++i) {
        char text[64];
        state = state * 6364136223846793005u + 1442695040888963407u;
        const int digits = 1 + (int)(state >> 33) % 20;
        const double seed = (double)(state >> 20) / 1e7;
        (void)snprintf(text, sizeof text, "%.*g", digits, seed);
        begin(text, (edt_json_pull_options){0});
        double x;
        cr_assert_eq(edt_json_pull_expect_f64(&pull, &err, &x), EDT_OK, "%s: %s", text,
                     err.text);
        cr_assert_eq(x, strtod(text, NULL), "%s", text);
        edt_json_pull_deinit(&pull);
    }
    begin("1e999", (edt_json_pull_options){0});
    double x;
    cr_assert_eq(edt_json_pull_expect_f64(&pull, &err, &x), EDT_ERR_INVALID);
}

Test(json_pull, integers_detect_overflow, .timeout = 30)
{
    static const struct {
        const char *text;
        edt_status status;
        int64_t value;
    } cases[] = {
        {"0", EDT_OK, 0},
        {"9223372036854775807", EDT_OK, INT64_MAX},
        {"-9223372036854775808", EDT_OK, INT64_MIN},
        {"9223372036854775808", EDT_ERR_INVALID, 0},
        {"-9223372036854775809", EDT_ERR_INVALID, 0},
        {"99999999999999999999", EDT_ERR_INVALID, 0},
        {"18446744073709551617", EDT_ERR_INVALID, 0},
        {"5.0", EDT_OK, 5},
        {"5e2", EDT_OK, 500},
        {"5.5", EDT_ERR_INVALID, 0},
        {"1e300", EDT_ERR_INVALID, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        begin(cases[i].text, (edt_json_pull_options){0});
        int64_t value = 0;
        cr_assert_eq(edt_json_pull_expect_i64(&pull, &err, &value), cases[i].status, "%s",
                     cases[i].text);
        cr_assert_eq(value, cases[i].value, "%s", cases[i].text);
    }
}

Test(json_pull, not_a_number_only_by_option, .timeout = 30)
{
    cr_assert_eq(drain("[NaN]", (edt_json_pull_options){0}), EDT_ERR_FORMAT);
    cr_assert_eq(drain("[-Infinity]", (edt_json_pull_options){0}), EDT_ERR_FORMAT);
    begin("[NaN, Infinity, -Infinity, -1]", (edt_json_pull_options){.allow_nan = true});
    double v[4];
    next();
    for (int i = 0; i < 4; ++i) {
        cr_assert_eq(edt_json_pull_expect_f64(&pull, &err, &v[i]), EDT_OK, "%s", err.text);
    }
    cr_assert(isnan(v[0]) && v[1] == INFINITY && v[2] == -INFINITY && v[3] == -1);
}

Test(json_pull, malformed_texts_are_refused, .timeout = 30)
{
    static const char *const bad[] = {
        "",          "[",     "]",          "{\"a\"}",   "{\"a\":}",      "{a:1}",
        "[1,]",      "[1 2]", "[01]",       "[1.]",      "[.5]",          "[1e]",
        "[+1]",      "[-]",   "[\"a]",      "[\"\\x\"]", "[\"\\u12g4\"]", "[tru]",
        "{} {}",     "[1]x",  "{\"a\":1,}", "[\"\t\"]",  "nul",           "[\"\\",
        "{\"a\":1]", "[1}",   "\xEF\xBB",   "[--1]"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
        cr_assert_eq(drain(bad[i], (edt_json_pull_options){0}), EDT_ERR_FORMAT, "%s", bad[i]);
        cr_assert_not_null(strstr(err.text, "line 1"), "%s", err.text);
    }
    char deep[200];
    memset(deep, '[', sizeof deep - 1);
    deep[sizeof deep - 1] = '\0';
    cr_assert_eq(drain(deep, (edt_json_pull_options){0}), EDT_ERR_FORMAT);
    cr_assert_not_null(strstr(err.text, "nested too deeply"));
    cr_assert_eq(drain("\xEF\xBB\xBF[1]", (edt_json_pull_options){0}), EDT_OK);
}

Test(json_pull, messages_carry_line_column_and_path, .timeout = 30)
{
    begin(
        "{\"images\": [],\n \"annotations\": [{\"bbox\": [1, 2]},\n  {\"bbox\": [1, \"x\"]}]}",
        (edt_json_pull_options){0});
    edt_text key;
    bool more, items;
    double x;
    edt_status status = EDT_OK;
    cr_assert_eq(edt_json_pull_expect(&pull, EDT_JSON_OBJECT_BEGIN, &err), EDT_OK);
    while (edt_json_pull_next_key(&pull, &err, &key, &more) == EDT_OK && more) {
        if (!edt_text_is(key, "annotations")) {
            cr_assert_eq(edt_json_pull_skip_value(&pull, &err, NULL), EDT_OK);
            continue;
        }
        cr_assert_eq(edt_json_pull_expect(&pull, EDT_JSON_ARRAY_BEGIN, &err), EDT_OK);
        while (edt_json_pull_next_item(&pull, &err, &items) == EDT_OK && items) {
            cr_assert_eq(edt_json_pull_expect(&pull, EDT_JSON_OBJECT_BEGIN, &err), EDT_OK);
            cr_assert_eq(edt_json_pull_next_key(&pull, &err, &key, &more), EDT_OK);
            cr_assert_eq(edt_json_pull_expect(&pull, EDT_JSON_ARRAY_BEGIN, &err), EDT_OK);
            for (;;) {
                cr_assert_eq(edt_json_pull_next_item(&pull, &err, &more), EDT_OK);
                if (!more) {
                    break;
                }
                status = edt_json_pull_expect_f64(&pull, &err, &x);
                if (status != EDT_OK) {
                    cr_assert_str_eq(err.text, "line 3, column 16 (annotations[1].bbox[1]): "
                                               "expected a number, found text");
                    return;
                }
            }
            cr_assert_eq(edt_json_pull_expect(&pull, EDT_JSON_OBJECT_END, &err), EDT_OK);
        }
    }
    cr_assert_fail("no complaint: %s", err.text);
}

Test(json_pull, skipped_values_give_their_bytes, .timeout = 30)
{
    begin("[ {\"a\": [1, {\"b\": \"]\"}]} , 7]", (edt_json_pull_options){0});
    next();
    edt_span raw;
    cr_assert_eq(edt_json_pull_skip_value(&pull, &err, &raw), EDT_OK, "%s", err.text);
    cr_assert_eq(raw.n_bytes, strlen("{\"a\": [1, {\"b\": \"]\"}]}"));
    int64_t seven;
    cr_assert_eq(edt_json_pull_expect_i64(&pull, &err, &seven), EDT_OK);
    cr_assert_eq(seven, 7);
    cr_assert_eq(edt_json_pull_skip_value(&pull, &err, &raw), EDT_ERR_FORMAT);
}

Test(json_pull, arrays_can_be_read_in_pieces, .timeout = 30)
{
    const char text[] = "{\"a\": [1, 2, {\"b\": 3}], \"c\": 4}";
    edt_json_pull piece;
    begin(text, (edt_json_pull_options){0});
    next();
    next();
    cr_assert_eq(edt_json_pull_expect(&pull, EDT_JSON_ARRAY_BEGIN, &err), EDT_OK);
    const size_t at = edt_json_pull_tell(&pull);
    cr_assert_eq(at, strlen("{\"a\": ["));
    const char *second = strchr(text, '2');
    edt_json_pull_init_items(&piece, (edt_span){(const uint8_t *)second, strlen(second)},
                             (edt_json_pull_options){0});
    bool more = false;
    int64_t two;
    cr_assert_eq(edt_json_pull_next_item(&piece, &err, &more), EDT_OK);
    cr_assert(more);
    cr_assert_eq(edt_json_pull_expect_i64(&piece, &err, &two), EDT_OK);
    cr_assert_eq(two, 2);
    cr_assert_eq(edt_json_pull_next_item(&piece, &err, &more), EDT_OK);
    cr_assert_eq(edt_json_pull_skip_value(&piece, &err, NULL), EDT_OK);
    cr_assert_eq(edt_json_pull_next_item(&piece, &err, &more), EDT_OK);
    cr_assert_not(more);
    edt_json_pull_end_array_at(&pull, (size_t)(second - text) + edt_json_pull_tell(&piece));
    edt_text key;
    cr_assert_eq(edt_json_pull_next_key(&pull, &err, &key, &more), EDT_OK, "%s", err.text);
    cr_assert(more && edt_text_is(key, "c"));
    edt_json_pull_deinit(&piece);
}

// Both walks over `text`: their status, their message, and where they end.
static edt_status walk(const char *text, size_t n_bytes, bool skip, edt_error *walk_err,
                       size_t *out_end)
{
    edt_json_pull walker;
    edt_json_pull_init(&walker, (edt_span){(const uint8_t *)text, n_bytes},
                       (edt_json_pull_options){0});
    edt_status status = EDT_OK;
    if (skip) {
        status = edt_json_pull_skip_value(&walker, walk_err, NULL);
    } else {
        edt_json_event event = EDT_JSON_NULL;
        do {
            status = edt_json_pull_next(&walker, walk_err, &event);
        } while (status == EDT_OK && walker.depth > 0);
    }
    *out_end = edt_json_pull_tell(&walker);
    edt_json_pull_deinit(&walker);
    return status;
}

Test(json_pull, skipping_numbers_finds_the_same_faults_as_reading_them, .timeout = 30)
{
    static const char good[] =
        "[10.5, -2, 0.25,3, 640.01, -0.5, 0, 12345678.125, 7, 8.5,9.75, 100, 33.3, 21.0, "
        "5, 6.5, 0.0, 1.25, 99, 480, 639.99, 1, 2, 3, 4.5, 17.17, 300.4, 12, 0.1, 8, 64.64, "
        "200.02, 31, 15.9, 7.7, 11]";
    static const char bytes[] = "05.,- eE+]x\"[\n";
    char text[sizeof good];
    size_t n_bad = 0;
    for (size_t i = 1; i + 2 < sizeof good; ++i) {
        for (size_t k = 0; k + 1 < sizeof bytes; ++k) {
            memcpy(text, good, sizeof good);
            text[i] = bytes[k];
            edt_error read_err = {0};
            edt_error skip_err = {0};
            size_t read_end, skip_end;
            const edt_status read = walk(text, sizeof good - 1, false, &read_err, &read_end);
            const edt_status skip = walk(text, sizeof good - 1, true, &skip_err, &skip_end);
            cr_assert_eq(read, skip, "%s: %s / %s", text, read_err.text, skip_err.text);
            cr_assert_str_eq(read_err.text, skip_err.text, "%s", text);
            cr_assert(read != EDT_OK || read_end == skip_end, "%s", text);
            n_bad += read != EDT_OK;
        }
    }
    cr_assert_gt(n_bad, 1000);
}
