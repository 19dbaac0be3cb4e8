// Written from the published FarmHash algorithm ("na" variant, which Fingerprint64 is defined
// as). Lengths 0-16, 17-32, 33-64 and longer take different paths; all arithmetic is modulo
// 2^64 and loads are little endian.
#include "dataio/fingerprint64.h"

#include <string.h>

static const uint64_t k0 = 0xc3a5c85c97cb3127u;
static const uint64_t k1 = 0xb492b66fbe98f273u;
static const uint64_t k2 = 0x9ae16a3b2f90404fu;

typedef struct pair64 {
    uint64_t first, second;
} pair64;

static uint64_t load64(const uint8_t *p)
{
    uint64_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

static uint64_t load32(const uint8_t *p)
{
    uint32_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

static uint64_t rotate(uint64_t value, unsigned shift)
{
    return (value >> shift) | (value << (64 - shift));
}

static uint64_t shift_mix(uint64_t value)
{
    return value ^ (value >> 47);
}

static uint64_t mix16(uint64_t u, uint64_t v, uint64_t mul)
{
    const uint64_t a = shift_mix((u ^ v) * mul);
    return shift_mix((v ^ a) * mul) * mul;
}

static uint64_t hash_0_to_16(const uint8_t *s, size_t n)
{
    const uint64_t mul = k2 + n * 2;
    if (n >= 8) {
        const uint64_t a = load64(s) + k2;
        const uint64_t b = load64(s + n - 8);
        return mix16(rotate(b, 37) * mul + a, (rotate(a, 25) + b) * mul, mul);
    }
    if (n >= 4) {
        return mix16(n + (load32(s) << 3), load32(s + n - 4), mul);
    }
    if (n > 0) {
        const uint64_t y = (uint64_t)s[0] + ((uint64_t)s[n >> 1] << 8);
        const uint64_t z = n + ((uint64_t)s[n - 1] << 2);
        return shift_mix((y * k2) ^ (z * k0)) * k2;
    }
    return k2;
}

static uint64_t hash_17_to_32(const uint8_t *s, size_t n)
{
    const uint64_t mul = k2 + n * 2;
    const uint64_t a = load64(s) * k1;
    const uint64_t b = load64(s + 8);
    const uint64_t c = load64(s + n - 8) * mul;
    const uint64_t d = load64(s + n - 16) * k2;
    return mix16(rotate(a + b, 43) + rotate(c, 30) + d, a + rotate(b + k2, 18) + c, mul);
}

static uint64_t hash_33_to_64(const uint8_t *s, size_t n)
{
    const uint64_t mul = k2 + n * 2;
    const uint64_t a = load64(s) * k2;
    const uint64_t b = load64(s + 8);
    const uint64_t c = load64(s + n - 8) * mul;
    const uint64_t d = load64(s + n - 16) * k2;
    const uint64_t y = rotate(a + b, 43) + rotate(c, 30) + d;
    const uint64_t z = mix16(y, a + rotate(b + k2, 18) + c, mul);
    const uint64_t e = load64(s + 16) * mul;
    const uint64_t f = load64(s + 24);
    const uint64_t g = (y + load64(s + n - 32)) * mul;
    const uint64_t h = (z + load64(s + n - 24)) * mul;
    return mix16(rotate(e + f, 43) + rotate(g, 30) + h, e + rotate(f + a, 18) + g, mul);
}

static pair64 weak_hash_32(const uint8_t *s, uint64_t a, uint64_t b)
{
    const uint64_t z = load64(s + 24);
    a += load64(s);
    b = rotate(b + a + z, 21);
    const uint64_t c = a;
    a += load64(s + 8);
    a += load64(s + 16);
    b += rotate(a, 44);
    return (pair64){a + z, b + c};
}

typedef struct long_state {
    uint64_t x, y, z;
    pair64 v, w;
} long_state;

// One block of 64 bytes; the last block uses another multiplier and weights of 9.
static void mix_block(long_state *t, const uint8_t *s, uint64_t mul, uint64_t weight)
{
    t->x = rotate(t->x + t->y + t->v.first + load64(s + 8), 37) * mul;
    t->y = rotate(t->y + t->v.second + load64(s + 48), 42) * mul;
    t->x ^= t->w.second * weight;
    t->y += t->v.first * weight + load64(s + 40);
    t->z = rotate(t->z + t->w.first, 33) * mul;
    t->v = weak_hash_32(s, t->v.second * mul, t->x + t->w.first);
    t->w = weak_hash_32(s + 32, t->z + t->w.second, t->y + load64(s + 16));
    const uint64_t z = t->z;
    t->z = t->x;
    t->x = z;
}

static uint64_t hash_long(const uint8_t *s, size_t n)
{
    const uint64_t seed = 81;
    long_state t = {.x = seed * k2 + load64(s), .y = seed * k1 + 113};
    t.z = shift_mix(t.y * k2 + 113) * k2;
    const uint8_t *const end = s + (n - 1) / 64 * 64;
    const uint8_t *const last = s + n - 64;
    for (; s != end; s += 64) {
        mix_block(&t, s, k1, 1);
    }
    const uint64_t mul = k1 + ((t.z & 0xff) << 1);
    t.w.first += (n - 1) & 63;
    t.v.first += t.w.first;
    t.w.first += t.v.first;
    mix_block(&t, last, mul, 9);
    return mix16(mix16(t.v.first, t.w.first, mul) + shift_mix(t.y) * k0 + t.z,
                 mix16(t.v.second, t.w.second, mul) + t.x, mul);
}

uint64_t edt_fingerprint64(edt_span bytes)
{
    if (bytes.n_bytes <= 16) {
        return hash_0_to_16(bytes.data, bytes.n_bytes);
    }
    if (bytes.n_bytes <= 32) {
        return hash_17_to_32(bytes.data, bytes.n_bytes);
    }
    if (bytes.n_bytes <= 64) {
        return hash_33_to_64(bytes.data, bytes.n_bytes);
    }
    return hash_long(bytes.data, bytes.n_bytes);
}

int64_t edt_fingerprint64_source_id(edt_span encoded)
{
    return (int64_t)(edt_fingerprint64(encoded) % (uint64_t)INT64_MAX);
}
