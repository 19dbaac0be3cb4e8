// SHA-256 of a run of bytes (libcrypto, which uses the CPU's SHA instructions where it has
// them).
#ifndef EDT_DATAIO_SHA256_H
#define EDT_DATAIO_SHA256_H

#include "core/error.h"
#include "core/span.h"

enum { EDT_SHA256_BYTES = 32, EDT_SHA256_HEX_BYTES = 64 };

// A reusable context: creating one costs more than hashing a small file. One thread at a time.
typedef struct edt_sha256 edt_sha256;
edt_status edt_sha256_create(edt_error *err, edt_sha256 **out_sha);
void edt_sha256_destroy(edt_sha256 *sha);

// Lower-case hex of the digest of `bytes`, null-terminated.
edt_status edt_sha256_run(edt_sha256 *sha, edt_span bytes, edt_error *err,
                          char out_hex[EDT_SHA256_HEX_BYTES + 1]);

#endif
