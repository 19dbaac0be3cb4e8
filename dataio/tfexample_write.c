// Writing side of tf.train.Example; see tfexample.h. protobuf-c packs the message into a buffer
// of ours that keeps long values (the image) as borrowed pieces instead of copying them.
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "dataio/proto/tf_example.pb-c.h"
#include "dataio/record_info.h"
#include "dataio/tfexample.h"

enum { CHUNK_BYTES = 2048 };

typedef struct piece_buffer {
    ProtobufCBuffer base; // first: protobuf-c hands back a pointer to it
    edt_arena *arena;
    edt_span *pieces;
    size_t n_pieces, capacity;
    size_t n_bytes;
    uint8_t *chunk; // end of the open copied piece
    size_t chunk_left;
    bool out_of_memory;
} piece_buffer;

static bool push_piece(piece_buffer *buffer, const uint8_t *data, size_t n_bytes)
{
    if (buffer->n_pieces == buffer->capacity) {
        const size_t capacity = buffer->capacity > 0 ? 2 * buffer->capacity : 8;
        edt_span *pieces = edt_arena_calloc(buffer->arena, capacity, sizeof *pieces);
        if (pieces == NULL) {
            return false;
        }
        if (buffer->n_pieces > 0) {
            memcpy(pieces, buffer->pieces, buffer->n_pieces * sizeof *pieces);
        }
        buffer->pieces = pieces;
        buffer->capacity = capacity;
    }
    buffer->pieces[buffer->n_pieces++] = (edt_span){.data = data, .n_bytes = n_bytes};
    return true;
}

static void append(ProtobufCBuffer *base, size_t n_bytes, const uint8_t *data)
{
    piece_buffer *buffer = (piece_buffer *)base;
    buffer->n_bytes += n_bytes;
    if (n_bytes >= EDT_TFEXAMPLE_BORROW_BYTES) {
        buffer->chunk_left = 0;
        buffer->out_of_memory |= !push_piece(buffer, data, n_bytes);
        return;
    }
    while (n_bytes > 0 && !buffer->out_of_memory) {
        if (buffer->chunk_left == 0) {
            buffer->chunk = edt_arena_alloc(buffer->arena, CHUNK_BYTES);
            buffer->chunk_left = CHUNK_BYTES;
            buffer->out_of_memory =
                buffer->chunk == NULL || !push_piece(buffer, buffer->chunk, 0);
            continue;
        }
        const size_t n = n_bytes < buffer->chunk_left ? n_bytes : buffer->chunk_left;
        memcpy(buffer->chunk, data, n);
        buffer->pieces[buffer->n_pieces - 1].n_bytes += n;
        buffer->chunk += n;
        buffer->chunk_left -= n;
        data += n;
        n_bytes -= n;
    }
}

typedef struct message_store {
    Tensorflow__FeatureEntry entry;
    Tensorflow__Feature feature;
    union {
        Tensorflow__BytesList bytes;
        Tensorflow__FloatList floats;
        Tensorflow__Int64List ints;
    } list;
} message_store;

static int compare_entries(const void *a, const void *b)
{
    return strcmp((*(const message_store *const *)a)->entry.key,
                  (*(const message_store *const *)b)->entry.key);
}

// protobuf-c wants mutable pointers but only reads through them when packing.
static bool fill_message(const edt_feature *from, edt_arena *arena, message_store *to)
{
    tensorflow__feature_entry__init(&to->entry);
    tensorflow__feature__init(&to->feature);
    to->entry.key = edt_arena_strndup(arena, from->key.data, from->key.n_bytes);
    to->entry.value = &to->feature;
    switch (from->kind) {
    case EDT_FEATURE_BYTES: {
        tensorflow__bytes_list__init(&to->list.bytes);
        ProtobufCBinaryData *values = edt_arena_calloc(arena, from->n + 1, sizeof *values);
        if (values == NULL) {
            return false;
        }
        for (size_t i = 0; i < from->n; ++i) {
            values[i].len = from->value.bytes[i].n_bytes;
            memcpy(&values[i].data, &from->value.bytes[i].data, sizeof values[i].data);
        }
        to->list.bytes.n_value = from->n;
        to->list.bytes.value = values;
        to->feature.kind_case = TENSORFLOW__FEATURE__KIND_BYTES_LIST;
        to->feature.bytes_list = &to->list.bytes;
        break;
    }
    case EDT_FEATURE_FLOAT:
        tensorflow__float_list__init(&to->list.floats);
        to->list.floats.n_value = from->n;
        memcpy(&to->list.floats.value, &from->value.floats, sizeof to->list.floats.value);
        to->feature.kind_case = TENSORFLOW__FEATURE__KIND_FLOAT_LIST;
        to->feature.float_list = &to->list.floats;
        break;
    case EDT_FEATURE_INT64:
        tensorflow__int64_list__init(&to->list.ints);
        to->list.ints.n_value = from->n;
        memcpy(&to->list.ints.value, &from->value.ints, sizeof to->list.ints.value);
        to->feature.kind_case = TENSORFLOW__FEATURE__KIND_INT64_LIST;
        to->feature.int64_list = &to->list.ints;
        break;
    case EDT_FEATURE_NONE: break;
    }
    return to->entry.key != NULL;
}

edt_status edt_tfexample_write(const edt_feature *features, size_t n_features, edt_arena *arena,
                               edt_error *err, edt_tfexample_pieces *out_pieces)
{
    message_store *store = edt_arena_calloc(arena, n_features + 1, sizeof *store);
    message_store **order = edt_arena_calloc(arena, n_features + 1, sizeof *order);
    Tensorflow__FeatureEntry **entries =
        edt_arena_calloc(arena, n_features + 1, sizeof *entries);
    if (store == NULL || order == NULL || entries == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %zu features", n_features);
    }
    for (size_t i = 0; i < n_features; ++i) {
        order[i] = &store[i];
        if (!fill_message(&features[i], arena, &store[i])) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %zu features", n_features);
        }
    }
    qsort(order, n_features, sizeof *order, compare_entries);
    for (size_t i = 0; i < n_features; ++i) {
        entries[i] = &order[i]->entry;
        if (i > 0 && strcmp(entries[i]->key, entries[i - 1]->key) == 0) {
            EDT_FAIL(err, EDT_ERR_INVALID, "key '%s' is given twice", entries[i]->key);
        }
    }
    Tensorflow__Features map = TENSORFLOW__FEATURES__INIT;
    map.n_feature = n_features;
    map.feature = entries;
    Tensorflow__Example example = TENSORFLOW__EXAMPLE__INIT;
    example.features = &map;
    piece_buffer buffer = {.base = {.append = append}, .arena = arena};
    (void)protobuf_c_message_pack_to_buffer(&example.base, &buffer.base);
    if (buffer.out_of_memory) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a record of %zu bytes", buffer.n_bytes);
    }
    edt_record_info *info = edt_arena_calloc(arena, 1, sizeof *info);
    if (info == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %zu features", n_features);
    }
    EDT_TRY(edt_record_info_from_features(features, n_features, arena, err, info));
    *out_pieces = (edt_tfexample_pieces){.pieces = buffer.pieces,
                                         .n_pieces = buffer.n_pieces,
                                         .n_bytes = buffer.n_bytes,
                                         .info = info};
    return EDT_OK;
}
