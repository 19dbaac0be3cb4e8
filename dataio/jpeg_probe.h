// Reads the header of an encoded image without decoding pixels: which format it is, its size
// and its number of channels. The converters' sanity check.
#ifndef EDT_DATAIO_JPEG_PROBE_H
#define EDT_DATAIO_JPEG_PROBE_H

#include <stdbool.h>

#include "core/error.h"
#include "core/span.h"

typedef enum edt_image_format {
    EDT_IMAGE_UNKNOWN,
    EDT_IMAGE_JPEG,
    EDT_IMAGE_PNG,
    EDT_IMAGE_GIF,
    EDT_IMAGE_BMP,
} edt_image_format;

typedef struct edt_image_header {
    edt_image_format format;
    int64_t height, width; // pixels
    int n_channels;        // as stored; palette images count as 1
    size_t n_bytes;        // JPEG: of the file up to the end of its frame header; others: 0
} edt_image_header;

// "JPEG", "PNG", "GIF", "BMP" or "unknown".
const char *edt_image_format_name(edt_image_format format);

// By the leading bytes alone, as the decoder chooses (spec/data.md 6.1).
edt_image_format edt_image_format_of(edt_span encoded);

// EDT_ERR_FORMAT for an empty file, an unknown format, a header that is cut or has a zero size,
// and for a JPEG without a frame header.
edt_status edt_jpeg_probe(edt_span encoded, edt_error *err, edt_image_header *out_header);

// False for a JPEG without an end marker anywhere behind its frame header: it was cut off, and
// decoding it is an error. Looks at the last bytes first, so it costs nothing for whole files.
// True for other formats.
bool edt_jpeg_probe_is_whole(edt_span encoded, const edt_image_header *header);

#endif
