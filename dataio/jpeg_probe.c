// See jpeg_probe.h. JPEG: ITU-T T.81 annex B; the marker segments up to the first SOF are
// walked, with any number of fill bytes and stray bytes between them, as decoders accept them.
#include "dataio/jpeg_probe.h"

#include <string.h>

static uint32_t be16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t be32(const uint8_t *p)
{
    return be16(p) << 16 | be16(p + 2);
}

static uint32_t le16(const uint8_t *p)
{
    return (uint32_t)p[1] << 8 | p[0];
}

static uint32_t le32(const uint8_t *p)
{
    return le16(p + 2) << 16 | le16(p);
}

const char *edt_image_format_name(edt_image_format format)
{
    switch (format) {
    case EDT_IMAGE_JPEG: return "JPEG";
    case EDT_IMAGE_PNG: return "PNG";
    case EDT_IMAGE_GIF: return "GIF";
    case EDT_IMAGE_BMP: return "BMP";
    case EDT_IMAGE_UNKNOWN: break;
    }
    return "unknown";
}

edt_image_format edt_image_format_of(edt_span encoded)
{
    static const struct {
        edt_image_format format;
        size_t n;
        uint8_t magic[8];
    } table[] = {
        {EDT_IMAGE_JPEG, 3, {0xff, 0xd8, 0xff}},
        {EDT_IMAGE_PNG, 8, {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'}},
        {EDT_IMAGE_GIF, 4, {'G', 'I', 'F', '8'}},
        {EDT_IMAGE_BMP, 2, {'B', 'M'}},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; ++i) {
        if (encoded.n_bytes >= table[i].n &&
            memcmp(encoded.data, table[i].magic, table[i].n) == 0) {
            return table[i].format;
        }
    }
    return EDT_IMAGE_UNKNOWN;
}

static bool is_frame_header(uint8_t marker)
{
    return marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 &&
           marker != 0xcc;
}

static edt_status probe_jpeg(edt_span in, edt_error *err, edt_image_header *out)
{
    size_t at = 2;
    for (;;) {
        while (at < in.n_bytes && in.data[at] != 0xff) {
            ++at;
        }
        while (at < in.n_bytes && in.data[at] == 0xff) {
            ++at;
        }
        if (at >= in.n_bytes) {
            break;
        }
        const uint8_t marker = in.data[at++];
        if (marker == 0x00 || marker == 0x01 || (marker >= 0xd0 && marker <= 0xd8)) {
            continue;
        }
        if (marker == 0xd9 || marker == 0xda) {
            EDT_FAIL(err, EDT_ERR_FORMAT, "JPEG: no frame header before byte %zu", at);
        }
        if (in.n_bytes - at < 2 || be16(in.data + at) < 2 ||
            be16(in.data + at) > in.n_bytes - at) {
            break;
        }
        const size_t n_bytes = be16(in.data + at);
        if (is_frame_header(marker)) {
            if (n_bytes < 8) {
                EDT_FAIL(err, EDT_ERR_FORMAT, "JPEG: frame header of %zu bytes", n_bytes);
            }
            out->height = be16(in.data + at + 3);
            out->width = be16(in.data + at + 5);
            out->n_channels = in.data[at + 7];
            out->n_bytes = at + 8;
            if (out->n_channels < 1 || out->n_channels > 4) {
                EDT_FAIL(err, EDT_ERR_FORMAT, "JPEG: %d components, allowed are 1 to 4",
                         out->n_channels);
            }
            return EDT_OK;
        }
        at += n_bytes;
    }
    EDT_FAIL(err, EDT_ERR_FORMAT, "JPEG: the file ends at byte %zu, inside its header",
             in.n_bytes);
}

static edt_status probe_png(edt_span in, edt_error *err, edt_image_header *out)
{
    static const int channels[7] = {1, 0, 3, 1, 2, 0, 4}; // by colour type
    if (in.n_bytes < 33 || memcmp(in.data + 12, "IHDR", 4) != 0) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "PNG: no IHDR chunk in %zu bytes", in.n_bytes);
    }
    out->width = be32(in.data + 16);
    out->height = be32(in.data + 20);
    const uint8_t colour = in.data[25];
    out->n_channels = colour < 7 ? channels[colour] : 0;
    if (out->n_channels == 0) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "PNG: colour type %d does not exist", colour);
    }
    return EDT_OK;
}

static edt_status probe_gif(edt_span in, edt_error *err, edt_image_header *out)
{
    if (in.n_bytes < 13) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "GIF: %zu bytes, shorter than its header", in.n_bytes);
    }
    out->width = le16(in.data + 6);
    out->height = le16(in.data + 8);
    out->n_channels = 1;
    return EDT_OK;
}

static edt_status probe_bmp(edt_span in, edt_error *err, edt_image_header *out)
{
    if (in.n_bytes < 30) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "BMP: %zu bytes, shorter than its header", in.n_bytes);
    }
    int32_t height, width;
    const uint32_t raw_width = le32(in.data + 18), raw_height = le32(in.data + 22);
    memcpy(&width, &raw_width, sizeof width);
    memcpy(&height, &raw_height, sizeof height);
    out->width = width;
    out->height = height < 0 ? -(int64_t)height : height; // negative: rows run downwards
    const uint32_t bits = le16(in.data + 28);
    out->n_channels = bits <= 8 ? 1 : bits == 32 ? 4 : 3;
    return EDT_OK;
}

edt_status edt_jpeg_probe(edt_span encoded, edt_error *err, edt_image_header *out_header)
{
    if (encoded.n_bytes == 0) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "the image file is empty");
    }
    edt_image_header header = {.format = edt_image_format_of(encoded), .n_bytes = 0};
    switch (header.format) {
    case EDT_IMAGE_JPEG: EDT_TRY(probe_jpeg(encoded, err, &header)); break;
    case EDT_IMAGE_PNG: EDT_TRY(probe_png(encoded, err, &header)); break;
    case EDT_IMAGE_GIF: EDT_TRY(probe_gif(encoded, err, &header)); break;
    case EDT_IMAGE_BMP: EDT_TRY(probe_bmp(encoded, err, &header)); break;
    case EDT_IMAGE_UNKNOWN:
        EDT_FAIL(err, EDT_ERR_FORMAT,
                 "unknown image format (%zu bytes); JPEG, PNG, GIF or BMP required",
                 encoded.n_bytes);
    }
    if (header.height <= 0 || header.width <= 0) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "%s: size %lld x %lld (height x width) in the header",
                 edt_image_format_name(header.format), (long long)header.height,
                 (long long)header.width);
    }
    *out_header = header;
    return EDT_OK;
}

bool edt_jpeg_probe_is_whole(edt_span encoded, const edt_image_header *header)
{
    if (header->format != EDT_IMAGE_JPEG) {
        return true;
    }
    for (size_t i = encoded.n_bytes; i >= header->n_bytes + 2; --i) {
        if (encoded.data[i - 1] == 0xd9 && encoded.data[i - 2] == 0xff) {
            return true;
        }
    }
    return false;
}
