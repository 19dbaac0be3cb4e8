// See pixel_grid.h. The mask is 1 where a row bar or a column bar is, so one coordinate at a
// time tells most: a pixel whose two taps along either axis lie in a bar is kept, one without a
// bar among its taps is not. Along a row of the picture both coordinates are monotone
// (pixel_line.h), so that these are runs; only between them is the interpolation computed.
#include "augment/pixel_grid.h"

#include <math.h>
#include <string.h>

#include "augment/pixel_line.h"

// Taps in bars of a position between two neighbours.
enum { NONE = 0, SOME = 1, BOTH = 2 };

// An axis of the mask: positions from first[i] up to the next have n_taps[i].
typedef struct axis {
    int64_t n;
    int32_t *first;
    uint8_t *n_taps;
    uint8_t *bar;        // whether mask row or column k is in a bar
    int32_t *end;        // of the runs of the present picture row, columns of the picture
    uint8_t *n_run_taps; // of these runs
} axis;

typedef struct rotated_grid {
    axis column, row;
    int64_t size;
    float a[3], b[3]; // mask column and row of a pixel of the rotated mask
} rotated_grid;

size_t edt_grid_scratch(const edt_grid *grid)
{
    return 2 * (size_t)grid->size * (2 * sizeof(int32_t) + 3);
}

static void make_axis(const edt_grid *grid, int64_t offset, int32_t **ints, uint8_t **bytes,
                      axis *out_axis)
{
    const int64_t size = grid->size;
    axis *a = out_axis;
    a->first = *ints;
    a->end = *ints + size;
    *ints += 2 * size;
    a->n_taps = *bytes;
    a->n_run_taps = *bytes + size;
    a->bar = *bytes + 2 * size;
    *bytes += 3 * size;
    memset(a->bar, 0, (size_t)size);
    for (int64_t i = 0; i < size / grid->period; ++i) {
        const int64_t begin = grid->period * i + offset;
        for (int64_t k = begin; k < begin + grid->bar && k < size; ++k) {
            a->bar[k] = 1;
        }
    }
    a->n = 0;
    for (int64_t k = 0; k + 1 < size; ++k) {
        const uint8_t n_taps = (uint8_t)(a->bar[k] + a->bar[k + 1]);
        if (a->n == 0 || a->n_taps[a->n - 1] != n_taps) {
            a->first[a->n] = (int32_t)k;
            a->n_taps[a->n++] = n_taps;
        }
    }
}

static void make_grid(const edt_grid *grid, void *scratch, rotated_grid *out_grid)
{
    int32_t *ints = scratch;
    uint8_t *bytes = (uint8_t *)(ints + 4 * grid->size);
    make_axis(grid, grid->column_offset, &ints, &bytes, &out_grid->column);
    make_axis(grid, grid->row_offset, &ints, &bytes, &out_grid->row);
    const float c = cosf(grid->angle), s = sinf(grid->angle), last = (float)(grid->size - 1);
    rotated_grid *g = out_grid;
    g->size = grid->size;
    g->a[0] = c;
    g->a[1] = -s;
    g->a[2] = (last - (c * last - s * last)) / 2.0F;
    g->b[0] = s;
    g->b[1] = c;
    g->b[2] = (last - (s * last + c * last)) / 2.0F;
}

static float tap(const rotated_grid *g, int64_t row, int64_t column)
{
    if (row < 0 || row >= g->size || column < 0 || column >= g->size) {
        return 0.0F;
    }
    return g->row.bar[row] | g->column.bar[column] ? 1.0F : 0.0F;
}

// The reference's bilinear interpolation, cut off to an integer.
static bool is_kept(const rotated_grid *g, float x, float y)
{
    const float size = (float)g->size;
    if (!(x > -1.0F && x < size && y > -1.0F && y < size)) {
        return false;
    }
    const float x0 = floorf(x), y0 = floorf(y), x1 = x0 + 1.0F, y1 = y0 + 1.0F;
    const int64_t column = (int64_t)x0, row = (int64_t)y0;
    const float top = (x1 - x) * tap(g, row, column) + (x - x0) * tap(g, row, column + 1);
    const float bottom =
        (x1 - x) * tap(g, row + 1, column) + (x - x0) * tap(g, row + 1, column + 1);
    return (y1 - y) * top + (y - y0) * bottom >= 1.0F;
}

static edt_line column_line(const rotated_grid *g, int64_t y)
{
    return (edt_line){g->a[0], g->a[1] * (float)y, g->a[2]};
}

static edt_line row_line(const rotated_grid *g, int64_t y)
{
    return (edt_line){g->b[0], g->b[1] * (float)y, g->b[2]};
}

// Whether all taps of columns [x0, x1) and rows [y0, y1) of the rotated mask lie in the mask.
// Coordinates are monotone along both axes: the corners tell.
static bool is_inside(const rotated_grid *g, int64_t x0, int64_t x1, int64_t y0, int64_t y1)
{
    const float last = (float)(g->size - 1);
    for (int i = 0; i < 4; ++i) {
        const int64_t x = (i & 1) != 0 ? x1 - 1 : x0, y = (i & 2) != 0 ? y1 - 1 : y0;
        const float u = edt_line_at(column_line(g, y), x), v = edt_line_at(row_line(g, y), x);
        if (!(u >= 0.0F && u < last && v >= 0.0F && v < last)) {
            return false;
        }
    }
    return true;
}

// Cuts [x0, x1) into the runs in which the line has equal taps.
static void find_runs(edt_line l, int64_t x0, int64_t x1, axis *a)
{
    const float at_first = edt_line_at(l, x0);
    int64_t i = 0, n = 0;
    while (i + 1 < a->n && at_first >= (float)a->first[i + 1]) {
        ++i;
    }
    for (int64_t x = x0; x < x1; ++n) {
        if (l.slope >= 0.0F) {
            x = i + 1 == a->n
                    ? x1
                    : edt_line_first_past(l, x, x1, EDT_LINE_AT_LEAST, (float)a->first[i + 1]);
        } else {
            x = i == 0 ? x1 : edt_line_first_past(l, x, x1, EDT_LINE_BELOW, (float)a->first[i]);
        }
        a->end[n] = (int32_t)x;
        a->n_run_taps[n] = a->n_taps[i];
        i += l.slope >= 0.0F ? 1 : -1;
    }
}

static void fill_pixels(uint8_t level, int64_t n, uint8_t *out)
{
    memset(out, level, (size_t)(3 * n));
}

static void fill_one_by_one(const rotated_grid *g, uint8_t level, int64_t y, int64_t x,
                            int64_t end, uint8_t *out)
{
    const edt_line column = column_line(g, y), row = row_line(g, y);
    for (int64_t i = x; i < end; ++i) {
        if (!is_kept(g, edt_line_at(column, i), edt_line_at(row, i))) {
            fill_pixels(level, 1, out + 3 * (i - x));
        }
    }
}

static void fill_row(rotated_grid *g, uint8_t level, int64_t y, int64_t x0, int64_t x1,
                     uint8_t *out)
{
    find_runs(column_line(g, y), x0, x1, &g->column);
    find_runs(row_line(g, y), x0, x1, &g->row);
    const axis *c = &g->column, *r = &g->row;
    int64_t i = 0, k = 0, x = x0;
    while (x < x1) {
        const int64_t end = c->end[i] < r->end[k] ? c->end[i] : r->end[k];
        const int in_column = c->n_run_taps[i], in_row = r->n_run_taps[k];
        if (in_column == NONE && in_row == NONE) {
            fill_pixels(level, end - x, out + 3 * (x - x0));
        } else if (in_column != BOTH && in_row != BOTH) {
            fill_one_by_one(g, level, y, x, end, out + 3 * (x - x0));
        }
        i += end == c->end[i];
        k += end == r->end[k];
        x = end;
    }
}

void edt_grid_fill(const edt_grid *grid, uint8_t level, const edt_image *region, void *scratch)
{
    rotated_grid g;
    make_grid(grid, scratch, &g);
    // What of the rotated mask lies over the region.
    const int64_t x0 = (grid->size - region->w) / 2, x1 = x0 + region->w;
    const int64_t y0 = (grid->size - region->h) / 2, y1 = y0 + region->h;
    const bool inside = is_inside(&g, x0, x1, y0, y1);
    for (int64_t y = y0; y < y1; ++y) {
        uint8_t *row = region->data + (y - y0) * region->stride;
        if (inside) {
            fill_row(&g, level, y, x0, x1, row);
        } else {
            fill_one_by_one(&g, level, y, x0, x1, row);
        }
    }
}
