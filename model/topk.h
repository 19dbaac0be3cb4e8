// The n largest of a long run of floats in one pass, and the sort behind it. A value and its
// index travel as one 64-bit key that orders by value descending, then index ascending, so
// every order here is total: no result depends on a sort's stability.
#ifndef EDT_MODEL_TOPK_H
#define EDT_MODEL_TOPK_H

#include <stdint.h>
#include <string.h>

#include "core/error.h"

// Larger keys come first. NaN is below everything; -0 equals +0.
static inline uint64_t edt_topk_key(float value, uint32_t index)
{
    const float positive_zero = value + 0.0F;
    uint32_t bits;
    memcpy(&bits, &positive_zero, sizeof bits);
    bits = (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
    if (value != value) {
        bits = 0;
    }
    return (uint64_t)bits << 32 | (uint32_t)~index;
}

static inline uint32_t edt_topk_index(uint64_t key)
{
    return ~(uint32_t)key;
}

// The value of a key (NaN for NaN).
static inline float edt_topk_value(uint64_t key)
{
    uint32_t bits = (uint32_t)(key >> 32);
    bits = (bits & 0x80000000U) != 0 ? bits & 0x7fffffffU : ~bits;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

// Sorts descending by value and keeps the order of equal values: keys given with ascending
// indices come out in the order of keys. `scratch` has room for n keys; n < 2^32.
void edt_topk_sort(uint64_t *keys, uint64_t *scratch, int64_t n);

typedef struct edt_topk {
    int64_t n_keep, cap, n;
    uint64_t *keys, *scratch; // [cap]
    float threshold;          // values not above it cannot enter any more
    int full;                 // threshold is valid
} edt_topk;

// For the n_keep largest values of any run. A zeroed struct may be deinited.
edt_status edt_topk_init(edt_topk *topk, int64_t n_keep, edt_error *err);
void edt_topk_deinit(edt_topk *topk);

// begin; push runs in ascending order of index (`first_index` is values[0]'s); finish leaves
// the largest in keys[0 .. n) in order. Allocates nothing.
void edt_topk_begin(edt_topk *topk);
void edt_topk_push(edt_topk *topk, const float *values, int64_t n, uint32_t first_index);
void edt_topk_finish(edt_topk *topk);

#endif
