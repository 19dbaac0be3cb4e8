// Notes of what an evaluation found, picture by picture, as bytes that ranks can send each
// other: per batch the number of its pictures, per picture its id, its detections and, where
// the records carry it, its ground truth.
#ifndef EDT_EVAL_FOUND_H
#define EDT_EVAL_FOUND_H

#include "dataio/batch.h"
#include "model/postprocess.h"

enum { EDT_FOUND_TRUTH_COLUMNS = 7 }; // as in edt_batch.groundtruth

typedef struct edt_found {
    uint8_t *bytes;
    size_t n_bytes, cap_bytes;
} edt_found;

// The valid rows of a batch. detections: [batch_size][max_detections]; may be NULL when there
// are none. Ground truth where the batch has it, rows of padding left out.
edt_status edt_found_write(edt_found *found, const edt_batch *batch,
                           const edt_detection *detections, int64_t max_detections,
                           edt_error *err);
void edt_found_deinit(edt_found *found);

// Reading, in the order of writing. Pointers go into the bytes.
typedef struct edt_found_reader {
    const uint8_t *at, *end;
} edt_found_reader;

typedef struct edt_found_image {
    int64_t source_id;
    int64_t n_detections, n_truth;
    const edt_detection *detections;
    const float *truth; // [n_truth][EDT_FOUND_TRUTH_COLUMNS]
} edt_found_image;

// `bytes` are aligned to 8.
void edt_found_reader_init(edt_found_reader *reader, const uint8_t *bytes, size_t n_bytes);
bool edt_found_reader_has_more(const edt_found_reader *reader);
int64_t edt_found_read_batch(edt_found_reader *reader); // pictures that follow
void edt_found_read_image(edt_found_reader *reader, edt_found_image *out_image);

#endif
