// See image_exif.h. JPEG segments: ITU-T T.81 annex B; inside EXIF: TIFF 6.0, section 2.
#include "dataio/image_exif.h"

#include <string.h>

enum { ORIENTATION_TAG = 0x0112, TYPE_SHORT = 3, TYPE_LONG = 4, ENTRY_BYTES = 12 };

typedef struct tiff {
    edt_span bytes;
    bool big_endian;
} tiff;

static uint32_t get16(const tiff *t, size_t at)
{
    const uint8_t *p = t->bytes.data + at;
    return t->big_endian ? (uint32_t)p[0] << 8 | p[1] : (uint32_t)p[1] << 8 | p[0];
}

static uint32_t get32(const tiff *t, size_t at)
{
    const uint32_t a = get16(t, at), b = get16(t, at + 2);
    return t->big_endian ? a << 16 | b : b << 16 | a;
}

static int orientation_of_tiff(edt_span bytes)
{
    tiff t = {.bytes = bytes};
    if (bytes.n_bytes < 10 ||
        (memcmp(bytes.data, "II", 2) != 0 && memcmp(bytes.data, "MM", 2) != 0)) {
        return 1;
    }
    t.big_endian = bytes.data[0] == 'M';
    const size_t directory = get32(&t, 4);
    if (get16(&t, 2) != 42 || directory > bytes.n_bytes - 2) {
        return 1;
    }
    size_t n = get16(&t, directory);
    for (size_t at = directory + 2; n > 0 && bytes.n_bytes - at >= ENTRY_BYTES;
         at += ENTRY_BYTES, --n) {
        if (get16(&t, at) != ORIENTATION_TAG) {
            continue;
        }
        const uint32_t type = get16(&t, at + 2);
        const uint32_t value = type == TYPE_SHORT  ? get16(&t, at + 8)
                               : type == TYPE_LONG ? get32(&t, at + 8)
                                                   : 1;
        return value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}

int edt_exif_orientation(edt_span jpeg)
{
    static const char name[6] = {'E', 'x', 'i', 'f', 0, 0};
    const uint8_t *p = jpeg.data;
    size_t at = 2;
    while (at < jpeg.n_bytes) {
        // Stray and fill bytes between segments are skipped, as the decoder does.
        if (p[at] != 0xff) {
            ++at;
            continue;
        }
        while (at < jpeg.n_bytes && p[at] == 0xff) {
            ++at;
        }
        if (at == jpeg.n_bytes) {
            break;
        }
        const uint8_t marker = p[at++];
        if (marker == 0x00 || marker == 0x01 || (marker >= 0xd0 && marker <= 0xd8)) {
            continue; // stands alone
        }
        if (marker == 0xd9 || marker == 0xda || jpeg.n_bytes - at < 2) {
            break; // end of the picture, or its first scan
        }
        const size_t n = (size_t)p[at] << 8 | p[at + 1];
        if (n < 2 || n > jpeg.n_bytes - at) {
            break;
        }
        if (marker == 0xe1 && n >= 2 + sizeof name &&
            memcmp(p + at + 2, name, sizeof name) == 0) {
            return orientation_of_tiff(
                (edt_span){p + at + 2 + sizeof name, n - 2 - sizeof name});
        }
        at += n;
    }
    return 1;
}

bool edt_exif_swaps_sides(int orientation)
{
    return orientation >= 5;
}

void edt_exif_turn(const edt_image *stored, int orientation, const edt_image *upright)
{
    enum { TILE = 32 };
    // Where the upright pixel (0, 0) is stored, and the steps to its neighbours.
    const bool from_bottom =
        orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    const bool from_right =
        orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    const int64_t down = from_bottom ? -stored->stride : stored->stride;
    const int64_t along = from_right ? -3 : 3;
    const uint8_t *origin = stored->data +
                            (from_bottom ? stored->stride * (stored->h - 1) : 0) +
                            (from_right ? 3 * (stored->w - 1) : 0);
    const bool swaps = edt_exif_swaps_sides(orientation);
    const int64_t step_y = swaps ? along : down, step_x = swaps ? down : along;
    // Tiles keep both sides of a transposition in the cache.
    for (int64_t y0 = 0; y0 < upright->h; y0 += TILE) {
        const int64_t y1 = y0 + TILE < upright->h ? y0 + TILE : upright->h;
        for (int64_t x0 = 0; x0 < upright->w; x0 += TILE) {
            const int64_t x1 = x0 + TILE < upright->w ? x0 + TILE : upright->w;
            for (int64_t y = y0; y < y1; ++y) {
                const uint8_t *from = origin + y * step_y + x0 * step_x;
                uint8_t *to = upright->data + y * upright->stride + 3 * x0;
                for (int64_t x = x0; x < x1; ++x, from += step_x, to += 3) {
                    memcpy(to, from, 3);
                }
            }
        }
    }
}
