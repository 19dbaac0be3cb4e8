// Taps along x of one picture, for the kernels that interpolate its rows: which two source
// columns an output column mixes, and the same cut into groups of output values that one short
// window of source bytes feeds, so that a byte shuffle collects them.
#ifndef EDT_AUGMENT_RESIZE_COLUMNS_H
#define EDT_AUGMENT_RESIZE_COLUMNS_H

#include <stdbool.h>
#include <stdint.h>

#include "augment/geometry.h"
#include "core/error.h"

// The two samples of an axis that an output index mixes: lo + (hi - lo) * t.
typedef struct edt_resize_tap {
    int64_t lo, hi;
    float t;
} edt_resize_tap;

// Half-pixel centres; `ratio` = n_in / n_out in f32.
edt_resize_tap edt_resize_tap_at(int64_t i, float ratio, int64_t n_in);

enum {
    EDT_RESIZE_GROUP_MAX = 48 // groups come in multiples of so many values
};

// How a kernel wants its groups: `n_values` outputs (4 or 16) from `window_bytes` source bytes.
typedef struct edt_resize_grouping {
    int n_values, window_bytes; // 0, 0: no groups
} edt_resize_grouping;

typedef struct edt_resize_columns {
    int64_t n;                // output columns
    int64_t first, n_touched; // the source columns that the taps touch
    int32_t *lo, *hi;         // [n] the two taps: first value, counted from column `first`
    float *t;                 // [n]
    bool grouped;             // what follows is filled
    int64_t n_values;         // 3 * n rounded up to EDT_RESIZE_GROUP_MAX
    int8_t step;              // from the byte of the first tap to that of the second: 3, -3
    int32_t *window;          // [n_values / group] first byte in the source row
    uint8_t *index;           // [n_values] the first tap's byte within its window
    float *weight;            // [n_values] t; 0 where both taps are the same column
    int32_t *byte;            // [n_values] scratch: the first tap's byte in the source row
    int64_t capacity;
} edt_resize_columns;

// Fills the taps for the columns of the window of `params` in a picture of src_w columns. The
// groups stay empty where a window would be wider than `grouping` allows or than the picture
// is. EDT_ERR_NOMEM.
edt_status edt_resize_columns_plan(edt_resize_columns *columns, const edt_scale_params *params,
                                   int64_t src_w, bool flip, edt_resize_grouping grouping,
                                   edt_error *err);
void edt_resize_columns_deinit(edt_resize_columns *columns);

#endif
