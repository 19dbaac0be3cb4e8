// The fingerprint of a list of shards: SHA-256 over one line
// "NAME\tBYTES\tRECORDS\tLENGTHS_CRC\n" per shard (name without directory, decimal numbers, CRC
// in 8 hex digits), known from the side indexes alone.
#ifndef EDT_DATAIO_SET_FINGERPRINT_H
#define EDT_DATAIO_SET_FINGERPRINT_H

#include "core/strbuf.h"
#include "dataio/sha256.h"
#include "dataio/side_index.h"

enum { EDT_FINGERPRINT_TEXT_BYTES = EDT_SHA256_HEX_BYTES + 1 };

// Zero-initialised.
typedef struct edt_set_fingerprint {
    edt_strbuf lines;
} edt_set_fingerprint;

edt_status edt_set_fingerprint_add(edt_set_fingerprint *fingerprint, const char *shard_path,
                                   const edt_side_summary *summary, edt_error *err);
edt_status edt_set_fingerprint_finish(const edt_set_fingerprint *fingerprint, edt_error *err,
                                      char out_hex[EDT_FINGERPRINT_TEXT_BYTES]);
void edt_set_fingerprint_deinit(edt_set_fingerprint *fingerprint);

#endif
