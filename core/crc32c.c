// CRC-32C; see crc32c.h. The CRC instruction has a latency of three cycles and a throughput of
// one, so that three independent streams keep it busy; their remainders are joined by
// carry-less multiplication with powers of x. Tables and powers are constants: nothing is
// initialised at run time.
#include "core/crc32c.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static const uint32_t mask_delta = 0xa282ead8u;

uint32_t edt_crc32c_mask(uint32_t crc)
{
    return ((crc >> 15) | (crc << 17)) + mask_delta;
}

uint32_t edt_crc32c_unmask(uint32_t masked)
{
    const uint32_t rotated = masked - mask_delta;
    return (rotated >> 17) | (rotated << 15);
}

// A CRC is linear over its input bits: the table entry of byte i is the sum of the entries of
// its bits, so that eight constants per table are enough and the compiler writes out the rest.
#define BIT(i, b, v) (((i) >> (b)) & 1 ? (v) : 0)
#define ENTRY(i, a, b, c, d, e, f, g, h)                                                       \
    (BIT(i, 0, a) ^ BIT(i, 1, b) ^ BIT(i, 2, c) ^ BIT(i, 3, d) ^ BIT(i, 4, e) ^ BIT(i, 5, f) ^ \
     BIT(i, 6, g) ^ BIT(i, 7, h))
#define ENTRIES_4(i, ...)                                                                      \
    ENTRY(i, __VA_ARGS__), ENTRY((i) + 1, __VA_ARGS__), ENTRY((i) + 2, __VA_ARGS__),           \
        ENTRY((i) + 3, __VA_ARGS__)
#define ENTRIES_16(i, ...)                                                                     \
    ENTRIES_4(i, __VA_ARGS__), ENTRIES_4((i) + 4, __VA_ARGS__),                                \
        ENTRIES_4((i) + 8, __VA_ARGS__), ENTRIES_4((i) + 12, __VA_ARGS__)
#define ENTRIES_64(i, ...)                                                                     \
    ENTRIES_16(i, __VA_ARGS__), ENTRIES_16((i) + 16, __VA_ARGS__),                             \
        ENTRIES_16((i) + 32, __VA_ARGS__), ENTRIES_16((i) + 48, __VA_ARGS__)
#define TABLE(...)                                                                             \
    {                                                                                          \
        ENTRIES_64(0, __VA_ARGS__), ENTRIES_64(64, __VA_ARGS__), ENTRIES_64(128, __VA_ARGS__), \
            ENTRIES_64(192, __VA_ARGS__)                                                       \
    }

// tables[k][i]: the remainder of byte i followed by k zero bytes.
static const uint32_t tables[8][256] = {
    TABLE(0xf26b8303, 0xe13b70f7, 0xc79a971f, 0x8ad958cf, 0x105ec76f, 0x20bd8ede, 0x417b1dbc,
          0x82f63b78),
    TABLE(0x13a29877, 0x274530ee, 0x4e8a61dc, 0x9d14c3b8, 0x3fc5f181, 0x7f8be302, 0xff17c604,
          0xfbc3faf9),
    TABLE(0xa541927e, 0x4f6f520d, 0x9edea41a, 0x38513ec5, 0x70a27d8a, 0xe144fb14, 0xc76580d9,
          0x8b277743),
    TABLE(0xdd45aab8, 0xbf672381, 0x7b2231f3, 0xf64463e6, 0xe964b13d, 0xd725148b, 0xaba65fe7,
          0x52a0c93f),
    TABLE(0x38116fac, 0x7022df58, 0xe045beb0, 0xc5670b91, 0x8f2261d3, 0x1ba8b557, 0x37516aae,
          0x6ea2d55c),
    TABLE(0xef306b19, 0xdb8ca0c3, 0xb2f53777, 0x6006181f, 0xc00c303e, 0x85f4168d, 0x0e045beb,
          0x1c08b7d6),
    TABLE(0x68032cc8, 0xd0065990, 0xa5e0c5d1, 0x4e2dfd53, 0x9c5bfaa6, 0x3d5b83bd, 0x7ab7077a,
          0xf56e0ef4),
    TABLE(0x493c7d27, 0x9278fa4e, 0x211d826d, 0x423b04da, 0x847609b4, 0x0d006599, 0x1a00cb32,
          0x34019664),
};

uint32_t edt_crc32c_portable(uint32_t crc, const void *data, size_t n_bytes)
{
    const uint8_t *p = data;
    uint32_t state = ~crc;
    for (; n_bytes >= 8; n_bytes -= 8, p += 8) {
        const uint32_t low = state ^ ((uint32_t)p[0] | (uint32_t)p[1] << 8 |
                                      (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);
        state = tables[7][low & 255] ^ tables[6][(low >> 8) & 255] ^
                tables[5][(low >> 16) & 255] ^ tables[4][low >> 24] ^ tables[3][p[4]] ^
                tables[2][p[5]] ^ tables[1][p[6]] ^ tables[0][p[7]];
    }
    for (; n_bytes > 0; --n_bytes, ++p) {
        state = (state >> 8) ^ tables[0][(state ^ *p) & 255];
    }
    return ~state;
}

#if defined(__x86_64__)

static uint64_t load_u64(const uint8_t *p)
{
    uint64_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

// Consumes whole rounds of 3 * part_bytes. `power_1` and `power_2` are x^(8 part_bytes - 33)
// and x^(16 part_bytes - 33) modulo the polynomial, reflected: the CRC instruction that reduces
// the product supplies the missing x^33.
__attribute__((target("sse4.2,pclmul"))) static inline uint64_t
run_three_streams(uint64_t state, const uint8_t **data, size_t *n_bytes, size_t part_bytes,
                  uint32_t power_1, uint32_t power_2)
{
    const uint8_t *p = *data;
    size_t left = *n_bytes;
    const __m128i powers = _mm_set_epi64x(power_1, power_2);
    for (; left >= 3 * part_bytes; left -= 3 * part_bytes, p += 3 * part_bytes) {
        uint64_t a = state;
        uint64_t b = 0;
        uint64_t c = 0;
        for (size_t i = 0; i < part_bytes; i += 32) {
            for (size_t j = i; j < i + 32; j += 8) {
                a = _mm_crc32_u64(a, load_u64(p + j));
                b = _mm_crc32_u64(b, load_u64(p + part_bytes + j));
                c = _mm_crc32_u64(c, load_u64(p + 2 * part_bytes + j));
            }
        }
        const __m128i heads = _mm_set_epi64x((long long)b, (long long)a);
        const __m128i moved = _mm_xor_si128(_mm_clmulepi64_si128(heads, powers, 0x00),
                                            _mm_clmulepi64_si128(heads, powers, 0x11));
        state = _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(moved)) ^ c;
    }
    *data = p;
    *n_bytes = left;
    return state;
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t
crc32c_x86(uint32_t crc, const uint8_t *p, size_t n_bytes)
{
    uint64_t state = (uint32_t)~crc;
    state = run_three_streams(state, &p, &n_bytes, 4096, 0x82f89c77, 0x54a86326);
    state = run_three_streams(state, &p, &n_bytes, 128, 0x0d3b6092, 0xb9e02b86);
    for (; n_bytes >= 8; n_bytes -= 8, p += 8) {
        state = _mm_crc32_u64(state, load_u64(p));
    }
    uint32_t tail = (uint32_t)state;
    for (; n_bytes > 0; --n_bytes, ++p) {
        tail = _mm_crc32_u8(tail, *p);
    }
    return ~tail;
}

bool edt_crc32c_is_accelerated(void)
{
    return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
}

uint32_t edt_crc32c(uint32_t crc, const void *data, size_t n_bytes)
{
    return edt_crc32c_is_accelerated() ? crc32c_x86(crc, data, n_bytes)
                                       : edt_crc32c_portable(crc, data, n_bytes);
}

#else

bool edt_crc32c_is_accelerated(void)
{
    return false;
}

uint32_t edt_crc32c(uint32_t crc, const void *data, size_t n_bytes)
{
    return edt_crc32c_portable(crc, data, n_bytes);
}

#endif
