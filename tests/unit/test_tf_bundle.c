#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/crc32c.h"
#include "core/file.h"
#include "core/mem.h"
#include "model/io/tf_bundle.h"
#include "model/io/tf_bundle_entry.h"
#include "model/io/tf_table.h"
#include "tests/support/test_dirs.h"

static edt_arena arena;

static void setup(void)
{
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
}

static void teardown(void)
{
    edt_arena_deinit(&arena);
}

TestSuite(tf_bundle, .init = setup, .fini = teardown, .timeout = 30);

static const char *new_prefix(void)
{
    return edt_arena_printf(&arena, "%s/model.ckpt-1", edt_test_temp_dir());
}

static const char *data_path(const char *prefix)
{
    return edt_arena_printf(&arena, "%s.data-00000-of-00001", prefix);
}

static const float WEIGHTS[6] = {1, 2, 3, 4, 5, 6};

static const char *write_small(void)
{
    const char *prefix = new_prefix();
    edt_tf_bundle_writer *writer = NULL;
    edt_error err = {0};
    cr_assert_eq(edt_tf_bundle_writer_create(prefix, &err, &writer), EDT_OK, "%s", err.text);
    const edt_tensor_desc matrix = {EDT_DTYPE_F32, edt_shape_2(2, 3)};
    cr_assert_eq(edt_tf_bundle_writer_add(writer, "z/weights", &matrix, WEIGHTS, &err), EDT_OK);
    const edt_text texts[3] = {{"", 0}, {"a\0b", 3}, {"end", 3}};
    const edt_shape three = edt_shape_1(3);
    cr_assert_eq(edt_tf_bundle_writer_add_strings(writer, "a/texts", &three, texts, &err),
                 EDT_OK);
    const edt_tensor_desc empty = {EDT_DTYPE_I64, edt_shape_1(0)};
    cr_assert_eq(edt_tf_bundle_writer_add(writer, "m/empty", &empty, NULL, &err), EDT_OK);
    cr_assert_eq(edt_tf_bundle_writer_commit(writer, &err), EDT_OK, "%s", err.text);
    edt_tf_bundle_writer_destroy(writer);
    return prefix;
}

static edt_tf_bundle *open_ok(const char *prefix)
{
    edt_tf_bundle *bundle = NULL;
    edt_error err = {0};
    cr_assert_eq(edt_tf_bundle_open(prefix, &err, &bundle), EDT_OK, "%s", err.text);
    return bundle;
}

static void flip_bit(const char *path, size_t at)
{
    FILE *file = fopen(path, "r+b");
    cr_assert(file != NULL && fseek(file, (long)at, SEEK_SET) == 0);
    const int byte = fgetc(file);
    (void)fseek(file, (long)at, SEEK_SET);
    (void)fputc(byte ^ 0x10, file);
    (void)fclose(file);
}

Test(tf_bundle, numbers_strings_and_empty_tensors_read_back_sorted)
{
    edt_tf_bundle *bundle = open_ok(write_small());
    edt_error err = {0};
    cr_assert_eq(edt_tf_bundle_count(bundle), 3);
    cr_assert_str_eq(edt_tf_bundle_entry(bundle, 0)->name, "a/texts");
    cr_assert_eq(edt_tf_bundle_find(bundle, "z/weights"), 2);
    cr_assert_eq(edt_tf_bundle_find(bundle, "z/weight"), -1);
    float weights[6];
    cr_assert_eq(edt_tf_bundle_read(bundle, 2, weights, sizeof weights, &err), EDT_OK);
    cr_assert_eq(memcmp(weights, WEIGHTS, sizeof weights), 0);
    cr_assert_eq(edt_tf_bundle_read(bundle, 2, weights, 4, &err), EDT_ERR_MISMATCH);
    cr_assert_eq(edt_tf_bundle_read(bundle, 1, NULL, 0, &err), EDT_OK);
    const edt_text *texts = NULL;
    int64_t n = 0;
    cr_assert_eq(edt_tf_bundle_read_strings(bundle, 0, &arena, &err, &texts, &n), EDT_OK, "%s",
                 err.text);
    cr_assert(n == 3 && texts[0].n_bytes == 0 && texts[1].n_bytes == 3 &&
              memcmp(texts[1].data, "a\0b", 3) == 0 && memcmp(texts[2].data, "end", 3) == 0);
    cr_assert_eq(edt_tf_bundle_read_strings(bundle, 2, &arena, &err, &texts, &n),
                 EDT_ERR_UNSUPPORTED);
    cr_assert_eq(edt_tf_bundle_read(bundle, 0, weights, 4, &err), EDT_ERR_UNSUPPORTED);
    edt_tf_bundle_close(bundle);
}

Test(tf_bundle, damaged_data_is_reported_with_the_tensors_name)
{
    const char *prefix = write_small();
    flip_bit(data_path(prefix), 5);
    edt_tf_bundle *bundle = open_ok(prefix);
    float weights[6];
    edt_error err = {0};
    cr_assert_eq(edt_tf_bundle_read(bundle, 2, weights, sizeof weights, &err), EDT_ERR_CORRUPT);
    cr_assert_not_null(strstr(err.text, "z/weights"), "%s", err.text);
    edt_tf_bundle_close(bundle);

    // Every byte of the string tensor: lengths, their checksum, the texts.
    prefix = write_small();
    for (size_t at = 24; at < 24 + 3 + 4 + 6; ++at) {
        flip_bit(data_path(prefix), at);
        bundle = open_ok(prefix);
        const edt_text *texts = NULL;
        int64_t n = 0;
        cr_assert_eq(edt_tf_bundle_read_strings(bundle, 0, &arena, &err, &texts, &n),
                     EDT_ERR_CORRUPT, "byte %zu", at);
        edt_tf_bundle_close(bundle);
        flip_bit(data_path(prefix), at);
    }
}

Test(tf_bundle, missing_and_cut_files_are_named)
{
    const char *prefix = write_small();
    edt_tf_bundle *bundle = NULL;
    edt_error err = {0};
    cr_assert_eq(edt_tf_bundle_open(new_prefix(), &err, &bundle), EDT_ERR_NOT_FOUND);
    cr_assert_not_null(strstr(err.text, ".index"), "%s", err.text);
    cr_assert_eq(truncate(data_path(prefix), 30), 0);
    err = (edt_error){0};
    cr_assert_eq(edt_tf_bundle_open(prefix, &err, &bundle), EDT_ERR_FORMAT);
    cr_assert_not_null(strstr(err.text, "a/texts"), "%s", err.text);
    cr_assert_eq(remove(data_path(prefix)), 0);
    err = (edt_error){0};
    cr_assert_eq(edt_tf_bundle_open(prefix, &err, &bundle), EDT_ERR_NOT_FOUND);
    cr_assert_not_null(strstr(err.text, "data-00000-of-00001"), "%s", err.text);
    cr_assert_null(bundle);
}

Test(tf_bundle, abandoned_writer_leaves_no_file_and_names_must_differ)
{
    const char *dir = edt_arena_strdup(&arena, edt_test_temp_dir());
    edt_tf_bundle_writer *writer = NULL;
    edt_error err = {0};
    cr_assert_eq(
        edt_tf_bundle_writer_create(edt_arena_printf(&arena, "%s/x", dir), &err, &writer),
        EDT_OK);
    const edt_tensor_desc scalar = {.dtype = EDT_DTYPE_F32};
    cr_assert_eq(edt_tf_bundle_writer_add(writer, "a", &scalar, WEIGHTS, &err), EDT_OK);
    cr_assert_eq(edt_tf_bundle_writer_add(writer, "a", &scalar, WEIGHTS, &err), EDT_OK);
    cr_assert_eq(edt_tf_bundle_writer_add(writer, "", &scalar, WEIGHTS, &err), EDT_ERR_INVALID);
    cr_assert_eq(edt_tf_bundle_writer_commit(writer, &err), EDT_ERR_INVALID);
    edt_tf_bundle_writer_destroy(writer);
    DIR *listing = opendir(dir);
    int n = 0;
    while (readdir(listing) != NULL) {
        ++n;
    }
    (void)closedir(listing);
    cr_assert_eq(n, 2, "only . and .. may remain");
}

// An index and its shards written by hand.
static void add_message(edt_tf_table_writer *table, const char *key,
                        const edt_tf_bytes *message)
{
    edt_error err = {0};
    cr_assert_eq(edt_tf_table_writer_add(table, (edt_span){(const uint8_t *)key, strlen(key)},
                                         (edt_span){message->data, message->n_bytes}, &err),
                 EDT_OK);
}

Test(tf_bundle, several_shards_and_entries_that_cannot_be_read)
{
    const char *prefix = new_prefix();
    edt_error err = {0};
    edt_tf_bytes message = {0};
    edt_tf_table_writer *table = NULL;
    cr_assert_eq(edt_tf_table_writer_create(0, &err, &table), EDT_OK);
    const edt_tf_header header = {.n_shards = 2};
    cr_assert_eq(edt_tf_header_pack(&header, &message, &err), EDT_OK);
    add_message(table, "", &message);
    for (int shard = 0; shard < 2; ++shard) {
        const float value = (float)(10 + shard);
        const edt_tf_entry entry = {.dtype = EDT_DTYPE_F32,
                                    .n_bytes = 4,
                                    .shard = shard,
                                    .offset = 3,
                                    .masked_crc = edt_crc32c_mask(edt_crc32c(0, &value, 4))};
        message.n_bytes = 0;
        cr_assert_eq(edt_tf_entry_pack(&entry, &message, &err), EDT_OK);
        add_message(table, shard == 0 ? "first" : "second", &message);
        char bytes[7] = "pad";
        memcpy(bytes + 3, &value, 4);
        cr_assert_eq(
            edt_file_write(edt_arena_printf(&arena, "%s.data-%05d-of-00002", prefix, shard),
                           bytes, sizeof bytes, &err),
            EDT_OK);
    }
    // dtype 8 (complex64), shape [1]; then dtype 1 with one slice.
    static uint8_t complex64[] = {0x08, 8, 0x12, 4, 0x12, 2, 0x08, 1, 0x28, 8};
    add_message(table, "unknown_type", &(edt_tf_bytes){complex64, sizeof complex64, 0});
    static uint8_t sliced[] = {0x08, 1, 0x12, 4, 0x12, 2, 0x08, 8, 0x3a, 4, 0x0a, 2, 0x10, 4};
    add_message(table, "whole", &(edt_tf_bytes){sliced, sizeof sliced, 0});
    edt_span file = {0};
    cr_assert_eq(edt_tf_table_writer_finish(table, &err, &file), EDT_OK);
    cr_assert_eq(edt_file_write(edt_arena_printf(&arena, "%s.index", prefix), file.data,
                                file.n_bytes, &err),
                 EDT_OK);
    edt_tf_table_writer_destroy(table);
    edt_tf_bytes_deinit(&message);

    edt_tf_bundle *bundle = open_ok(prefix);
    cr_assert_eq(edt_tf_bundle_count(bundle), 4);
    for (int i = 0; i < 2; ++i) {
        float value = 0;
        cr_assert_eq(edt_tf_bundle_read(bundle, i, &value, 4, &err), EDT_OK, "%s", err.text);
        cr_assert_eq(value, (float)(10 + i));
    }
    const char *const reasons[] = {"element type", "partitions"};
    for (int i = 2; i < 4; ++i) {
        edt_span bytes = {0};
        err = (edt_error){0};
        cr_assert_eq(edt_tf_bundle_view(bundle, i, &err, &bytes), EDT_ERR_UNSUPPORTED);
        cr_assert_not_null(strstr(err.text, reasons[i - 2]), "%s", err.text);
    }
    edt_tf_bundle_close(bundle);
}
