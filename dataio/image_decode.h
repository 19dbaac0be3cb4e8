// Encoded pictures of any supported format -> RGB as the reference decodes them (spec/data.md
// 6.1): JPEG, PNG, BMP, GIF (first frame), told by their leading bytes.
#ifndef EDT_DATAIO_IMAGE_DECODE_H
#define EDT_DATAIO_IMAGE_DECODE_H

#include <stdbool.h>

#include "augment/image.h"
#include "core/error.h"
#include "core/span.h"
#include "dataio/row_sink.h"

// Decoder and pixel buffers of one thread; they grow to the largest picture seen.
typedef struct edt_image_decoder edt_image_decoder;

// Boxes are fractions of the picture as it is decoded. The reference ignores EXIF, so its
// records hold boxes of the picture as stored; exif_rotate is for records whose labels were
// drawn on the upright picture, and their height and width are then the upright ones.
typedef struct edt_image_decoder_options {
    bool exif_rotate; // turn JPEGs upright as their EXIF orientation says
} edt_image_decoder_options;

// `options` may be NULL.
edt_status edt_image_decoder_create(const edt_image_decoder_options *options, edt_error *err,
                                    edt_image_decoder **out_decoder);
void edt_image_decoder_destroy(edt_image_decoder *decoder); // NULL is fine

// Reads the header: height and width of what decoding will give (upright with exif_rotate).
// `bytes` must stay valid until the picture has been decoded. EDT_ERR_FORMAT for an unknown
// format, an unsound header, 2^29 pixels or more, and for pixels that so few bytes cannot hold;
// EDT_ERR_NOMEM.
edt_status edt_image_open(edt_image_decoder *decoder, edt_span bytes, edt_error *err,
                          int64_t *out_h, int64_t *out_w);

// Decodes at least the first n_rows rows of the picture opened last; n_rows 0 or beyond the
// height: all. The view is the decoder's until its next call and may be written to; its `h` is
// the whole picture's, rows past those asked for are undefined. A truncated picture is an error
// whatever n_rows is. EDT_ERR_FORMAT; EDT_ERR_NOMEM, also for what a picture library could not
// have, here as in the calls before and below.
edt_status edt_image_decode(edt_image_decoder *decoder, int64_t n_rows, edt_error *err,
                            edt_image *out_image);

// Of the picture opened last only the levels in `window` will be looked at. The next
// edt_image_decode_rows may leave out bands above it, and levels outside it are undefined.
void edt_image_focus(edt_image_decoder *decoder, const edt_image_window *window);

// As edt_image_decode, but hands rows 0, 1, ... to `sink` in bands as the decoder yields them,
// at least the first n_rows of them and never past the end, without keeping the picture.
// Interlaced PNGs, GIFs and turned pictures come as one band. Damage may show after some bands.
edt_status edt_image_decode_rows(edt_image_decoder *decoder, int64_t n_rows,
                                 const edt_row_sink *sink, edt_error *err);

#endif
