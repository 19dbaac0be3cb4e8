// What reading and writing share: the file behind an fd, words for errors, lists of names.
#ifndef EDT_MODEL_IO_HDF5_PRIV_H
#define EDT_MODEL_IO_HDF5_PRIV_H

#include <hdf5.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/arena.h"
#include "core/error.h"

enum { EDT_HDF5_WORDS_BYTES = 160, EDT_HDF5_PATH_BYTES = 32 };

// The name that opens the file behind `fd`, and how: without locks. H5Pclose it.
hid_t edt_hdf5_access(int fd, char path[static EDT_HDF5_PATH_BYTES]);

// What the library said last: where it found something wrong. Returns `words`.
const char *edt_hdf5_words(char words[EDT_HDF5_WORDS_BYTES]);
// EDT_ERR_CORRUPT: "<what> '<name>' cannot be read: <the library's words>; damaged?"
edt_status edt_hdf5_damaged(edt_error *err, const char *what, const char *name);

typedef struct edt_hdf5_names {
    int64_t n;
    char **names; // in the arena
} edt_hdf5_names;

bool edt_hdf5_has_names(hid_t object, const char *what);
// The attribute `what`, or what0, what1, ... that it was split into. Texts of fixed and of
// variable length; an empty list of any type.
edt_status edt_hdf5_read_names(edt_arena *arena, hid_t object, const char *what, edt_error *err,
                               edt_hdf5_names *out_list);

#endif
