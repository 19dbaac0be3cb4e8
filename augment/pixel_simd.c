// The inner loops of the pixel operations for one instruction set, EDT_SIMD. Most are plain
// loops that the compiler turns into vectors; what it cannot see (channels apart, tables in
// registers) is spelled out for the instruction sets that have it.
#include <math.h>
#include <string.h>

#include "augment/pixel_kernels.h"

#if defined(__SSSE3__)
#include <immintrin.h>
#endif

#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)
#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define INLINE static inline __attribute__((always_inline))

// Pixels whose channels are taken apart at once.
enum { BLOCK = 64 };

typedef struct planes {
    _Alignas(64) uint8_t v[3][BLOCK];
} planes;

#if defined(__SSSE3__)
// Shuffles of three 16-byte parts of 16 pixels: byte i of channel c comes from part p where
// apart[c][p][i] is not 128; and the other way round.
static const uint8_t apart[3][3][16] = {
    {{0, 3, 6, 9, 12, 15, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128},
     {128, 128, 128, 128, 128, 128, 2, 5, 8, 11, 14, 128, 128, 128, 128, 128},
     {128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 1, 4, 7, 10, 13}},
    {{1, 4, 7, 10, 13, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128},
     {128, 128, 128, 128, 128, 0, 3, 6, 9, 12, 15, 128, 128, 128, 128, 128},
     {128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 2, 5, 8, 11, 14}},
    {{2, 5, 8, 11, 14, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128},
     {128, 128, 128, 128, 128, 1, 4, 7, 10, 13, 128, 128, 128, 128, 128, 128},
     {128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 0, 3, 6, 9, 12, 15}},
};
static const uint8_t together[3][3][16] = {
    {{0, 128, 128, 1, 128, 128, 2, 128, 128, 3, 128, 128, 4, 128, 128, 5},
     {128, 0, 128, 128, 1, 128, 128, 2, 128, 128, 3, 128, 128, 4, 128, 128},
     {128, 128, 0, 128, 128, 1, 128, 128, 2, 128, 128, 3, 128, 128, 4, 128}},
    {{128, 128, 6, 128, 128, 7, 128, 128, 8, 128, 128, 9, 128, 128, 10, 128},
     {5, 128, 128, 6, 128, 128, 7, 128, 128, 8, 128, 128, 9, 128, 128, 10},
     {128, 5, 128, 128, 6, 128, 128, 7, 128, 128, 8, 128, 128, 9, 128, 128}},
    {{128, 11, 128, 128, 12, 128, 128, 13, 128, 128, 14, 128, 128, 15, 128, 128},
     {128, 128, 11, 128, 128, 12, 128, 128, 13, 128, 128, 14, 128, 128, 15, 128},
     {10, 128, 128, 11, 128, 128, 12, 128, 128, 13, 128, 128, 14, 128, 128, 15}},
};

INLINE __m128i load16(const void *p)
{
    return _mm_loadu_si128((const __m128i_u *)p);
}

// Three shuffled registers in one.
INLINE __m128i pick(const __m128i in[3], const uint8_t (*shuffles)[16])
{
    const __m128i first = _mm_shuffle_epi8(in[0], load16(shuffles[0]));
    const __m128i second = _mm_shuffle_epi8(in[1], load16(shuffles[1]));
    const __m128i third = _mm_shuffle_epi8(in[2], load16(shuffles[2]));
    return _mm_or_si128(_mm_or_si128(first, second), third);
}

INLINE void take_block_apart(const uint8_t *row, planes *out)
{
    for (int i = 0; i < BLOCK; i += 16) {
        const __m128i in[3] = {load16(row + 3 * i), load16(row + 3 * i + 16),
                               load16(row + 3 * i + 32)};
        for (int c = 0; c < 3; ++c) {
            _mm_store_si128((__m128i *)(void *)(out->v[c] + i), pick(in, apart[c]));
        }
    }
}

INLINE void put_block_together(const planes *in, uint8_t *row)
{
    for (int i = 0; i < BLOCK; i += 16) {
        const __m128i channels[3] = {load16(in->v[0] + i), load16(in->v[1] + i),
                                     load16(in->v[2] + i)};
        for (int part = 0; part < 3; ++part) {
            _mm_storeu_si128((__m128i_u *)(void *)(row + 3 * i + 16 * part),
                             pick(channels, together[part]));
        }
    }
}
#else
INLINE void take_block_apart(const uint8_t *row, planes *out)
{
    for (int i = 0; i < 3 * BLOCK; ++i) {
        out->v[i % 3][i / 3] = row[i];
    }
}

INLINE void put_block_together(const planes *in, uint8_t *row)
{
    for (int i = 0; i < 3 * BLOCK; ++i) {
        row[i] = in->v[i % 3][i / 3];
    }
}
#endif

INLINE int min_i(int64_t a, int b)
{
    return a < b ? (int)a : b;
}

// The first n <= BLOCK pixels of `row`; what lies behind them is 0.
INLINE void take_apart(const uint8_t *row, int n, planes *out)
{
    if (n == BLOCK) {
        take_block_apart(row, out);
        return;
    }
    uint8_t padded[3 * BLOCK] = {0};
    memcpy(padded, row, (size_t)(3 * n));
    take_block_apart(padded, out);
}

INLINE void put_together(const planes *in, int n, uint8_t *row)
{
    if (n == BLOCK) {
        put_block_together(in, row);
        return;
    }
    uint8_t padded[3 * BLOCK];
    put_block_together(in, padded);
    memcpy(row, padded, (size_t)(3 * n));
}

// rgb_to_grayscale of the reference on levels: to [0,1], weighted from left to right, back.
INLINE int32_t gray_of(uint8_t r, uint8_t g, uint8_t b)
{
    const float scale = 1.0F / 255.0F;
    const float sum = 0.2989F * ((float)r * scale) + 0.5870F * ((float)g * scale) +
                      0.1140F * ((float)b * scale);
    return (int32_t)(sum * 255.5F);
}

static int64_t gray_sum(const uint8_t *row, int64_t n)
{
    int64_t total = 0;
    for (int64_t i = 0; i < n; i += BLOCK) {
        planes p;
        take_apart(row + 3 * i, min_i(n - i, BLOCK), &p);
        int32_t sum = 0;
        for (int k = 0; k < BLOCK; ++k) {
            sum += gray_of(p.v[0][k], p.v[1][k], p.v[2][k]);
        }
        total += sum;
    }
    return total;
}

static void color(uint8_t *row, int64_t n, float factor)
{
    for (int64_t i = 0; i < n; i += BLOCK) {
        planes p;
        const int n_block = min_i(n - i, BLOCK);
        take_apart(row + 3 * i, n_block, &p);
        for (int k = 0; k < BLOCK; ++k) {
            const float gray = (float)gray_of(p.v[0][k], p.v[1][k], p.v[2][k]);
            p.v[0][k] = edt_level_blend(gray, p.v[0][k], factor);
            p.v[1][k] = edt_level_blend(gray, p.v[1][k], factor);
            p.v[2][k] = edt_level_blend(gray, p.v[2][k], factor);
        }
        put_together(&p, n_block, row + 3 * i);
    }
}

static void range(const uint8_t *row, int64_t n, uint8_t *lo, uint8_t *hi)
{
    enum { WIDTH = 192 }; // a multiple of 3 and of every vector
    uint8_t least[WIDTH], most[WIDTH];
    memset(least, 255, sizeof least);
    memset(most, 0, sizeof most);
    int64_t i = 0;
    for (; i + WIDTH <= 3 * n; i += WIDTH) {
        for (int k = 0; k < WIDTH; ++k) {
            least[k] = row[i + k] < least[k] ? row[i + k] : least[k];
            most[k] = row[i + k] > most[k] ? row[i + k] : most[k];
        }
    }
    for (int k = 0; i + k < 3 * n; ++k) {
        least[k] = row[i + k] < least[k] ? row[i + k] : least[k];
        most[k] = row[i + k] > most[k] ? row[i + k] : most[k];
    }
    for (int k = 0; k < WIDTH; ++k) {
        lo[k % 3] = least[k] < lo[k % 3] ? least[k] : lo[k % 3];
        hi[k % 3] = most[k] > hi[k % 3] ? most[k] : hi[k % 3];
    }
}

#if defined(__AVX512VBMI__)
// 256 entries fill four registers; a byte's highest bit tells the pair.
typedef struct level_table {
    __m512i part[4];
} level_table;

INLINE level_table load_table(const uint8_t *table)
{
    level_table t;
    for (int i = 0; i < 4; ++i) {
        t.part[i] = _mm512_loadu_si512(table + 64 * i);
    }
    return t;
}

INLINE __m512i look_up(level_table t, __m512i values)
{
    const __m512i low = _mm512_permutex2var_epi8(t.part[0], values, t.part[1]);
    const __m512i high = _mm512_permutex2var_epi8(t.part[2], values, t.part[3]);
    return _mm512_mask_mov_epi8(low, _mm512_movepi8_mask(values), high);
}

static void lookup(const uint8_t (*table)[EDT_N_LEVELS], bool one, uint8_t *row, int64_t n)
{
    // Bytes 1, 4, 7, ... and 2, 5, 8, ... of a register that begins with channel 0; one that
    // begins with channel c has them c bytes earlier.
    static const __mmask64 second[3] = {0x2492492492492492U, 0x9249249249249249U,
                                        0x4924924924924924U};
    const level_table t0 = load_table(table[0]);
    const level_table t1 = load_table(one ? table[0] : table[1]);
    const level_table t2 = load_table(one ? table[0] : table[2]);
    int phase = 0;
    for (int64_t i = 0; i < 3 * n; i += 64) {
        const int64_t n_left = 3 * n - i;
        const __mmask64 there = n_left >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << n_left) - 1;
        const __m512i values = _mm512_maskz_loadu_epi8(there, row + i);
        __m512i out = look_up(t0, values);
        if (!one) {
            const __mmask64 is_1 = second[phase], is_2 = second[phase == 0 ? 2 : phase - 1];
            out = _mm512_mask_mov_epi8(out, is_1, look_up(t1, values));
            out = _mm512_mask_mov_epi8(out, is_2, look_up(t2, values));
            phase = phase == 2 ? 0 : phase + 1;
        }
        _mm512_mask_storeu_epi8(row + i, there, out);
    }
}
#else
static void lookup(const uint8_t (*table)[EDT_N_LEVELS], bool one, uint8_t *row, int64_t n)
{
    const uint8_t *t0 = table[0], *t1 = one ? t0 : table[1], *t2 = one ? t0 : table[2];
    for (int64_t i = 0; i < n; ++i) {
        row[3 * i] = t0[row[3 * i]];
        row[3 * i + 1] = t1[row[3 * i + 1]];
        row[3 * i + 2] = t2[row[3 * i + 2]];
    }
}
#endif

static void products(const uint8_t *restrict values, int64_t n, float weight,
                     float *restrict out)
{
    for (int64_t i = 0; i < n; ++i) {
        out[i] = weight * (float)values[i];
    }
}

// In two loops, because compilers leave the one around both clamps to scalar code.
static void sharpen(const float *restrict up, const float *restrict mid,
                    const float *restrict down, float centre, float factor,
                    uint8_t *restrict values, int64_t n)
{
    enum { RUN = 256 };
    uint8_t smooth[RUN];
    for (int64_t begin = 0; begin < n; begin += RUN) {
        const int n_run = min_i(n - begin, RUN);
        const float *u = up + begin, *m = mid + begin, *d = down + begin;
        uint8_t *v = values + begin;
        for (int i = 0; i < n_run; ++i) {
            float sum = u[i - 3] + u[i];
            sum += u[i + 3];
            sum += m[i - 3];
            sum += centre * (float)v[i];
            sum += m[i + 3];
            sum += d[i - 3];
            sum += d[i];
            sum += d[i + 3];
            smooth[i] = edt_level_from_f32(sum);
        }
        for (int i = 0; i < n_run; ++i) {
            v[i] = edt_level_blend(smooth[i], v[i], factor);
        }
    }
}

// roundf, half away from zero: adding the float below a half never reaches the next integer
// too early, and at a half the sum is rounded up to it.
INLINE int32_t round_coordinate(float v)
{
    return (int32_t)(v + copysignf(0x1.fffffep-2F, v));
}

static int32_t warp_offsets(const edt_warp_run *run, int64_t n, int32_t *restrict out_offsets)
{
    const edt_warp_run r = *run;
    int32_t most = 0;
    for (int32_t i = 0; i < (int32_t)n; ++i) {
        const float x = (float)(r.x + i);
        const int32_t column = round_coordinate((r.a0 * x + r.a1y) + r.a2);
        const int32_t row = round_coordinate((r.b0 * x + r.b1y) + r.b2);
        const int32_t offset = row * r.stride + 3 * column;
        out_offsets[i] = offset;
        most = offset > most ? offset : most;
    }
    return most;
}

// Four bytes are stored per pixel; the fourth is overwritten by the next pixel.
static void gather(const uint8_t *restrict source, const int32_t *restrict offsets, int64_t n,
                   uint8_t *restrict out)
{
    for (int64_t i = 0; i + 1 < n; ++i) {
        memcpy(out + 3 * i, source + offsets[i], 4);
    }
    if (n > 0) {
        memcpy(out + 3 * (n - 1), source + offsets[n - 1], 3);
    }
}

extern const edt_pixel_kernels PASTE(edt_pixel_kernels_, EDT_SIMD);
const edt_pixel_kernels PASTE(edt_pixel_kernels_, EDT_SIMD) = {.name = TEXT(EDT_SIMD),
#define ENTRY(type, name, args) .name = name,
                                                               EDT_PIXEL_KERNEL_LIST(ENTRY)
#undef ENTRY
};
