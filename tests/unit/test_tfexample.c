#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "dataio/example.h"
#include "dataio/tfexample.h"

static edt_arena arena;
static uint8_t message[4096];
static size_t n_message;

static void start(void)
{
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    n_message = 0;
}

static void stop(void)
{
    edt_arena_deinit(&arena);
}

TestSuite(tfexample, .init = start, .fini = stop, .timeout = 10);

static edt_span from_hex(const char *hex, uint8_t *out)
{
    size_t n = 0;
    for (const char *p = hex; *p != '\0'; p += 2) {
        unsigned byte;
        cr_assert_eq(sscanf(p, "%2x", &byte), 1);
        out[n++] = (uint8_t)byte;
    }
    return (edt_span){out, n};
}

static edt_text text(const char *s)
{
    return (edt_text){s, strlen(s)};
}

// Appends a map entry with the given Feature bytes (lengths below 128 only).
static void add_entry(const char *key, const char *feature_hex)
{
    uint8_t feature[256];
    const edt_span value = from_hex(feature_hex, feature);
    const size_t n_key = strlen(key);
    const size_t n_entry = 2 + n_key + 2 + value.n_bytes;
    cr_assert_lt(n_entry, 126);
    uint8_t *p = message + n_message;
    *p++ = 0x0a; // Example.features: several of them merge
    *p++ = (uint8_t)(n_entry + 2);
    *p++ = 0x0a;
    *p++ = (uint8_t)n_entry;
    *p++ = 0x0a;
    *p++ = (uint8_t)n_key;
    memcpy(p, key, n_key);
    p += n_key;
    *p++ = 0x12;
    *p++ = (uint8_t)value.n_bytes;
    memcpy(p, value.data, value.n_bytes);
    n_message = (size_t)(p - message) + value.n_bytes;
}

static edt_status parse(edt_tfexample *out)
{
    return edt_tfexample_parse((edt_span){message, n_message}, &arena, NULL, out);
}

Test(tfexample, writes_the_vector_of_the_format)
{
    const int64_t ints[] = {1, 300};
    const float floats[] = {0.5f};
    const edt_span bytes[] = {{(const uint8_t *)"x", 1}};
    const edt_feature features[] = {
        {.key = text("c"), .kind = EDT_FEATURE_BYTES, .n = 1, .value.bytes = bytes},
        {.key = text("a"), .kind = EDT_FEATURE_INT64, .n = 2, .value.ints = ints},
        {.key = text("b"), .kind = EDT_FEATURE_FLOAT, .n = 1, .value.floats = floats},
    };
    uint8_t want[64];
    const edt_span vector = from_hex("0a290a0c0a016112071a050a0301ac020a0d0a0162120812060a04"
                                     "0000003f0a0a0a016312050a030a0178",
                                     want);
    edt_tfexample_pieces got;
    cr_assert_eq(edt_tfexample_write(features, 3, &arena, NULL, &got), EDT_OK);
    cr_assert_eq(got.n_pieces, 1);
    cr_assert_eq(got.n_bytes, vector.n_bytes);
    cr_assert_arr_eq(got.pieces[0].data, want, vector.n_bytes);
}

Test(tfexample, long_values_are_borrowed_and_equal_keys_refused)
{
    static uint8_t image[10000];
    const edt_span bytes[] = {{image, sizeof image}};
    const edt_feature features[] = {
        {.key = text("k"), .kind = EDT_FEATURE_BYTES, .n = 1, .value.bytes = bytes},
        {.key = text("k"), .kind = EDT_FEATURE_INT64},
    };
    edt_tfexample_pieces got;
    cr_assert_eq(edt_tfexample_write(features, 1, &arena, NULL, &got), EDT_OK);
    cr_assert_eq(got.pieces[1].data, image);
    edt_error err = {0};
    cr_assert_eq(edt_tfexample_write(features, 2, &arena, &err, &got), EDT_ERR_INVALID);
    cr_assert_not_null(strstr(err.text, "'k'"));
}

Test(tfexample, accepts_unpacked_values_and_several_chunks)
{
    add_entry("f", "120f0d0000003f0a080000803f00000040"); // fixed32, then packed
    add_entry("i", "1a0f08ffffffffffffffffff010a02ac02"); // -1, then packed 300
    edt_tfexample parsed;
    edt_feature feature;
    cr_assert_eq(parse(&parsed), EDT_OK);
    cr_assert_eq(
        edt_tfexample_get_list(&parsed, "f", EDT_FEATURE_FLOAT, &arena, NULL, &feature),
        EDT_OK);
    cr_assert_eq(feature.n, 3);
    cr_assert(feature.value.floats[0] == 0.5f && feature.value.floats[2] == 2.0f);
    cr_assert_eq(
        edt_tfexample_get_list(&parsed, "i", EDT_FEATURE_INT64, &arena, NULL, &feature),
        EDT_OK);
    cr_assert_eq(feature.n, 2);
    cr_assert(feature.value.ints[0] == -1 && feature.value.ints[1] == 300);
}

Test(tfexample, last_duplicate_wins_and_a_feature_without_kind_is_absent)
{
    add_entry("k", "1a020801");
    add_entry("none", "");
    add_entry("gone", "1a020801");
    add_entry("k", "1a020802");
    add_entry("gone", "");
    edt_tfexample parsed;
    edt_feature feature;
    cr_assert_eq(parse(&parsed), EDT_OK);
    cr_assert_eq(parsed.n_entries, 1);
    cr_assert_eq(
        edt_tfexample_get_list(&parsed, "k", EDT_FEATURE_INT64, &arena, NULL, &feature),
        EDT_OK);
    cr_assert_eq(feature.value.ints[0], 2);
}

Test(tfexample, wrong_kind_and_damaged_lists_name_the_key)
{
    add_entry("kind", "0a020a00");
    add_entry("odd", "12050a03000000"); // 3 bytes of floats
    add_entry("varint", "1a030a01ff");  // a varint that does not end
    edt_tfexample parsed;
    edt_feature feature;
    cr_assert_eq(parse(&parsed), EDT_OK);
    const char *keys[] = {"kind", "odd", "varint"};
    const edt_feature_kind kinds[] = {EDT_FEATURE_INT64, EDT_FEATURE_FLOAT, EDT_FEATURE_INT64};
    for (int i = 0; i < 3; ++i) {
        edt_error err = {0};
        cr_assert_eq(edt_tfexample_get_list(&parsed, keys[i], kinds[i], &arena, &err, &feature),
                     EDT_ERR_FORMAT);
        cr_assert_not_null(strstr(err.text, keys[i]), "%s", err.text);
    }
}

Test(tfexample, every_cut_of_a_message_is_an_error_or_a_shorter_message)
{
    add_entry("image/encoded", "0a050a03616263");
    const size_t n_first = n_message;
    add_entry("image/height", "1a020805");
    for (size_t n = 0; n < n_message; ++n) {
        edt_tfexample parsed;
        // Whole entries remain at the cuts between them only.
        const edt_status status =
            edt_tfexample_parse((edt_span){message, n}, &arena, NULL, &parsed);
        cr_assert_eq(status, n == 0 || n == n_first ? EDT_OK : EDT_ERR_FORMAT, "%zu", n);
    }
}

static edt_status decode(edt_example *out, edt_error *err)
{
    return edt_example_decode((edt_span){message, n_message}, 0, &arena, err, out);
}

static void add_box_lists(void)
{
    add_entry("image/encoded", "0a050a03616263");
    add_entry("image/object/bbox/ymin", "12060a0400000000");
    add_entry("image/object/bbox/xmin", "12060a0400000000");
    add_entry("image/object/bbox/ymax", "12060a040000003f");
    add_entry("image/object/bbox/xmax", "12060a040000803f");
    add_entry("image/object/class/label", "1a030a0105");
}

Test(tfexample, example_fills_in_what_is_absent)
{
    add_box_lists();
    edt_example example;
    cr_assert_eq(decode(&example, NULL), EDT_OK);
    cr_assert_eq(example.n_boxes, 1);
    cr_assert(example.boxes[2] == 0.5f && example.boxes[3] == 1.0f);
    cr_assert(example.area[0] == 0.5f && !example.is_crowd[0]);
    cr_assert_eq(example.labels[0], 5);
    cr_assert(example.height == -1 && example.width == -1 && example.source_id.n_bytes == 0);
}

Test(tfexample, example_refuses_unequal_lists_and_scalars_of_two_values)
{
    static const char *const extra[][2] = {
        {"image/object/bbox/xmax", "12020a00"},
        {"image/object/class/label", "1a040a020506"},
        {"image/object/is_crowd", "1a040a020001"},
        {"image/height", "1a040a020506"},
        {"image/encoded", "1a020801"},
        {"image/encoded", "0a020a00"},
        {"image/source_id", "0a00"},
    };
    for (size_t i = 0; i < sizeof extra / sizeof *extra; ++i) {
        n_message = 0;
        add_box_lists();
        add_entry(extra[i][0], extra[i][1]);
        edt_error err = {0};
        edt_example example;
        cr_assert_eq(decode(&example, &err), EDT_ERR_FORMAT, "%zu", i);
        cr_assert_not_null(strstr(err.text, extra[i][0]), "%s", err.text);
    }
}
