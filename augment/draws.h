// Where augmentation takes its chance from. In the loader a Philox stream of the sample; in
// tests the numbers that the reference drew.
#ifndef EDT_AUGMENT_DRAWS_H
#define EDT_AUGMENT_DRAWS_H

#include <stdint.h>

#include "core/rng.h"

// All four share `ctx`. Each call is one draw; the order of calls is part of the contract of
// whoever draws.
typedef struct edt_draws {
    float (*uniform)(void *ctx);                              // [0, 1)
    int64_t (*integer)(void *ctx, int64_t low, int64_t high); // [low, high); low < high
    float (*normal)(void *ctx);                               // mean 0, deviation 1
    void (*order)(void *ctx, int64_t n, int64_t *out_order);  // a permutation of 0..n-1
    void *ctx;
} edt_draws;

// Draws from `rng`, which must outlive the value.
edt_draws edt_draws_from_rng(edt_rng *rng);

#endif
