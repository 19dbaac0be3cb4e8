// See image_bmp.h. Layout: BITMAPFILEHEADER (14 bytes, with the pixels' offset at 10), then
// BITMAPINFOHEADER or one of its extensions (size at 14, width 18, height 22, bits 28,
// compression 30, masks 54 to 65).
#include "dataio/image_bmp.h"

#include <inttypes.h>
#include <string.h>

enum { MIN_INFO_BYTES = 40, MIN_BYTES = 14 + MIN_INFO_BYTES, MASKS_END = 66 };
enum { UNCOMPRESSED = 0, BIT_FIELDS = 3 };

static uint32_t le32(const uint8_t *p)
{
    return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

static int64_t signed32(const uint8_t *p)
{
    const uint32_t raw = le32(p);
    return raw < UINT32_C(1) << 31 ? (int64_t)raw : (int64_t)raw - (INT64_C(1) << 32);
}

// Masks are allowed where they say what an uncompressed file has anyway.
static bool has_plain_layout(edt_span bytes, int bits)
{
    const uint8_t *p = bytes.data;
    const uint32_t compression = le32(p + 30);
    return compression == UNCOMPRESSED ||
           (compression == BIT_FIELDS && bits == 32 && bytes.n_bytes >= MASKS_END &&
            le32(p + 54) == 0xff0000 && le32(p + 58) == 0xff00 && le32(p + 62) == 0xff);
}

edt_status edt_bmp_read_header(edt_span bytes, edt_error *err, edt_bmp_header *out_header)
{
    const uint8_t *p = bytes.data;
    if (bytes.n_bytes < MIN_BYTES || le32(p + 14) < MIN_INFO_BYTES) {
        EDT_FAIL(err, EDT_ERR_FORMAT,
                 "BMP of %zu bytes: cut off in its header, or with the header of OS/2",
                 bytes.n_bytes);
    }
    const int64_t w = signed32(p + 18), signed_h = signed32(p + 22);
    const int64_t h = signed_h < 0 ? -signed_h : signed_h;
    const int bits = p[28] | p[29] << 8;
    if (bits != 8 && bits != 24 && bits != 32) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "BMP of %d bits per pixel; allowed are 8, 24 and 32",
                 bits);
    }
    if (!has_plain_layout(bytes, bits)) {
        EDT_FAIL(err, EDT_ERR_FORMAT,
                 "BMP with compression %" PRIu32 " of its %d bits; allowed are 0, and 3 with "
                 "the masks of B,G,R",
                 le32(p + 30), bits);
    }
    if (w < 1 || h < 1) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "BMP of size %" PRId64 " x %" PRId64 " (height x width)",
                 signed_h, w);
    }
    const int n_channels = bits / 8;
    const int64_t stride = (w * n_channels + 3) / 4 * 4;
    const size_t offset = le32(p + 10);
    // h * stride stays below 2^31 * 2^33 and a bit.
    if (offset < MIN_BYTES || (uint64_t)offset + (uint64_t)(h * stride) != bytes.n_bytes) {
        EDT_FAIL(err, EDT_ERR_FORMAT,
                 "BMP of %zu bytes; its header asks for %zu and %" PRId64 " rows of %" PRId64,
                 bytes.n_bytes, offset, h, stride);
    }
    *out_header = (edt_bmp_header){.h = h,
                                   .w = w,
                                   .n_channels = n_channels,
                                   .top_down = signed_h < 0,
                                   .offset = offset,
                                   .stride = stride};
    return EDT_OK;
}

static void convert_row(const uint8_t *in, int64_t n_pixels, int n_channels, uint8_t *out_rgb)
{
    if (n_channels == 1) {
        for (int64_t i = 0; i < n_pixels; ++i) {
            memset(out_rgb + 3 * i, in[i], 3);
        }
        return;
    }
    for (int64_t i = 0; i < n_pixels; ++i, in += n_channels, out_rgb += 3) {
        out_rgb[0] = in[2];
        out_rgb[1] = in[1];
        out_rgb[2] = in[0];
    }
}

edt_status edt_bmp_decode(edt_span bytes, const edt_bmp_header *header, edt_row_band *band,
                          edt_error *err)
{
    for (int64_t y = 0; y < band->n_rows; ++y) {
        const int64_t i_row = header->top_down ? y : header->h - 1 - y;
        convert_row(bytes.data + header->offset + (size_t)(i_row * header->stride), header->w,
                    header->n_channels, edt_row_band_at(band, y));
        EDT_TRY(edt_row_band_complete(band, y + 1, err));
    }
    return EDT_OK;
}
