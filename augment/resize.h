// Bilinear resize, crop, pad and optional mirror in one pass from a decoded picture into a
// batch slot (spec/data.md 7.5): half-pixel centres, two taps per axis, x before y, f32 with
// each operation rounded. Only the cropped window is computed.
#ifndef EDT_AUGMENT_RESIZE_H
#define EDT_AUGMENT_RESIZE_H

#include <stdbool.h>

#include "augment/geometry.h"
#include "augment/image.h"
#include "augment/normalize.h"

// Taps and row buffers of one thread; grows to the largest picture seen, then allocates no
// more.
typedef struct edt_resizer edt_resizer;

edt_status edt_resizer_create(edt_error *err, edt_resizer **out_resizer);
void edt_resizer_destroy(edt_resizer *resizer);

// Source rows [0, result) suffice for the window of `params` in a picture of src_h rows.
int64_t edt_resize_rows_needed(const edt_scale_params *params, int64_t src_h);

// Whole canvas [out_h,out_w,3]. `source` must hold the rows needed; its `h` is the height of
// the whole picture. With `flip` the picture is mirrored before it is scaled.
//
// u8: raw levels interpolated, rounded half up, padding 0.
edt_status edt_resize_u8(edt_resizer *resizer, const edt_image *source,
                         const edt_scale_params *params, bool flip, edt_error *err,
                         uint8_t *out_canvas);
// f32: normalised levels interpolated (the exact order of the reference), then scale_range;
// padding edt_normalize_padding.
edt_status edt_resize_f32(edt_resizer *resizer, const edt_image *source,
                          const edt_scale_params *params, bool flip,
                          const edt_normalize *normalize, edt_error *err, float *out_canvas);

// The bare resize of an f32 picture [src_h,src_w,3] to [out_h,out_w,3] (goldens, heat maps).
edt_status edt_resize_plain_f32(edt_resizer *resizer, const float *source, int64_t src_h,
                                int64_t src_w, int64_t out_h, int64_t out_w, edt_error *err,
                                float *out_image);

#endif
