// Reading side of tf.train.Example; see tfexample.h. A first walk finds the entries (skipping
// their contents by length, so an image's bytes are not touched), values are decoded on demand.
#include "dataio/tfexample.h"

#include <string.h>

#include "dataio/wire_priv.h"

enum { SHOWN_KEY_BYTES = 80 };

const char *edt_feature_kind_name(edt_feature_kind kind)
{
    switch (kind) {
    case EDT_FEATURE_BYTES: return "bytes";
    case EDT_FEATURE_FLOAT: return "float";
    case EDT_FEATURE_INT64: return "int64";
    case EDT_FEATURE_NONE: break;
    }
    return "none";
}

// The key as it may stand in a message: cut, and without control characters.
static const char *show_key(edt_text key, char *buffer)
{
    size_t n = key.n_bytes < SHOWN_KEY_BYTES ? key.n_bytes : SHOWN_KEY_BYTES;
    for (size_t i = 0; i < n; ++i) {
        const unsigned char c = (unsigned char)key.data[i];
        buffer[i] = (char)(c < 0x20 || c == 0x7f ? '?' : c);
    }
    buffer[n] = '\0';
    return buffer;
}

static edt_status bad_key(edt_error *err, edt_text key, const char *what)
{
    char shown[SHOWN_KEY_BYTES + 1];
    return edt_error_set(err, EDT_ERR_FORMAT, "key '%s': %s", show_key(key, shown), what);
}

// Looks through a Feature: its kind is that of the last field set; earlier fields of another
// kind are void (the rule for a protobuf oneof), so `out_entry->values` starts at the last
// change.
static bool scan_feature(edt_span feature, edt_tfexample_entry *out_entry)
{
    out_entry->kind = EDT_FEATURE_NONE;
    out_entry->values = (edt_span){.data = feature.data, .n_bytes = 0};
    edt_wire wire = edt_wire_over(feature);
    edt_wire_field field;
    edt_wire_result result;
    const uint8_t *start = wire.at;
    while ((result = edt_wire_next(&wire, &field)) == EDT_WIRE_FIELD) {
        if (field.number <= 3) {
            if (field.type != EDT_WIRE_BYTES) {
                return false;
            }
            const edt_feature_kind kind = (edt_feature_kind)field.number;
            if (kind != out_entry->kind) {
                out_entry->kind = kind;
                out_entry->values.data = start;
            }
        }
        start = wire.at;
    }
    out_entry->values.n_bytes =
        out_entry->kind == EDT_FEATURE_NONE ? 0 : (size_t)(wire.end - out_entry->values.data);
    return result == EDT_WIRE_END;
}

static edt_status parse_entry(edt_span bytes, edt_error *err, edt_tfexample_entry *out_entry)
{
    edt_span feature = {0};
    edt_text key = {.data = "", .n_bytes = 0};
    edt_wire wire = edt_wire_over(bytes);
    edt_wire_field field;
    edt_wire_result result;
    while ((result = edt_wire_next(&wire, &field)) == EDT_WIRE_FIELD) {
        if (field.number > 2) {
            continue;
        }
        if (field.type != EDT_WIRE_BYTES) {
            return bad_key(err, key, "map entry has a field of the wrong wire type");
        }
        if (field.number == 1) {
            key = (edt_text){.data = (const char *)field.bytes.data,
                             .n_bytes = field.bytes.n_bytes};
        } else {
            feature = field.bytes;
        }
    }
    if (result == EDT_WIRE_BAD) {
        return bad_key(err, key, "map entry is cut or malformed");
    }
    out_entry->key = key;
    if (!scan_feature(feature, out_entry)) {
        return bad_key(err, key, "its Feature is cut or malformed");
    }
    return EDT_OK;
}

static int compare_keys(edt_text a, edt_text b)
{
    const size_t n = a.n_bytes < b.n_bytes ? a.n_bytes : b.n_bytes;
    const int order = n > 0 ? memcmp(a.data, b.data, n) : 0;
    return order != 0 ? order : (a.n_bytes > b.n_bytes) - (a.n_bytes < b.n_bytes);
}

// Calls are nested two deep (Example, Features); `entries` NULL only counts.
static edt_status walk_entries(edt_span payload, edt_error *err, edt_tfexample_entry *entries,
                               size_t *out_n)
{
    size_t n = 0;
    edt_wire example = edt_wire_over(payload);
    edt_wire_field features;
    edt_wire_result outer;
    while ((outer = edt_wire_next(&example, &features)) == EDT_WIRE_FIELD) {
        if (features.number != 1) {
            continue;
        }
        if (features.type != EDT_WIRE_BYTES) {
            EDT_FAIL(err, EDT_ERR_FORMAT, "not a tf.train.Example: field 1 has wire type %u",
                     features.type);
        }
        edt_wire wire = edt_wire_over(features.bytes);
        edt_wire_field entry;
        edt_wire_result inner;
        while ((inner = edt_wire_next(&wire, &entry)) == EDT_WIRE_FIELD) {
            if (entry.number != 1) {
                continue;
            }
            if (entry.type != EDT_WIRE_BYTES) {
                EDT_FAIL(err, EDT_ERR_FORMAT,
                         "not a tf.train.Example: feature %zu has wire type %u", n, entry.type);
            }
            if (entries != NULL) {
                EDT_TRY(parse_entry(entry.bytes, err, &entries[n]));
            }
            ++n;
        }
        if (inner == EDT_WIRE_BAD) {
            EDT_FAIL(
                err, EDT_ERR_FORMAT,
                "malformed tf.train.Example: its features are cut or damaged after %zu keys",
                n);
        }
    }
    if (outer == EDT_WIRE_BAD) {
        EDT_FAIL(err, EDT_ERR_FORMAT,
                 "malformed tf.train.Example: the message is cut or damaged (%zu bytes)",
                 payload.n_bytes);
    }
    *out_n = n;
    return EDT_OK;
}

// Bottom-up merge sort by key; stable, so that the later of two equal keys stays the later one,
// and n log n whatever a damaged or hostile record holds.
static void sort_entries(edt_tfexample_entry *entries, edt_tfexample_entry *scratch, size_t n)
{
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t from = 0; from + width < n; from += 2 * width) {
            const size_t middle = from + width;
            const size_t to = n - from < 2 * width ? n : from + 2 * width;
            memcpy(scratch + from, entries + from, width * sizeof *entries);
            size_t left = from, right = middle, put = from;
            while (left < middle && right < to) {
                entries[put++] = compare_keys(scratch[left].key, entries[right].key) <= 0
                                     ? scratch[left++]
                                     : entries[right++];
            }
            memcpy(entries + put, scratch + left, (middle - left) * sizeof *entries);
        }
    }
}

edt_status edt_tfexample_parse(edt_span payload, edt_arena *arena, edt_error *err,
                               edt_tfexample *out_example)
{
    size_t n_wire;
    EDT_TRY(walk_entries(payload, err, NULL, &n_wire));
    edt_tfexample_entry *entries = edt_arena_calloc(arena, n_wire + 1, 2 * sizeof *entries);
    if (entries == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %zu features", n_wire);
    }
    EDT_TRY(walk_entries(payload, err, entries, &n_wire));
    sort_entries(entries, entries + n_wire, n_wire);
    size_t n = 0;
    for (size_t i = 0; i < n_wire; ++i) {
        const bool repeated =
            i + 1 < n_wire && compare_keys(entries[i].key, entries[i + 1].key) == 0;
        if (!repeated && entries[i].kind != EDT_FEATURE_NONE) {
            entries[n++] = entries[i];
        }
    }
    *out_example = (edt_tfexample){.entries = entries, .n_entries = n};
    return EDT_OK;
}

const edt_tfexample_entry *edt_tfexample_find(const edt_tfexample *example, const char *key)
{
    const edt_text wanted = {.data = key, .n_bytes = strlen(key)};
    size_t low = 0, high = example->n_entries;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = compare_keys(example->entries[middle].key, wanted);
        if (order == 0) {
            return &example->entries[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

// Where decoded values go; with `put` NULL they are only counted.
typedef struct value_sink {
    edt_feature_kind kind;
    size_t n;
    edt_span *bytes;
    float *floats;
    int64_t *ints;
} value_sink;

static bool take_bytes(const edt_wire_field *field, value_sink *sink)
{
    if (field->type != EDT_WIRE_BYTES) {
        return false;
    }
    if (sink->bytes != NULL) {
        sink->bytes[sink->n] = field->bytes;
    }
    ++sink->n;
    return true;
}

// Packed values are a whole number of 4-byte little-endian floats; the host is little endian.
static bool take_floats(const edt_wire_field *field, value_sink *sink)
{
    if (field->type != EDT_WIRE_BYTES && field->type != EDT_WIRE_FIXED32) {
        return false;
    }
    if (field->bytes.n_bytes % 4 != 0) {
        return false;
    }
    if (sink->floats != NULL && field->bytes.n_bytes > 0) {
        memcpy(sink->floats + sink->n, field->bytes.data, field->bytes.n_bytes);
    }
    sink->n += field->bytes.n_bytes / 4;
    return true;
}

static void take_int(uint64_t value, value_sink *sink)
{
    if (sink->ints != NULL) {
        memcpy(&sink->ints[sink->n], &value, sizeof value);
    }
    ++sink->n;
}

static bool take_ints(const edt_wire_field *field, value_sink *sink)
{
    if (field->type == EDT_WIRE_VARINT) {
        take_int(field->varint, sink);
        return true;
    }
    if (field->type != EDT_WIRE_BYTES) {
        return false;
    }
    edt_wire wire = edt_wire_over(field->bytes);
    while (wire.at != wire.end) {
        uint64_t value;
        if (!edt_wire_varint(&wire, &value)) {
            return false;
        }
        take_int(value, sink);
    }
    return true;
}

static bool take_list(edt_span list, value_sink *sink)
{
    edt_wire wire = edt_wire_over(list);
    edt_wire_field field;
    edt_wire_result result;
    while ((result = edt_wire_next(&wire, &field)) == EDT_WIRE_FIELD) {
        if (field.number != 1) {
            continue;
        }
        const bool taken = sink->kind == EDT_FEATURE_BYTES   ? take_bytes(&field, sink)
                           : sink->kind == EDT_FEATURE_FLOAT ? take_floats(&field, sink)
                                                             : take_ints(&field, sink);
        if (!taken) {
            return false;
        }
    }
    return result == EDT_WIRE_END;
}

static bool take_values(const edt_tfexample_entry *entry, value_sink *sink)
{
    edt_wire wire = edt_wire_over(entry->values);
    edt_wire_field field;
    while (edt_wire_next(&wire, &field) == EDT_WIRE_FIELD) {
        if (field.number == (uint32_t)entry->kind && !take_list(field.bytes, sink)) {
            return false;
        }
    }
    return true;
}

edt_status edt_tfexample_decode(const edt_tfexample_entry *entry, edt_arena *arena,
                                edt_error *err, edt_feature *out_feature)
{
    value_sink sink = {.kind = entry->kind};
    if (!take_values(entry, &sink)) {
        return bad_key(err, entry->key,
                       "its list of values is cut, malformed or not of the declared kind");
    }
    edt_feature feature = {.key = entry->key, .kind = entry->kind, .n = sink.n};
    const size_t item_bytes = entry->kind == EDT_FEATURE_BYTES   ? sizeof(edt_span)
                              : entry->kind == EDT_FEATURE_FLOAT ? sizeof(float)
                                                                 : sizeof(int64_t);
    void *values = edt_arena_calloc(arena, sink.n + 1, item_bytes);
    if (values == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %zu values", sink.n);
    }
    sink.n = 0;
    switch (entry->kind) {
    case EDT_FEATURE_BYTES: feature.value.bytes = sink.bytes = values; break;
    case EDT_FEATURE_FLOAT: feature.value.floats = sink.floats = values; break;
    default: feature.value.ints = sink.ints = values; break;
    }
    (void)take_values(entry, &sink);
    *out_feature = feature;
    return EDT_OK;
}

edt_status edt_tfexample_get_list(const edt_tfexample *example, const char *key,
                                  edt_feature_kind kind, edt_arena *arena, edt_error *err,
                                  edt_feature *out_feature)
{
    const edt_tfexample_entry *entry = edt_tfexample_find(example, key);
    if (entry == NULL) {
        *out_feature =
            (edt_feature){.key = {.data = key, .n_bytes = strlen(key)}, .kind = kind};
        return EDT_OK;
    }
    if (entry->kind != kind) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "key '%s': holds a %s list, expected %s", key,
                 edt_feature_kind_name(entry->kind), edt_feature_kind_name(kind));
    }
    return edt_tfexample_decode(entry, arena, err, out_feature);
}
