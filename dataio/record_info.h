// What the side index keeps of a record beside its place: image id, size, boxes and labels
// (spec/data.md 3.5), taken from the features while a record is written or from a payload when
// an index is rebuilt; both give the same.
#ifndef EDT_DATAIO_RECORD_INFO_H
#define EDT_DATAIO_RECORD_INFO_H

#include <stdbool.h>

#include "dataio/tfexample.h"

enum {
    EDT_RECORD_INFO_EXAMPLE = 1, // the payload is a tf.train.Example with lists of the kinds
                                 // stated; otherwise nothing else is set
    EDT_RECORD_INFO_NUMBER = 2,  // image_id is image/source_id read as a decimal number
    EDT_RECORD_INFO_HASH = 4,    // image_id is the Fingerprint64 of a source id of other text
    EDT_RECORD_INFO_UNEVEN = 8,  // box lists of unequal length: no boxes are kept
};

typedef struct edt_record_info {
    unsigned flags;
    int64_t image_id;      // 0 when image/source_id is absent or empty
    int64_t height, width; // as stored, pixels; -1 when absent
    int64_t n_boxes;
    const float *boxes;    // [n,4] ymin,xmin,ymax,xmax, normalised, as stored
    const int64_t *labels; // [n]
    const bool *is_crowd;  // [n]; NULL: none
    const edt_text *names; // [n] class names; NULL: not stored
} edt_record_info;

// From features before they are serialised. Everything is copied into the arena. EDT_ERR_NOMEM.
edt_status edt_record_info_from_features(const edt_feature *features, size_t n_features,
                                         edt_arena *arena, edt_error *err,
                                         edt_record_info *out_info);

// From a payload; texts are borrowed from it. A payload that is no Example gives flags 0.
edt_status edt_record_info_from_payload(edt_span payload, edt_arena *arena, edt_error *err,
                                        edt_record_info *out_info);

// The id that a source id stands for, with its flag (EDT_RECORD_INFO_NUMBER or _HASH); 0 and no
// flag for an empty text.
int64_t edt_record_info_image_id(edt_text source_id, unsigned *out_flag);

#endif
