// PNG -> RGB exactly as the reference decodes it (spec/data.md 6.1): palettes expanded, gray
// replicated, of 16 bits the high byte, alpha and tRNS dropped without blending, Adam7, no
// gamma.
#ifndef EDT_DATAIO_IMAGE_PNG_H
#define EDT_DATAIO_IMAGE_PNG_H

#include "core/span.h"
#include "dataio/row_sink.h"

// Reads IHDR. EDT_ERR_FORMAT for one that is cut or unsound, and for a picture that so few
// bytes cannot hold: deflate gives at most 1032 bytes for one.
edt_status edt_png_read_header(edt_span bytes, edt_error *err, int64_t *out_h, int64_t *out_w);

// Decodes to the end whatever n_rows is, so that every wrong CRC and a missing end are found.
// With a sink an interlaced picture comes as one band. `pixels` holds the picture afterwards
// where `sink` is NULL. EDT_ERR_FORMAT, EDT_ERR_NOMEM.
edt_status edt_png_decode(edt_span bytes, int64_t n_rows, const edt_row_sink *sink,
                          edt_row_buffer *pixels, edt_error *err);

#endif
