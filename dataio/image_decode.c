// See image_decode.h.
#include "dataio/image_decode.h"

#include <inttypes.h>

#include "core/mem.h"
#include "dataio/image_bmp.h"
#include "dataio/image_exif.h"
#include "dataio/image_gif.h"
#include "dataio/image_png.h"
#include "dataio/jpeg_decode.h"
#include "dataio/jpeg_probe.h"

static const int64_t max_pixels = INT64_C(1) << 29;

struct edt_image_decoder {
    edt_image_decoder_options options;
    edt_jpeg_decoder *jpeg;
    edt_row_buffer pixels;   // of other formats
    edt_row_buffer turned;   // the upright picture
    edt_span bytes;          // with a format
    edt_image_format format; // EDT_IMAGE_UNKNOWN: no picture is open
    int64_t h, w;            // as stored
    edt_bmp_header bmp;
    int orientation; // 1 to 8
};

edt_status edt_image_decoder_create(const edt_image_decoder_options *options, edt_error *err,
                                    edt_image_decoder **out_decoder)
{
    edt_image_decoder *d = edt_mem_calloc(EDT_MEM_IMAGE, 1, sizeof *d);
    if (d == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a decoder of pictures");
    }
    if (options != NULL) {
        d->options = *options;
    }
    const edt_status status = edt_jpeg_decoder_create(err, &d->jpeg);
    if (status != EDT_OK) {
        edt_image_decoder_destroy(d);
        return status;
    }
    *out_decoder = d;
    return EDT_OK;
}

void edt_image_decoder_destroy(edt_image_decoder *decoder)
{
    if (decoder == NULL) {
        return;
    }
    edt_jpeg_decoder_destroy(decoder->jpeg);
    edt_row_buffer_deinit(&decoder->pixels);
    edt_row_buffer_deinit(&decoder->turned);
    edt_mem_free(decoder);
}

static edt_status read_header(edt_image_decoder *d, edt_image_format format, edt_span bytes,
                              edt_error *err)
{
    switch (format) {
    case EDT_IMAGE_JPEG: return edt_jpeg_open(d->jpeg, bytes, err, &d->h, &d->w);
    case EDT_IMAGE_PNG: return edt_png_read_header(bytes, err, &d->h, &d->w);
    case EDT_IMAGE_GIF: return edt_gif_read_header(bytes, err, &d->h, &d->w);
    case EDT_IMAGE_BMP:
        EDT_TRY(edt_bmp_read_header(bytes, err, &d->bmp));
        d->h = d->bmp.h;
        d->w = d->bmp.w;
        return EDT_OK;
    case EDT_IMAGE_UNKNOWN: break;
    }
    if (bytes.n_bytes == 0) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "the encoded image is empty");
    }
    EDT_FAIL(err, EDT_ERR_FORMAT,
             "unknown image format (no JPEG, PNG, GIF or BMP signature in %zu bytes)",
             bytes.n_bytes);
}

edt_status edt_image_open(edt_image_decoder *decoder, edt_span bytes, edt_error *err,
                          int64_t *out_h, int64_t *out_w)
{
    edt_image_decoder *d = decoder;
    const edt_image_format format = edt_image_format_of(bytes);
    d->format = EDT_IMAGE_UNKNOWN;
    EDT_TRY(read_header(d, format, bytes, err));
    if (d->h > (max_pixels - 1) / d->w) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "%s of %" PRId64 "x%" PRId64 " pixels; the limit is 2^29",
                 edt_image_format_name(format), d->w, d->h);
    }
    const bool may_turn = d->options.exif_rotate && format == EDT_IMAGE_JPEG;
    d->orientation = may_turn ? edt_exif_orientation(bytes) : 1;
    d->format = format;
    d->bytes = bytes;
    const bool swaps = edt_exif_swaps_sides(d->orientation);
    *out_h = swaps ? d->w : d->h;
    *out_w = swaps ? d->h : d->w;
    return EDT_OK;
}

// Decodes the picture as stored: to `sink`, or into `*out_image` where there is none.
static edt_status decode_stored(edt_image_decoder *d, int64_t n_rows, const edt_row_sink *sink,
                                edt_error *err, edt_image *out_image)
{
    const edt_image_format format = d->format;
    d->format = EDT_IMAGE_UNKNOWN;
    edt_image image = {.h = d->h, .w = d->w, .stride = 3 * d->w};
    edt_row_band band;
    switch (format) {
    case EDT_IMAGE_JPEG:
        if (sink != NULL) {
            return edt_jpeg_decode_rows(d->jpeg, n_rows, sink, err);
        }
        return edt_jpeg_decode(d->jpeg, n_rows, err, out_image);
    case EDT_IMAGE_PNG: EDT_TRY(edt_png_decode(d->bytes, n_rows, sink, &d->pixels, err)); break;
    case EDT_IMAGE_BMP:
        EDT_TRY(edt_row_band_begin(&band, &d->pixels, sink, d->h, d->w, n_rows, err));
        EDT_TRY(edt_bmp_decode(d->bytes, &d->bmp, &band, err));
        break;
    case EDT_IMAGE_GIF:
        EDT_TRY(edt_gif_decode(d->bytes, d->h, d->w, &d->pixels, err));
        if (sink != NULL) {
            image.data = d->pixels.data;
            return sink->take(sink->ctx, 0, &image, err);
        }
        break;
    case EDT_IMAGE_UNKNOWN:
        EDT_FAIL(err, EDT_ERR_INTERNAL, "decoding without an opened picture");
    }
    if (sink == NULL) {
        image.data = d->pixels.data;
        *out_image = image;
    }
    return EDT_OK;
}

static edt_status decode_turned(edt_image_decoder *d, edt_error *err, edt_image *out_image)
{
    edt_image stored = {0};
    EDT_TRY(decode_stored(d, 0, NULL, err, &stored));
    EDT_TRY(edt_row_buffer_reserve(&d->turned, (size_t)(stored.h * stored.w) * 3, err));
    const bool swaps = edt_exif_swaps_sides(d->orientation);
    const edt_image upright = {.data = d->turned.data,
                               .h = swaps ? stored.w : stored.h,
                               .w = swaps ? stored.h : stored.w,
                               .stride = 3 * (swaps ? stored.h : stored.w)};
    edt_exif_turn(&stored, d->orientation, &upright);
    *out_image = upright;
    return EDT_OK;
}

edt_status edt_image_decode(edt_image_decoder *decoder, int64_t n_rows, edt_error *err,
                            edt_image *out_image)
{
    if (decoder->format != EDT_IMAGE_UNKNOWN && decoder->orientation != 1) {
        return decode_turned(decoder, err, out_image);
    }
    return decode_stored(decoder, n_rows, NULL, err, out_image);
}

void edt_image_focus(edt_image_decoder *decoder, const edt_image_window *window)
{
    if (decoder->format == EDT_IMAGE_JPEG && decoder->orientation == 1) {
        edt_jpeg_focus(decoder->jpeg, window);
    }
}

edt_status edt_image_decode_rows(edt_image_decoder *decoder, int64_t n_rows,
                                 const edt_row_sink *sink, edt_error *err)
{
    if (decoder->format != EDT_IMAGE_UNKNOWN && decoder->orientation != 1) {
        edt_image image = {0};
        EDT_TRY(decode_turned(decoder, err, &image));
        return sink->take(sink->ctx, 0, &image, err);
    }
    return decode_stored(decoder, n_rows, sink, err, NULL);
}
