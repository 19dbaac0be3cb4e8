// RGB -> JPEG bytes and files.
#ifndef EDT_DATAIO_JPEG_ENCODE_H
#define EDT_DATAIO_JPEG_ENCODE_H

#include <stdbool.h>

#include "augment/image.h"
#include "core/error.h"

typedef struct edt_jpeg_encode_options {
    int quality;      // 1 to 100; 0: 75
    bool full_chroma; // 4:4:4 instead of 4:2:0
} edt_jpeg_encode_options;

// The encoded picture as an EDT_MEM_IMAGE block of the caller's (edt_mem_free). `options` may
// be NULL. Equal pixels give equal bytes. EDT_ERR_INVALID for a side above 65500,
// EDT_ERR_NOMEM.
edt_status edt_jpeg_encode(const edt_image *image, const edt_jpeg_encode_options *options,
                           edt_error *err, uint8_t **out_data, size_t *out_bytes);

// The same into a file that appears under its name only when it is complete.
edt_status edt_jpeg_write(const char *path, const edt_image *image,
                          const edt_jpeg_encode_options *options, edt_error *err);

#endif
