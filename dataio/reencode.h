// Pictures encoded anew, smaller or at another quality, and the check that pixels can be
// decoded: the converters' --reencode, --max_side and --verify_pixels.
#ifndef EDT_DATAIO_REENCODE_H
#define EDT_DATAIO_REENCODE_H

#include <stdbool.h>

#include "core/error.h"
#include "core/span.h"

typedef struct edt_reencode_options {
    int quality; // of the new JPEG, 1 to 100; 0: only pictures that must become smaller are
                 // encoded, with 95
    bool half_chroma; // 4:2:0 instead of 4:4:4
    int64_t max_side; // longer sides are scaled down to this, the other in proportion; 0: none
    bool verify;      // decode even if nothing is encoded
} edt_reencode_options;

// "90" or "90,420"; NULL or "" leaves the options as they are. EDT_ERR_USAGE.
edt_status edt_reencode_parse(const char *text, edt_error *err, edt_reencode_options *options);

// True when the options ask for nothing at all.
bool edt_reencode_is_idle(const edt_reencode_options *options);

// The size that a picture will have.
void edt_reencode_size(const edt_reencode_options *options, int64_t height, int64_t width,
                       int64_t *out_height, int64_t *out_width);

// Decoder, encoder and buffers of one thread.
typedef struct edt_reencoder edt_reencoder;
edt_status edt_reencoder_create(edt_error *err, edt_reencoder **out_reencoder);
void edt_reencoder_destroy(edt_reencoder *reencoder); // NULL is fine

typedef struct edt_reencoded {
    edt_span bytes;        // the input's or the reencoder's, until its next call
    int64_t height, width; // pixels
    bool is_new;
} edt_reencoded;

// A picture of height x width pixels as its header says. Pictures are made smaller by averaging
// the area of each new pixel; EXIF data and colour profiles are left behind, the EXIF
// orientation is not applied (as in the loader). Equal input gives equal bytes.
// PNG, BMP and GIF (first frame) become JPEGs. EDT_ERR_FORMAT when the pixels cannot be decoded or
// have another size, EDT_ERR_NOMEM.
edt_status edt_reencoder_run(edt_reencoder *reencoder, edt_span encoded, int64_t height,
                             int64_t width, const edt_reencode_options *options, edt_error *err,
                             edt_reencoded *out_picture);

#endif
