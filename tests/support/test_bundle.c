#include "tests/support/test_bundle.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/crc32c.h"
#include "core/file.h"
#include "model/io/tf_bundle_entry.h"
#include "model/io/tf_table.h"

static void append(edt_tf_bytes *out, const void *data, size_t n)
{
    cr_assert(edt_tf_bytes_append(out, data, n));
}

static void append_byte(edt_tf_bytes *out, size_t byte)
{
    const uint8_t b = (uint8_t)byte;
    append(out, &b, 1);
}

static void append_literal(edt_tf_bytes *out, const uint8_t *data, size_t n)
{
    while (n > 0) {
        const size_t run = n < 300 ? n : 300;
        if (run <= 60) {
            append_byte(out, (run - 1) << 2);
        } else {
            append_byte(out, (run <= 256 ? 60U : 61U) << 2);
            append_byte(out, (run - 1) & 255);
            if (run > 256) {
                append_byte(out, (run - 1) >> 8);
            }
        }
        append(out, data, run);
        data += run;
        n -= run;
    }
}

static void append_copy(edt_tf_bytes *out, size_t offset, size_t n)
{
    if (n >= 4 && n <= 11 && offset < 2048) {
        append_byte(out, 1 | (n - 4) << 2 | (offset >> 8) << 5);
        append_byte(out, offset & 255);
        return;
    }
    const size_t n_offset = offset % 2 == 0 ? 4 : 2; // either form of the same
    append_byte(out, (n_offset == 2 ? 2U : 3U) | (n - 1) << 2);
    for (size_t i = 0; i < n_offset; ++i) {
        append_byte(out, (offset >> (8 * i)) & 255);
    }
}

// Longest earlier run that `at` repeats, at most 64 bytes.
static size_t find_copy(edt_span bytes, size_t at, size_t *out_offset)
{
    size_t best = 0;
    for (size_t from = at > 600 ? at - 600 : 0; from < at; ++from) {
        size_t n = 0;
        while (n < 64 && at + n < bytes.n_bytes && bytes.data[from + n] == bytes.data[at + n]) {
            ++n;
        }
        if (n > best) {
            best = n;
            *out_offset = at - from;
        }
    }
    return best;
}

void edt_test_snappy_pack(edt_span bytes, edt_tf_bytes *out)
{
    cr_assert(edt_tf_bytes_append_varint(out, bytes.n_bytes));
    size_t literal = 0, at = 0;
    while (at < bytes.n_bytes) {
        size_t offset = 0;
        const size_t n = find_copy(bytes, at, &offset);
        if (n < 4) {
            ++at;
            continue;
        }
        append_literal(out, bytes.data + literal, at - literal);
        append_copy(out, offset, n);
        at += n;
        literal = at;
    }
    append_literal(out, bytes.data + literal, at - literal);
}

static void append_block(edt_tf_bytes *file, const edt_tf_bytes *contents, edt_tf_bytes *handle)
{
    cr_assert(edt_tf_bytes_append_varint(handle, file->n_bytes));
    cr_assert(edt_tf_bytes_append_varint(handle, contents->n_bytes));
    const size_t start = file->n_bytes;
    append(file, contents->data, contents->n_bytes);
    append_byte(file, EDT_TF_TABLE_SNAPPY);
    const uint32_t crc =
        edt_crc32c_mask(edt_crc32c(0, file->data + start, contents->n_bytes + 1));
    cr_assert(edt_tf_bytes_append_u32(file, crc));
}

void edt_test_table_compress(edt_tf_bytes *table)
{
    const edt_span footer = {table->data + table->n_bytes - EDT_TF_TABLE_FOOTER_BYTES, 40};
    size_t at = 0;
    uint64_t meta_offset = 0;
    cr_assert(edt_tf_varint_read(footer, &at, &meta_offset));
    edt_tf_bytes data = {0}, index = {0}, raw_index = {0}, handle = {0}, file = {0};
    edt_test_snappy_pack(
        (edt_span){table->data, (size_t)meta_offset - EDT_TF_TABLE_TRAILER_BYTES}, &data);
    append_block(&file, &data, &handle);
    // One entry: a key behind all others and the handle; one restart point.
    append_byte(&raw_index, 0);
    append_byte(&raw_index, 1);
    append_byte(&raw_index, handle.n_bytes);
    append_byte(&raw_index, 0xff);
    append(&raw_index, handle.data, handle.n_bytes);
    append(&raw_index, "\0\0\0\0\1\0\0\0", 8);
    edt_test_snappy_pack((edt_span){raw_index.data, raw_index.n_bytes}, &index);
    edt_tf_bytes tail = {0};
    cr_assert(edt_tf_bytes_append_varint(&tail, 0)); // the metaindex is not read
    cr_assert(edt_tf_bytes_append_varint(&tail, 0));
    append_block(&file, &index, &tail);
    while (tail.n_bytes < 40) {
        append_byte(&tail, 0);
    }
    cr_assert(edt_tf_bytes_append_u32(&tail, (uint32_t)EDT_TF_TABLE_MAGIC));
    cr_assert(edt_tf_bytes_append_u32(&tail, (uint32_t)(EDT_TF_TABLE_MAGIC >> 32)));
    append(&file, tail.data, tail.n_bytes);
    edt_tf_bytes *const done[] = {&data, &index, &raw_index, &handle, &tail, table};
    for (size_t i = 0; i < sizeof done / sizeof done[0]; ++i) {
        edt_tf_bytes_deinit(done[i]);
    }
    *table = file;
}

static void append_word(edt_tf_bytes *out, uint32_t word, bool big_endian)
{
    cr_assert(edt_tf_bytes_append_u32(out, big_endian ? __builtin_bswap32(word) : word));
}

static void append_text(edt_tf_bytes *out, edt_text text, bool big_endian, edt_tf_entry *entry)
{
    edt_tf_bytes length = {0};
    append_word(&length, (uint32_t)text.n_bytes, big_endian);
    uint32_t crc = edt_crc32c(0, length.data, 4);
    length.n_bytes = 0;
    append_word(&length, edt_crc32c_mask(crc), big_endian);
    cr_assert(edt_tf_bytes_append_varint(out, text.n_bytes));
    append(out, length.data, 4);
    append(out, text.data, text.n_bytes);
    crc = edt_crc32c(crc, length.data, 4);
    entry->masked_crc =
        edt_crc32c_mask(edt_crc32c(crc, (const uint8_t *)text.data, text.n_bytes));
    entry->is_string = true;
    edt_tf_bytes_deinit(&length);
}

static void append_elements(edt_tf_bytes *out, const edt_test_tensor *tensor, bool big_endian,
                            edt_tf_entry *entry)
{
    const size_t width = edt_dtype_bytes(tensor->desc.dtype);
    const size_t n = edt_tensor_bytes(&tensor->desc), start = out->n_bytes;
    const uint8_t *data = tensor->data;
    for (size_t i = 0; i < n; ++i) {
        append_byte(out,
                    big_endian ? data[i / width * width + width - 1 - i % width] : data[i]);
    }
    entry->masked_crc = edt_crc32c_mask(edt_crc32c(0, out->data + start, n));
}

static void write_file(const char *path, const edt_tf_bytes *bytes)
{
    edt_error err = {0};
    cr_assert_eq(edt_file_write(path, bytes->data, bytes->n_bytes, &err), EDT_OK, "%s",
                 err.text);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const edt_test_tensor *)a)->name, ((const edt_test_tensor *)b)->name);
}

void edt_test_bundle_write(const char *prefix, const edt_test_bundle_options *options,
                           const edt_test_tensor *tensors, int n)
{
    const int n_shards = options->n_shards > 0 ? options->n_shards : 1;
    edt_test_tensor *sorted = calloc((size_t)n + 1, sizeof *sorted);
    edt_tf_bytes *shards = calloc((size_t)n_shards, sizeof *shards);
    cr_assert(sorted != NULL && shards != NULL);
    memcpy(sorted, tensors, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, by_name);
    edt_error err = {0};
    edt_tf_bytes message = {0};
    edt_tf_table_writer *writer = NULL;
    cr_assert_eq(edt_tf_table_writer_create(0, &err, &writer), EDT_OK);
    const edt_tf_header header = {n_shards, options->big_endian};
    cr_assert_eq(edt_tf_header_pack(&header, &message, &err), EDT_OK);
    cr_assert_eq(edt_tf_table_writer_add(writer, (edt_span){0},
                                         (edt_span){message.data, message.n_bytes}, &err),
                 EDT_OK);
    for (int i = 0; i < n; ++i) {
        const edt_test_tensor *tensor = &sorted[i];
        edt_tf_bytes *shard = &shards[tensor->shard];
        edt_tf_entry entry = {.dtype = tensor->desc.dtype,
                              .shape = tensor->desc.shape,
                              .shard = tensor->shard,
                              .offset = (int64_t)shard->n_bytes};
        if (tensor->desc.dtype == EDT_DTYPE_NONE) {
            append_text(shard, tensor->text, options->big_endian, &entry);
        } else {
            append_elements(shard, tensor, options->big_endian, &entry);
        }
        entry.n_bytes = (int64_t)shard->n_bytes - entry.offset;
        message.n_bytes = 0;
        cr_assert_eq(edt_tf_entry_pack(&entry, &message, &err), EDT_OK);
        if (tensor->is_partitioned) {
            append(&message, "\x3a\x04\x0a\x02\x10\x02", 6); // slices { extent { length: 2 } }
        }
        cr_assert_eq(edt_tf_table_writer_add(
                         writer,
                         (edt_span){(const uint8_t *)tensor->name, strlen(tensor->name)},
                         (edt_span){message.data, message.n_bytes}, &err),
                     EDT_OK, "%s", err.text);
    }
    edt_span table = {0};
    cr_assert_eq(edt_tf_table_writer_finish(writer, &err, &table), EDT_OK);
    edt_tf_bytes index = {0};
    append(&index, table.data, table.n_bytes);
    if (options->snappy) {
        edt_test_table_compress(&index);
    }
    char path[4096];
    (void)snprintf(path, sizeof path, "%s.index", prefix);
    write_file(path, &index);
    for (int i = 0; i < n_shards; ++i) {
        (void)snprintf(path, sizeof path, "%s.data-%05d-of-%05d", prefix, i, n_shards);
        write_file(path, &shards[i]);
        edt_tf_bytes_deinit(&shards[i]);
    }
    edt_tf_bytes_deinit(&index);
    edt_tf_bytes_deinit(&message);
    edt_tf_table_writer_destroy(writer);
    free(shards);
    free(sorted);
}
