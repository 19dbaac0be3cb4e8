// The directory of a decoded cache: whose it is, who uses it, and the seal that proves its
// index undamaged while nobody does. dataio/decoded_store.h lists the files.
#ifndef EDT_DATAIO_DECODED_DIR_H
#define EDT_DATAIO_DECODED_DIR_H

#include <stdbool.h>

#include "core/error.h"

typedef struct edt_decoded_dir {
    char *path, *index, *pixels; // owned
    char *index_lock, *seal, *marker;
    int lock_fd;
    bool is_read_only; // nothing may be made or removed here
} edt_decoded_dir;

// Makes the directory and its marker where they are missing. EDT_ERR_FORMAT for one without a
// marker that is not empty, EDT_ERR_IO.
edt_status edt_decoded_dir_open(const char *path, edt_error *err, edt_decoded_dir *out_dir);
// Gives up the lock. A zeroed struct is legal.
void edt_decoded_dir_close(edt_decoded_dir *dir);

// The lock: alone (*out_is_alone false when others are here), or beside others, waiting for one
// who is alone. Each replaces what was held. EDT_ERR_IO where the file system has no locks.
edt_status edt_decoded_dir_try_alone(edt_decoded_dir *dir, edt_error *err, bool *out_is_alone);
edt_status edt_decoded_dir_share(edt_decoded_dir *dir, edt_error *err);

// Removes our files but the marker; held alone. EDT_ERR_IO.
edt_status edt_decoded_dir_empty(edt_decoded_dir *dir, edt_error *err);

typedef enum edt_decoded_seal_state {
    EDT_DECODED_UNSEALED,
    EDT_DECODED_SEALED,
    EDT_DECODED_SEAL_BROKEN, // the index is not the one that was sealed
} edt_decoded_seal_state;
edt_status edt_decoded_dir_check_seal(const edt_decoded_dir *dir, edt_error *err,
                                      edt_decoded_seal_state *out_state);
// Durably, before the index is written to.
edt_status edt_decoded_dir_unseal(edt_decoded_dir *dir, edt_error *err);
// Held alone, the index closed and synced.
edt_status edt_decoded_dir_seal(edt_decoded_dir *dir, edt_error *err);

#endif
