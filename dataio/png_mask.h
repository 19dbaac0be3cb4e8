// Instance masks as the PNG files that records hold: 8-bit grayscale of values 0 and 1
// (spec/data.md 3.5).
#ifndef EDT_DATAIO_PNG_MASK_H
#define EDT_DATAIO_PNG_MASK_H

#include "core/arena.h"
#include "core/error.h"
#include "core/span.h"
#include "dataio/rle_mask.h"

// The PNG file of a mask, in the arena. Equal masks give equal bytes. The pixels are never
// expanded: the work goes with the length of the outline, not with the area of the picture.
// EDT_ERR_INVALID for a side above 2^31 - 1 or more than 2^31 - 1 pixels, EDT_ERR_NOMEM.
edt_status edt_png_mask_encode(const edt_rle *mask, edt_arena *arena, edt_error *err,
                               edt_span *out_png);

// The gray levels of a grayscale PNG of any bit depth as 8 bits (16: the high byte), in rows,
// in the arena. EDT_ERR_FORMAT for what is no PNG or damaged, EDT_ERR_UNSUPPORTED for colours,
// EDT_ERR_INVALID for more than 2^29 pixels, EDT_ERR_NOMEM.
edt_status edt_png_mask_decode(edt_span png, edt_arena *arena, edt_error *err, int64_t *out_h,
                               int64_t *out_w, const uint8_t **out_pixels);

// Of the PNG library.
const char *edt_png_mask_library_version(void);

#endif
