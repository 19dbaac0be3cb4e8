// See image_png.h. libpng reports errors by longjmp: every call into it is made from read_rows,
// which has set the jump target and owns nothing; a sink is called from there too, but with no
// frame of libpng below it, and it ends by returning.
#include "dataio/image_png.h"

#include <inttypes.h>
#include <png.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { MAX_DEFLATE_RATIO = 1032 };

// What stays the same between setjmp and a longjmp back to it.
typedef struct png_reading {
    edt_span bytes;
    size_t at;
    char words[160];
    edt_status status; // what the words are about
    jmp_buf jump;
    png_structp png;
    png_infop info;
    edt_row_buffer *pixels;
    const edt_row_sink *sink;
    int64_t n_rows;
    edt_row_band band;
} png_reading;

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

edt_status edt_png_read_header(edt_span bytes, edt_error *err, int64_t *out_h, int64_t *out_w)
{
    // Depths that a colour type allows, as a set of bits.
    static const uint32_t depths[7] = {1 << 1 | 1 << 2 | 1 << 4 | 1 << 8 | 1 << 16,
                                       0,
                                       1 << 8 | 1 << 16,
                                       1 << 1 | 1 << 2 | 1 << 4 | 1 << 8,
                                       1 << 8 | 1 << 16,
                                       0,
                                       1 << 8 | 1 << 16};
    static const int channels[7] = {1, 0, 3, 1, 2, 0, 4};
    if (bytes.n_bytes < 33 || memcmp(bytes.data + 12, "IHDR", 4) != 0) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "PNG: no IHDR chunk in %zu bytes", bytes.n_bytes);
    }
    const int64_t w = be32(bytes.data + 16), h = be32(bytes.data + 20);
    const unsigned depth = bytes.data[24], colour = bytes.data[25];
    if (colour > 6 || depth > 16 || (depths[colour] >> depth & 1) == 0) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "PNG: colour type %u with %u bits does not exist", colour,
                 depth);
    }
    if (h < 1 || w < 1 || h > PNG_UINT_31_MAX || w > PNG_UINT_31_MAX) {
        EDT_FAIL(err, EDT_ERR_FORMAT,
                 "PNG of size %" PRId64 " x %" PRId64 " (height x width) in its header", h, w);
    }
    const double raw_bytes = (double)h * (double)w * depth * channels[colour] / 8;
    if (raw_bytes > (double)MAX_DEFLATE_RATIO * (double)bytes.n_bytes) {
        EDT_FAIL(err, EDT_ERR_FORMAT,
                 "PNG: its %zu bytes cannot hold the %" PRId64 " x %" PRId64
                 " pixels (height x width) of its header",
                 bytes.n_bytes, h, w);
    }
    *out_h = h;
    *out_w = w;
    return EDT_OK;
}

static void read_bytes(png_structp png, png_bytep out, size_t n)
{
    png_reading *r = png_get_io_ptr(png);
    if (n > r->bytes.n_bytes - r->at) {
        png_error(png, "the data end early");
    }
    memcpy(out, r->bytes.data + r->at, n);
    r->at += n;
}

static void on_error(png_structp png, const char *words)
{
    png_reading *r = png_get_error_ptr(png);
    // libpng has no codes: the words of its allocator and of zlib's.
    const bool is_memory =
        strstr(words, "Out of memory") != NULL || strstr(words, "insufficient memory") != NULL;
    (void)snprintf(r->words, sizeof r->words, "%s", words);
    r->status = is_memory ? EDT_ERR_NOMEM : EDT_ERR_FORMAT;
    longjmp(r->jump, 1);
}

static void on_warning(png_structp png, const char *words)
{
    (void)png;
    (void)words;
}

// Texts and profiles have no part in the pixels, but libpng would unpack each to megabytes.
static void skip_side_data(png_structp png)
{
#ifdef PNG_HANDLE_AS_UNKNOWN_SUPPORTED
    static const png_byte names[] = "tEXt\0zTXt\0iTXt\0iCCP\0sPLT\0eXIf";
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, names, sizeof names / 5);
#else
    (void)png;
#endif
}

// Asks for 8-bit RGB as the reference does; returns the number of passes.
static int choose_transforms(png_structp png, png_infop info)
{
    const png_byte colour = png_get_color_type(png, info);
    const bool has_trns = png_get_valid(png, info, PNG_INFO_tRNS) != 0;
    if ((colour & PNG_COLOR_MASK_ALPHA) != 0 || has_trns) {
        png_set_strip_alpha(png);
    }
    png_set_strip_16(png);
    const int n_passes = png_set_interlace_handling(png);
    if (colour == PNG_COLOR_TYPE_PALETTE) {
        png_set_palette_to_rgb(png);
    }
    if ((colour & PNG_COLOR_MASK_COLOR) == 0) {
        png_set_expand_gray_1_2_4_to_8(png);
        png_set_gray_to_rgb(png);
    }
    png_read_update_info(png, info);
    return n_passes;
}

static edt_status read_interlaced(png_reading *r, int n_passes)
{
    for (int pass = 0; pass < n_passes; ++pass) {
        for (int64_t y = 0; y < r->band.h; ++y) {
            png_read_row(r->png, edt_row_band_at(&r->band, y), NULL);
        }
    }
    return EDT_OK;
}

static edt_status read_plain(png_reading *r, edt_error *err)
{
    for (int64_t y = 0; y < r->band.h; ++y) {
        if (edt_row_band_room(&r->band, y) < 1) { // with a sink: wanted by nobody
            png_read_row(r->png, r->pixels->data, NULL);
            continue;
        }
        png_read_row(r->png, edt_row_band_at(&r->band, y), NULL);
        EDT_TRY(edt_row_band_complete(&r->band, y + 1, err));
    }
    return EDT_OK;
}

static edt_status read_rows(png_reading *r, edt_error *err)
{
    if (setjmp(r->jump) != 0) {
        EDT_FAIL(err, r->status, "%sPNG of %zu bytes: %s",
                 r->status == EDT_ERR_FORMAT ? "corrupt " : "", r->bytes.n_bytes, r->words);
    }
    png_set_read_fn(r->png, r, read_bytes);
    skip_side_data(r->png);
    png_read_info(r->png, r->info);
    const int64_t h = png_get_image_height(r->png, r->info);
    const int64_t w = png_get_image_width(r->png, r->info);
    const int n_passes = choose_transforms(r->png, r->info);
    const bool interlaced = n_passes > 1;
    if (png_get_rowbytes(r->png, r->info) != (size_t)w * 3) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "PNG: rows of %zu bytes for %" PRId64 " pixels",
                 png_get_rowbytes(r->png, r->info), w);
    }
    // Without a sink rows that are not asked for need a place of their own too.
    const edt_row_sink *sink = interlaced ? NULL : r->sink;
    EDT_TRY(
        edt_row_band_begin(&r->band, r->pixels, sink, h, w, sink == NULL ? 0 : r->n_rows, err));
    EDT_TRY(interlaced ? read_interlaced(r, n_passes) : read_plain(r, err));
    png_read_end(r->png, r->info); // with it chunks out of place are found
    if (interlaced && r->sink != NULL) {
        const edt_image rows = {.data = r->pixels->data, .h = h, .w = w, .stride = 3 * w};
        return r->sink->take(r->sink->ctx, 0, &rows, err);
    }
    return EDT_OK;
}

edt_status edt_png_decode(edt_span bytes, int64_t n_rows, const edt_row_sink *sink,
                          edt_row_buffer *pixels, edt_error *err)
{
    png_reading r = {.bytes = bytes, .pixels = pixels, .sink = sink, .n_rows = n_rows};
    r.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &r, on_error, on_warning);
    r.info = r.png != NULL ? png_create_info_struct(r.png) : NULL;
    const edt_status status =
        r.info != NULL ? read_rows(&r, err)
                       : edt_error_set(err, EDT_ERR_NOMEM, "no memory to decode a PNG");
    png_destroy_read_struct(&r.png, &r.info, NULL);
    return status;
}
