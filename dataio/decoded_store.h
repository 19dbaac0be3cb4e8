// What lies on disk of a decoded cache, and who may touch it when (dataio/decoded_cache.h is
// the part for everyone):
//
//   decoded.cache   marks the directory as ours; a lock: shared by all users, exclusive for who
//                   empties or seals
//   decoded.mdb     LMDB index: table "set" (format, fingerprint, transform, tail), table
//                   "pictures" (index -> edt_decoded_place)
//   decoded.pixels  the bytes, 64-byte aligned, only ever appended to under LMDB's write lock
//   decoded.seal    CRC of decoded.mdb, there only while nobody writes: damage is noticed
//                   before LMDB, which trusts what it maps, sees it
//
// Bytes below the tail of the last commit never change, so a view of them needs no transaction,
// and a killed process leaves nothing but bytes behind the tail. They are not synced: each
// picture has a CRC. Commits of the index are synced in order (MDB_NOMETASYNC), so that it
// stays sound when the machine loses power.
#ifndef EDT_DATAIO_DECODED_STORE_H
#define EDT_DATAIO_DECODED_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

typedef enum edt_decoded_encoding {
    EDT_DECODED_RGB,  // rows of 3*w bytes
    EDT_DECODED_ZSTD, // those, one zstd frame
} edt_decoded_encoding;

typedef struct edt_decoded_place {
    uint64_t offset, n_bytes; // in the file of pixels
    uint32_t h, w;
    uint32_t encoding;   // edt_decoded_encoding
    uint32_t generation; // how often the entry was found damaged and replaced
    uint32_t crc;        // edt_decoded_crc
    uint32_t zero;
} edt_decoded_place;

// Of the picture's index, what the place says of it, and its stored bytes.
uint32_t edt_decoded_crc(int64_t index, const edt_decoded_place *place, const void *bytes);

typedef struct edt_decoded_store edt_decoded_store;
typedef struct edt_decoded_lookup edt_decoded_lookup; // one thread

// As edt_decoded_cache_open. Once per process and directory.
edt_status edt_decoded_store_open(const char *path, const char *fingerprint,
                                  const char *transform, int64_t max_bytes, edt_error *err,
                                  edt_decoded_store **out_store);
void edt_decoded_store_close(edt_decoded_store *store); // NULL is fine
bool edt_decoded_store_is_read_only(const edt_decoded_store *store);

edt_status edt_decoded_lookup_create(edt_decoded_store *store, edt_error *err,
                                     edt_decoded_lookup **out_lookup);
void edt_decoded_lookup_destroy(edt_decoded_lookup *lookup); // NULL is fine
edt_status edt_decoded_lookup_get(edt_decoded_lookup *lookup, int64_t index, edt_error *err,
                                  bool *out_found, edt_decoded_place *out_place);
// The stored bytes, until the store is closed; NULL when the place cannot be right.
const uint8_t *edt_decoded_store_bytes(edt_decoded_store *store,
                                       const edt_decoded_place *place);

// What is to be stored. An entry that is there is kept, unless its generation is the one found
// damaged.
typedef struct edt_decoded_item {
    int64_t index;
    edt_decoded_place place; // all but offset and generation
    const uint8_t *bytes;
    bool replaces;
    uint32_t damaged_generation;
} edt_decoded_item;

// Stores items in one transaction; one thread at a time, always the same one. *out_is_full: the
// limit (of bytes, or of what can be mapped) is reached, later items were left out. EDT_ERR_IO:
// disk full or worse, none is stored.
edt_status edt_decoded_store_write(edt_decoded_store *store, const edt_decoded_item *items,
                                   int64_t n_items, edt_error *err, int64_t *out_n_stored,
                                   bool *out_is_full);

// Pictures and bytes on disk now; zeros when they cannot be read.
void edt_decoded_store_size(edt_decoded_store *store, int64_t *out_n_entries,
                            int64_t *out_n_bytes);

#endif
