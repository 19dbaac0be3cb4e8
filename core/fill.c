// See fill.h. A line written by one 64-byte store costs least; processors without them take
// four of 16 bytes, which every x86-64 has.
#include "core/fill.h"

#include <string.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

enum { LINE_BYTES = 64, MIN_STREAM_BYTES = 1024 };

// The word as it reads `at` bytes further on.
static uint32_t rotated(uint32_t word, size_t at)
{
    const unsigned bits = (unsigned)(at % 4) * 8;
    return bits == 0 ? word : word >> bits | word << (32 - bits);
}

// As edt_fill_words, within the cache.
static void fill_cached(uint8_t *block, uint32_t word, size_t n_bytes)
{
    if (word == rotated(word, 1)) {
        memset(block, (int)(word & 0xff), n_bytes);
        return;
    }
    size_t i = 0;
    for (; i + sizeof word <= n_bytes; i += sizeof word) {
        memcpy(block + i, &word, sizeof word);
    }
    memcpy(block + i, &word, n_bytes - i);
}

#ifdef __x86_64__
__attribute__((target("avx512f"))) static void fill_lines_avx512(uint8_t *lines, uint32_t word,
                                                                 size_t n_lines)
{
    const __m512i words = _mm512_set1_epi32((int)word);
    for (size_t i = 0; i < n_lines; ++i) {
        _mm512_stream_si512((void *)(lines + i * LINE_BYTES), words);
    }
}

static void fill_lines_sse2(uint8_t *lines, uint32_t word, size_t n_lines)
{
    const __m128i words = _mm_set1_epi32((int)word);
    for (size_t i = 0; i < n_lines * LINE_BYTES; i += sizeof words) {
        _mm_stream_si128((__m128i *)(void *)(lines + i), words);
    }
}

void edt_fill_words_unordered(void *block, uint32_t word, size_t n_bytes)
{
    uint8_t *out = block;
    if (n_bytes >= MIN_STREAM_BYTES) {
        const size_t head = (LINE_BYTES - (uintptr_t)out % LINE_BYTES) % LINE_BYTES;
        fill_cached(out, word, head);
        word = rotated(word, head);
        out += head;
        n_bytes -= head;
        const size_t n_lines = n_bytes / LINE_BYTES;
        if (__builtin_cpu_supports("avx512f")) {
            fill_lines_avx512(out, word, n_lines);
        } else {
            fill_lines_sse2(out, word, n_lines);
        }
        out += n_lines * LINE_BYTES;
        n_bytes -= n_lines * LINE_BYTES;
    }
    fill_cached(out, word, n_bytes);
}

void edt_fill_order(void)
{
    _mm_sfence();
}
#else
void edt_fill_words_unordered(void *block, uint32_t word, size_t n_bytes)
{
    fill_cached(block, word, n_bytes);
}

void edt_fill_order(void)
{
}
#endif

void edt_fill_words(void *block, uint32_t word, size_t n_bytes)
{
    edt_fill_words_unordered(block, word, n_bytes);
    edt_fill_order();
}
