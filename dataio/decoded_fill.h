// Storing pictures behind the back of those who decode them: a ring of bytes that offers are
// copied into, and a thread that writes them in transactions of many pictures. An offer that
// finds the ring full is dropped (or waits, if it wants to).
#ifndef EDT_DATAIO_DECODED_FILL_H
#define EDT_DATAIO_DECODED_FILL_H

#include "augment/image.h"
#include "dataio/decoded_store.h"

typedef struct edt_decoded_fill edt_decoded_fill; // any thread

// Writes nothing until something is offered. `name` is the directory, for messages.
edt_status edt_decoded_fill_create(edt_decoded_store *store, const char *name, int zstd_level,
                                   edt_error *err, edt_decoded_fill **out_fill);
// Writes what is queued. NULL is fine.
void edt_decoded_fill_destroy(edt_decoded_fill *fill);

// False for good when nothing will be stored any more.
bool edt_decoded_fill_is_open(const edt_decoded_fill *fill);
// Copies (and compresses) the picture. `damaged_generation` >= 0: of the entry that it
// replaces. False when it was dropped.
bool edt_decoded_fill_put(edt_decoded_fill *fill, int64_t index, const edt_image *image,
                          int64_t damaged_generation, bool wait);
// Waits until everything offered before has been written or given up.
void edt_decoded_fill_flush(edt_decoded_fill *fill);

// Pictures stored, and why it ended.
typedef struct edt_decoded_fill_state {
    int64_t n_stored;
    bool is_full;    // the limit was reached
    bool has_failed; // the disk is full, or worse
} edt_decoded_fill_state;
edt_decoded_fill_state edt_decoded_fill_get_state(edt_decoded_fill *fill);

#endif
