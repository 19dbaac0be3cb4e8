#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/crc32c.h"
#include "model/io/snappy_block.h"
#include "model/io/tf_table.h"
#include "model/io/tf_table_format.h"
#include "tests/support/test_bundle.h"

enum { N_KEYS = 700 };

static edt_span text_span(const char *text)
{
    return (edt_span){(const uint8_t *)text, strlen(text)};
}

// Keys with long common prefixes, values of varying size, in bytewise order.
static void key_value(int i, char *key, char *value)
{
    (void)snprintf(key, 64, "efficientnet-b0/blocks_%04d/conv2d/kernel", i);
    (void)snprintf(value, 64, "%0*d", 1 + i % 40, i);
}

static edt_tf_bytes build(size_t block_bytes)
{
    edt_tf_table_writer *writer = NULL;
    edt_error err = {0};
    cr_assert_eq(edt_tf_table_writer_create(block_bytes, &err, &writer), EDT_OK);
    cr_assert_eq(edt_tf_table_writer_add(writer, text_span(""), text_span("header"), &err),
                 EDT_OK);
    for (int i = 0; i < N_KEYS; ++i) {
        char key[64], value[64];
        key_value(i, key, value);
        cr_assert_eq(edt_tf_table_writer_add(writer, text_span(key), text_span(value), &err),
                     EDT_OK, "%s", err.text);
    }
    edt_span file = {0};
    cr_assert_eq(edt_tf_table_writer_finish(writer, &err, &file), EDT_OK);
    edt_tf_bytes copy = {0};
    cr_assert(edt_tf_bytes_append(&copy, file.data, file.n_bytes));
    edt_tf_table_writer_destroy(writer);
    return copy;
}

static edt_status expect_entry(void *ctx, edt_span key, edt_span value, edt_error *err)
{
    (void)err;
    int *n = ctx;
    char want_key[64] = "", want_value[64] = "header";
    if (*n > 0) {
        key_value(*n - 1, want_key, want_value);
    }
    cr_assert_eq(edt_tf_compare(key, text_span(want_key)), 0);
    cr_assert_eq(edt_tf_compare(value, text_span(want_value)), 0);
    ++*n;
    return EDT_OK;
}

Test(tf_table, reads_back_tables_of_one_and_many_blocks, .timeout = 30)
{
    const size_t sizes[] = {1, 100, 1000, 4096, 0};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; ++i) {
        edt_tf_bytes file = build(sizes[i]);
        int n = 0;
        edt_error err = {0};
        cr_assert_eq(
            edt_tf_table_scan((edt_span){file.data, file.n_bytes}, "t", expect_entry, &n, &err),
            EDT_OK, "%s", err.text);
        cr_assert_eq(n, N_KEYS + 1);
        edt_tf_bytes_deinit(&file);
    }
}

static edt_status count_entry(void *ctx, edt_span key, edt_span value, edt_error *err)
{
    (void)key;
    (void)value;
    (void)err;
    ++*(int *)ctx;
    return EDT_OK;
}

static edt_status scan(const uint8_t *data, size_t n, edt_error *err)
{
    int count = 0;
    uint8_t *exact = malloc(n + 1); // so that a sanitizer sees every overrun
    memcpy(exact, data, n);
    const edt_status status =
        edt_tf_table_scan((edt_span){exact, n}, "t", count_entry, &count, err);
    free(exact);
    return status;
}

Test(tf_table, every_flipped_bit_and_every_cut_is_refused, .timeout = 60)
{
    edt_tf_bytes file = build(1000);
    int n_corrupt = 0;
    for (size_t i = 0; i < file.n_bytes; i += i + 128 < file.n_bytes ? 13 : 1) {
        file.data[i] ^= (uint8_t)(1 << i % 8);
        edt_error err = {0};
        const edt_status status = scan(file.data, file.n_bytes, &err);
        // Padding of the footer carries nothing, nor does the metaindex, which nobody reads.
        if (status != EDT_OK) {
            cr_assert(status == EDT_ERR_CORRUPT || status == EDT_ERR_FORMAT, "byte %zu: %d", i,
                      status);
            cr_assert_neq(err.text[0], '\0');
            n_corrupt += status == EDT_ERR_CORRUPT;
        } else {
            cr_assert_gt(i + 4096, file.n_bytes, "a flip at byte %zu went unnoticed", i);
        }
        file.data[i] ^= (uint8_t)(1 << i % 8);
    }
    cr_assert_gt(n_corrupt, 100);
    for (size_t n = 0; n < file.n_bytes; n += 37) {
        edt_error err = {0};
        cr_assert_eq(scan(file.data, n, &err), EDT_ERR_FORMAT, "%zu bytes", n);
    }
    edt_tf_bytes_deinit(&file);
}

Test(tf_table, compressed_blocks_read_back, .timeout = 30)
{
    edt_tf_bytes file = build(0);
    const size_t n_raw = file.n_bytes;
    edt_test_table_compress(&file);
    cr_assert_lt(file.n_bytes, n_raw / 2);
    int n = 0;
    edt_error err = {0};
    cr_assert_eq(
        edt_tf_table_scan((edt_span){file.data, file.n_bytes}, "t", expect_entry, &n, &err),
        EDT_OK, "%s", err.text);
    cr_assert_eq(n, N_KEYS + 1);
    edt_tf_bytes_deinit(&file);
}

static edt_snappy_result unpack(edt_span block, edt_tf_bytes *out)
{
    uint8_t *exact = malloc(block.n_bytes + 1);
    memcpy(exact, block.data, block.n_bytes);
    const edt_snappy_result result = edt_snappy_unpack((edt_span){exact, block.n_bytes}, out);
    free(exact);
    return result;
}

Test(tf_table, malformed_compressed_blocks_are_refused, .timeout = 30)
{
    static const struct {
        const char *bytes;
        size_t n;
    } bad[] = {
        {"", 0},
        {"\x05", 1}, // nothing behind the length
        {"\x03\x08"
         "ab",
         4}, // a literal that is cut
        {"\x02\x08"
         "abc",
         5}, // more than the length
        {"\x04\x08"
         "abc",
         5}, // less than the length
        {"\x08\x0c"
         "abcd\x01\x05",
         8}, // a copy from before the beginning
        {"\x08\x0c"
         "abcd\x01\x00",
         8}, // a copy from nowhere
        {"\x08\x0c"
         "abcd\x0e\x04",
         8}, // an offset that is cut
        {"\xff\xff\xff\xff\x0f\x00"
         "a",
         7}, // 4 GiB from 7 bytes
        {"\x01\xfc\xff\xff\xff\xff"
         "a",
         7}, // a literal of 4 GiB
    };
    edt_tf_bytes out = {0};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
        const edt_span block = {(const uint8_t *)bad[i].bytes, bad[i].n};
        cr_expect_eq(unpack(block, &out), EDT_SNAPPY_MALFORMED, "%zu", i);
    }
    cr_expect_eq(unpack((edt_span){(const uint8_t *)"\x0a\x04"
                                                    "ab\x1d\x02",
                                   6},
                        &out),
                 EDT_SNAPPY_MALFORMED);
    cr_assert_eq(unpack((edt_span){(const uint8_t *)"\x0a\x04"
                                                    "ab\x11\x02",
                                   6},
                        &out),
                 EDT_SNAPPY_OK);
    cr_assert_eq(memcmp(out.data, "ababababab", 10), 0);
    edt_tf_bytes_deinit(&out);
}

Test(tf_table, writer_refuses_keys_out_of_order, .timeout = 30)
{
    edt_tf_table_writer *writer = NULL;
    edt_error err = {0};
    cr_assert_eq(edt_tf_table_writer_create(0, &err, &writer), EDT_OK);
    cr_assert_eq(edt_tf_table_writer_add(writer, text_span("b"), text_span("1"), &err), EDT_OK);
    cr_assert_eq(edt_tf_table_writer_add(writer, text_span("b"), text_span("1"), &err),
                 EDT_ERR_INVALID);
    cr_assert_eq(edt_tf_table_writer_add(writer, text_span("a"), text_span("1"), &err),
                 EDT_ERR_INVALID);
    edt_tf_table_writer_destroy(writer);
}
