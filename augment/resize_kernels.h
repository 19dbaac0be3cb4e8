// The inner loops of the resize, once per processor generation. All give the same bytes: f32,
// every operation rounded, first + (second - first) * t.
#ifndef EDT_AUGMENT_RESIZE_KERNELS_H
#define EDT_AUGMENT_RESIZE_KERNELS_H

#include "augment/normalize.h"
#include "augment/resize.h"
#include "augment/resize_columns.h"

// (x - mean) / stddev of consecutive values R,G,B,R,...; `inverse` is 1 / stddev.
typedef struct edt_resize_levels {
    float mean[EDT_RESIZE_GROUP_MAX];
    float stddev[EDT_RESIZE_GROUP_MAX];
    float inverse[EDT_RESIZE_GROUP_MAX];
} edt_resize_levels;

typedef struct edt_resize_kernels {
    const char *name;
    edt_resize_grouping grouping;
    // Lines of interpolated values from a row of levels by the groups of `columns`, raw or
    // normalised; writes columns->n_values values. The bytes `ahead` of the row are fetched
    // into the cache. NULL without grouping.
    void (*line_raw)(const edt_resize_columns *columns, const uint8_t *row, int64_t ahead,
                     float *out_line);
    void (*line_normalised)(const edt_resize_columns *columns, const edt_resize_levels *levels,
                            const uint8_t *row, int64_t ahead, float *out_line);
    // Normalises as line_normalised does: values[i] = levels of byte i, in groups of R,G,B.
    void (*normalise)(const edt_resize_levels *levels, const uint8_t *row, int64_t n_values,
                      float *out_values); // n_values: a multiple of EDT_RESIZE_GROUP_MAX
    // Output rows from two lines; u8 rounds half up. `stream`: past the caches (out_row is then
    // a multiple of EDT_MEM_ALIGN).
    void (*blend_u8)(const float *top, const float *bottom, float t, int64_t n, bool stream,
                     uint8_t *out_row);
    void (*blend_f32)(const float *top, const float *bottom, float t, int64_t n, bool stream,
                      float *out_row);
    bool streams; // `stream` makes a difference
} edt_resize_kernels;

extern const edt_resize_kernels edt_resize_kernels_portable;
#ifdef __x86_64__
extern const edt_resize_kernels edt_resize_kernels_avx2;
extern const edt_resize_kernels edt_resize_kernels_avx512;
#endif

// The i-th of the kernels that this processor runs, the fastest first; NULL past the last,
// which is portable.
const edt_resize_kernels *edt_resize_kernels_at(int i);

// Makes a resizer use `kernels` instead of the fastest (tests).
void edt_resizer_use_kernels(edt_resizer *resizer, const edt_resize_kernels *kernels);

#endif
