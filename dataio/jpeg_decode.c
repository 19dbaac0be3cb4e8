// See jpeg_decode.h. libjpeg reports errors by longjmp: every call into it is made from a
// function here that has set its own jump target, and none of those functions owns anything.
#include "dataio/jpeg_decode.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

#include "core/mem.h"

enum { ROWS_PER_CALL = 16 };
static const int64_t max_pixels = INT64_C(1) << 29;

struct edt_jpeg_decoder {
    struct jpeg_decompress_struct info;
    struct jpeg_error_mgr errors;
    struct jpeg_source_mgr source;
    jmp_buf jump;
    char message[JMSG_LENGTH_MAX];
    edt_span bytes;
    bool open;
    uint8_t *pixels, *cmyk;
    size_t pixels_bytes, cmyk_bytes;
};

static edt_jpeg_decoder *owner_of(j_common_ptr info)
{
    return info->client_data;
}

static void on_error(j_common_ptr info)
{
    edt_jpeg_decoder *decoder = owner_of(info);
    info->err->format_message(info, decoder->message);
    longjmp(decoder->jump, 1);
}

static void on_message(j_common_ptr info, int level)
{
    if (level < 0) {
        ++info->err->num_warnings;
    }
}

static void source_init(j_decompress_ptr info)
{
    (void)info;
}

static void fail_truncated(j_decompress_ptr info)
{
    edt_jpeg_decoder *decoder = owner_of((j_common_ptr)info);
    (void)snprintf(decoder->message, sizeof decoder->message,
                   "the data ends before the end-of-image marker");
    longjmp(decoder->jump, 1);
}

static boolean source_fill(j_decompress_ptr info)
{
    fail_truncated(info);
    return FALSE;
}

static void source_skip(j_decompress_ptr info, long n_bytes)
{
    if (n_bytes <= 0) {
        return;
    }
    if ((size_t)n_bytes > info->src->bytes_in_buffer) {
        fail_truncated(info);
    }
    info->src->next_input_byte += n_bytes;
    info->src->bytes_in_buffer -= (size_t)n_bytes;
}

edt_status edt_jpeg_decoder_create(edt_error *err, edt_jpeg_decoder **out_decoder)
{
    edt_jpeg_decoder *d = edt_mem_calloc(EDT_MEM_IMAGE, 1, sizeof *d);
    if (d == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a JPEG decoder");
    }
    d->source = (struct jpeg_source_mgr){.init_source = source_init,
                                         .fill_input_buffer = source_fill,
                                         .skip_input_data = source_skip,
                                         .resync_to_restart = jpeg_resync_to_restart,
                                         .term_source = source_init};
    *out_decoder = d;
    return EDT_OK;
}

void edt_jpeg_decoder_destroy(edt_jpeg_decoder *decoder)
{
    if (decoder == NULL) {
        return;
    }
    jpeg_destroy_decompress(&decoder->info); // a zeroed object is legal there
    edt_mem_free(decoder->pixels);
    edt_mem_free(decoder->cmyk);
    edt_mem_free(decoder);
}

static bool starts_with(edt_span bytes, const char *magic, size_t n)
{
    return bytes.n_bytes >= n && memcmp(bytes.data, magic, n) == 0;
}

static edt_status check_magic(edt_span bytes, edt_error *err)
{
    if (starts_with(bytes, "\xff\xd8\xff", 3)) {
        return EDT_OK;
    }
    if (bytes.n_bytes == 0) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "the encoded image is empty");
    }
    const char *format = starts_with(bytes, "\x89PNG\r\n\x1a\n", 8) ? "PNG"
                         : starts_with(bytes, "GIF8", 4)            ? "GIF"
                         : starts_with(bytes, "BM", 2)              ? "BMP"
                                                                    : NULL;
    if (format != NULL) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "the encoded image is a %s; this build decodes JPEG only: convert the picture "
                 "to JPEG",
                 format);
    }
    EDT_FAIL(err, EDT_ERR_FORMAT,
             "unknown image format (no JPEG, PNG, GIF or BMP signature in %zu bytes)",
             bytes.n_bytes);
}

// Starts a fresh libjpeg object, so that no Huffman or quantisation table of an earlier picture
// can stand in for a missing one, and parses the header; false when libjpeg gave up.
static bool read_header(edt_jpeg_decoder *d)
{
    jpeg_destroy_decompress(&d->info);
    d->info.err = jpeg_std_error(&d->errors);
    d->errors.error_exit = on_error;
    d->errors.emit_message = on_message;
    d->info.client_data = d;
    if (setjmp(d->jump) != 0) {
        return false;
    }
    jpeg_create_decompress(&d->info); // keeps err and client_data
    d->source.next_input_byte = d->bytes.data;
    d->source.bytes_in_buffer = d->bytes.n_bytes;
    d->info.src = &d->source;
    (void)jpeg_read_header(&d->info, TRUE);
    return true;
}

edt_status edt_jpeg_open(edt_jpeg_decoder *decoder, edt_span bytes, edt_error *err,
                         int64_t *out_h, int64_t *out_w)
{
    decoder->open = false;
    EDT_TRY(check_magic(bytes, err));
    decoder->bytes = bytes;
    if (!read_header(decoder)) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "not a readable JPEG: %s", decoder->message);
    }
    const int64_t h = decoder->info.image_height, w = decoder->info.image_width;
    if (h < 1 || w < 1 || h > (max_pixels - 1) / w) {
        EDT_FAIL(err, EDT_ERR_FORMAT,
                 "JPEG of %" PRId64 "x%" PRId64 " pixels; the limit is 2^29 pixels", w, h);
    }
    decoder->open = true;
    *out_h = h;
    *out_w = w;
    return EDT_OK;
}

static edt_status reserve(uint8_t **block, size_t *n_held, size_t n_bytes, edt_error *err)
{
    if (n_bytes <= *n_held) {
        return EDT_OK;
    }
    // Not realloc: the old picture need not be copied.
    edt_mem_free(*block);
    *n_held = 0;
    *block = edt_mem_alloc(EDT_MEM_IMAGE, n_bytes);
    if (*block == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %zu bytes of pixels", n_bytes);
    }
    *n_held = n_bytes;
    return EDT_OK;
}

// One row of C,M,Y,K to R,G,B; Adobe files store the inks inverted.
static void row_from_cmyk(const uint8_t *cmyk, int64_t n_pixels, bool adobe, uint8_t *out_rgb)
{
    for (int64_t i = 0; i < n_pixels; ++i) {
        const int k = adobe ? cmyk[4 * i + 3] : 255 - cmyk[4 * i + 3];
        for (int c = 0; c < 3; ++c) {
            const int ink = adobe ? cmyk[4 * i + c] : 255 - cmyk[4 * i + c];
            out_rgb[3 * i + c] = (uint8_t)(k * ink / 255);
        }
    }
}

// Decodes rows [0, n_rows) into d->pixels; false when libjpeg gave up.
static bool read_rows(edt_jpeg_decoder *d, int64_t n_rows, bool is_cmyk)
{
    if (setjmp(d->jump) != 0) {
        jpeg_abort_decompress(&d->info);
        return false;
    }
    struct jpeg_decompress_struct *info = &d->info;
    info->out_color_space = is_cmyk ? JCS_CMYK : JCS_RGB;
    info->do_fancy_upsampling = TRUE;
    info->dct_method = JDCT_IFAST;
    (void)jpeg_start_decompress(info);
    const int64_t w = info->output_width;
    while (info->output_scanline < n_rows) {
        JSAMPROW rows[ROWS_PER_CALL];
        const int64_t y = info->output_scanline;
        const int64_t left = n_rows - y;
        const JDIMENSION n = (JDIMENSION)(left < ROWS_PER_CALL ? left : ROWS_PER_CALL);
        for (JDIMENSION i = 0; i < n; ++i) {
            rows[i] =
                is_cmyk ? d->cmyk + (size_t)i * 4 * (size_t)w : d->pixels + 3 * w * (y + i);
        }
        const JDIMENSION n_read = jpeg_read_scanlines(info, rows, n);
        for (JDIMENSION i = 0; is_cmyk && i < n_read; ++i) {
            row_from_cmyk(rows[i], w, info->saw_Adobe_marker, d->pixels + 3 * w * (y + i));
        }
    }
    if (info->output_scanline == info->output_height) {
        (void)jpeg_finish_decompress(info); // reads up to the end marker
    } else {
        jpeg_abort_decompress(info);
    }
    return true;
}

edt_status edt_jpeg_decode(edt_jpeg_decoder *decoder, int64_t n_rows, edt_error *err,
                           edt_image *out_image)
{
    edt_jpeg_decoder *d = decoder;
    if (!d->open) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "edt_jpeg_decode without an opened picture");
    }
    d->open = false;
    const int64_t h = d->info.image_height, w = d->info.image_width;
    const uint8_t *end = d->bytes.data + d->bytes.n_bytes;
    const bool closed = end[-2] == 0xff && end[-1] == JPEG_EOI;
    const int64_t n = n_rows < 1 || n_rows > h || !closed ? h : n_rows;
    const bool is_cmyk =
        d->info.jpeg_color_space == JCS_CMYK || d->info.jpeg_color_space == JCS_YCCK;
    EDT_TRY(reserve(&d->pixels, &d->pixels_bytes, (size_t)(n * w) * 3, err));
    if (is_cmyk) {
        EDT_TRY(reserve(&d->cmyk, &d->cmyk_bytes, (size_t)w * 4 * ROWS_PER_CALL, err));
    }
    if (!read_rows(d, n, is_cmyk)) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "corrupt JPEG of %" PRId64 "x%" PRId64 " pixels: %s", w,
                 h, d->message);
    }
    *out_image = (edt_image){.data = d->pixels, .h = h, .w = w, .stride = 3 * w};
    return EDT_OK;
}
