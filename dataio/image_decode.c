// See image_decode.h.
#include "dataio/image_decode.h"

#include "core/mem.h"
#include "dataio/jpeg_decode.h"
#include "dataio/jpeg_probe.h"

struct edt_image_decoder {
    edt_image_decoder_options options;
    edt_jpeg_decoder *jpeg;
    edt_span bytes;
    edt_image_format format; // EDT_IMAGE_UNKNOWN: no picture is open
    int64_t h, w;            // as stored
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
    edt_mem_free(decoder);
}

edt_status edt_image_open(edt_image_decoder *decoder, edt_span bytes, edt_error *err,
                          int64_t *out_h, int64_t *out_w)
{
    edt_image_decoder *d = decoder;
    d->format = EDT_IMAGE_UNKNOWN;
    if (bytes.n_bytes == 0) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "the encoded image is empty");
    }
    const edt_image_format format = edt_image_format_of(bytes);
    switch (format) {
    case EDT_IMAGE_JPEG: EDT_TRY(edt_jpeg_open(d->jpeg, bytes, err, &d->h, &d->w)); break;
    case EDT_IMAGE_PNG:
    case EDT_IMAGE_GIF:
    case EDT_IMAGE_BMP:
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "the encoded image is a %s; this build decodes JPEG only: convert the picture "
                 "to JPEG",
                 edt_image_format_name(format));
    case EDT_IMAGE_UNKNOWN:
        EDT_FAIL(err, EDT_ERR_FORMAT,
                 "unknown image format (no JPEG, PNG, GIF or BMP signature in %zu bytes)",
                 bytes.n_bytes);
    }
    d->format = format;
    d->bytes = bytes;
    *out_h = d->h;
    *out_w = d->w;
    return EDT_OK;
}

edt_status edt_image_decode(edt_image_decoder *decoder, int64_t n_rows, edt_error *err,
                            edt_image *out_image)
{
    return edt_jpeg_decode(decoder->jpeg, n_rows, err, out_image);
}

edt_status edt_image_decode_rows(edt_image_decoder *decoder, int64_t n_rows,
                                 const edt_row_sink *sink, edt_error *err)
{
    return edt_jpeg_decode_rows(decoder->jpeg, n_rows, sink, err);
}
