// TensorFlow V2 checkpoint bundles: <prefix>.index (names, shapes, places, checksums) and
// <prefix>.data-SSSSS-of-NNNNN (raw little-endian tensors); spec/model.md 7.1-7.3.
#ifndef EDT_MODEL_IO_TF_BUNDLE_H
#define EDT_MODEL_IO_TF_BUNDLE_H

#include <stdbool.h>

#include "core/arena.h"
#include "core/error.h"
#include "core/span.h"
#include "core/tensor.h"

typedef struct edt_tf_bundle edt_tf_bundle;

// Owned by the bundle. A string tensor has `is_string` and no dtype.
typedef struct edt_tf_entry {
    const char *name; // full key, e.g. "class_net/class-0/bias"
    edt_dtype dtype;  // EDT_DTYPE_NONE: a string or unreadable
    bool is_string;
    edt_shape shape;
    const char *unreadable; // why no read function takes it (type, rank, partitions), or NULL
    int64_t n_bytes;        // as stored
    int32_t shard;
    int64_t offset; // in the shard's data file
    uint32_t masked_crc;
} edt_tf_entry;

// Opens a checkpoint by its prefix (edt_checkpoint_resolve turns directories into one), maps
// all shards and checks that every tensor lies inside them. The entries are sorted bytewise by
// name. EDT_ERR_NOT_FOUND for a missing file, EDT_ERR_FORMAT, EDT_ERR_CORRUPT,
// EDT_ERR_UNSUPPORTED. An open bundle may be read by several threads.
edt_status edt_tf_bundle_open(const char *prefix, edt_error *err, edt_tf_bundle **out_bundle);
void edt_tf_bundle_close(edt_tf_bundle *bundle); // NULL is fine

const char *edt_tf_bundle_prefix(const edt_tf_bundle *bundle);
int edt_tf_bundle_count(const edt_tf_bundle *bundle);
const edt_tf_entry *edt_tf_bundle_entry(const edt_tf_bundle *bundle, int i_entry);
// Index of the entry, or -1.
int edt_tf_bundle_find(const edt_tf_bundle *bundle, const char *name);
// True when the checkpoint is object-based (Keras save_weights): names are object paths.
bool edt_tf_bundle_is_object_based(const edt_tf_bundle *bundle);

// Stored bytes after checking their CRC (EDT_ERR_CORRUPT); no alignment promised. The span
// belongs to the bundle. EDT_ERR_UNSUPPORTED for a big-endian bundle.
edt_status edt_tf_bundle_view(const edt_tf_bundle *bundle, int i_entry, edt_error *err,
                              edt_span *out_bytes);
// Copies a tensor's elements in the machine's byte order; n_bytes must be its size
// (EDT_ERR_MISMATCH otherwise).
edt_status edt_tf_bundle_read(const edt_tf_bundle *bundle, int i_entry, void *out,
                              size_t n_bytes, edt_error *err);
// The elements of a string tensor in row-major order; array in `arena`, bytes in the bundle.
edt_status edt_tf_bundle_read_strings(const edt_tf_bundle *bundle, int i_entry,
                                      edt_arena *arena, edt_error *err,
                                      const edt_text **out_texts, int64_t *out_n);

// Writes one-shard bundles. Nothing stored depends on path, time or thread: equal tensors added
// in equal order give equal bytes.
typedef struct edt_tf_bundle_writer edt_tf_bundle_writer;

edt_status edt_tf_bundle_writer_create(const char *prefix, edt_error *err,
                                       edt_tf_bundle_writer **out_writer);
// Without a successful commit no file remains. NULL is fine.
void edt_tf_bundle_writer_destroy(edt_tf_bundle_writer *writer);
// Names in any order, each once; data as the host holds it, edt_tensor_bytes(desc) long.
edt_status edt_tf_bundle_writer_add(edt_tf_bundle_writer *writer, const char *name,
                                    const edt_tensor_desc *desc, const void *data,
                                    edt_error *err);
// A string tensor: a scalar (one text, n_dims 0) or any shape with as many texts.
edt_status edt_tf_bundle_writer_add_strings(edt_tf_bundle_writer *writer, const char *name,
                                            const edt_shape *shape, const edt_text *texts,
                                            edt_error *err);
// Syncs both files, then renames them to their names, .data first and .index second: a
// checkpoint is complete when its .index exists. One that is replaced is gone in between.
edt_status edt_tf_bundle_writer_commit(edt_tf_bundle_writer *writer, edt_error *err);

#endif
