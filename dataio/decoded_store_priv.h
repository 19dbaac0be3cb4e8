// What the two halves of the decoded cache's store share (dataio/decoded_store.h).
#ifndef EDT_DATAIO_DECODED_STORE_PRIV_H
#define EDT_DATAIO_DECODED_STORE_PRIV_H

#include <lmdb.h>
#include <stdatomic.h>

#include "dataio/decoded_dir.h"
#include "dataio/decoded_store.h"

// An entry of a cache that is only read: its index is copied, as without write access there are
// no reader slots that would hold writers off.
typedef struct edt_decoded_entry {
    int64_t index;
    edt_decoded_place place;
} edt_decoded_entry;

struct edt_decoded_store {
    edt_decoded_dir dir;
    int64_t max_bytes;
    MDB_env *env;
    MDB_dbi set, pictures;
    edt_decoded_entry *copied; // [n_copied] by index; read-only caches
    int64_t n_copied;
    int pixels_fd;
    uint8_t *map; // of the file of pixels, reserved for what it may grow to
    uint64_t map_bytes;
    _Atomic uint64_t file_bytes; // of the file of pixels when it was last looked at
};

// Records an LMDB code as an error of the index.
edt_status edt_decoded_fail_lmdb(const edt_decoded_store *store, int code, const char *action,
                                 edt_error *err);

// Opens the index of a cache of this set in store->dir: made, emptied, joined or, where nothing
// may be written, copied.
edt_status edt_decoded_index_open(edt_decoded_store *store, const char *fingerprint,
                                  const char *transform, edt_error *err);
// The last one to leave seals it. Nothing for one that is not open.
void edt_decoded_index_close(edt_decoded_store *store);

#endif
