// Random initial values of one parameter.
#ifndef EDT_MODEL_INIT_H
#define EDT_MODEL_INIT_H

#include "model/graph.h"

// out_values[i], i < n, is a pure function of (init, seed, name, i).
void edt_init_fill(const edt_init *init, uint64_t seed, const char *name, int64_t n,
                   double *out_values);

#endif
