// The arithmetic of a sum over ranks on the host: parts are added in the order of the ranks, so
// that the result is a function of the parts alone.
#ifndef EDT_DIST_ADD_PARTS_H
#define EDT_DIST_ADD_PARTS_H

#include "core/tensor.h"

// to[n] = part of rank 0 + part of rank 1 + ...; f32 or f64, rounded after each addition. The
// part of rank r is `own` for r == rank, else it starts at parts + r * stride_bytes. `to` may
// be `own`.
void edt_add_parts(void *to, const void *own, int rank, const uint8_t *parts,
                   size_t stride_bytes, int n_ranks, int64_t n, edt_dtype dtype);

#endif
