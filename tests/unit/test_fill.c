// Every size, alignment and word against a plain loop.
#include <criterion/criterion.h>
#include <string.h>

#include "core/fill.h"

Test(fill, every_size_and_alignment_repeats_the_word, .timeout = 30)
{
    enum { MAX_BYTES = 3000, GUARD = 64 };
    static _Alignas(64) uint8_t block[MAX_BYTES + 2 * GUARD];
    static const uint32_t words[] = {0, 0xffffffffU, 0xbf800000U};
    static const size_t sizes[] = {0, 1, 3, 63, 64, 1000, 1023, 1024, 1025, 1100, 2935};
    for (size_t w = 0; w < 3; ++w) {
        uint8_t bytes[4];
        memcpy(bytes, &words[w], 4);
        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; ++s) {
            for (size_t at = 0; at < 65; at += at < 5 ? 1 : 12) {
                memset(block, 0x5a, sizeof block);
                uint8_t *from = block + GUARD + at;
                edt_fill_words(from, words[w], sizes[s]);
                cr_assert(from[-1] == 0x5a && from[sizes[s]] == 0x5a);
                for (size_t i = 0; i < sizes[s]; ++i) {
                    cr_assert_eq(from[i], bytes[i % 4],
                                 "word %zu, size %zu, offset %zu, byte %zu", w, sizes[s], at,
                                 i);
                }
            }
        }
    }
}
