// FarmHash Fingerprint64, the 64-bit hash that makes a source id from an image's bytes
// (spec/data.md 6). Stable across machines and versions by definition.
#ifndef EDT_DATAIO_FINGERPRINT64_H
#define EDT_DATAIO_FINGERPRINT64_H

#include "core/span.h"

uint64_t edt_fingerprint64(edt_span bytes);

// The source id of an encoded image: the fingerprint modulo 2^63-1, never negative.
int64_t edt_fingerprint64_source_id(edt_span encoded);

#endif
