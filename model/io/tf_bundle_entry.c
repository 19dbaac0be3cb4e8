// See tf_bundle_entry.h. TensorFlow's type numbers are listed in spec/model.md 7.3.
#include "model/io/tf_bundle_entry.h"

#include <string.h>

#include "core/mem.h"
#include "model/io/tensor_bundle.pb-c.h"

enum { TF_STRING = 7, MAX_SHARDS = 99999 };

typedef struct type_row {
    int32_t number;
    edt_dtype dtype;
} type_row;

static const type_row TYPES[] = {
    {1, EDT_DTYPE_F32}, {2, EDT_DTYPE_F64},   {3, EDT_DTYPE_I32},   {4, EDT_DTYPE_U8},
    {9, EDT_DTYPE_I64}, {10, EDT_DTYPE_BOOL}, {14, EDT_DTYPE_BF16}, {19, EDT_DTYPE_F16},
};
enum { N_TYPES = sizeof TYPES / sizeof TYPES[0] };

static edt_dtype dtype_of(int32_t number)
{
    for (int i = 0; i < N_TYPES; ++i) {
        if (TYPES[i].number == number) {
            return TYPES[i].dtype;
        }
    }
    return EDT_DTYPE_NONE;
}

static int32_t number_of(edt_dtype dtype)
{
    for (int i = 0; i < N_TYPES; ++i) {
        if (TYPES[i].dtype == dtype) {
            return TYPES[i].number;
        }
    }
    return 0;
}

static void *allocate(void *data, size_t n_bytes)
{
    (void)data;
    return edt_mem_alloc(EDT_MEM_TEXT, n_bytes);
}

static void release(void *data, void *block)
{
    (void)data;
    edt_mem_free(block);
}

static ProtobufCAllocator allocator(void)
{
    return (ProtobufCAllocator){.alloc = allocate, .free = release};
}

edt_status edt_tf_header_parse(edt_span value, const char *where, edt_error *err,
                               edt_tf_header *out_header)
{
    ProtobufCAllocator memory = allocator();
    Edt__Bundle__Header *message =
        edt__bundle__header__unpack(&memory, value.n_bytes, value.data);
    if (message == NULL) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "%s: the header entry is not a bundle header", where);
    }
    const edt_tf_header header = {message->num_shards, message->endianness == 1};
    const int32_t min_consumer = message->version != NULL ? message->version->min_consumer : 0;
    edt__bundle__header__free_unpacked(message, &memory);
    if (header.n_shards < 1 || header.n_shards > MAX_SHARDS) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "%s: the header says %d data files; 1 to %d are possible",
                 where, header.n_shards, MAX_SHARDS);
    }
    if (min_consumer > 1) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "%s: written for readers of version %d or newer; this reader is version 1",
                 where, min_consumer);
    }
    *out_header = header;
    return EDT_OK;
}

// Dimensions into entry->shape; counts elements. False when a size is negative or the count
// overflows.
static bool take_shape(const Edt__Bundle__Shape *shape, edt_tf_entry *entry, int64_t *out_count)
{
    int64_t count = 1;
    const size_t n_dims = shape == NULL ? 0 : shape->n_dim;
    for (size_t i = 0; i < n_dims; ++i) {
        const int64_t size = shape->dim[i]->size;
        if (size < 0 || (size > 0 && count > INT64_MAX / 16 / size)) {
            return false;
        }
        count *= size;
        if (i < EDT_MAX_DIMS) {
            entry->shape.dim[i] = size;
        }
    }
    entry->shape.n_dims = (int)(n_dims < EDT_MAX_DIMS ? n_dims : EDT_MAX_DIMS);
    if (shape != NULL && shape->unknown_rank) {
        entry->unreadable = "its shape is not known";
    } else if (n_dims > EDT_MAX_DIMS) {
        entry->unreadable = "it has more than 5 dimensions";
    }
    *out_count = count;
    return true;
}

static edt_status take_entry(const Edt__Bundle__Entry *message, const char *where,
                             edt_error *err, edt_tf_entry *entry)
{
    int64_t count = 0;
    if (!take_shape(message->shape, entry, &count)) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "%s: tensor '%s' has an impossible shape", where,
                 entry->name);
    }
    entry->n_bytes = message->size;
    entry->shard = message->shard_id;
    entry->offset = message->offset;
    entry->masked_crc = message->crc32c;
    entry->is_string = message->dtype == TF_STRING;
    entry->dtype = dtype_of(message->dtype);
    if (message->n_slices > 0) {
        entry->unreadable = "it is stored in partitions; save the model unpartitioned";
        return EDT_OK;
    }
    if (entry->n_bytes < 0 || entry->offset < 0 || entry->shard < 0) {
        EDT_FAIL(err, EDT_ERR_FORMAT,
                 "%s: tensor '%s' lies at byte %lld of shard %d with %lld bytes", where,
                 entry->name, (long long)entry->offset, entry->shard,
                 (long long)entry->n_bytes);
    }
    if (entry->dtype == EDT_DTYPE_NONE) {
        if (!entry->is_string && entry->unreadable == NULL) {
            entry->unreadable = "its element type is not supported";
        }
        return EDT_OK;
    }
    const int64_t want = count * (int64_t)edt_dtype_bytes(entry->dtype);
    if (want != entry->n_bytes) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "%s: tensor '%s' has %lld bytes, its shape wants %lld",
                 where, entry->name, (long long)entry->n_bytes, (long long)want);
    }
    return EDT_OK;
}

edt_status edt_tf_entry_parse(edt_span key, edt_span value, const char *where, edt_arena *arena,
                              edt_error *err, edt_tf_entry *out_entry)
{
    edt_tf_entry entry = {.name =
                              edt_arena_strndup(arena, (const char *)key.data, key.n_bytes)};
    if (entry.name == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", where);
    }
    if (memchr(key.data, 0, key.n_bytes) != NULL) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "%s: a tensor's name holds a zero byte ('%s')", where,
                 entry.name);
    }
    ProtobufCAllocator memory = allocator();
    Edt__Bundle__Entry *message =
        edt__bundle__entry__unpack(&memory, value.n_bytes, value.data);
    if (message == NULL) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "%s: the entry of tensor '%s' is malformed", where,
                 entry.name);
    }
    const edt_status status = take_entry(message, where, err, &entry);
    edt__bundle__entry__free_unpacked(message, &memory);
    if (status == EDT_OK) {
        *out_entry = entry;
    }
    return status;
}

static edt_status append_packed(const ProtobufCMessage *message, edt_tf_bytes *out,
                                edt_error *err)
{
    const size_t n = protobuf_c_message_get_packed_size(message);
    uint8_t *packed = edt_mem_alloc(EDT_MEM_TEXT, n);
    bool ok = packed != NULL;
    if (ok) {
        (void)protobuf_c_message_pack(message, packed);
        ok = edt_tf_bytes_append(out, packed, n);
    }
    edt_mem_free(packed);
    if (!ok) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "checkpoint index: out of memory");
    }
    return EDT_OK;
}

edt_status edt_tf_header_pack(const edt_tf_header *header, edt_tf_bytes *out, edt_error *err)
{
    Edt__Bundle__Version version = EDT__BUNDLE__VERSION__INIT;
    version.producer = 1;
    Edt__Bundle__Header message = EDT__BUNDLE__HEADER__INIT;
    message.num_shards = header->n_shards;
    message.endianness = header->big_endian;
    message.version = &version;
    return append_packed(&message.base, out, err);
}

edt_status edt_tf_entry_pack(const edt_tf_entry *entry, edt_tf_bytes *out, edt_error *err)
{
    Edt__Bundle__Dim dims[EDT_MAX_DIMS];
    Edt__Bundle__Dim *dim_pointers[EDT_MAX_DIMS];
    Edt__Bundle__Shape shape = EDT__BUNDLE__SHAPE__INIT;
    for (int i = 0; i < entry->shape.n_dims; ++i) {
        dims[i] = (Edt__Bundle__Dim)EDT__BUNDLE__DIM__INIT;
        dims[i].size = entry->shape.dim[i];
        dim_pointers[i] = &dims[i];
    }
    shape.n_dim = (size_t)entry->shape.n_dims;
    shape.dim = dim_pointers;
    Edt__Bundle__Entry message = EDT__BUNDLE__ENTRY__INIT;
    message.dtype = entry->is_string ? TF_STRING : number_of(entry->dtype);
    message.shape = &shape; // present even when empty, as TensorFlow writes scalars
    message.shard_id = entry->shard;
    message.offset = entry->offset;
    message.size = entry->n_bytes;
    message.crc32c = entry->masked_crc;
    return append_packed(&message.base, out, err);
}
