// See pixel_warp.h. The pixels of a row that lie inside the source are one run (pixel_line.h);
// inside it nothing is tested. Shifts and shears are recognised by their coefficients and
// proven pixel by pixel to be runs: a sum that stays further from a half than its rounding
// error can carry it rounds as the exact sum does; the few others are computed in f32.
#include "augment/pixel_warp.h"

#include <math.h>
#include <string.h>

#include "augment/pixel_line.h"

// Sizes and shifts up to which f32 holds every whole number and half that comes up.
#define WHOLE_LIMIT 4194304.0F

typedef struct shear_run {
    int32_t end;  // one past the last column
    int32_t rows; // how far up its content moves; EACH: one column, row by row
} shear_run;
enum { EACH = INT32_MIN, MIN_MEAN_RUN = 5 };

size_t edt_warp_scratch(int64_t w)
{
    // Offsets and a row with a byte to spare, or runs.
    return (size_t)w * sizeof(shear_run) + 16;
}

static void fill(uint8_t *row, int64_t x, int64_t end)
{
    if (x < end) {
        memset(row + 3 * x, EDT_WARP_FILL, (size_t)(3 * (end - x)));
    }
}

// Narrows [x0, x1) to where the line rounds into [0, n): above -0.5 and below n - 0.5, halves
// being rounded away from zero.
static void clip_run(edt_line l, int64_t w, int64_t n, int64_t *x0, int64_t *x1)
{
    const float top = (float)n - 0.5F;
    int64_t begin, end;
    if (l.slope >= 0.0F) {
        begin = edt_line_first_past(l, 0, w, EDT_LINE_ABOVE, -0.5F);
        end = edt_line_first_past(l, begin, w, EDT_LINE_AT_LEAST, top);
    } else {
        begin = edt_line_first_past(l, 0, w, EDT_LINE_BELOW, top);
        end = edt_line_first_past(l, begin, w, EDT_LINE_NOT_ABOVE, -0.5F);
    }
    *x0 = begin > *x0 ? begin : *x0;
    *x1 = end < *x1 ? end : *x1;
}

static void copy_pixels(const uint8_t *source, const int32_t *offsets, int64_t n, uint8_t *out)
{
    for (int64_t i = 0; i < n; ++i) {
        memcpy(out + 3 * i, source + offsets[i], 3);
    }
}

// A row of the warp whose coordinates are `column` and `row`.
static void warp_row(const edt_pixel_kernels *kernels, edt_line column, edt_line row,
                     const edt_image *source, int32_t *offsets, uint8_t *out)
{
    const int64_t w = source->w;
    int64_t x0 = 0, x1 = w;
    clip_run(column, w, w, &x0, &x1);
    clip_run(row, w, source->h, &x0, &x1);
    if (x0 >= x1) {
        fill(out, 0, w);
        return;
    }
    fill(out, 0, x0);
    const edt_warp_run run = {.a0 = column.slope,
                              .a1y = column.shift,
                              .a2 = column.last,
                              .b0 = row.slope,
                              .b1y = row.shift,
                              .b2 = row.last,
                              .x = (int32_t)x0,
                              .stride = (int32_t)source->stride};
    const int32_t most = kernels->warp_offsets(&run, x1 - x0, offsets);
    // Behind the last pixel nothing may be read.
    if (most < (source->h - 1) * source->stride + 3 * (w - 1)) {
        kernels->gather(source->data, offsets, x1 - x0, out + 3 * x0);
    } else {
        copy_pixels(source->data, offsets, x1 - x0, out + 3 * x0);
    }
    fill(out, x1, w);
}

void edt_warp(const edt_pixel_kernels *kernels, const edt_pixel_op *op, const edt_image *source,
              const edt_image *out_region, void *scratch)
{
    for (int64_t y = 0; y < source->h; ++y) {
        const edt_line column = {op->a[0], op->a[1] * (float)y, op->a[2]};
        const edt_line row = {op->b[0], op->b[1] * (float)y, op->b[2]};
        warp_row(kernels, column, row, source, scratch,
                 out_region->data + y * out_region->stride);
    }
}

// Columns move by dx within a row; the rest is filled.
static void move_row(const uint8_t *source, int64_t w, int64_t dx, uint8_t *out)
{
    const int64_t begin = dx < 0 ? -dx : 0, end = dx > 0 ? w - dx : w;
    if (begin >= end) {
        fill(out, 0, w);
        return;
    }
    if (dx != 0 || source != out) {
        memmove(out + 3 * begin, source + 3 * (begin + dx), (size_t)(3 * (end - begin)));
    }
    fill(out, 0, begin);
    fill(out, end, w);
}

static void shift(const edt_image *region, int64_t dx, int64_t dy)
{
    for (int64_t i = 0; i < region->h; ++i) {
        const int64_t y =
            dy >= 0 ? i : region->h - 1 - i; // sources before they are overwritten
        uint8_t *out = region->data + y * region->stride;
        if (y + dy < 0 || y + dy >= region->h) {
            fill(out, 0, region->w);
        } else {
            move_row(out + dy * region->stride, region->w, dx, out);
        }
    }
}

// Whether i + moved, rounded to f32 and then to a whole number, is i + *out_whole for all
// 0 <= i < n. A shift by more than n counts as n + 1: everything is outside.
static bool moves_by_whole(float moved, int64_t n, int64_t *out_whole)
{
    if (fabsf(moved) > (float)(n + 1)) {
        *out_whole = moved > 0.0F ? n + 1 : -n - 1;
        return true;
    }
    const float whole = roundf(moved);
    const float error = ((float)n + fabsf(moved)) * 0x1p-23F; // twice the sum's half ulp
    *out_whole = (int64_t)whole;
    return fabsf(moved - whole) < 0.5F - error;
}

static void shear_x(const edt_pixel_kernels *kernels, float level, const edt_image *region,
                    void *scratch)
{
    const int64_t w = region->w;
    int32_t *offsets = scratch;
    uint8_t *copy = (uint8_t *)(offsets + w);
    const edt_image one_row = {.data = copy, .h = 1, .w = w, .stride = 3 * w};
    for (int64_t y = 0; y < region->h; ++y) {
        uint8_t *row = region->data + y * region->stride;
        const float moved = level * (float)y;
        int64_t dx = 0;
        if (moves_by_whole(moved, w, &dx)) {
            move_row(row, w, dx, row);
        } else {
            memcpy(copy, row, (size_t)(3 * w));
            warp_row(kernels, (edt_line){.slope = 1.0F, .shift = moved}, (edt_line){0},
                     &one_row, offsets, row);
        }
    }
}

// Copies pixels [x, end) of a row of w to the same columns of another row. Short copies of
// variable length are what shears consist of: whole blocks are faster, and what they spill to
// the right is either written afterwards or the same.
static void copy_run(const uint8_t *source, int64_t x, int64_t end, int64_t w, uint8_t *out)
{
    enum { BLOCK = 32 };
    int64_t i = 3 * x;
    for (; i < 3 * end && i + BLOCK <= 3 * w; i += BLOCK) {
        uint8_t block[BLOCK];
        memcpy(block, source + i, BLOCK);
        memcpy(out + i, block, BLOCK);
    }
    if (i < 3 * end) {
        memcpy(out + i, source + i, (size_t)(3 * end - i));
    }
}

static int64_t find_shear_runs(float level, const edt_image *region, shear_run *out_runs)
{
    int64_t n = 0;
    for (int64_t x = 0; x < region->w; ++x) {
        int64_t rows = 0;
        if (!moves_by_whole(level * (float)x, region->h, &rows)) {
            rows = EACH;
        }
        if (n == 0 || rows == EACH || out_runs[n - 1].rows != rows) {
            out_runs[n++].rows = (int32_t)rows;
        }
        out_runs[n - 1].end = (int32_t)(x + 1);
    }
    return n;
}

// Rows are taken in the order in which no source row has been written yet. A run that stays
// where it is comes first in a row, so that nothing read later is spilled over. False, and
// nothing is done, where runs are so short that single pixels are faster.
static bool shear_y(float level, const edt_image *region, shear_run *runs)
{
    const int64_t h = region->h, w = region->w, stride = region->stride;
    const int64_t n_runs = find_shear_runs(level, region, runs);
    if (n_runs * MIN_MEAN_RUN > w + MIN_MEAN_RUN) {
        return false;
    }
    for (int64_t i = 0; i < h; ++i) {
        const int64_t y = level >= 0.0F ? i : h - 1 - i;
        uint8_t *row = region->data + y * stride;
        int64_t x = 0;
        for (int64_t k = 0; k < n_runs; ++k) {
            const int64_t end = runs[k].end;
            int64_t rows = runs[k].rows;
            if (rows == EACH) {
                rows = (int64_t)roundf(level * (float)x + (float)y) - y;
            }
            if (y + rows < 0 || y + rows >= h) {
                fill(row, x, end);
            } else if (rows != 0) {
                copy_run(row + rows * stride, x, end, w, row);
            }
            x = end;
        }
    }
    return true;
}

static bool is_whole(float v)
{
    return fabsf(v) < WHOLE_LIMIT && truncf(v) == v;
}

bool edt_warp_in_place(const edt_pixel_kernels *kernels, const edt_pixel_op *op,
                       const edt_image *region, void *scratch)
{
    const float *a = op->a, *b = op->b;
    if (a[0] != 1.0F || b[1] != 1.0F || (float)region->w >= WHOLE_LIMIT ||
        (float)region->h >= WHOLE_LIMIT) {
        return false;
    }
    if (a[1] == 0.0F && b[0] == 0.0F && is_whole(a[2]) && is_whole(b[2])) {
        if (a[2] != 0.0F || b[2] != 0.0F) {
            shift(region, (int64_t)a[2], (int64_t)b[2]);
        }
        return true;
    }
    if (a[2] != 0.0F || b[2] != 0.0F) {
        return false;
    }
    if (b[0] == 0.0F && isfinite(a[1])) {
        shear_x(kernels, a[1], region, scratch);
        return true;
    }
    if (a[1] == 0.0F && isfinite(b[0])) {
        return shear_y(b[0], region, scratch);
    }
    return false;
}
