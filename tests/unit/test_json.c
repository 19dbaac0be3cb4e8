#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"

static edt_error err;

static void write_sample(edt_json_writer *w)
{
    edt_json_begin_object(w);
    edt_json_put_text(w, "name", "a\"b\\\n\x01\xC3\xA9\xFFz");
    edt_json_put_i64(w, "id", INT64_MIN);
    edt_json_key(w, "bbox");
    edt_json_begin_array(w);
    edt_json_f64(w, 0.1);
    edt_json_f64(w, -5);
    edt_json_f64(w, NAN);
    edt_json_f64_or_null(w, NAN);
    edt_json_end_array(w);
    edt_json_put_bool(w, "ok", true);
    edt_json_put_text(w, "none", NULL);
    edt_json_key(w, "empty");
    edt_json_begin_object(w);
    edt_json_end_object(w);
    edt_json_end_object(w);
}

static void expect(edt_json_writer *w, const char *want)
{
    edt_text text;
    cr_assert_eq(edt_json_writer_finish(w, &err, &text), EDT_OK, "%s", err.text);
    cr_assert_str_eq(text.data, want);
    cr_assert_eq(text.n_bytes, strlen(want));
}

Test(json, three_styles, .timeout = 30)
{
    edt_json_writer w = {0};
    write_sample(&w);
    expect(&w, "{\"name\": \"a\\\"b\\\\\\n\\u0001\xC3\xA9\xEF\xBF\xBDz\", "
               "\"id\": -9223372036854775808, \"bbox\": [0.1, -5.0, NaN, null], \"ok\": true, "
               "\"none\": null, \"empty\": {}}");
    edt_json_writer_reset(&w);
    w.compact = true;
    write_sample(&w);
    expect(&w, "{\"name\":\"a\\\"b\\\\\\n\\u0001\xC3\xA9\xEF\xBF\xBDz\","
               "\"id\":-9223372036854775808,\"bbox\":[0.1,-5.0,NaN,null],\"ok\":true,"
               "\"none\":null,\"empty\":{}}");
    edt_json_writer_reset(&w);
    w.compact = false;
    w.indent = 2;
    edt_json_begin_array(&w);
    edt_json_i64(&w, 1);
    edt_json_begin_object(&w);
    edt_json_put_i64(&w, "a", 2);
    edt_json_end_object(&w);
    edt_json_end_array(&w);
    expect(&w, "[\n  1,\n  {\n    \"a\": 2\n  }\n]");
    edt_json_writer_deinit(&w);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

Test(json, misuse_is_told, .timeout = 30)
{
    edt_text text;
    edt_json_writer w = {0};
    edt_json_begin_object(&w);
    edt_json_i64(&w, 1);
    edt_json_end_object(&w);
    cr_assert_eq(edt_json_writer_finish(&w, &err, &text), EDT_ERR_INTERNAL);
    edt_json_writer_reset(&w);
    edt_json_begin_array(&w);
    cr_assert_eq(edt_json_writer_finish(&w, &err, &text), EDT_ERR_INTERNAL);
    edt_json_writer_reset(&w);
    edt_json_end_array(&w);
    cr_assert_eq(edt_json_writer_finish(&w, &err, &text), EDT_ERR_INTERNAL);
    edt_json_writer_deinit(&w);
}

// Values of Python's repr.
Test(json, doubles_as_python_writes_them, .timeout = 30)
{
    static const struct {
        double x;
        const char *text;
    } cases[] = {{0, "0.0"},
                 {-0.0, "-0.0"},
                 {1, "1.0"},
                 {0.1, "0.1"},
                 {1.0 / 3, "0.3333333333333333"},
                 {1e-4, "0.0001"},
                 {1e-5, "1e-05"},
                 {1.5e-7, "1.5e-07"},
                 {123456.789, "123456.789"},
                 {1e15, "1000000000000000.0"},
                 {1234567890123456.0, "1234567890123456.0"},
                 {9999999999999998.0, "9999999999999998.0"},
                 {1e16, "1e+16"},
                 {1.2345e22, "1.2345e+22"},
                 {5e-324, "5e-324"},
                 {1.7976931348623157e308, "1.7976931348623157e+308"},
                 {-702.1057499999998, "-702.1057499999998"},
                 {0.30000000000000004, "0.30000000000000004"},
                 {INFINITY, "inf"}};
    char text[32];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        cr_assert_eq(edt_format_f64(cases[i].x, text), strlen(cases[i].text), "%s",
                     cases[i].text);
        cr_assert_str_eq(text, cases[i].text);
    }
    uint64_t state = 3;
    for (int i = 0; i < 50000; ++i) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const uint64_t bits = state ^ state >> 29;
        double x;
        memcpy(&x, &bits, sizeof x);
        if (isfinite(x)) {
            (void)edt_format_f64(x, text);
            cr_assert_eq(strtod(text, NULL), x, "%s", text);
        }
    }
}

Test(json, small_trees, .timeout = 30)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    const char *text = "{\"a\": [1, true, null, \"x\"], \"b\": {\"c\": 2.5}}\n";
    const edt_json_node *root;
    cr_assert_eq(
        edt_json_parse((edt_span){(const uint8_t *)text, strlen(text)}, &arena, &err, &root),
        EDT_OK, "%s", err.text);
    const edt_json_node *a = edt_json_get(root, "a");
    cr_assert(a != NULL && a->kind == EDT_JSON_KIND_ARRAY && a->n == 4);
    cr_assert(a->first->number == 1 && a->first->next->kind == EDT_JSON_KIND_BOOL);
    cr_assert_str_eq(a->first->next->next->next->text, "x");
    cr_assert_eq(edt_json_get(edt_json_get(root, "b"), "c")->number, 2.5);
    cr_assert_null(edt_json_get(edt_json_get(root, "z"), "c"));
    text = "{\"a\": 1,\n\"b\" 2}";
    cr_assert_eq(
        edt_json_parse((edt_span){(const uint8_t *)text, strlen(text)}, &arena, &err, &root),
        EDT_ERR_FORMAT);
    cr_assert_not_null(strstr(err.text, "line 2"), "%s", err.text);
    text = "{} x";
    cr_assert_eq(
        edt_json_parse((edt_span){(const uint8_t *)text, strlen(text)}, &arena, &err, &root),
        EDT_ERR_FORMAT);
    edt_arena_deinit(&arena);
}

Test(json, what_is_not_ascii_can_be_escaped_as_python_does, .timeout = 10)
{
    edt_json_writer json = {.ascii = true};
    edt_text text;
    edt_json_text(&json, "caf\xc3\xa9 \xf0\x9f\x98\x80 \x7f \n \xff");
    cr_assert_eq(edt_json_writer_finish(&json, NULL, &text), EDT_OK);
    cr_assert_str_eq(text.data, "\"caf\\u00e9 \\ud83d\\ude00 \x7f \\n \\ufffd\"");
    edt_json_writer_deinit(&json);
}
