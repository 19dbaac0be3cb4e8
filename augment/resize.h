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

// The part of a picture of src_h x src_w that is looked at; levels outside may be anything.
edt_image_window edt_resize_window(const edt_scale_params *params, int64_t src_h, int64_t src_w,
                                   bool flip);

// The resize as a stream: begin, the source's rows in bands of any size from the top, end. Each
// band is used while it is in the cache and need not be kept. The bytes do not depend on the
// bands and equal those of edt_resize_u8 and edt_resize_f32.
//
// Starts a picture of src_h x src_w; one that was not ended is forgotten. `normalize` NULL: the
// canvas is u8, else f32. `normalize` and `out_canvas` are borrowed until edt_resize_end.
// EDT_ERR_NOMEM.
edt_status edt_resize_begin(edt_resizer *resizer, int64_t src_h, int64_t src_w,
                            const edt_scale_params *params, bool flip,
                            const edt_normalize *normalize, void *out_canvas, edt_error *err);
// Rows [y, y + rows->h). Rows that no output needs may be left out or come in vain.
// EDT_ERR_INTERNAL: no picture is begun, the width differs, or a row that is needed came
// neither with this call nor with an earlier one.
edt_status edt_resize_rows(edt_resizer *resizer, int64_t y, const edt_image *rows,
                           edt_error *err);
// Writes the padding. EDT_ERR_INTERNAL when rows were missing.
edt_status edt_resize_end(edt_resizer *resizer, edt_error *err);

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
