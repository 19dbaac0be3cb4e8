#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

#include "core/crc32c.h"

// The definition, one bit at a time.
static uint32_t crc_by_bits(const uint8_t *data, size_t n_bytes)
{
    uint32_t state = UINT32_MAX;
    for (size_t i = 0; i < n_bytes; ++i) {
        state ^= data[i];
        for (int i_bit = 0; i_bit < 8; ++i_bit) {
            state = (state >> 1) ^ ((state & 1) != 0 ? 0x82f63b78u : 0);
        }
    }
    return ~state;
}

static void fill(uint8_t *data, size_t n_bytes)
{
    uint32_t state = 12345;
    for (size_t i = 0; i < n_bytes; ++i) {
        state = state * 1664525u + 1013904223u;
        data[i] = (uint8_t)(state >> 24);
    }
}

Test(crc32c, both_paths_agree_with_the_definition_at_all_alignments, .timeout = 30)
{
    static _Alignas(64) uint8_t data[3 * 4096 * 2 + 1000 + 64];
    static const size_t lengths[] = {0,     1,     7,     8,     9,     31,    32,   127,
                                     383,   384,   385,   767,   768,   1000,  4096, 12287,
                                     12288, 12289, 12672, 12680, 24575, 24576, 25576};
    fill(data, sizeof data);
    for (size_t offset = 0; offset < 64; ++offset) {
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; ++i) {
            const uint8_t *p = data + offset;
            const uint32_t portable = edt_crc32c_portable(0, p, lengths[i]);
            cr_assert_eq(edt_crc32c(0, p, lengths[i]), portable, "offset %zu length %zu",
                         offset, lengths[i]);
            if (offset < 8) {
                cr_assert_eq(crc_by_bits(p, lengths[i]), portable, "offset %zu length %zu",
                             offset, lengths[i]);
            }
        }
    }
}

Test(crc32c, pieces_chain_to_the_whole, .timeout = 30)
{
    static uint8_t data[30000];
    fill(data, sizeof data);
    const uint32_t whole = edt_crc32c(0, data, sizeof data);
    for (size_t cut = 0; cut <= sizeof data; cut += 997) {
        const uint32_t head = edt_crc32c(0, data, cut);
        cr_assert_eq(edt_crc32c(head, data + cut, sizeof data - cut), whole);
        cr_assert_eq(edt_crc32c_portable(head, data + cut, sizeof data - cut), whole);
    }
    cr_assert_eq(edt_crc32c(whole, NULL, 0), whole);
}

Test(crc32c, masking_is_invertible, .timeout = 10)
{
    cr_assert_eq(edt_crc32c_mask(0), 0xa282ead8u);
    cr_assert_eq(edt_crc32c_mask(edt_crc32c(0, "hello", 5)), 0x191c1fbbu);
    for (uint32_t i = 0; i < 100000; ++i) {
        const uint32_t crc = i * 2654435761u;
        cr_assert_eq(edt_crc32c_unmask(edt_crc32c_mask(crc)), crc);
    }
}
