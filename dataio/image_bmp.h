// BMP -> RGB exactly as the reference decodes it (spec/data.md 6.1): 8, 24 and 32 bits,
// uncompressed, rows in either direction. Bytes of 8 bits are gray levels, whatever the palette
// says; the fourth byte of 32 bits is dropped; the file has exactly the size that its header
// asks for.
#ifndef EDT_DATAIO_IMAGE_BMP_H
#define EDT_DATAIO_IMAGE_BMP_H

#include <stdbool.h>

#include "core/span.h"
#include "dataio/row_sink.h"

typedef struct edt_bmp_header {
    int64_t h, w;
    int n_channels; // 1, 3 (B,G,R) or 4 (B,G,R,unused)
    bool top_down;  // the first row in the file is the topmost one
    size_t offset;  // of the pixels
    int64_t stride; // bytes of a row in the file
} edt_bmp_header;

// EDT_ERR_FORMAT for a header that is cut or unsound, another depth, compressed pixels,
// channels in another order, a file of another size.
edt_status edt_bmp_read_header(edt_span bytes, edt_error *err, edt_bmp_header *out_header);

// Fails only where the band does.
edt_status edt_bmp_decode(edt_span bytes, const edt_bmp_header *header, edt_row_band *band,
                          edt_error *err);

#endif
