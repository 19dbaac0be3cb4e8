// Initialisers on Philox counters: the key is made of seed and variable name, the counter of
// the element's index and, for the truncated normal, the number of redraws.
#include "model/init.h"

#include <math.h>

#include "core/rng.h"

// FNV-1a, 64 bit.
static uint64_t hash_name(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325U;
    for (; *name != '\0'; name++) {
        hash = (hash ^ (uint8_t)*name) * 0x100000001b3U;
    }
    return hash;
}

typedef struct draw {
    uint32_t key[2];
    uint32_t name_high, attempt;
} draw;

static void two_uniforms(const draw *d, int64_t i, double out_u[2])
{
    const uint32_t counter[4] = {(uint32_t)i, (uint32_t)((uint64_t)i >> 32), d->name_high,
                                 d->attempt};
    uint32_t words[4];
    edt_philox4x32(counter, d->key, words);
    for (int k = 0; k < 2; k++) {
        const uint64_t bits = (uint64_t)words[2 * k] << 32 | words[2 * k + 1];
        out_u[k] = (double)(bits >> 11) * 0x1p-53;
    }
}

// Box-Muller; 1 - u lies in (0, 1].
static double normal(const draw *d, int64_t i)
{
    const double two_pi = 6.283185307179586476925;
    double u[2];
    two_uniforms(d, i, u);
    return sqrt(-2.0 * log(1.0 - u[0])) * cos(two_pi * u[1]);
}

static double one_value(const edt_init *init, draw d, int64_t i)
{
    double u[2];
    double z;
    switch (init->kind) {
    case EDT_INIT_CONSTANT: return init->a;
    case EDT_INIT_UNIFORM: two_uniforms(&d, i, u); return init->a * (2.0 * u[0] - 1.0);
    case EDT_INIT_NORMAL: return init->a * normal(&d, i);
    case EDT_INIT_TRUNCATED_NORMAL:
        do {
            z = normal(&d, i);
            d.attempt++;
        } while (fabs(z) > 2.0);
        return init->a * z;
    }
    return 0.0;
}

void edt_init_fill(const edt_init *init, uint64_t seed, const char *name, int64_t n,
                   double *out_values)
{
    const uint64_t hash = hash_name(name);
    const draw d = {.key = {(uint32_t)seed ^ (uint32_t)hash, (uint32_t)(seed >> 32)},
                    .name_high = (uint32_t)(hash >> 32)};
    for (int64_t i = 0; i < n; i++) {
        out_values[i] = one_value(init, d, i);
    }
}
