// What mixing several pictures needs besides them (mosaic.h, mixup.h, copy_paste.h): a resizer
// and pixel buffers of one thread. They grow to the largest picture seen, then nothing is
// allocated.
#ifndef EDT_AUGMENT_MIX_BUFFERS_H
#define EDT_AUGMENT_MIX_BUFFERS_H

#include <stdint.h>

#include "augment/resize.h"

typedef struct edt_mix_buffers {
    edt_resizer *resizer;
    uint8_t *picture; // the mosaic
    uint8_t *scaled;  // one scaled picture
    int32_t *owner;   // who painted a pixel last
    int64_t picture_bytes, scaled_bytes, n_owner;
} edt_mix_buffers;

edt_status edt_mix_buffers_create(edt_error *err, edt_mix_buffers **out_buffers);
void edt_mix_buffers_destroy(edt_mix_buffers *buffers); // NULL is fine

// Room for so many bytes (`picture`, `scaled`) or items (`owner`); contents are lost when it
// grows. EDT_ERR_NOMEM.
edt_status edt_mix_reserve_picture(edt_mix_buffers *buffers, int64_t n_bytes, edt_error *err);
edt_status edt_mix_reserve_scaled(edt_mix_buffers *buffers, int64_t n_bytes, edt_error *err);
edt_status edt_mix_reserve_owner(edt_mix_buffers *buffers, int64_t n, edt_error *err);

// The whole of `image` scaled to h x w (bilinear, aspect ratio as asked for), into `scaled`.
edt_status edt_mix_scale(edt_mix_buffers *buffers, const edt_image *image, int64_t h, int64_t w,
                         edt_error *err, edt_image *out_image);

#endif
