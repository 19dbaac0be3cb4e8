// Stored weights of any container as one list of named tensors: TensorFlow bundles (by name and
// object-based), Keras HDF5 files and safetensors files. What a variable of the model is called
// in each of them is the container's business; readers of this interface see canonical names.
#ifndef EDT_MODEL_IO_WEIGHTS_H
#define EDT_MODEL_IO_WEIGHTS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/arena.h"
#include "core/error.h"
#include "core/tensor.h"

typedef enum edt_weights_format {
    EDT_WEIGHTS_TF_NAMES,   // bundle, keys are variable names
    EDT_WEIGHTS_TF_OBJECTS, // bundle, keys are object paths (Keras save_weights)
    EDT_WEIGHTS_KERAS_H5,
    EDT_WEIGHTS_SAFETENSORS
} edt_weights_format;

// One stored tensor, owned by the edt_weights.
typedef struct edt_weights_item {
    const char *key; // as stored in the file
    // What a name-based checkpoint calls it: a variable X, "X/ExponentialMovingAverage",
    // "X/Momentum", "X/KerasMomentum", "X/Adam", "X/Adam_1", "global_step". NULL: known by its
    // path only, or nothing that a model asks for.
    const char *name;
    // Object-based files, else NULL: "backbone/_stem/_bn/gamma". An optimizer slot has the path
    // of its variable and the ending that its name has:
    // "backbone/_stem/_bn/gamma/KerasMomentum".
    const char *object_path;
    edt_dtype dtype; // EDT_DTYPE_NONE: text, or a type that is not read
    bool is_text;
    edt_shape shape;
    int64_t n_bytes;        // of the elements as edt_weights_read gives them
    const char *unreadable; // why it cannot be read, or NULL
} edt_weights_item;

typedef struct edt_weights edt_weights;

// `path` is what a user names: a checkpoint's prefix, one of its files, a directory (its latest
// checkpoint), a .h5 or a .safetensors file; contents decide, not names. Every tensor is known
// to lie inside its file afterwards. EDT_ERR_NOT_FOUND, EDT_ERR_FORMAT, EDT_ERR_CORRUPT,
// EDT_ERR_UNSUPPORTED. One thread at a time may use an edt_weights.
edt_status edt_weights_open(const char *path, edt_error *err, edt_weights **out_weights);
void edt_weights_close(edt_weights *weights); // NULL is fine

const char *edt_weights_path(const edt_weights *weights); // resolved: prefix or file
edt_weights_format edt_weights_get_format(const edt_weights *weights);
const char *edt_weights_format_name(edt_weights_format format); // for people
int edt_weights_count(const edt_weights *weights);
const edt_weights_item *edt_weights_get(const edt_weights *weights, int i_item);

// Index of an item, or -1. Where several share a name, the first stored one is meant.
int edt_weights_find(const edt_weights *weights, const char *name);
int edt_weights_find_path(const edt_weights *weights, const char *object_path);
int edt_weights_find_key(const edt_weights *weights, const char *key);

// All elements, row-major, in the machine's byte order, after the container's own checks
// (EDT_ERR_CORRUPT). n_bytes must be the item's (EDT_ERR_MISMATCH); EDT_ERR_UNSUPPORTED for an
// unreadable item.
edt_status edt_weights_read(edt_weights *weights, int i_item, void *out, size_t n_bytes,
                            edt_error *err);
// A text that the file holds beside the tensors, in `arena`: a string scalar of a bundle, a
// metadata entry of a safetensors file. EDT_ERR_NOT_FOUND when there is none.
edt_status edt_weights_read_text(edt_weights *weights, const char *key, edt_arena *arena,
                                 edt_error *err, const char **out_text);
// True for a type that a variable can be restored from: f32, f64, bf16, f16.
bool edt_weights_is_real(const edt_weights_item *item);

#endif
