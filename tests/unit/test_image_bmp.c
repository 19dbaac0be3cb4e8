// BMP headers that are refused, and rows in both directions.
#include <criterion/criterion.h>
#include <string.h>

#include "dataio/image_bmp.h"

enum { W = 3, H = 2, STRIDE = 12, OFFSET = 66, N_BYTES = OFFSET + H * STRIDE };

// 24 bits unless `bits` says 32 (then W is 3 all the same: rows of 12 bytes).
static void make_bmp(int bits, uint8_t out[static N_BYTES])
{
    memset(out, 0, N_BYTES);
    memcpy(out, "BM", 2);
    out[10] = OFFSET;
    out[14] = 40;
    out[18] = W;
    out[22] = H;
    out[28] = (uint8_t)bits;
    for (int i = 0; i < H * STRIDE; ++i) {
        out[OFFSET + i] = (uint8_t)(i + 1);
    }
}

static edt_status decode(const uint8_t *bytes, size_t n, uint8_t out_rgb[static H * W * 3])
{
    edt_bmp_header header;
    edt_row_buffer buffer = {0};
    edt_row_band band;
    EDT_TRY(edt_bmp_read_header((edt_span){bytes, n}, NULL, &header));
    cr_assert(header.h == H && header.w == W);
    cr_assert_eq(edt_row_band_begin(&band, &buffer, NULL, H, W, 0, NULL), EDT_OK);
    cr_assert_eq(edt_bmp_decode((edt_span){bytes, n}, &header, &band, NULL), EDT_OK);
    memcpy(out_rgb, buffer.data, H * W * 3);
    edt_row_buffer_deinit(&buffer);
    return EDT_OK;
}

Test(image_bmp, rows_run_upwards_unless_the_height_is_negative, .timeout = 10)
{
    uint8_t bytes[N_BYTES], up[H * W * 3], down[H * W * 3];
    make_bmp(24, bytes);
    cr_assert_eq(decode(bytes, N_BYTES, up), EDT_OK);
    const uint8_t first[3] = {STRIDE + 3, STRIDE + 2, STRIDE + 1};
    cr_assert_eq(memcmp(up, first, 3), 0);
    memset(bytes + 22, 0xff, 4);
    bytes[22] = 256 - H;
    cr_assert_eq(decode(bytes, N_BYTES, down), EDT_OK);
    cr_assert_eq(memcmp(up, down + W * 3, W * 3), 0);
    cr_assert_eq(memcmp(down, up + W * 3, W * 3), 0);
}

Test(image_bmp, masks_are_taken_only_where_they_change_nothing, .timeout = 10)
{
    uint8_t bytes[N_BYTES], rgb[H * W * 3];
    make_bmp(32, bytes);
    cr_assert_eq(decode(bytes, N_BYTES, rgb), EDT_OK);
    cr_assert(rgb[0] == STRIDE + 3 && rgb[3] == STRIDE + 7);
    bytes[30] = 3;
    cr_assert_eq(decode(bytes, N_BYTES, rgb), EDT_ERR_FORMAT);
    bytes[56] = bytes[59] = bytes[62] = 0xff;
    cr_assert_eq(decode(bytes, N_BYTES, rgb), EDT_OK);
    bytes[54] = 0xff;
    cr_assert_eq(decode(bytes, N_BYTES, rgb), EDT_ERR_FORMAT);
}

Test(image_bmp, unsound_headers_and_other_sizes_are_refused, .timeout = 10)
{
    // Bytes to change, one at a time.
    static const uint8_t changes[][2] = {
        {10, 65}, {10, 30},   {13, 0x80}, {14, 12}, {18, 0}, {18, 5},  {21, 0x80}, {22, 0},
        {22, 3},  {25, 0x80}, {28, 1},    {28, 4},  {28, 8}, {28, 16}, {30, 1},    {30, 2}};
    uint8_t bytes[N_BYTES + 1] = {0}, rgb[H * W * 3];
    for (size_t i = 0; i < sizeof changes / sizeof *changes; ++i) {
        make_bmp(24, bytes);
        bytes[changes[i][0]] = changes[i][1];
        cr_assert_eq(decode(bytes, N_BYTES, rgb), EDT_ERR_FORMAT, "byte %d is %d",
                     changes[i][0], changes[i][1]);
    }
    make_bmp(24, bytes);
    for (size_t n = 0; n <= N_BYTES + 1; ++n) {
        cr_assert_eq(decode(bytes, n, rgb), n == N_BYTES ? EDT_OK : EDT_ERR_FORMAT);
    }
}
