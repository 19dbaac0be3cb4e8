// Histograms of weights and gradients by groups of variables, for TensorBoard.
#ifndef EDT_TRAIN_EVENT_HISTOGRAM_H
#define EDT_TRAIN_EVENT_HISTOGRAM_H

#include "model/params.h"
#include "train/event_file.h"

enum { EDT_HISTOGRAM_BUCKETS = 30 };

// A group is a stage of the network: "efficientnet-b0/stem", "efficientnet-b0/blocks_3",
// "fpn_cells/cell_0", "resample_p6", "class_net", "box_net": the first part of a variable's
// name, of the backbone and the feature network the first two.
size_t edt_histogram_group_bytes(const char *variable_name);

typedef struct edt_histogram {
    double lo, hi; // of the finite values
    int64_t n, n_not_finite;
    int64_t counts[EDT_HISTOGRAM_BUCKETS];
} edt_histogram;

// Two passes over the values: their range, then counts in buckets of equal width, the last with
// its right end. A zeroed struct is empty.
void edt_histogram_widen(edt_histogram *histogram, const float *values, int64_t n);
void edt_histogram_count(edt_histogram *histogram, const float *values, int64_t n);
// One bucket of width 1 about a single value; none without values. Returns their number.
int64_t edt_histogram_buckets(const edt_histogram *histogram,
                              edt_event_bucket out_buckets[EDT_HISTOGRAM_BUCKETS]);

// "weights/<group>" of the trainable variables and "gradients/<group>" of those that are not
// frozen (may be NULL): gradients of the last step, summed over ranks, before L2 and clipping
// (with loss scaling: times the scale). Groups without a finite value are left out. Reads each
// arena twice. EDT_ERR_NOMEM.
edt_status edt_event_histogram_write(const edt_params *params, const bool *frozen, int64_t step,
                                     edt_event_file *file, edt_error *err);

#endif
