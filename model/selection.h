// The n_keep largest of some runs of floats, as edt_topk gives them, by several threads. A
// sample of the values tells where the last of the wanted ones will lie, with room to spare;
// every thread then collects what lies above in its part, and few values are left to be sorted.
// Where the sample misled, or there is little to choose from, edt_topk does it.
#ifndef EDT_MODEL_SELECTION_H
#define EDT_MODEL_SELECTION_H

#include "backend/backend.h"
#include "model/topk.h"

enum { EDT_SELECTION_MAX_RUNS = 16, EDT_SELECTION_MAX_PARTS = 8 };

typedef struct edt_selection {
    edt_topk topk;
    edt_topk sample; // n_keep 0: never by sample
    int64_t stride;  // values from one piece of the sample to the next
    int64_t part_cap;
    uint64_t *parts;          // [EDT_SELECTION_MAX_PARTS][part_cap]
    uint64_t *merged, *order; // [part_cap]
    const uint64_t *keys;     // [n] the result: best first, ties by index (topk.h)
    int64_t n;
    bool by_sample; // how the result came about
} edt_selection;

// For the n_keep largest of n_values. A zeroed struct may be deinited.
edt_status edt_selection_init(edt_selection *selection, int64_t n_keep, int64_t n_values,
                              edt_error *err);
void edt_selection_deinit(edt_selection *selection);

// The values in a row: n[r] at values[r], indices counted from 0. Allocates nothing. `backend`
// lends its threads; NULL: this one alone.
void edt_selection_run(edt_selection *selection, edt_backend *backend,
                       const float *const *values, const int64_t *n, int n_runs);

#endif
