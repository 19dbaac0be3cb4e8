// JPEG -> RGB exactly as the reference decodes it (spec/data.md 6.1): fast integer DCT, fancy
// upsampling, CMYK by integer formula, gray replicated; data that ends before its end marker is
// an error, warnings are not. EXIF orientation and colour profiles are ignored.
#ifndef EDT_DATAIO_JPEG_DECODE_H
#define EDT_DATAIO_JPEG_DECODE_H

#include "augment/image.h"
#include "core/error.h"
#include "core/span.h"
#include "dataio/row_sink.h"

// Decoder and pixel buffer of one thread; the buffer grows to the largest picture seen.
typedef struct edt_jpeg_decoder edt_jpeg_decoder;

edt_status edt_jpeg_decoder_create(edt_error *err, edt_jpeg_decoder **out_decoder);
void edt_jpeg_decoder_destroy(edt_jpeg_decoder *decoder);

// Reads the header of a picture; `bytes` must stay valid until edt_jpeg_decode returns.
// EDT_ERR_FORMAT for anything that is not a sound JPEG header, for 2^29 pixels or more, and for
// a large picture in far fewer bytes than its scans would take.
edt_status edt_jpeg_open(edt_jpeg_decoder *decoder, edt_span bytes, edt_error *err,
                         int64_t *out_h, int64_t *out_w);

// Decodes at least the first n_rows rows of the picture opened last; n_rows 0 or beyond the
// height: all of them. The view belongs to the decoder and lasts until its next call; its `h`
// is the height of the whole picture, rows past those asked for are undefined. A picture whose
// bytes do not close with an end marker is decoded to the end, so that truncation never depends
// on n_rows. EDT_ERR_FORMAT for corrupt or truncated data.
edt_status edt_jpeg_decode(edt_jpeg_decoder *decoder, int64_t n_rows, edt_error *err,
                           edt_image *out_image);

// Of the picture opened last only the levels in `window` will be looked at: the next
// edt_jpeg_decode_rows may leave out rows above it and levels beside it (their entropy coding
// is read all the same, so that corrupt data are found as ever).
void edt_jpeg_focus(edt_jpeg_decoder *decoder, const edt_image_window *window);

// As edt_jpeg_decode, but hands rows 0, 1, ... to `sink` in bands of EDT_ROW_BAND_ROWS without
// keeping the picture: the first n_rows of them, or all. The sink is never called from inside
// libjpeg, whose errors longjmp: it may hold locks and memory.
edt_status edt_jpeg_decode_rows(edt_jpeg_decoder *decoder, int64_t n_rows,
                                const edt_row_sink *sink, edt_error *err);

#endif
