// Reading and writing safetensors: 8 bytes of header length, a JSON header, then the data
// without gaps or overlaps.
#include "core/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "core/arena.h"
#include "core/file.h"
#include "core/json.h"
#include "core/json_pull.h"
#include "core/mem.h"

enum { MAX_HEADER_BYTES = 100000000, PREFIX_BYTES = 8 };

typedef struct reader {
    edt_safetensors handle; // first: the handle is its address
    edt_arena arena;
    edt_mapped_file map;
} reader;

// Growing lists while the number of entries is unknown.
typedef struct entry {
    edt_safetensors_item item;
    uint64_t begin, end;
} entry;

static const struct {
    const char *name;
    edt_dtype dtype;
} dtypes[] = {
    {"F32", EDT_DTYPE_F32}, {"F64", EDT_DTYPE_F64},   {"I32", EDT_DTYPE_I32},
    {"I64", EDT_DTYPE_I64}, {"U8", EDT_DTYPE_U8},     {"BF16", EDT_DTYPE_BF16},
    {"F16", EDT_DTYPE_F16}, {"BOOL", EDT_DTYPE_BOOL},
};

static const char *dtype_name(edt_dtype dtype)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; ++i) {
        if (dtypes[i].dtype == dtype) {
            return dtypes[i].name;
        }
    }
    return NULL;
}

static edt_status no_memory(edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_NOMEM, "out of memory for safetensors");
}

static const char *keep(reader *r, edt_text text)
{
    return edt_arena_strndup(&r->arena, text.data, text.n_bytes);
}

// Doubles a list in the arena when it is full.
static void *grow(reader *r, void *list, int64_t n, size_t item_bytes)
{
    if (n > 0 && (n & (n - 1)) != 0) {
        return list;
    }
    void *grown = edt_arena_calloc(&r->arena, n == 0 ? 1 : 2 * (size_t)n, item_bytes);
    if (grown != NULL && n > 0) {
        memcpy(grown, list, (size_t)n * item_bytes);
    }
    return grown;
}

static edt_status check_text(const edt_json_pull *pull, edt_text text, edt_error *err)
{
    if (memchr(text.data, 0, text.n_bytes) != NULL) {
        return edt_json_pull_fail(pull, EDT_ERR_FORMAT, err, "text contains a zero byte");
    }
    return EDT_OK;
}

static edt_status read_meta(reader *r, edt_json_pull *pull, edt_error *err)
{
    edt_safetensors_meta *meta = NULL;
    int64_t n = 0;
    EDT_TRY(edt_json_pull_expect(pull, EDT_JSON_OBJECT_BEGIN, err));
    for (;;) {
        edt_text key, value;
        bool more;
        EDT_TRY(edt_json_pull_next_key(pull, err, &key, &more));
        if (!more) {
            break;
        }
        EDT_TRY(check_text(pull, key, err));
        meta = grow(r, meta, n, sizeof *meta);
        if (meta == NULL || (meta[n].key = keep(r, key)) == NULL) {
            return no_memory(err);
        }
        EDT_TRY(edt_json_pull_expect_text(pull, err, &value));
        EDT_TRY(check_text(pull, value, err));
        if ((meta[n++].value = keep(r, value)) == NULL) {
            return no_memory(err);
        }
    }
    r->handle.meta = meta;
    r->handle.n_meta = n;
    return EDT_OK;
}

static edt_status read_dtype(edt_json_pull *pull, edt_error *err, edt_dtype *out_dtype)
{
    edt_text text;
    EDT_TRY(edt_json_pull_expect_text(pull, err, &text));
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; ++i) {
        if (edt_text_is(text, dtypes[i].name)) {
            *out_dtype = dtypes[i].dtype;
            return EDT_OK;
        }
    }
    return edt_json_pull_fail(
        pull, EDT_ERR_UNSUPPORTED, err,
        "element type %.*s; supported: F64, F32, F16, BF16, I64, I32, U8, BOOL",
        (int)(text.n_bytes < 40 ? text.n_bytes : 40), text.data);
}

// An array of non-negative integers; more than `cap` is an error of status `too_many`.
static edt_status read_integers(edt_json_pull *pull, int cap, edt_status too_many,
                                edt_error *err, int64_t *out_values, int *out_n)
{
    int n = 0;
    EDT_TRY(edt_json_pull_expect(pull, EDT_JSON_ARRAY_BEGIN, err));
    for (;;) {
        bool more;
        EDT_TRY(edt_json_pull_next_item(pull, err, &more));
        if (!more) {
            *out_n = n;
            return EDT_OK;
        }
        if (n == cap) {
            return edt_json_pull_fail(pull, too_many, err, "more than %d numbers", cap);
        }
        EDT_TRY(edt_json_pull_expect_i64(pull, err, &out_values[n]));
        if (out_values[n] < 0) {
            return edt_json_pull_fail(pull, EDT_ERR_FORMAT, err, "%lld is negative",
                                      (long long)out_values[n]);
        }
        ++n;
    }
}

static bool data_bytes(const edt_tensor_desc *desc, uint64_t *out_bytes)
{
    uint64_t n = edt_dtype_bytes(desc->dtype);
    for (int i = 0; i < desc->shape.n_dims; ++i) {
        if (__builtin_mul_overflow(n, (uint64_t)desc->shape.dim[i], &n)) {
            return false;
        }
    }
    *out_bytes = n;
    return n <= INT64_MAX;
}

static edt_status read_entry(edt_json_pull *pull, edt_error *err, entry *e)
{
    bool has_dtype = false, has_shape = false, has_offsets = false;
    EDT_TRY(edt_json_pull_expect(pull, EDT_JSON_OBJECT_BEGIN, err));
    for (;;) {
        edt_text key;
        bool more;
        EDT_TRY(edt_json_pull_next_key(pull, err, &key, &more));
        if (!more) {
            break;
        }
        if (edt_text_is(key, "dtype")) {
            EDT_TRY(read_dtype(pull, err, &e->item.desc.dtype));
            has_dtype = true;
        } else if (edt_text_is(key, "shape")) {
            EDT_TRY(read_integers(pull, EDT_MAX_DIMS, EDT_ERR_UNSUPPORTED, err,
                                  e->item.desc.shape.dim, &e->item.desc.shape.n_dims));
            has_shape = true;
        } else if (edt_text_is(key, "data_offsets")) {
            int64_t offsets[2];
            int n = 0;
            EDT_TRY(read_integers(pull, 2, EDT_ERR_FORMAT, err, offsets, &n));
            if (n != 2 || offsets[0] > offsets[1]) {
                return edt_json_pull_fail(pull, EDT_ERR_FORMAT, err,
                                          "data_offsets must be [begin, end]");
            }
            e->begin = (uint64_t)offsets[0];
            e->end = (uint64_t)offsets[1];
            has_offsets = true;
        } else {
            return edt_json_pull_fail(pull, EDT_ERR_FORMAT, err,
                                      "unknown key; allowed: dtype, shape, data_offsets");
        }
    }
    if (!has_dtype || !has_shape || !has_offsets) {
        return edt_json_pull_fail(pull, EDT_ERR_FORMAT, err, "%s is missing",
                                  !has_dtype   ? "dtype"
                                  : !has_shape ? "shape"
                                               : "data_offsets");
    }
    uint64_t n_bytes;
    if (!data_bytes(&e->item.desc, &n_bytes) || n_bytes != e->end - e->begin) {
        char shape[EDT_SHAPE_TEXT_BYTES];
        return edt_json_pull_fail(pull, EDT_ERR_FORMAT, err,
                                  "data_offsets hold %llu bytes, %s%s needs another number",
                                  (unsigned long long)(e->end - e->begin),
                                  dtype_name(e->item.desc.dtype),
                                  edt_shape_text(&e->item.desc.shape, shape));
    }
    return EDT_OK;
}

static edt_status read_entries(reader *r, edt_json_pull *pull, edt_error *err,
                               entry **out_entries, int64_t *out_n)
{
    entry *entries = NULL;
    int64_t n = 0;
    EDT_TRY(edt_json_pull_expect(pull, EDT_JSON_OBJECT_BEGIN, err));
    for (;;) {
        edt_text name;
        bool more;
        EDT_TRY(edt_json_pull_next_key(pull, err, &name, &more));
        if (!more) {
            break;
        }
        if (edt_text_is(name, "__metadata__")) {
            EDT_TRY(read_meta(r, pull, err));
            continue;
        }
        EDT_TRY(check_text(pull, name, err));
        entries = grow(r, entries, n, sizeof *entries);
        if (entries == NULL || (entries[n].item.name = keep(r, name)) == NULL) {
            return no_memory(err);
        }
        EDT_TRY(read_entry(pull, err, &entries[n]));
        ++n;
    }
    *out_entries = entries;
    *out_n = n;
    return edt_json_pull_expect(pull, EDT_JSON_END, err);
}

static int by_offset(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->begin != y->begin) {
        return x->begin < y->begin ? -1 : 1;
    }
    return (x->end > y->end) - (x->end < y->end);
}

static int by_name(const void *a, const void *b)
{
    const edt_safetensors_item *x = a, *y = b;
    return strcmp(x->name, y->name);
}

// No gaps, no overlaps, no rest; then the public list in the order of names.
static edt_status place(reader *r, entry *entries, int64_t n, edt_span data, edt_error *err)
{
    edt_safetensors_item *items = edt_arena_calloc(&r->arena, (size_t)n, sizeof *items);
    if (items == NULL) {
        return no_memory(err);
    }
    if (n > 1) {
        qsort(entries, (size_t)n, sizeof *entries, by_offset);
    }
    uint64_t at = 0;
    for (int64_t i = 0; i < n; ++i) {
        const entry *e = &entries[i];
        if (e->begin != at || e->end > data.n_bytes) {
            EDT_FAIL(
                err, EDT_ERR_FORMAT,
                "tensor '%.200s': data_offsets [%llu, %llu]: expected to begin at %llu within "
                "%zu bytes",
                e->item.name, (unsigned long long)e->begin, (unsigned long long)e->end,
                (unsigned long long)at, data.n_bytes);
        }
        items[i] = e->item;
        items[i].data =
            (edt_span){data.n_bytes > 0 ? data.data + at : NULL, (size_t)(e->end - at)};
        at = e->end;
    }
    if (at != data.n_bytes) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "%zu bytes of data, of which tensors use %llu",
                 data.n_bytes, (unsigned long long)at);
    }
    if (n > 1) {
        qsort(items, (size_t)n, sizeof *items, by_name);
    }
    for (int64_t i = 1; i < n; ++i) {
        if (strcmp(items[i - 1].name, items[i].name) == 0) {
            EDT_FAIL(err, EDT_ERR_FORMAT, "tensor '%.200s' occurs twice", items[i].name);
        }
    }
    r->handle.items = items;
    r->handle.n = n;
    return EDT_OK;
}

static edt_status read_all(reader *r, edt_span bytes, edt_error *err)
{
    uint64_t n_header = 0;
    for (int i = PREFIX_BYTES - 1; i >= 0 && bytes.n_bytes >= PREFIX_BYTES; --i) {
        n_header = n_header << 8 | bytes.data[i];
    }
    if (bytes.n_bytes < PREFIX_BYTES || n_header > bytes.n_bytes - PREFIX_BYTES ||
        n_header > MAX_HEADER_BYTES || n_header < 2) {
        EDT_FAIL(err, EDT_ERR_FORMAT,
                 "no safetensors file: %zu bytes cannot hold a header of %llu bytes",
                 bytes.n_bytes, (unsigned long long)n_header);
    }
    const edt_span header = {bytes.data + PREFIX_BYTES, (size_t)n_header};
    const size_t n_before = PREFIX_BYTES + (size_t)n_header;
    const edt_span data = {bytes.data + n_before, bytes.n_bytes - n_before};
    edt_json_pull pull;
    edt_json_pull_init(&pull, header, (edt_json_pull_options){0});
    entry *entries = NULL;
    int64_t n = 0;
    edt_status status = read_entries(r, &pull, err, &entries, &n);
    edt_json_pull_deinit(&pull);
    if (status != EDT_OK) {
        return edt_error_add_context(err, status, "header");
    }
    return place(r, entries, n, data, err);
}

static edt_status open_reader(edt_mapped_file map, edt_span bytes, edt_error *err,
                              edt_safetensors **out_file)
{
    reader *r = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *r);
    if (r == NULL) {
        edt_mapped_file_close(&map);
        return no_memory(err);
    }
    r->map = map;
    edt_arena_init(&r->arena, EDT_MEM_ARENA, 0);
    const edt_status status = read_all(r, bytes, err);
    if (status != EDT_OK) {
        edt_safetensors_close(&r->handle);
        return status;
    }
    *out_file = &r->handle;
    return EDT_OK;
}

edt_status edt_safetensors_open(const char *path, edt_error *err, edt_safetensors **out_file)
{
    edt_mapped_file map;
    EDT_TRY(edt_mapped_file_open(path, err, &map));
    EDT_TRY_CTX(open_reader(map, map.span, err, out_file), err, "%s", path);
    return EDT_OK;
}

edt_status edt_safetensors_open_span(edt_span bytes, edt_error *err, edt_safetensors **out_file)
{
    return open_reader((edt_mapped_file){0}, bytes, err, out_file);
}

void edt_safetensors_close(edt_safetensors *file)
{
    if (file != NULL) {
        reader *r = (reader *)file;
        edt_mapped_file_close(&r->map);
        edt_arena_deinit(&r->arena);
        edt_mem_free(r);
    }
}

const edt_safetensors_item *edt_safetensors_find(const edt_safetensors *file, const char *name)
{
    int64_t lo = 0, hi = file->n;
    while (lo < hi) {
        const int64_t mid = lo + (hi - lo) / 2;
        const int order = strcmp(file->items[mid].name, name);
        if (order == 0) {
            return &file->items[mid];
        }
        lo = order < 0 ? mid + 1 : lo;
        hi = order < 0 ? hi : mid;
    }
    return NULL;
}

const char *edt_safetensors_meta_get(const edt_safetensors *file, const char *key)
{
    for (int64_t i = 0; i < file->n_meta; ++i) {
        if (strcmp(file->meta[i].key, key) == 0) {
            return file->meta[i].value;
        }
    }
    return NULL;
}

edt_status edt_safetensors_get(const edt_safetensors *file, const char *name, edt_dtype dtype,
                               const edt_shape *shape, edt_error *err,
                               const edt_safetensors_item **out_item)
{
    const edt_safetensors_item *item = edt_safetensors_find(file, name);
    if (item == NULL) {
        EDT_FAIL(err, EDT_ERR_NOT_FOUND, "no tensor '%.200s' among %lld", name,
                 (long long)file->n);
    }
    if (item->desc.dtype != dtype ||
        (shape != NULL && !edt_shape_equal(shape, &item->desc.shape))) {
        char found[EDT_SHAPE_TEXT_BYTES], wanted[EDT_SHAPE_TEXT_BYTES] = "";
        EDT_FAIL(err, EDT_ERR_MISMATCH, "tensor '%.200s' is %s%s, expected %s%s", name,
                 edt_dtype_name(item->desc.dtype), edt_shape_text(&item->desc.shape, found),
                 edt_dtype_name(dtype), shape != NULL ? edt_shape_text(shape, wanted) : "");
    }
    *out_item = item;
    return EDT_OK;
}

typedef struct plan {
    const edt_safetensors_item *item;
    uint64_t begin;
} plan;

static int plan_by_name(const void *a, const void *b)
{
    const plan *x = a, *y = b;
    return strcmp(x->item->name, y->item->name);
}

static int plan_by_size(const void *a, const void *b)
{
    const plan *x = a, *y = b;
    const size_t n = edt_dtype_bytes(x->item->desc.dtype),
                 m = edt_dtype_bytes(y->item->desc.dtype);
    return n != m ? (n < m) - (n > m) : plan_by_name(a, b);
}

static int meta_by_key(const void *a, const void *b)
{
    const edt_safetensors_meta *x = a, *y = b;
    return strcmp(x->key, y->key);
}

static edt_status check_items(const plan *plans, int64_t n, const edt_safetensors_meta *meta,
                              int64_t n_meta, edt_error *err)
{
    for (int64_t i = 0; i < n; ++i) {
        const edt_safetensors_item *item = plans[i].item;
        uint64_t n_bytes;
        if (strcmp(item->name, "__metadata__") == 0 ||
            (i > 0 && strcmp(item->name, plans[i - 1].item->name) == 0)) {
            EDT_FAIL(err, EDT_ERR_INVALID, "tensor name '%.200s' is %s", item->name,
                     i > 0 && strcmp(item->name, plans[i - 1].item->name) == 0 ? "given twice"
                                                                               : "reserved");
        }
        if (dtype_name(item->desc.dtype) == NULL || !data_bytes(&item->desc, &n_bytes) ||
            n_bytes != item->data.n_bytes) {
            EDT_FAIL(err, EDT_ERR_INVALID, "tensor '%.200s': %zu bytes do not fit its shape",
                     item->name, item->data.n_bytes);
        }
    }
    for (int64_t i = 1; i < n_meta; ++i) {
        if (strcmp(meta[i].key, meta[i - 1].key) == 0) {
            EDT_FAIL(err, EDT_ERR_INVALID, "metadata key '%.200s' is given twice", meta[i].key);
        }
    }
    return EDT_OK;
}

static void put_header(edt_json_writer *w, const plan *plans, int64_t n,
                       const edt_safetensors_meta *meta, int64_t n_meta)
{
    edt_json_begin_object(w);
    if (n_meta > 0) {
        edt_json_key(w, "__metadata__");
        edt_json_begin_object(w);
        for (int64_t i = 0; i < n_meta; ++i) {
            edt_json_put_text(w, meta[i].key, meta[i].value);
        }
        edt_json_end_object(w);
    }
    for (int64_t i = 0; i < n; ++i) {
        const edt_safetensors_item *item = plans[i].item;
        edt_json_key(w, item->name);
        edt_json_begin_object(w);
        edt_json_put_text(w, "dtype", dtype_name(item->desc.dtype));
        edt_json_key(w, "shape");
        edt_json_begin_array(w);
        for (int k = 0; k < item->desc.shape.n_dims; ++k) {
            edt_json_i64(w, item->desc.shape.dim[k]);
        }
        edt_json_end_array(w);
        edt_json_key(w, "data_offsets");
        edt_json_begin_array(w);
        edt_json_i64(w, (int64_t)plans[i].begin);
        edt_json_i64(w, (int64_t)(plans[i].begin + item->data.n_bytes));
        edt_json_end_array(w);
        edt_json_end_object(w);
    }
    edt_json_end_object(w);
}

static edt_status write_parts(edt_atomic_file *file, edt_text header, const plan *plans,
                              int64_t n, edt_error *err)
{
    // Padding makes the data begin at a multiple of 8.
    const size_t n_pad = (8 - header.n_bytes % 8) % 8;
    const uint64_t n_header = header.n_bytes + n_pad;
    uint8_t prefix[PREFIX_BYTES];
    for (int i = 0; i < PREFIX_BYTES; ++i) {
        prefix[i] = (uint8_t)(n_header >> (8 * i));
    }
    EDT_TRY(edt_atomic_file_append(file, prefix, sizeof prefix, err));
    EDT_TRY(edt_atomic_file_append(file, header.data, header.n_bytes, err));
    EDT_TRY(edt_atomic_file_append(file, "       ", n_pad, err));
    for (int64_t i = 0; i < n; ++i) {
        const edt_span data = plans[i].item->data;
        if (data.n_bytes > 0) {
            EDT_TRY(edt_atomic_file_append(file, data.data, data.n_bytes, err));
        }
    }
    return edt_atomic_file_commit(file, err);
}

edt_status edt_safetensors_write(const char *path, const edt_safetensors_item *items, int64_t n,
                                 const edt_safetensors_meta *meta, int64_t n_meta,
                                 edt_error *err)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    edt_json_writer writer = {.compact = true};
    edt_atomic_file *file = NULL;
    edt_status status = EDT_OK;
    edt_text header;
    plan *plans = edt_arena_calloc(&arena, (size_t)n, sizeof *plans);
    edt_safetensors_meta *sorted = edt_arena_calloc(&arena, (size_t)n_meta, sizeof *sorted);
    if (plans == NULL || sorted == NULL) {
        status = no_memory(err);
        goto fail;
    }
    for (int64_t i = 0; i < n; ++i) {
        plans[i].item = &items[i];
    }
    for (int64_t i = 0; i < n_meta; ++i) {
        sorted[i] = meta[i];
    }
    qsort(sorted, (size_t)n_meta, sizeof *sorted, meta_by_key);
    qsort(plans, (size_t)n, sizeof *plans, plan_by_name);
    EDT_TRY_GOTO(check_items(plans, n, sorted, n_meta, err));
    qsort(plans, (size_t)n, sizeof *plans, plan_by_size);
    uint64_t at = 0;
    for (int64_t i = 0; i < n; ++i) {
        plans[i].begin = at;
        at += plans[i].item->data.n_bytes;
    }
    qsort(plans, (size_t)n, sizeof *plans, plan_by_name);
    put_header(&writer, plans, n, sorted, n_meta);
    EDT_TRY_GOTO(edt_json_writer_finish(&writer, err, &header));
    qsort(plans, (size_t)n, sizeof *plans, plan_by_size);
    EDT_TRY_GOTO(edt_atomic_file_open(path, err, &file));
    status = write_parts(file, header, plans, n, err);
fail:
    edt_atomic_file_close(file);
    edt_json_writer_deinit(&writer);
    edt_arena_deinit(&arena);
    return status == EDT_OK ? EDT_OK : edt_error_add_context(err, status, "writing %s", path);
}
