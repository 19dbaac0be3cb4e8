// Writer of one-shard bundles: tensors stream into the data file as they come, the index is
// built at the end from the entries sorted by name.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/crc32c.h"
#include "core/mem.h"
#include "core/path.h"
#include "model/io/tf_bundle.h"
#include "model/io/tf_bundle_entry.h"
#include "model/io/tf_table.h"

struct edt_tf_bundle_writer {
    edt_arena arena;
    const char *prefix, *data_path;
    edt_atomic_file *data;
    int64_t n_written;
    size_t n_entries, cap_entries;
    edt_tf_entry *entries;
};

edt_status edt_tf_bundle_writer_create(const char *prefix, edt_error *err,
                                       edt_tf_bundle_writer **out_writer)
{
    edt_tf_bundle_writer *writer = edt_mem_calloc(EDT_MEM_TEXT, 1, sizeof *writer);
    if (writer == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", prefix);
    }
    edt_status status = EDT_OK;
    edt_arena_init(&writer->arena, EDT_MEM_TEXT, 0);
    writer->prefix = edt_arena_strdup(&writer->arena, prefix);
    writer->data_path = edt_arena_printf(&writer->arena, "%s.data-00000-of-00001", prefix);
    if (writer->prefix == NULL || writer->data_path == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "%s: out of memory", prefix);
        goto fail;
    }
    EDT_TRY_GOTO(edt_atomic_file_open(writer->data_path, err, &writer->data));
    *out_writer = writer;
    return EDT_OK;
fail:
    edt_tf_bundle_writer_destroy(writer);
    return status;
}

void edt_tf_bundle_writer_destroy(edt_tf_bundle_writer *writer)
{
    if (writer == NULL) {
        return;
    }
    edt_atomic_file_close(writer->data);
    edt_mem_free(writer->entries);
    edt_arena_deinit(&writer->arena);
    edt_mem_free(writer);
}

// A new entry at the end of the data file; the caller fills in the type and the checksum.
static edt_status new_entry(edt_tf_bundle_writer *writer, const char *name,
                            const edt_shape *shape, edt_error *err, edt_tf_entry **out_entry)
{
    if (name[0] == '\0') {
        EDT_FAIL(err, EDT_ERR_INVALID, "%s: a tensor without a name", writer->prefix);
    }
    if (writer->n_entries == writer->cap_entries) {
        const size_t cap = writer->cap_entries == 0 ? 1024 : 2 * writer->cap_entries;
        edt_tf_entry *grown =
            edt_mem_realloc(EDT_MEM_TEXT, writer->entries, cap * sizeof *grown);
        if (grown == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", writer->prefix);
        }
        writer->entries = grown;
        writer->cap_entries = cap;
    }
    edt_tf_entry *entry = &writer->entries[writer->n_entries];
    *entry = (edt_tf_entry){.name = edt_arena_strdup(&writer->arena, name),
                            .shape = *shape,
                            .offset = writer->n_written};
    if (entry->name == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", writer->prefix);
    }
    ++writer->n_entries;
    *out_entry = entry;
    return EDT_OK;
}

static edt_status append(edt_tf_bundle_writer *writer, edt_tf_entry *entry, const void *data,
                         size_t n_bytes, edt_error *err)
{
    EDT_TRY(edt_atomic_file_append(writer->data, data, n_bytes, err));
    entry->n_bytes += (int64_t)n_bytes;
    writer->n_written += (int64_t)n_bytes;
    return EDT_OK;
}

edt_status edt_tf_bundle_writer_add(edt_tf_bundle_writer *writer, const char *name,
                                    const edt_tensor_desc *desc, const void *data,
                                    edt_error *err)
{
    if (edt_dtype_bytes(desc->dtype) == 0) {
        EDT_FAIL(err, EDT_ERR_INVALID, "%s: tensor '%s' has no element type", writer->prefix,
                 name);
    }
    edt_tf_entry *entry = NULL;
    EDT_TRY(new_entry(writer, name, &desc->shape, err, &entry));
    const size_t n_bytes = edt_tensor_bytes(desc);
    entry->dtype = desc->dtype;
    entry->masked_crc = edt_crc32c_mask(edt_crc32c(0, data, n_bytes));
    return append(writer, entry, data, n_bytes, err);
}

edt_status edt_tf_bundle_writer_add_strings(edt_tf_bundle_writer *writer, const char *name,
                                            const edt_shape *shape, const edt_text *texts,
                                            edt_error *err)
{
    edt_tf_entry *entry = NULL;
    EDT_TRY(new_entry(writer, name, shape, err, &entry));
    entry->is_string = true;
    const int64_t n = edt_shape_count(shape);
    edt_tf_bytes lengths = {0}, words = {0};
    bool ok = true;
    for (int64_t i = 0; ok && i < n; ++i) {
        const uint64_t length = texts[i].n_bytes;
        ok =
            edt_tf_bytes_append_varint(&lengths, length) &&
            edt_tf_bytes_append_u32(&words, (uint32_t)length) &&
            (length <= UINT32_MAX || edt_tf_bytes_append_u32(&words, (uint32_t)(length >> 32)));
    }
    uint32_t crc = edt_crc32c(0, words.data, words.n_bytes);
    const size_t n_lengths = lengths.n_bytes;
    ok = ok && edt_tf_bytes_append_u32(&lengths, edt_crc32c_mask(crc));
    edt_status status = EDT_OK;
    if (!ok) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "%s: out of memory", writer->prefix);
        goto fail;
    }
    crc = edt_crc32c(crc, lengths.data + n_lengths, 4);
    EDT_TRY_GOTO(append(writer, entry, lengths.data, lengths.n_bytes, err));
    for (int64_t i = 0; i < n; ++i) {
        crc = edt_crc32c(crc, texts[i].data, texts[i].n_bytes);
        EDT_TRY_GOTO(append(writer, entry, texts[i].data, texts[i].n_bytes, err));
    }
    entry->masked_crc = edt_crc32c_mask(crc);
fail:
    edt_tf_bytes_deinit(&lengths);
    edt_tf_bytes_deinit(&words);
    return status;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const edt_tf_entry *)a)->name, ((const edt_tf_entry *)b)->name);
}

static edt_status fill_table(edt_tf_bundle_writer *writer, edt_tf_table_writer *table,
                             edt_tf_bytes *message, edt_error *err)
{
    const edt_tf_header header = {.n_shards = 1};
    EDT_TRY(edt_tf_header_pack(&header, message, err));
    EDT_TRY(edt_tf_table_writer_add(table, (edt_span){(const uint8_t *)"", 0},
                                    (edt_span){message->data, message->n_bytes}, err));
    if (writer->n_entries > 0) {
        qsort(writer->entries, writer->n_entries, sizeof *writer->entries, by_name);
    }
    for (size_t i = 0; i < writer->n_entries; ++i) {
        const edt_tf_entry *entry = &writer->entries[i];
        message->n_bytes = 0;
        EDT_TRY(edt_tf_entry_pack(entry, message, err));
        EDT_TRY_CTX(edt_tf_table_writer_add(
                        table, (edt_span){(const uint8_t *)entry->name, strlen(entry->name)},
                        (edt_span){message->data, message->n_bytes}, err),
                    err, "%s", writer->prefix);
    }
    return EDT_OK;
}

// An index that goes with other data must not be found between the two renames: one that stands
// there is removed first, when nothing but names is left to be done.
static edt_status rename_files(edt_tf_bundle_writer *writer, edt_atomic_file *index,
                               const char *index_path, edt_error *err)
{
    if (unlink(index_path) != 0 && errno != ENOENT) {
        EDT_FAIL(err, EDT_ERR_IO, "cannot replace '%s': %s", index_path, strerror(errno));
    }
    EDT_TRY(edt_atomic_file_commit(writer->data, err));
    const edt_status status = edt_atomic_file_commit(index, err);
    if (status != EDT_OK) {
        (void)unlink(writer->data_path);
    }
    return status;
}

edt_status edt_tf_bundle_writer_commit(edt_tf_bundle_writer *writer, edt_error *err)
{
    edt_tf_table_writer *table = NULL;
    edt_tf_bytes message = {0};
    edt_span bytes = {0};
    edt_atomic_file *index = NULL;
    edt_status status = EDT_OK;
    const char *path = edt_arena_printf(&writer->arena, "%s.index", writer->prefix);
    if (path == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", writer->prefix);
    }
    EDT_TRY_GOTO(edt_tf_table_writer_create(0, err, &table));
    EDT_TRY_GOTO(fill_table(writer, table, &message, err));
    EDT_TRY_GOTO(edt_tf_table_writer_finish(table, err, &bytes));
    EDT_TRY_GOTO(edt_atomic_file_open(path, err, &index));
    EDT_TRY_GOTO(edt_atomic_file_append(index, bytes.data, bytes.n_bytes, err));
    EDT_TRY_GOTO(edt_atomic_file_sync(index, err));
    EDT_TRY_GOTO(edt_atomic_file_sync(writer->data, err));
    EDT_TRY_GOTO(rename_files(writer, index, path, err));
fail:
    edt_atomic_file_close(index);
    edt_tf_bytes_deinit(&message);
    edt_tf_table_writer_destroy(table);
    return status;
}
