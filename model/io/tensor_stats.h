// Smallest, mean and largest element of a checkpoint's tensor.
#ifndef EDT_MODEL_IO_TENSOR_STATS_H
#define EDT_MODEL_IO_TENSOR_STATS_H

#include "model/io/tf_bundle.h"

typedef struct edt_tensor_stats {
    int64_t n;             // elements
    int64_t n_not_finite;  // left out of the rest
    double min, mean, max; // NaN when no element is finite
} edt_tensor_stats;

// Any numeric type; the CRC is checked. EDT_ERR_UNSUPPORTED for strings and what the bundle
// cannot read.
edt_status edt_tensor_stats_read(const edt_tf_bundle *bundle, int i_entry, edt_error *err,
                                 edt_tensor_stats *out_stats);

#endif
