// See jpeg_decode.h. libjpeg reports errors by longjmp: every call into it is made from a
// function here that has set its own jump target. None of those functions owns anything, and
// what they change between setjmp and longjmp lives in the decoder, not in locals. A sink is
// called from such a function too, but with no frame of libjpeg above or below it, and it ends
// by returning.
#include "dataio/jpeg_decode.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>
// After it.
#include <jerror.h>

#include "core/mem.h"

static const int64_t max_pixels = INT64_C(1) << 29;
// Huffman coding takes more than a bit for 8 x 8 samples of some component, 512 pixels a byte.
// Arithmetic coding can do with less, but not in any picture worth having.
enum { MAX_PIXELS_PER_BYTE = 4096, HARMLESS_PIXELS = 1 << 24 };

struct edt_jpeg_decoder {
    struct jpeg_decompress_struct info;
    struct jpeg_error_mgr errors;
    struct jpeg_source_mgr source;
    jmp_buf jump;
    char message[JMSG_LENGTH_MAX];
    edt_status status; // what the message is about
    edt_span bytes;
    bool open, focused; // focused: `focus` is of the open picture
    edt_image_window focus;
    edt_row_buffer pixels, cmyk;
    edt_row_band band;
};

static edt_jpeg_decoder *owner_of(j_common_ptr info)
{
    return info->client_data;
}

static void on_error(j_common_ptr info)
{
    edt_jpeg_decoder *decoder = owner_of(info);
    info->err->format_message(info, decoder->message);
    decoder->status =
        info->err->msg_code == JERR_OUT_OF_MEMORY ? EDT_ERR_NOMEM : EDT_ERR_FORMAT;
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
    decoder->status = EDT_ERR_FORMAT;
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
    edt_row_buffer_deinit(&decoder->pixels);
    edt_row_buffer_deinit(&decoder->cmyk);
    edt_mem_free(decoder);
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
    if (bytes.n_bytes < 3 || memcmp(bytes.data, "\xff\xd8\xff", 3) != 0) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "no JPEG: its signature is missing in %zu bytes",
                 bytes.n_bytes);
    }
    decoder->bytes = bytes;
    if (!read_header(decoder)) {
        EDT_FAIL(err, decoder->status, "not a readable JPEG: %s", decoder->message);
    }
    const int64_t h = decoder->info.image_height, w = decoder->info.image_width;
    if (h < 1 || w < 1 || h > (max_pixels - 1) / w) {
        EDT_FAIL(err, EDT_ERR_FORMAT,
                 "JPEG of %" PRId64 "x%" PRId64 " pixels; the limit is 2^29 pixels", w, h);
    }
    if (h * w > HARMLESS_PIXELS && (uint64_t)(h * w) / MAX_PIXELS_PER_BYTE > bytes.n_bytes) {
        EDT_FAIL(err, EDT_ERR_FORMAT,
                 "JPEG: its %zu bytes cannot hold the %" PRId64 "x%" PRId64
                 " pixels of its header",
                 bytes.n_bytes, w, h);
    }
    decoder->open = true;
    decoder->focused = false;
    *out_h = h;
    *out_w = w;
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

// Leaves out what lies outside the focus: whole bands of rows at the top, and columns of whole
// MCUs. Fancy upsampling looks at neighbouring samples, hence the margins. *out_x: the column
// that rows begin with. Only for pictures in one pass of coefficients, whose blocks do not
// depend on their neighbours otherwise.
static void leave_out(edt_jpeg_decoder *d, int64_t *out_x)
{
    enum { MARGIN_COLUMNS = 8, MARGIN_ROWS = EDT_ROW_BAND_ROWS };
    struct jpeg_decompress_struct *info = &d->info;
    const edt_image_window *f = &d->focus;
    *out_x = 0;
    if (!d->focused || info->progressive_mode || jpeg_has_multiple_scans(info) ||
        info->num_components > 3) {
        return;
    }
    const int64_t end = f->x + f->w + MARGIN_COLUMNS;
    JDIMENSION x = (JDIMENSION)(f->x > MARGIN_COLUMNS ? f->x - MARGIN_COLUMNS : 0);
    JDIMENSION w = (JDIMENSION)(end < d->band.w ? end : d->band.w) - x;
    jpeg_crop_scanline(info, &x, &w);
    *out_x = x;
    const int64_t above = (f->y - MARGIN_ROWS) / EDT_ROW_BAND_ROWS * EDT_ROW_BAND_ROWS;
    if (above > 0) {
        (void)jpeg_skip_scanlines(info, (JDIMENSION)above);
        d->band.begin = above;
    }
}

// Decodes rows [0, n_decode), of which the band takes those it wants. Without words where
// libjpeg gave up (d->status, d->message), else what the sink said.
static edt_status read_rows(edt_jpeg_decoder *d, int64_t n_decode, bool is_cmyk, edt_error *err)
{
    if (setjmp(d->jump) != 0) {
        jpeg_abort_decompress(&d->info);
        return d->status;
    }
    struct jpeg_decompress_struct *info = &d->info;
    info->out_color_space = is_cmyk ? JCS_CMYK : JCS_RGB;
    info->do_fancy_upsampling = TRUE;
    info->dct_method = JDCT_IFAST;
    (void)jpeg_start_decompress(info);
    int64_t x;
    leave_out(d, &x);
    while (info->output_scanline < n_decode) {
        JSAMPROW rows[EDT_ROW_BAND_ROWS];
        const int64_t y = info->output_scanline;
        const int64_t room = edt_row_band_room(&d->band, y);
        // Rows that nobody wants are decoded to find the end of the data; they go to one place.
        const bool wanted = room > 0;
        const int64_t left = wanted ? room : n_decode - y;
        const JDIMENSION n = (JDIMENSION)(left < EDT_ROW_BAND_ROWS ? left : EDT_ROW_BAND_ROWS);
        for (JDIMENSION i = 0; i < n; ++i) {
            rows[i] = is_cmyk  ? d->cmyk.data + (size_t)i * 4 * (size_t)d->band.w
                      : wanted ? edt_row_band_at(&d->band, y + i) + 3 * x
                               : d->pixels.data;
        }
        const JDIMENSION n_read = jpeg_read_scanlines(info, rows, n);
        if (!wanted) {
            continue;
        }
        for (JDIMENSION i = 0; is_cmyk && i < n_read; ++i) {
            row_from_cmyk(rows[i], d->band.w, info->saw_Adobe_marker,
                          edt_row_band_at(&d->band, y + i));
        }
        const edt_status status = edt_row_band_complete(&d->band, y + n_read, err);
        if (status != EDT_OK) {
            jpeg_abort_decompress(info);
            return status;
        }
    }
    if (info->output_scanline == info->output_height) {
        (void)jpeg_finish_decompress(info); // reads up to the end marker
    } else {
        jpeg_abort_decompress(info);
    }
    return EDT_OK;
}

static edt_status run(edt_jpeg_decoder *d, int64_t n_rows, const edt_row_sink *sink,
                      edt_error *err)
{
    if (!d->open) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "decoding a JPEG without an opened picture");
    }
    d->open = false;
    const int64_t h = d->info.image_height, w = d->info.image_width;
    const uint8_t *end = d->bytes.data + d->bytes.n_bytes;
    const bool closed = end[-2] == 0xff && end[-1] == JPEG_EOI;
    const bool is_cmyk =
        d->info.jpeg_color_space == JCS_CMYK || d->info.jpeg_color_space == JCS_YCCK;
    // Without a sink all rows that are decoded need a place of their own.
    const int64_t n_kept = closed || sink != NULL ? n_rows : h;
    EDT_TRY(edt_row_band_begin(&d->band, &d->pixels, sink, h, w, n_kept, err));
    if (is_cmyk) {
        EDT_TRY(edt_row_buffer_reserve(&d->cmyk, (size_t)w * 4 * EDT_ROW_BAND_ROWS, err));
    }
    d->message[0] = '\0';
    d->focused = d->focused && sink != NULL;
    const edt_status status = read_rows(d, closed ? d->band.n_rows : h, is_cmyk, err);
    if (status != EDT_OK && d->message[0] != '\0') {
        EDT_FAIL(err, status, "%sJPEG of %" PRId64 "x%" PRId64 " pixels: %s",
                 status == EDT_ERR_FORMAT ? "corrupt " : "", w, h, d->message);
    }
    return status;
}

void edt_jpeg_focus(edt_jpeg_decoder *decoder, const edt_image_window *window)
{
    decoder->focus = *window;
    decoder->focused = true;
}

edt_status edt_jpeg_decode(edt_jpeg_decoder *decoder, int64_t n_rows, edt_error *err,
                           edt_image *out_image)
{
    EDT_TRY(run(decoder, n_rows, NULL, err));
    const edt_row_band *band = &decoder->band;
    *out_image = (edt_image){
        .data = decoder->pixels.data, .h = band->h, .w = band->w, .stride = 3 * band->w};
    return EDT_OK;
}

edt_status edt_jpeg_decode_rows(edt_jpeg_decoder *decoder, int64_t n_rows,
                                const edt_row_sink *sink, edt_error *err)
{
    return run(decoder, n_rows, sink, err);
}
