// First frame of a GIF -> RGB exactly as the reference decodes it (spec/data.md 6.1). The
// canvas has the greatest width and the greatest height of any frame in the file, whatever the
// logical screen is; the frame lies at its offset and is cut at the canvas's border; what it
// leaves free, and its transparent pixels, are black.
#ifndef EDT_DATAIO_IMAGE_GIF_H
#define EDT_DATAIO_IMAGE_GIF_H

#include "core/span.h"
#include "dataio/row_sink.h"

// Walks over all frames without decoding them. Damage behind the first frame's data ends the
// walk and is no error: the frames that are whole up to there count (the reference also leaves
// out one whose codes are damaged). EDT_ERR_FORMAT for a file without a whole
// frame, and for a large canvas in far fewer bytes than LZW could make it from.
edt_status edt_gif_read_header(edt_span bytes, edt_error *err, int64_t *out_h, int64_t *out_w);

// The whole canvas of h x w, as edt_gif_read_header gave them, into `pixels`. EDT_ERR_FORMAT
// for damaged data, a pixel without a colour in the map, a missing map; EDT_ERR_NOMEM.
edt_status edt_gif_decode(edt_span bytes, int64_t h, int64_t w, edt_row_buffer *pixels,
                          edt_error *err);

#endif
