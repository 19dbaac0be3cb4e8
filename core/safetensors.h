// The safetensors format: named tensors in one file, for golden vectors, evaluation arrays and
// weight exports. A reader checks everything before it hands out a byte.
#ifndef EDT_CORE_SAFETENSORS_H
#define EDT_CORE_SAFETENSORS_H

#include "core/error.h"
#include "core/span.h"
#include "core/tensor.h"

typedef struct edt_safetensors_item {
    const char *name;
    edt_tensor_desc desc;
    edt_span data; // little-endian, row-major; may be unaligned in files of others
} edt_safetensors_item;

typedef struct edt_safetensors_meta {
    const char *key, *value;
} edt_safetensors_meta;

// Sorted by name (bytewise). Names and metadata belong to the reader, data to the file or span.
typedef struct edt_safetensors {
    int64_t n;
    const edt_safetensors_item *items;
    int64_t n_meta;
    const edt_safetensors_meta *meta;
} edt_safetensors;

// Maps the file. EDT_ERR_FORMAT and EDT_ERR_UNSUPPORTED (an element type or more than
// EDT_MAX_DIMS dimensions) name file and tensor.
edt_status edt_safetensors_open(const char *path, edt_error *err, edt_safetensors **out_file);
// The same over bytes of the caller's, which must outlive the reader.
edt_status edt_safetensors_open_span(edt_span bytes, edt_error *err,
                                     edt_safetensors **out_file);
void edt_safetensors_close(edt_safetensors *file);

// NULL when there is none.
const edt_safetensors_item *edt_safetensors_find(const edt_safetensors *file, const char *name);
const char *edt_safetensors_meta_get(const edt_safetensors *file, const char *key);
// The tensor with this type and shape (`shape` NULL: any). EDT_ERR_NOT_FOUND, EDT_ERR_MISMATCH.
edt_status edt_safetensors_get(const edt_safetensors *file, const char *name, edt_dtype dtype,
                               const edt_shape *shape, edt_error *err,
                               const edt_safetensors_item **out_item);

// Writes a new file atomically. Names and metadata keys in any order; the bytes depend on the
// contents only: names sorted, data ordered by element size (largest first), then by name, so
// that every tensor is aligned to its element. EDT_ERR_INVALID for duplicate or reserved names
// and for data whose size is not that of its shape.
edt_status edt_safetensors_write(const char *path, const edt_safetensors_item *items, int64_t n,
                                 const edt_safetensors_meta *meta, int64_t n_meta,
                                 edt_error *err);

#endif
