// One decoded record as the detector's pipeline sees it: the rules of the reference's example
// decoder (spec/data.md 6) over tfexample.h, without decoding pixels.
#ifndef EDT_DATAIO_EXAMPLE_H
#define EDT_DATAIO_EXAMPLE_H

#include <stdbool.h>

#include "core/arena.h"
#include "core/error.h"
#include "core/span.h"

// Arrays live in the arena given to edt_example_decode; spans and texts point into the payload
// and live as long as it does (a mapped record: as long as its reader).
typedef struct edt_example {
    edt_span encoded;      // image file bytes
    edt_text source_id;    // empty when absent: hash the image (dataio/fingerprint64.h)
    edt_text filename;     // empty when absent
    int64_t height, width; // as stored; both -1 when either is absent or -1
    int64_t n_boxes;       // N
    const float *boxes;    // [N,4] ymin,xmin,ymax,xmax, normalised
    const int64_t *labels; // [N]
    const float *area;     // [N]; the normalised box's area when absent
    const bool *is_crowd;  // [N]; all false when absent
    int64_t n_masks;       // 0 or N; only with EDT_EXAMPLE_MASKS
    const edt_span *masks; // PNG bytes
    int64_t n_texts;       // 0 or N; only with EDT_EXAMPLE_TEXTS
    const edt_span *texts; // class names, UTF-8
    const bool *difficult; // [N] or NULL when absent; only with EDT_EXAMPLE_TEXTS
    int64_t n_captions;    // only with EDT_EXAMPLE_TEXTS
    const edt_span *captions;
} edt_example;

// What to decode beyond what training reads.
enum { EDT_EXAMPLE_MASKS = 1, EDT_EXAMPLE_TEXTS = 2 };

// EDT_ERR_FORMAT, naming the key, for a malformed message, a missing or empty image/encoded, a
// scalar with other than one value, a list of the wrong kind, or lists of unequal length.
edt_status edt_example_decode(edt_span payload, unsigned what, edt_arena *arena, edt_error *err,
                              edt_example *out_example);

#endif
