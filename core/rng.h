// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy
// as 1, 2, 3", SC 2011). Every draw is a pure function of (seed, epoch, sample, stage) and of
// its place in that stream, so that results do not depend on threads, order or world size.
#ifndef EDT_CORE_RNG_H
#define EDT_CORE_RNG_H

#include <stdint.h>

// The block function: 128 bits of counter and 64 of key to 128 random bits.
void edt_philox4x32(const uint32_t counter[static 4], const uint32_t key[static 2],
                    uint32_t out_words[static 4]);

// One stream of draws. Plain value: a copy continues independently with equal numbers. One
// owner.
typedef struct edt_rng {
    uint32_t key[2];
    uint32_t counter[4]; // word 0 is the block index; a stream has 2^34 words
    uint32_t words[4];
    int n_left; // unused words of the current block
} edt_rng;

// Streams of different (seed, epoch, sample, stage) are independent of each other. `stage`
// tells apart the consumers within one sample.
void edt_rng_init(edt_rng *rng, uint64_t seed, uint64_t epoch, uint64_t sample, uint32_t stage);

uint32_t edt_rng_next_u32(edt_rng *rng);
uint64_t edt_rng_next_u64(edt_rng *rng);
// [0, 1) in steps of 2^-24 and 2^-53.
float edt_rng_uniform_f32(edt_rng *rng);
double edt_rng_uniform_f64(edt_rng *rng);
// [low, high) in f64; low when they are equal.
double edt_rng_uniform_range(edt_rng *rng, double low, double high);
// [0, n), every value equally likely (Lemire's method); n >= 1.
uint64_t edt_rng_below(edt_rng *rng, uint64_t n);
// Mean 0, deviation 1 (Box-Muller; two f64 uniforms per draw).
double edt_rng_normal(edt_rng *rng);

// The i-th element of a pseudo-random permutation of [0, n), 0 <= i < n <= 2^62, without
// memory: a Feistel network over the next power of four, walked until it lands below n.
int64_t edt_rng_permute(uint64_t seed, uint64_t epoch, int64_t n, int64_t i);

#endif
