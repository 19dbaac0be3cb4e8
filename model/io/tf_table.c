// Reader of LevelDB tables: checks footer, bounds, checksums, prefix compression and key order,
// so that a damaged file ends in a message and never in a wrong or endless read.
#include "model/io/tf_table.h"

#include <string.h>

#include "core/crc32c.h"
#include "core/mem.h"
#include "model/io/snappy_block.h"
#include "model/io/tf_table_format.h"

typedef struct handle {
    uint64_t offset, n_bytes;
} handle;

typedef struct scan {
    edt_span file;
    const char *where;
    edt_tf_table_visit *visit;
    void *ctx;
    edt_tf_bytes block_key;   // key of the entry being read in the current data block
    edt_tf_bytes index_key;   // the same in the index block
    edt_tf_bytes last_key;    // last key handed out
    edt_tf_bytes unpacked[2]; // the current data block and the index block, where compressed
    bool any;
} scan;

// One block's entries, read front to back.
typedef struct cursor {
    edt_span entries;
    size_t at;
    uint64_t offset; // of the block, for messages
} cursor;

static bool read_handle(edt_span span, size_t *at, handle *out)
{
    return edt_tf_varint_read(span, at, &out->offset) &&
           edt_tf_varint_read(span, at, &out->n_bytes);
}

// Replaces the run of a compressed block by what it unpacks to, which lives in `unpacked`.
static edt_status unpack_block(const scan *s, handle h, const char *what,
                               edt_tf_bytes *unpacked, edt_error *err, edt_span *block)
{
    switch (edt_snappy_unpack(*block, unpacked)) {
    case EDT_SNAPPY_OK: break;
    case EDT_SNAPPY_NO_MEMORY: EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", s->where);
    case EDT_SNAPPY_MALFORMED:
        EDT_FAIL(err, EDT_ERR_FORMAT,
                 "%s: the %s at byte %llu, compressed with snappy, is malformed", s->where,
                 what, (unsigned long long)h.offset);
    }
    *block = (edt_span){unpacked->data, unpacked->n_bytes};
    return EDT_OK;
}

static edt_status open_block(scan *s, handle h, const char *what, edt_tf_bytes *unpacked,
                             edt_error *err, cursor *out_cursor)
{
    const uint64_t limit = s->file.n_bytes - EDT_TF_TABLE_FOOTER_BYTES;
    if (h.offset > limit || h.n_bytes > limit - h.offset ||
        limit - h.offset - h.n_bytes < EDT_TF_TABLE_TRAILER_BYTES) {
        EDT_FAIL(
            err, EDT_ERR_FORMAT,
            "%s: the %s at byte %llu with %llu bytes reaches past the end (%zu bytes): the "
            "file is cut or not a checkpoint index",
            s->where, what, (unsigned long long)h.offset, (unsigned long long)h.n_bytes,
            s->file.n_bytes);
    }
    edt_span block = {s->file.data + h.offset, (size_t)h.n_bytes};
    const uint8_t type = block.data[block.n_bytes];
    const uint32_t stored = edt_tf_load_u32(block.data + block.n_bytes + 1);
    const uint32_t computed = edt_crc32c_mask(edt_crc32c(0, block.data, block.n_bytes + 1));
    if (stored != computed) {
        EDT_FAIL(
            err, EDT_ERR_CORRUPT,
            "%s: checksum of the %s at byte %llu is %08x, computed %08x: the file is damaged; "
            "use another copy or an older checkpoint",
            s->where, what, (unsigned long long)h.offset, stored, computed);
    }
    if (type == EDT_TF_TABLE_SNAPPY) {
        EDT_TRY(unpack_block(s, h, what, unpacked, err, &block));
    } else if (type != EDT_TF_TABLE_RAW) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "%s: the %s at byte %llu has the unknown type %d",
                 s->where, what, (unsigned long long)h.offset, type);
    }
    const size_t n = block.n_bytes;
    const uint32_t n_restarts = n >= 4 ? edt_tf_load_u32(block.data + n - 4) : 0;
    if (n_restarts == 0 || n_restarts > (n - 4) / 4) {
        EDT_FAIL(err, EDT_ERR_FORMAT,
                 "%s: the %s at byte %llu has %u restart points in %zu bytes", s->where, what,
                 (unsigned long long)h.offset, n_restarts, n);
    }
    *out_cursor = (cursor){{block.data, n - 4 * ((size_t)n_restarts + 1)}, 0, h.offset};
    return EDT_OK;
}

// EDT_END after the last entry. `key` holds the previous entry's key on entry.
static edt_status next_entry(const scan *s, cursor *c, edt_tf_bytes *key, edt_error *err,
                             edt_span *out_value)
{
    if (c->at == c->entries.n_bytes) {
        return EDT_END;
    }
    const size_t start = c->at;
    uint64_t shared, unshared, n_value;
    if (!edt_tf_varint_read(c->entries, &c->at, &shared) ||
        !edt_tf_varint_read(c->entries, &c->at, &unshared) ||
        !edt_tf_varint_read(c->entries, &c->at, &n_value) || shared > key->n_bytes ||
        unshared > c->entries.n_bytes - c->at ||
        n_value > c->entries.n_bytes - c->at - unshared) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "%s: malformed entry at byte %llu", s->where,
                 (unsigned long long)c->offset + start);
    }
    key->n_bytes = (size_t)shared;
    if (!edt_tf_bytes_append(key, c->entries.data + c->at, (size_t)unshared)) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", s->where);
    }
    c->at += (size_t)unshared;
    *out_value = (edt_span){c->entries.data + c->at, (size_t)n_value};
    c->at += (size_t)n_value;
    return EDT_OK;
}

static edt_span span_of(const edt_tf_bytes *bytes)
{
    return (edt_span){bytes->data, bytes->n_bytes};
}

static edt_status scan_block(scan *s, handle h, edt_error *err)
{
    cursor c;
    EDT_TRY(open_block(s, h, "data block", &s->unpacked[0], err, &c));
    s->block_key.n_bytes = 0;
    for (;;) {
        edt_span value;
        const edt_status status = next_entry(s, &c, &s->block_key, err, &value);
        if (status == EDT_END) {
            return EDT_OK;
        }
        EDT_TRY(status);
        const edt_span key = span_of(&s->block_key);
        if ((s->any && edt_tf_compare(span_of(&s->last_key), key) >= 0) ||
            edt_tf_compare(key, span_of(&s->index_key)) > 0) {
            EDT_FAIL(err, EDT_ERR_FORMAT,
                     "%s: keys out of order in the data block at byte %llu", s->where,
                     (unsigned long long)h.offset);
        }
        s->any = true;
        s->last_key.n_bytes = 0;
        if (!edt_tf_bytes_append(&s->last_key, key.data, key.n_bytes)) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", s->where);
        }
        EDT_TRY(s->visit(s->ctx, key, value, err));
    }
}

static edt_status scan_index(scan *s, edt_error *err)
{
    if (s->file.n_bytes < EDT_TF_TABLE_FOOTER_BYTES) {
        EDT_FAIL(
            err, EDT_ERR_FORMAT,
            "%s: %zu bytes are too few for a checkpoint index (at least %d): the file is cut",
            s->where, s->file.n_bytes, EDT_TF_TABLE_FOOTER_BYTES);
    }
    const edt_span footer = {s->file.data + s->file.n_bytes - EDT_TF_TABLE_FOOTER_BYTES,
                             EDT_TF_TABLE_FOOTER_BYTES - 8};
    const uint64_t magic = (uint64_t)edt_tf_load_u32(footer.data + 40) |
                           (uint64_t)edt_tf_load_u32(footer.data + 44) << 32;
    if (magic != EDT_TF_TABLE_MAGIC) {
        EDT_FAIL(
            err, EDT_ERR_FORMAT,
            "%s: ends in %016llx, not in the magic number %016llx: the file is cut or not a "
            "checkpoint index",
            s->where, (unsigned long long)magic, (unsigned long long)EDT_TF_TABLE_MAGIC);
    }
    size_t at = 0;
    handle meta, index;
    if (!read_handle(footer, &at, &meta) || !read_handle(footer, &at, &index)) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "%s: malformed footer", s->where);
    }
    cursor c;
    EDT_TRY(open_block(s, index, "index block", &s->unpacked[1], err, &c));
    for (;;) {
        edt_span value;
        const edt_status status = next_entry(s, &c, &s->index_key, err, &value);
        if (status == EDT_END) {
            return EDT_OK;
        }
        EDT_TRY(status);
        handle h;
        size_t value_at = 0;
        if (!read_handle(value, &value_at, &h)) {
            EDT_FAIL(err, EDT_ERR_FORMAT, "%s: malformed block handle in the index block",
                     s->where);
        }
        EDT_TRY(scan_block(s, h, err));
    }
}

edt_status edt_tf_table_scan(edt_span file, const char *where, edt_tf_table_visit *visit,
                             void *ctx, edt_error *err)
{
    scan s = {.file = file, .where = where, .visit = visit, .ctx = ctx};
    const edt_status status = scan_index(&s, err);
    edt_tf_bytes_deinit(&s.block_key);
    edt_tf_bytes_deinit(&s.index_key);
    edt_tf_bytes_deinit(&s.last_key);
    edt_tf_bytes_deinit(&s.unpacked[0]);
    edt_tf_bytes_deinit(&s.unpacked[1]);
    return status;
}
