// Smallest, mean and largest element of a checkpoint's tensor.
#ifndef EDT_MODEL_IO_TENSOR_STATS_H
#define EDT_MODEL_IO_TENSOR_STATS_H

#include "model/io/weights.h"

typedef struct edt_tensor_stats {
    int64_t n;             // elements
    int64_t n_not_finite;  // left out of the rest
    double min, mean, max; // NaN when no element is finite
} edt_tensor_stats;

// Any numeric type, after the container's checks. EDT_ERR_UNSUPPORTED for text and what cannot
// be read.
edt_status edt_tensor_stats_read(edt_weights *weights, int i_item, edt_error *err,
                                 edt_tensor_stats *out_stats);
// One element, which may be unaligned.
double edt_tensor_element(const uint8_t *data, edt_dtype dtype);

#endif
