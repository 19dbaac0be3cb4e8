// Philox streams and permutations; see rng.h.
#include "core/rng.h"

#include <math.h>

enum { PHILOX_ROUNDS = 10, FEISTEL_ROUNDS = 8, FEISTEL_MIN_HALF_BITS = 3 };

// What key derivation counts from, so that streams and permutations of one seed share no block.
static const uint32_t permute_domain = 0x7065726d;

static void split_u64(uint64_t value, uint32_t out_words[static 2])
{
    out_words[0] = (uint32_t)value;
    out_words[1] = (uint32_t)(value >> 32);
}

void edt_philox4x32(const uint32_t counter[static 4], const uint32_t key[static 2],
                    uint32_t out_words[static 4])
{
    uint32_t x0 = counter[0];
    uint32_t x1 = counter[1];
    uint32_t x2 = counter[2];
    uint32_t x3 = counter[3];
    uint32_t k0 = key[0];
    uint32_t k1 = key[1];
    for (int i_round = 0; i_round < PHILOX_ROUNDS; ++i_round) {
        const uint64_t a = (uint64_t)0xd2511f53u * x0;
        const uint64_t b = (uint64_t)0xcd9e8d57u * x2;
        x0 = (uint32_t)(b >> 32) ^ x1 ^ k0;
        x1 = (uint32_t)b;
        x2 = (uint32_t)(a >> 32) ^ x3 ^ k1;
        x3 = (uint32_t)a;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    out_words[0] = x0;
    out_words[1] = x1;
    out_words[2] = x2;
    out_words[3] = x3;
}

void edt_rng_init(edt_rng *rng, uint64_t seed, uint64_t epoch, uint64_t sample, uint32_t stage)
{
    // 224 bits of identity do not fit Philox' key and counter beside a block index, so that one
    // block compresses epoch and sample to 128 bits: half is the new key, half stays in the
    // counter.
    uint32_t seed_words[2];
    uint32_t identity[4];
    uint32_t derived[4];
    split_u64(seed, seed_words);
    split_u64(epoch, identity);
    split_u64(sample, identity + 2);
    edt_philox4x32(identity, seed_words, derived);
    *rng = (edt_rng){.key = {derived[0], derived[1]},
                     .counter = {0, stage, derived[2], derived[3]}};
}

uint32_t edt_rng_next_u32(edt_rng *rng)
{
    if (rng->n_left == 0) {
        edt_philox4x32(rng->counter, rng->key, rng->words);
        ++rng->counter[0];
        rng->n_left = 4;
    }
    return rng->words[4 - rng->n_left--];
}

uint64_t edt_rng_next_u64(edt_rng *rng)
{
    const uint64_t low = edt_rng_next_u32(rng);
    return low | (uint64_t)edt_rng_next_u32(rng) << 32;
}

float edt_rng_uniform_f32(edt_rng *rng)
{
    return (float)(edt_rng_next_u32(rng) >> 8) * 0x1p-24f;
}

double edt_rng_uniform_f64(edt_rng *rng)
{
    return (double)(edt_rng_next_u64(rng) >> 11) * 0x1p-53;
}

double edt_rng_uniform_range(edt_rng *rng, double low, double high)
{
    const double value = low + (high - low) * edt_rng_uniform_f64(rng);
    // Rounding can reach the open end.
    return value < high ? value : low;
}

uint64_t edt_rng_below(edt_rng *rng, uint64_t n)
{
    unsigned __int128 product = (unsigned __int128)edt_rng_next_u64(rng) * n;
    if ((uint64_t)product < n) {
        const uint64_t n_surplus = (0 - n) % n;
        while ((uint64_t)product < n_surplus) {
            product = (unsigned __int128)edt_rng_next_u64(rng) * n;
        }
    }
    return (uint64_t)(product >> 64);
}

double edt_rng_normal(edt_rng *rng)
{
    const double radius = sqrt(-2.0 * log(1.0 - edt_rng_uniform_f64(rng)));
    return radius * cos(6.283185307179586476925286766559 * edt_rng_uniform_f64(rng));
}

int64_t edt_rng_permute(uint64_t seed, uint64_t epoch, int64_t n, int64_t i)
{
    // Small domains make poor networks, so that there is a least size; walking costs
    // 4^half_bits / n steps on average.
    int half_bits = FEISTEL_MIN_HALF_BITS;
    while (half_bits < 31 && ((int64_t)1 << (2 * half_bits)) < n) {
        ++half_bits;
    }
    const uint32_t mask = ((uint32_t)1 << half_bits) - 1;
    uint32_t seed_words[2];
    uint32_t counter[4] = {0, 0, permute_domain, 0};
    uint32_t derived[4];
    split_u64(seed, seed_words);
    split_u64(epoch, counter);
    // Inverting the key keeps this block apart from the ones that edt_rng_init derives from.
    seed_words[0] = ~seed_words[0];
    edt_philox4x32(counter, seed_words, derived);

    uint64_t value = (uint64_t)i;
    do {
        uint32_t left = (uint32_t)(value >> half_bits);
        uint32_t right = (uint32_t)value & mask;
        for (uint32_t i_round = 0; i_round < FEISTEL_ROUNDS; ++i_round) {
            const uint32_t block[4] = {right, i_round, derived[2], derived[3]};
            uint32_t words[4];
            edt_philox4x32(block, derived, words);
            const uint32_t next = left ^ (words[0] & mask);
            left = right;
            right = next;
        }
        value = (uint64_t)left << half_bits | right;
    } while (value >= (uint64_t)n);
    return (int64_t)value;
}
