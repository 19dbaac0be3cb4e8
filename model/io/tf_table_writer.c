// Writer of LevelDB tables with the choices of TensorFlow's table builder: 16 entries between
// restart points in data blocks and 1 in the index, shortened separators, no compression.
#include <string.h>

#include "core/crc32c.h"
#include "core/mem.h"
#include "model/io/tf_table.h"
#include "model/io/tf_table_format.h"

enum { DEFAULT_BLOCK_BYTES = 262144, DATA_RESTART_INTERVAL = 16 };

typedef struct block {
    edt_tf_bytes contents, restarts, last_key;
    int interval; // entries between restart points
    int n_in_run; // since the last one
    bool empty;
} block;

struct edt_tf_table_writer {
    size_t block_bytes;
    edt_tf_bytes file;
    block data, index, meta;
    edt_tf_bytes last_key; // of the whole table
    bool any, finished;
    bool handle_pending; // a flushed block waits for the next key to choose its separator
    uint64_t pending_offset, pending_bytes;
};

static bool block_begin(block *b)
{
    b->contents.n_bytes = 0;
    b->restarts.n_bytes = 0;
    b->last_key.n_bytes = 0;
    b->n_in_run = 0;
    b->empty = true;
    return edt_tf_bytes_append_u32(&b->restarts, 0);
}

static void block_deinit(block *b)
{
    edt_tf_bytes_deinit(&b->contents);
    edt_tf_bytes_deinit(&b->restarts);
    edt_tf_bytes_deinit(&b->last_key);
}

static size_t common_prefix(edt_span a, edt_span b)
{
    const size_t n = a.n_bytes < b.n_bytes ? a.n_bytes : b.n_bytes;
    size_t i = 0;
    while (i < n && a.data[i] == b.data[i]) {
        ++i;
    }
    return i;
}

static bool block_add(block *b, edt_span key, edt_span value)
{
    size_t shared = 0;
    if (b->n_in_run < b->interval) {
        shared = common_prefix((edt_span){b->last_key.data, b->last_key.n_bytes}, key);
    } else {
        if (b->contents.n_bytes > UINT32_MAX ||
            !edt_tf_bytes_append_u32(&b->restarts, (uint32_t)b->contents.n_bytes)) {
            return false;
        }
        b->n_in_run = 0;
    }
    ++b->n_in_run;
    b->empty = false;
    b->last_key.n_bytes = 0;
    // An empty key may have no memory at all.
    const uint8_t *tail = shared == 0 ? key.data : key.data + shared;
    return edt_tf_bytes_append_varint(&b->contents, shared) &&
           edt_tf_bytes_append_varint(&b->contents, key.n_bytes - shared) &&
           edt_tf_bytes_append_varint(&b->contents, value.n_bytes) &&
           edt_tf_bytes_append(&b->contents, tail, key.n_bytes - shared) &&
           edt_tf_bytes_append(&b->contents, value.data, value.n_bytes) &&
           edt_tf_bytes_append(&b->last_key, key.data, key.n_bytes);
}

static size_t block_size(const block *b)
{
    return b->contents.n_bytes + b->restarts.n_bytes + 4;
}

// Appends the block with its trailer to the file and starts it anew.
static bool block_write(edt_tf_table_writer *writer, block *b, uint64_t *out_offset,
                        uint64_t *out_bytes)
{
    const size_t start = writer->file.n_bytes;
    const uint8_t type = EDT_TF_TABLE_RAW;
    if (!edt_tf_bytes_append(&writer->file, b->contents.data, b->contents.n_bytes) ||
        !edt_tf_bytes_append(&writer->file, b->restarts.data, b->restarts.n_bytes) ||
        !edt_tf_bytes_append_u32(&writer->file, (uint32_t)(b->restarts.n_bytes / 4))) {
        return false;
    }
    const size_t n = writer->file.n_bytes - start;
    if (!edt_tf_bytes_append(&writer->file, &type, 1)) {
        return false;
    }
    const uint32_t crc = edt_crc32c_mask(edt_crc32c(0, writer->file.data + start, n + 1));
    *out_offset = start;
    *out_bytes = n;
    return edt_tf_bytes_append_u32(&writer->file, crc) && block_begin(b);
}

static bool flush(edt_tf_table_writer *writer)
{
    if (writer->data.empty) {
        return true;
    }
    writer->handle_pending = true;
    return block_write(writer, &writer->data, &writer->pending_offset, &writer->pending_bytes);
}

// A short key >= `last` and < `next`; without `next` any short key >= `last`. Shortens in
// place.
static void shorten(edt_tf_bytes *last, const edt_span *next)
{
    size_t i = 0;
    if (next == NULL) {
        while (i < last->n_bytes && last->data[i] == 0xff) {
            ++i;
        }
        if (i == last->n_bytes) {
            return;
        }
    } else {
        i = common_prefix((edt_span){last->data, last->n_bytes}, *next);
        if (i >= last->n_bytes || i >= next->n_bytes || last->data[i] == 0xff ||
            last->data[i] + 1 >= next->data[i]) {
            return;
        }
    }
    ++last->data[i];
    last->n_bytes = i + 1;
}

static bool write_pending_handle(edt_tf_table_writer *writer, const edt_span *next_key)
{
    if (!writer->handle_pending) {
        return true;
    }
    writer->handle_pending = false;
    shorten(&writer->last_key, next_key);
    edt_tf_bytes handle = {0};
    const bool ok =
        edt_tf_bytes_append_varint(&handle, writer->pending_offset) &&
        edt_tf_bytes_append_varint(&handle, writer->pending_bytes) &&
        block_add(&writer->index, (edt_span){writer->last_key.data, writer->last_key.n_bytes},
                  (edt_span){handle.data, handle.n_bytes});
    edt_tf_bytes_deinit(&handle);
    return ok;
}

edt_status edt_tf_table_writer_create(size_t block_bytes, edt_error *err,
                                      edt_tf_table_writer **out_writer)
{
    edt_tf_table_writer *writer = edt_mem_calloc(EDT_MEM_TEXT, 1, sizeof *writer);
    if (writer == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "checkpoint index: out of memory");
    }
    writer->block_bytes = block_bytes == 0 ? DEFAULT_BLOCK_BYTES : block_bytes;
    writer->data.interval = DATA_RESTART_INTERVAL;
    writer->meta.interval = DATA_RESTART_INTERVAL;
    writer->index.interval = 1;
    if (!block_begin(&writer->data) || !block_begin(&writer->index) ||
        !block_begin(&writer->meta)) {
        edt_tf_table_writer_destroy(writer);
        EDT_FAIL(err, EDT_ERR_NOMEM, "checkpoint index: out of memory");
    }
    *out_writer = writer;
    return EDT_OK;
}

void edt_tf_table_writer_destroy(edt_tf_table_writer *writer)
{
    if (writer == NULL) {
        return;
    }
    block_deinit(&writer->data);
    block_deinit(&writer->index);
    block_deinit(&writer->meta);
    edt_tf_bytes_deinit(&writer->file);
    edt_tf_bytes_deinit(&writer->last_key);
    edt_mem_free(writer);
}

edt_status edt_tf_table_writer_add(edt_tf_table_writer *writer, edt_span key, edt_span value,
                                   edt_error *err)
{
    if (writer->finished) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "checkpoint index: an entry after the end");
    }
    if (writer->any &&
        edt_tf_compare((edt_span){writer->last_key.data, writer->last_key.n_bytes}, key) >= 0) {
        EDT_FAIL(err, EDT_ERR_INVALID,
                 "checkpoint index: the key '%.*s' is out of order or twice",
                 (int)(key.n_bytes < 256 ? key.n_bytes : 256), (const char *)key.data);
    }
    bool ok = true;
    if (key.n_bytes + value.n_bytes >= 2 * writer->block_bytes) {
        ok = flush(writer);
    }
    ok = ok && write_pending_handle(writer, &key);
    writer->last_key.n_bytes = 0;
    writer->any = true;
    ok = ok && edt_tf_bytes_append(&writer->last_key, key.data, key.n_bytes) &&
         block_add(&writer->data, key, value);
    if (ok && block_size(&writer->data) >= writer->block_bytes) {
        ok = flush(writer);
    }
    if (!ok) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "checkpoint index: out of memory");
    }
    return EDT_OK;
}

edt_status edt_tf_table_writer_finish(edt_tf_table_writer *writer, edt_error *err,
                                      edt_span *out_file)
{
    uint64_t meta[2], index[2];
    if (writer->finished) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "checkpoint index: finished twice");
    }
    writer->finished = true;
    bool ok = flush(writer) && block_write(writer, &writer->meta, &meta[0], &meta[1]) &&
              write_pending_handle(writer, NULL) &&
              block_write(writer, &writer->index, &index[0], &index[1]);
    const size_t footer = writer->file.n_bytes;
    ok = ok && edt_tf_bytes_append_varint(&writer->file, meta[0]) &&
         edt_tf_bytes_append_varint(&writer->file, meta[1]) &&
         edt_tf_bytes_append_varint(&writer->file, index[0]) &&
         edt_tf_bytes_append_varint(&writer->file, index[1]);
    const uint8_t zeros[EDT_TF_TABLE_FOOTER_BYTES] = {0};
    ok = ok &&
         edt_tf_bytes_append(&writer->file, zeros,
                             EDT_TF_TABLE_FOOTER_BYTES - 8 - (writer->file.n_bytes - footer)) &&
         edt_tf_bytes_append_u32(&writer->file, (uint32_t)EDT_TF_TABLE_MAGIC) &&
         edt_tf_bytes_append_u32(&writer->file, (uint32_t)(EDT_TF_TABLE_MAGIC >> 32));
    if (!ok) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "checkpoint index: out of memory");
    }
    *out_file = (edt_span){writer->file.data, writer->file.n_bytes};
    return EDT_OK;
}
