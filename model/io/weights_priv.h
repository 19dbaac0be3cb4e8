// What the containers behind model/io/weights.h implement, and the list they fill. A container
// has an opener that creates the edt_weights, pushes one item for each stored tensor, hands
// over its state and ends with edt_weights_seal.
#ifndef EDT_MODEL_IO_WEIGHTS_PRIV_H
#define EDT_MODEL_IO_WEIGHTS_PRIV_H

#include "core/arena.h"
#include "core/span.h"
#include "model/io/tf_bundle.h"
#include "model/io/weights.h"

typedef struct edt_weights_ops {
    // `out` holds exactly item->n_bytes; the item is readable.
    edt_status (*read)(edt_weights *weights, int i_item, void *out, edt_error *err);
    void (*close)(void *state); // state may be half-built, not NULL
    // Other paths that lead to an item (object graphs have several for some); may be NULL.
    int (*find_path)(const edt_weights *weights, const char *object_path);
    // *out_text NULL: there is none. May be NULL.
    edt_status (*read_text)(edt_weights *weights, const char *key, edt_arena *arena,
                            edt_error *err, const char **out_text);
} edt_weights_ops;

struct edt_weights {
    const edt_weights_ops *ops;
    void *state; // the container's own
    edt_weights_format format;
    edt_arena arena; // texts of the items
    const char *path;
    int n_items, cap_items;
    edt_weights_item *items;
    int *by_name, *by_path, *by_key; // item indexes in order, NULL texts first
};

// An empty list. `path` is copied.
edt_status edt_weights_create(const char *path, edt_weights_format format,
                              const edt_weights_ops *ops, edt_error *err,
                              edt_weights **out_weights);
// Appends a copy of the item; its texts must live in weights->arena or in the state.
edt_status edt_weights_push(edt_weights *weights, const edt_weights_item *item, edt_error *err);
// Builds the indexes; nothing may be pushed afterwards.
edt_status edt_weights_seal(edt_weights *weights, edt_error *err);

// A variable's name as graphs and Keras write it -> canonical: without ":0" at the end, without
// "replica_<k>" components and without numbers that Keras gives the layers of a backbone's
// stem. NULL when out of memory.
const char *edt_weights_canonical(edt_arena *arena, const char *text);

typedef enum edt_weights_kind {
    EDT_WEIGHTS_KIND_NONE, // no such file, or a directory
    EDT_WEIGHTS_KIND_OTHER,
    EDT_WEIGHTS_KIND_INDEX, // of a bundle
    EDT_WEIGHTS_KIND_H5,
    EDT_WEIGHTS_KIND_SAFETENSORS
} edt_weights_kind;

// By contents; only what no content speaks for goes by the ending of its name.
edt_weights_kind edt_weights_kind_of(const char *path);
// Where HDF5's superblock lies in a file, -1: nowhere.
int64_t edt_weights_find_hdf5(int fd);
// Says what an existing file is that is none of them; never EDT_OK.
edt_status edt_weights_refuse(const char *path, edt_error *err);

// What a bundle's entry is apart from its name and path.
void edt_weights_describe(const edt_tf_entry *entry, edt_weights_item *out_item);

// read_text of bundles.
edt_status edt_weights_bundle_text(const edt_tf_bundle *bundle, const char *key,
                                   edt_arena *arena, edt_error *err, const char **out_text);

// Openers, each for a file that edt_weights_open recognised. The bundle is taken over, also on
// failure.
edt_status edt_weights_open_bundle(edt_tf_bundle *bundle, edt_error *err,
                                   edt_weights **out_weights);
edt_status edt_weights_open_objects(edt_tf_bundle *bundle, edt_error *err,
                                    edt_weights **out_weights);
edt_status edt_weights_open_h5(const char *path, edt_error *err, edt_weights **out_weights);
edt_status edt_weights_open_safetensors(const char *path, edt_error *err,
                                        edt_weights **out_weights);

#endif
