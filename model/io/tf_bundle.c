// Reader of checkpoint bundles. Opening reads the whole index and maps the data files; tensors
// are checked against their CRC when they are read.
#include "model/io/tf_bundle.h"

#include <limits.h>
#include <string.h>

#include "core/crc32c.h"
#include "core/mem.h"
#include "core/path.h"
#include "model/io/tf_bundle_entry.h"
#include "model/io/tf_table.h"

static const char OBJECT_GRAPH_KEY[] = "_CHECKPOINTABLE_OBJECT_GRAPH";

struct edt_tf_bundle {
    edt_arena arena;
    const char *prefix, *index_path;
    bool have_header;
    edt_tf_header header;
    int n_entries, cap_entries;
    edt_tf_entry *entries;
    edt_mapped_file *shards; // header.n_shards of them
};

static edt_status reserve_entry(edt_tf_bundle *bundle, edt_error *err)
{
    if (bundle->n_entries < bundle->cap_entries) {
        return EDT_OK;
    }
    if (bundle->cap_entries > INT_MAX / 2) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "%s: more than %d entries", bundle->index_path,
                 bundle->cap_entries);
    }
    const int cap = bundle->cap_entries == 0 ? 1024 : 2 * bundle->cap_entries;
    edt_tf_entry *grown =
        edt_mem_realloc(EDT_MEM_TEXT, bundle->entries, (size_t)cap * sizeof *grown);
    if (grown == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", bundle->index_path);
    }
    bundle->entries = grown;
    bundle->cap_entries = cap;
    return EDT_OK;
}

static edt_status take_index_entry(void *ctx, edt_span key, edt_span value, edt_error *err)
{
    edt_tf_bundle *bundle = ctx;
    if (key.n_bytes == 0) {
        bundle->have_header = true;
        return edt_tf_header_parse(value, bundle->index_path, err, &bundle->header);
    }
    if (!bundle->have_header) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "%s: has no bundle header: not a checkpoint index",
                 bundle->index_path);
    }
    if (key.data[0] == 0) {
        return EDT_OK; // a slice of a partitioned tensor, whose own entry says so
    }
    EDT_TRY(reserve_entry(bundle, err));
    EDT_TRY(edt_tf_entry_parse(key, value, bundle->index_path, &bundle->arena, err,
                               &bundle->entries[bundle->n_entries]));
    ++bundle->n_entries;
    return EDT_OK;
}

static edt_status read_index(edt_tf_bundle *bundle, edt_error *err)
{
    edt_mapped_file file = {0};
    EDT_TRY(edt_mapped_file_open(bundle->index_path, err, &file));
    const edt_status status =
        edt_tf_table_scan(file.span, bundle->index_path, take_index_entry, bundle, err);
    edt_mapped_file_close(&file);
    EDT_TRY(status);
    if (!bundle->have_header) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "%s: the index is empty: not a checkpoint index",
                 bundle->index_path);
    }
    return EDT_OK;
}

static edt_status map_shards(edt_tf_bundle *bundle, edt_error *err)
{
    const int n_shards = bundle->header.n_shards;
    bundle->shards = edt_mem_calloc(EDT_MEM_TEXT, (size_t)n_shards, sizeof *bundle->shards);
    if (bundle->shards == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", bundle->prefix);
    }
    for (int i = 0; i < n_shards; ++i) {
        const char *path = edt_arena_printf(&bundle->arena, "%s.data-%05d-of-%05d",
                                            bundle->prefix, i, n_shards);
        if (path == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", bundle->prefix);
        }
        EDT_TRY(edt_mapped_file_open(path, err, &bundle->shards[i]));
    }
    return EDT_OK;
}

static edt_status check_places(const edt_tf_bundle *bundle, edt_error *err)
{
    for (int i = 0; i < bundle->n_entries; ++i) {
        const edt_tf_entry *entry = &bundle->entries[i];
        if (entry->unreadable != NULL) {
            continue;
        }
        if (entry->shard >= bundle->header.n_shards) {
            EDT_FAIL(err, EDT_ERR_FORMAT, "%s: tensor '%s' lies in data file %d of %d",
                     bundle->index_path, entry->name, entry->shard, bundle->header.n_shards);
        }
        const uint64_t have = bundle->shards[entry->shard].span.n_bytes;
        if ((uint64_t)entry->offset > have ||
            (uint64_t)entry->n_bytes > have - (uint64_t)entry->offset) {
            EDT_FAIL(
                err, EDT_ERR_FORMAT,
                "%s.data-%05d-of-%05d: tensor '%s' wants %lld bytes from byte %lld on, the "
                "file has %llu: it is cut or belongs to another index",
                bundle->prefix, entry->shard, bundle->header.n_shards, entry->name,
                (long long)entry->n_bytes, (long long)entry->offset, (unsigned long long)have);
        }
    }
    return EDT_OK;
}

edt_status edt_tf_bundle_open(const char *prefix, edt_error *err, edt_tf_bundle **out_bundle)
{
    edt_tf_bundle *bundle = edt_mem_calloc(EDT_MEM_TEXT, 1, sizeof *bundle);
    if (bundle == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", prefix);
    }
    edt_status status = EDT_OK;
    edt_arena_init(&bundle->arena, EDT_MEM_TEXT, 0);
    bundle->prefix = edt_arena_strdup(&bundle->arena, prefix);
    bundle->index_path = edt_arena_printf(&bundle->arena, "%s.index", prefix);
    if (bundle->prefix == NULL || bundle->index_path == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "%s: out of memory", prefix);
        goto fail;
    }
    EDT_TRY_GOTO(read_index(bundle, err));
    EDT_TRY_GOTO(map_shards(bundle, err));
    EDT_TRY_GOTO(check_places(bundle, err));
    *out_bundle = bundle;
    return EDT_OK;
fail:
    edt_tf_bundle_close(bundle);
    return status;
}

void edt_tf_bundle_close(edt_tf_bundle *bundle)
{
    if (bundle == NULL) {
        return;
    }
    if (bundle->shards != NULL) {
        for (int i = 0; i < bundle->header.n_shards; ++i) {
            edt_mapped_file_close(&bundle->shards[i]);
        }
    }
    edt_mem_free(bundle->shards);
    edt_mem_free(bundle->entries);
    edt_arena_deinit(&bundle->arena);
    edt_mem_free(bundle);
}

const char *edt_tf_bundle_prefix(const edt_tf_bundle *bundle)
{
    return bundle->prefix;
}

int edt_tf_bundle_count(const edt_tf_bundle *bundle)
{
    return bundle->n_entries;
}

const edt_tf_entry *edt_tf_bundle_entry(const edt_tf_bundle *bundle, int i_entry)
{
    return &bundle->entries[i_entry];
}

int edt_tf_bundle_find(const edt_tf_bundle *bundle, const char *name)
{
    int low = 0, high = bundle->n_entries;
    while (low < high) {
        const int middle = low + (high - low) / 2;
        const int order = strcmp(bundle->entries[middle].name, name);
        if (order == 0) {
            return middle;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return -1;
}

bool edt_tf_bundle_is_object_based(const edt_tf_bundle *bundle)
{
    return edt_tf_bundle_find(bundle, OBJECT_GRAPH_KEY) >= 0;
}

static edt_status check_readable(const edt_tf_bundle *bundle, const edt_tf_entry *entry,
                                 edt_error *err)
{
    if (entry->unreadable != NULL) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED, "%s: tensor '%s' cannot be read: %s", bundle->prefix,
                 entry->name, entry->unreadable);
    }
    return EDT_OK;
}

static edt_span stored_bytes(const edt_tf_bundle *bundle, const edt_tf_entry *entry)
{
    if (entry->n_bytes == 0) {
        return (edt_span){0};
    }
    return (edt_span){bundle->shards[entry->shard].span.data + entry->offset,
                      (size_t)entry->n_bytes};
}

// Of one element in the order of the machine that wrote it.
static void swap_elements(const edt_tf_bundle *bundle, const edt_tf_entry *entry, void *out,
                          size_t n_bytes)
{
    const size_t width = edt_dtype_bytes(entry->dtype);
    uint8_t *bytes = out;
    for (size_t at = 0; bundle->header.big_endian && at + width <= n_bytes; at += width) {
        for (size_t i = 0; i < width / 2; ++i) {
            const uint8_t byte = bytes[at + i];
            bytes[at + i] = bytes[at + width - 1 - i];
            bytes[at + width - 1 - i] = byte;
        }
    }
}

static edt_status check_crc(const edt_tf_bundle *bundle, const edt_tf_entry *entry,
                            uint32_t crc, edt_error *err)
{
    const uint32_t computed = edt_crc32c_mask(crc);
    if (computed != entry->masked_crc) {
        EDT_FAIL(
            err, EDT_ERR_CORRUPT,
            "%s.data-%05d-of-%05d: checksum of tensor '%s' is %08x, computed %08x: the file "
            "is damaged; use another copy or an older checkpoint",
            bundle->prefix, entry->shard, bundle->header.n_shards, entry->name,
            entry->masked_crc, computed);
    }
    return EDT_OK;
}

static edt_status view(const edt_tf_bundle *bundle, int i_entry, edt_error *err,
                       edt_span *out_bytes)
{
    const edt_tf_entry *entry = &bundle->entries[i_entry];
    EDT_TRY(check_readable(bundle, entry, err));
    if (entry->is_string) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED, "%s: tensor '%s' holds strings, not numbers",
                 bundle->prefix, entry->name);
    }
    const edt_span bytes = stored_bytes(bundle, entry);
    EDT_TRY(check_crc(bundle, entry, edt_crc32c(0, bytes.data, bytes.n_bytes), err));
    *out_bytes = bytes;
    return EDT_OK;
}

edt_status edt_tf_bundle_view(const edt_tf_bundle *bundle, int i_entry, edt_error *err,
                              edt_span *out_bytes)
{
    if (bundle->header.big_endian) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "%s: tensor '%s' was written on a big-endian machine; it can be read, not "
                 "viewed",
                 bundle->prefix, bundle->entries[i_entry].name);
    }
    return view(bundle, i_entry, err, out_bytes);
}

edt_status edt_tf_bundle_read(const edt_tf_bundle *bundle, int i_entry, void *out,
                              size_t n_bytes, edt_error *err)
{
    edt_span bytes = {0};
    EDT_TRY(view(bundle, i_entry, err, &bytes));
    if (bytes.n_bytes != n_bytes) {
        EDT_FAIL(err, EDT_ERR_MISMATCH, "%s: tensor '%s' has %zu bytes, %zu are wanted",
                 bundle->prefix, bundle->entries[i_entry].name, bytes.n_bytes, n_bytes);
    }
    if (n_bytes > 0) {
        memcpy(out, bytes.data, n_bytes);
        swap_elements(bundle, &bundle->entries[i_entry], out, n_bytes);
    }
    return EDT_OK;
}

static uint32_t crc_of_length(const edt_tf_bundle *bundle, uint32_t crc, uint64_t length)
{
    // TensorFlow sums lengths as 32-bit words where they fit.
    const size_t n = length <= UINT32_MAX ? 4 : 8;
    uint8_t word[8];
    for (size_t i = 0; i < n; ++i) {
        word[bundle->header.big_endian ? n - 1 - i : i] = (uint8_t)(length >> (8 * i));
    }
    return edt_crc32c(crc, word, n);
}

static uint32_t load_word(const edt_tf_bundle *bundle, const uint8_t *at)
{
    const uint32_t word = edt_tf_load_u32(at);
    return bundle->header.big_endian ? __builtin_bswap32(word) : word;
}

edt_status edt_tf_bundle_read_strings(const edt_tf_bundle *bundle, int i_entry,
                                      edt_arena *arena, edt_error *err,
                                      const edt_text **out_texts, int64_t *out_n)
{
    const edt_tf_entry *entry = &bundle->entries[i_entry];
    EDT_TRY(check_readable(bundle, entry, err));
    if (!entry->is_string) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED, "%s: tensor '%s' holds numbers, not strings",
                 bundle->prefix, entry->name);
    }
    const edt_span bytes = stored_bytes(bundle, entry);
    const int64_t n = edt_shape_count(&entry->shape);
    // Every length takes a byte at least, so a claimed count is bounded before memory is asked
    // for.
    edt_text *texts = NULL;
    bool ok = n <= entry->n_bytes;
    if (ok) {
        texts = edt_arena_calloc(arena, (size_t)n + 1, sizeof *texts);
        if (texts == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", bundle->prefix);
        }
    }
    size_t at = 0;
    uint32_t crc = 0;
    for (int64_t i = 0; ok && i < n; ++i) {
        uint64_t length;
        ok = edt_tf_varint_read(bytes, &at, &length) && length <= bytes.n_bytes;
        if (ok) {
            texts[i].n_bytes = (size_t)length;
            crc = crc_of_length(bundle, crc, length);
        }
    }
    ok = ok && bytes.n_bytes - at >= 4 &&
         load_word(bundle, bytes.data + at) == edt_crc32c_mask(crc);
    if (ok) {
        crc = edt_crc32c(crc, bytes.data + at, bytes.n_bytes - at);
        at += 4;
    }
    for (int64_t i = 0; ok && i < n; ++i) {
        ok = texts[i].n_bytes <= bytes.n_bytes - at;
        texts[i].data = (const char *)bytes.data + at;
        at += ok ? texts[i].n_bytes : 0;
    }
    if (!ok || at != bytes.n_bytes) {
        EDT_FAIL(err, EDT_ERR_CORRUPT, "%s: the string tensor '%s' is damaged", bundle->prefix,
                 entry->name);
    }
    EDT_TRY(check_crc(bundle, entry, crc, err));
    *out_texts = texts;
    *out_n = n;
    return EDT_OK;
}
