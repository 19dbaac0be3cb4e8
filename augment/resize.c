// See resize.h. Each source row that is touched is turned into f32 once (raw or normalised) and
// interpolated along x once into a line of the canvas' width; the two lines of an output row
// stay in a ring of two, so that enlarging costs one blend per output row. A mirrored picture
// is read through mirrored taps, which gives the same bits as mirroring the pixels first.
#include "augment/resize.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "augment/vector.h"
#include "core/mem.h"

enum { LINE_SLACK = 16 }; // floats past a row that 4-wide accesses may touch

struct edt_resizer {
    int32_t *lo, *hi; // per output column: offsets of the two taps in `row`, in floats
    float *t;
    float *row;     // one source row, columns [first_column, last_column]
    float *line[2]; // the row after interpolation along x
    int64_t line_y[2];
    int64_t n_columns, n_row; // capacities
};

typedef float v4 __attribute__((vector_size(16)));

typedef struct tap {
    int64_t lo, hi;
    float t;
} tap;

// Tap of output index i on an axis of n_in samples with ratio r = n_in / n_out.
static tap axis_tap(int64_t i, float ratio, int64_t n_in)
{
    const float p = ((float)i + 0.5f) * ratio - 0.5f;
    const float f = floorf(p);
    const int64_t last = n_in - 1;
    int64_t lo = (int64_t)f, hi = (int64_t)ceilf(p);
    lo = lo < 0 ? 0 : (lo > last ? last : lo);
    hi = hi < 0 ? 0 : (hi > last ? last : hi);
    return (tap){.lo = lo, .hi = hi, .t = p - f};
}

edt_status edt_resizer_create(edt_error *err, edt_resizer **out_resizer)
{
    edt_resizer *r = edt_mem_calloc(EDT_MEM_IMAGE, 1, sizeof *r);
    if (r == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the resize buffers");
    }
    *out_resizer = r;
    return EDT_OK;
}

void edt_resizer_destroy(edt_resizer *resizer)
{
    if (resizer == NULL) {
        return;
    }
    edt_mem_free(resizer->lo);
    edt_mem_free(resizer->hi);
    edt_mem_free(resizer->t);
    edt_mem_free(resizer->row);
    edt_mem_free(resizer->line[0]);
    edt_mem_free(resizer->line[1]);
    edt_mem_free(resizer);
}

static bool grow(void *block, int64_t n_items, size_t item_bytes)
{
    void *old;
    memcpy(&old, block, sizeof old);
    void *fresh = edt_mem_realloc(EDT_MEM_IMAGE, old, (size_t)n_items * item_bytes);
    if (fresh == NULL) {
        return false;
    }
    memcpy(block, &fresh, sizeof fresh);
    return true;
}

// Room for n_columns output columns and n_row floats of a source row.
static edt_status reserve(edt_resizer *r, int64_t n_columns, int64_t n_row, edt_error *err)
{
    if (n_columns > r->n_columns) {
        r->n_columns = 0;
        const int64_t n_line = 3 * n_columns + LINE_SLACK;
        if (!grow(&r->lo, n_columns, sizeof *r->lo) ||
            !grow(&r->hi, n_columns, sizeof *r->hi) || !grow(&r->t, n_columns, sizeof *r->t) ||
            !grow(&r->line[0], n_line, sizeof(float)) ||
            !grow(&r->line[1], n_line, sizeof(float))) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to resize to %" PRId64 " columns",
                     n_columns);
        }
        r->n_columns = n_columns;
    }
    if (n_row + LINE_SLACK > r->n_row) {
        r->n_row = 0;
        if (!grow(&r->row, n_row + LINE_SLACK, sizeof(float))) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to resize a row of %" PRId64 " values",
                     n_row);
        }
        memset(r->row, 0, (size_t)(n_row + LINE_SLACK) * sizeof(float));
        r->n_row = n_row + LINE_SLACK;
    }
    return EDT_OK;
}

EDT_VECTOR_CLONES
static void levels_to_f32(const uint8_t *restrict levels, int64_t n, float *restrict out)
{
    for (int64_t i = 0; i < n; ++i) {
        out[i] = (float)levels[i];
    }
}

static void levels_normalised(const edt_normalize *normalize, const uint8_t *restrict levels,
                              int64_t n_pixels, float *restrict out)
{
    for (int64_t i = 0; i < n_pixels; ++i) {
        out[3 * i] = normalize->level[0][levels[3 * i]];
        out[3 * i + 1] = normalize->level[1][levels[3 * i + 1]];
        out[3 * i + 2] = normalize->level[2][levels[3 * i + 2]];
    }
}

// Four floats per pixel are loaded and stored; the fourth is overwritten by the next pixel.
EDT_VECTOR_CLONES
static void interpolate_x(const float *restrict row, const int32_t *restrict lo,
                          const int32_t *restrict hi, const float *restrict t, int64_t n,
                          float *restrict out)
{
    for (int64_t i = 0; i < n; ++i) {
        v4 left, right;
        memcpy(&left, row + lo[i], sizeof left);
        memcpy(&right, row + hi[i], sizeof right);
        const v4 mixed = left + (right - left) * t[i];
        memcpy(out + 3 * i, &mixed, sizeof mixed);
    }
}

EDT_VECTOR_CLONES
static void blend_u8(const float *restrict top, const float *restrict bottom, float t,
                     int64_t n, uint8_t *restrict out)
{
    for (int64_t i = 0; i < n; ++i) {
        out[i] = (uint8_t)(int32_t)(top[i] + (bottom[i] - top[i]) * t + 0.5f);
    }
}

EDT_VECTOR_CLONES
static void blend_f32(const float *restrict top, const float *restrict bottom, float t,
                      int64_t n, float *restrict out)
{
    for (int64_t i = 0; i < n; ++i) {
        out[i] = top[i] + (bottom[i] - top[i]) * t;
    }
}

EDT_VECTOR_CLONES
static void to_range(float *values, int64_t n)
{
    for (int64_t i = 0; i < n; ++i) {
        values[i] = edt_normalize_range(values[i]);
    }
}

// What is read and how: exactly one of `image` and `plain` is set.
typedef struct source_rows {
    const edt_image *image;
    const float *plain;
    const edt_normalize *normalize; // NULL: raw levels
    int64_t w;
    int64_t first_column, n_columns; // the part that the taps touch
} source_rows;

// Fills the taps of the window's columns and finds the source columns they touch.
static void plan_columns(edt_resizer *r, const edt_scale_params *params, int64_t valid_w,
                         bool flip, source_rows *rows)
{
    const float ratio = (float)rows->w / (float)params->scaled_w;
    int64_t first = rows->w, last = -1;
    for (int64_t i = 0; i < valid_w; ++i) {
        tap k = axis_tap(params->offset_x + i, ratio, rows->w);
        if (flip) {
            k.lo = rows->w - 1 - k.lo;
            k.hi = rows->w - 1 - k.hi;
        }
        const int64_t least = k.lo < k.hi ? k.lo : k.hi, most = k.lo < k.hi ? k.hi : k.lo;
        first = least < first ? least : first;
        last = most > last ? most : last;
        r->lo[i] = (int32_t)k.lo;
        r->hi[i] = (int32_t)k.hi;
        r->t[i] = k.t;
    }
    for (int64_t i = 0; i < valid_w; ++i) {
        r->lo[i] = (int32_t)(3 * (r->lo[i] - first));
        r->hi[i] = (int32_t)(3 * (r->hi[i] - first));
    }
    rows->first_column = first;
    rows->n_columns = last - first + 1;
}

// The line of source row y, interpolated along x; `keep` is the row whose line must survive.
static const float *line_of(edt_resizer *r, const source_rows *rows, int64_t y, int64_t keep,
                            int64_t valid_w)
{
    for (int i = 0; i < 2; ++i) {
        if (r->line_y[i] == y) {
            return r->line[i];
        }
    }
    const int slot = r->line_y[0] == keep ? 1 : 0;
    const float *row = r->row;
    if (rows->plain != NULL) {
        memcpy(r->row, rows->plain + 3 * (y * rows->w + rows->first_column),
               (size_t)rows->n_columns * 3 * sizeof(float));
    } else {
        const uint8_t *levels =
            rows->image->data + y * rows->image->stride + 3 * rows->first_column;
        if (rows->normalize != NULL) {
            levels_normalised(rows->normalize, levels, rows->n_columns, r->row);
        } else {
            levels_to_f32(levels, 3 * rows->n_columns, r->row);
        }
    }
    interpolate_x(row, r->lo, r->hi, r->t, valid_w, r->line[slot]);
    r->line_y[slot] = y;
    return r->line[slot];
}

int64_t edt_resize_rows_needed(const edt_scale_params *params, int64_t src_h)
{
    const float ratio = (float)src_h / (float)params->scaled_h;
    return axis_tap(params->offset_y + edt_scale_valid_h(params) - 1, ratio, src_h).hi + 1;
}

static edt_status run(edt_resizer *r, source_rows rows, int64_t src_h,
                      const edt_scale_params *params, bool flip, edt_error *err,
                      uint8_t *out_u8, float *out_f32)
{
    const int64_t valid_h = edt_scale_valid_h(params), valid_w = edt_scale_valid_w(params);
    EDT_TRY(reserve(r, params->out_w, 3 * rows.w, err));
    plan_columns(r, params, valid_w, flip, &rows);
    r->line_y[0] = r->line_y[1] = -1;
    const float ratio = (float)src_h / (float)params->scaled_h;
    const bool ranged = rows.normalize != NULL && rows.normalize->scale_range;
    const float padding = rows.normalize != NULL ? edt_normalize_padding(rows.normalize) : 0.0f;
    const int64_t n_valid = 3 * valid_w, n_out = 3 * params->out_w;
    for (int64_t y = 0; y < params->out_h; ++y) {
        const int64_t n_filled = y < valid_h ? n_valid : 0;
        if (y < valid_h) {
            const tap k = axis_tap(params->offset_y + y, ratio, src_h);
            const float *top = line_of(r, &rows, k.lo, k.hi, valid_w);
            const float *bottom = line_of(r, &rows, k.hi, k.lo, valid_w);
            if (out_u8 != NULL) {
                blend_u8(top, bottom, k.t, n_valid, out_u8 + y * n_out);
            } else {
                blend_f32(top, bottom, k.t, n_valid, out_f32 + y * n_out);
                if (ranged) {
                    to_range(out_f32 + y * n_out, n_valid);
                }
            }
        }
        if (out_u8 != NULL) {
            memset(out_u8 + y * n_out + n_filled, 0, (size_t)(n_out - n_filled));
        } else {
            for (int64_t i = n_filled; i < n_out; ++i) {
                out_f32[y * n_out + i] = padding;
            }
        }
    }
    return EDT_OK;
}

edt_status edt_resize_u8(edt_resizer *resizer, const edt_image *source,
                         const edt_scale_params *params, bool flip, edt_error *err,
                         uint8_t *out_canvas)
{
    return run(resizer, (source_rows){.image = source, .w = source->w}, source->h, params, flip,
               err, out_canvas, NULL);
}

edt_status edt_resize_f32(edt_resizer *resizer, const edt_image *source,
                          const edt_scale_params *params, bool flip,
                          const edt_normalize *normalize, edt_error *err, float *out_canvas)
{
    return run(resizer, (source_rows){.image = source, .normalize = normalize, .w = source->w},
               source->h, params, flip, err, NULL, out_canvas);
}

edt_status edt_resize_plain_f32(edt_resizer *resizer, const float *source, int64_t src_h,
                                int64_t src_w, int64_t out_h, int64_t out_w, edt_error *err,
                                float *out_image)
{
    const edt_scale_params params = {
        .out_h = out_h, .out_w = out_w, .scaled_h = out_h, .scaled_w = out_w};
    return run(resizer, (source_rows){.plain = source, .w = src_w}, src_h, &params, false, err,
               NULL, out_image);
}
