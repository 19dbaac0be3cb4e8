// tf.train.Example, both ways (spec/data.md 2): a writer with keys in bytewise order, so that
// equal content gives equal bytes, and a reader that walks the wire format without copying, so
// that an encoded image is borrowed from the mapped record.
#ifndef EDT_DATAIO_TFEXAMPLE_H
#define EDT_DATAIO_TFEXAMPLE_H

#include "core/arena.h"
#include "core/error.h"
#include "core/span.h"

typedef enum edt_feature_kind {
    EDT_FEATURE_NONE, // no kind set: counts as absent
    EDT_FEATURE_BYTES,
    EDT_FEATURE_FLOAT,
    EDT_FEATURE_INT64,
} edt_feature_kind;

// "bytes", "float", "int64" or "none".
const char *edt_feature_kind_name(edt_feature_kind kind);

// One key with its list of values; the member of the union that `kind` names holds `n` of them.
// An empty list is not the same as absence.
typedef struct edt_feature {
    edt_text key;
    edt_feature_kind kind;
    size_t n;
    union {
        const edt_span *bytes;
        const float *floats;
        const int64_t *ints;
    } value;
} edt_feature;

// The serialised message as consecutive pieces. Values of at least EDT_TFEXAMPLE_BORROW_BYTES
// are not copied: their pieces point at the caller's bytes.
enum { EDT_TFEXAMPLE_BORROW_BYTES = 4096 };
typedef struct edt_tfexample_pieces {
    const edt_span *pieces; // in the arena
    size_t n_pieces;
    size_t n_bytes; // sum of the pieces
    const struct edt_record_info *info; // dataio/record_info.h; in the arena
} edt_tfexample_pieces;

// Serialises `n_features` features, given in any order, keys distinct (EDT_ERR_INVALID
// otherwise).
edt_status edt_tfexample_write(const edt_feature *features, size_t n_features, edt_arena *arena,
                               edt_error *err, edt_tfexample_pieces *out_pieces);

// A parsed payload: where each key's values lie. Values are decoded on demand. Everything
// points into the payload or the arena.
typedef struct edt_tfexample_entry {
    edt_text key;
    edt_feature_kind kind;
    edt_span values; // wire form of the Feature, from its last change of kind on
} edt_tfexample_entry;

typedef struct edt_tfexample {
    edt_tfexample_entry *entries; // bytewise by key, the last of duplicates, none of kind NONE
    size_t n_entries;
} edt_tfexample;

// EDT_ERR_FORMAT, naming the key where one is known, for anything that is not an Example.
edt_status edt_tfexample_parse(edt_span payload, edt_arena *arena, edt_error *err,
                               edt_tfexample *out_example);

// NULL when the key is absent.
const edt_tfexample_entry *edt_tfexample_find(const edt_tfexample *example, const char *key);

// Decodes all values of an entry into the arena (bytes stay borrowed from the payload), packed
// or not. EDT_ERR_FORMAT naming the key.
edt_status edt_tfexample_decode(const edt_tfexample_entry *entry, edt_arena *arena,
                                edt_error *err, edt_feature *out_feature);

// Lists by key. Absent: n = 0. A list of another kind: EDT_ERR_FORMAT.
edt_status edt_tfexample_get_list(const edt_tfexample *example, const char *key,
                                  edt_feature_kind kind, edt_arena *arena, edt_error *err,
                                  edt_feature *out_feature);

#endif
