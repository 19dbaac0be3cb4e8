// A view of an 8-bit RGB picture in memory: what the decoder produces and augmentation works
// on.
#ifndef EDT_AUGMENT_IMAGE_H
#define EDT_AUGMENT_IMAGE_H

#include <stdint.h>

// Rows of w*3 bytes (R,G,B), `stride` bytes apart. Whoever hands out a view says who owns
// `data`.
typedef struct edt_image {
    uint8_t *data;
    int64_t h, w;   // pixels
    int64_t stride; // bytes, at least 3*w
} edt_image;

// A part of a picture: rows [y, y + h), columns [x, x + w).
typedef struct edt_image_window {
    int64_t y, x, h, w;
} edt_image_window;

#endif
