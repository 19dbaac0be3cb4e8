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
    float *row;     // one source row, columns [first_column, first_column + n_touched)
    float *line[2]; // the row after interpolation along x
    int64_t line_y[2];
    int64_t n_columns, n_row; // capacities

    // The picture under way.
    bool begun;
    edt_scale_params params;
    const edt_normalize *normalize; // NULL: raw levels
    uint8_t *out_u8;                // one of the two
    float *out_f32;
    int64_t src_h, src_w;
    float ratio_y;
    int64_t valid_h, valid_w;
    int64_t first_column, n_touched; // the source columns that the taps touch
    int64_t next_y;                  // output rows that are done
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

// Fills the taps of the window's columns and finds the source columns they touch.
static void plan_columns(edt_resizer *r, bool flip)
{
    const float ratio = (float)r->src_w / (float)r->params.scaled_w;
    int64_t first = r->src_w, last = -1;
    for (int64_t i = 0; i < r->valid_w; ++i) {
        tap k = axis_tap(r->params.offset_x + i, ratio, r->src_w);
        if (flip) {
            k.lo = r->src_w - 1 - k.lo;
            k.hi = r->src_w - 1 - k.hi;
        }
        const int64_t least = k.lo < k.hi ? k.lo : k.hi, most = k.lo < k.hi ? k.hi : k.lo;
        first = least < first ? least : first;
        last = most > last ? most : last;
        r->lo[i] = (int32_t)k.lo;
        r->hi[i] = (int32_t)k.hi;
        r->t[i] = k.t;
    }
    for (int64_t i = 0; i < r->valid_w; ++i) {
        r->lo[i] = (int32_t)(3 * (r->lo[i] - first));
        r->hi[i] = (int32_t)(3 * (r->hi[i] - first));
    }
    r->first_column = first;
    r->n_touched = last - first + 1;
}

// Rows [y, y + h) of the source: `image` or `plain` holds them.
typedef struct band {
    int64_t y, h;
    const edt_image *image;
    const float *plain;
} band;

// The line of source row y, from the ring or made from `rows`; NULL when neither has it. `keep`
// is the row whose line must survive.
static const float *line_of(edt_resizer *r, const band *rows, int64_t y, int64_t keep)
{
    for (int i = 0; i < 2; ++i) {
        if (r->line_y[i] == y) {
            return r->line[i];
        }
    }
    if (y < rows->y || y >= rows->y + rows->h) {
        return NULL;
    }
    const int slot = r->line_y[0] == keep ? 1 : 0;
    const int64_t at = y - rows->y;
    if (rows->plain != NULL) {
        memcpy(r->row, rows->plain + 3 * (at * r->src_w + r->first_column),
               (size_t)r->n_touched * 3 * sizeof(float));
    } else {
        const uint8_t *levels =
            rows->image->data + at * rows->image->stride + 3 * r->first_column;
        if (r->normalize != NULL) {
            levels_normalised(r->normalize, levels, r->n_touched, r->row);
        } else {
            levels_to_f32(levels, 3 * r->n_touched, r->row);
        }
    }
    interpolate_x(r->row, r->lo, r->hi, r->t, r->valid_w, r->line[slot]);
    r->line_y[slot] = y;
    return r->line[slot];
}

int64_t edt_resize_rows_needed(const edt_scale_params *params, int64_t src_h)
{
    const float ratio = (float)src_h / (float)params->scaled_h;
    return axis_tap(params->offset_y + edt_scale_valid_h(params) - 1, ratio, src_h).hi + 1;
}

// Fills columns [n_filled, out_w) of row y.
static void pad_row(const edt_resizer *r, int64_t y, int64_t n_filled)
{
    const int64_t first = 3 * (y * r->params.out_w + n_filled);
    const int64_t n = 3 * (r->params.out_w - n_filled);
    if (r->out_u8 != NULL) {
        memset(r->out_u8 + first, 0, (size_t)n);
        return;
    }
    const float padding = r->normalize != NULL ? edt_normalize_padding(r->normalize) : 0.0f;
    for (int64_t i = 0; i < n; ++i) {
        r->out_f32[first + i] = padding;
    }
}

static void blend_row(const edt_resizer *r, int64_t y, const float *top, const float *bottom,
                      float t)
{
    const int64_t n = 3 * r->valid_w, first = 3 * y * r->params.out_w;
    if (r->out_u8 != NULL) {
        blend_u8(top, bottom, t, n, r->out_u8 + first);
        return;
    }
    blend_f32(top, bottom, t, n, r->out_f32 + first);
    if (r->normalize != NULL && r->normalize->scale_range) {
        to_range(r->out_f32 + first, n);
    }
}

static edt_status begin(edt_resizer *r, bool flip, edt_error *err)
{
    r->begun = false;
    r->valid_h = edt_scale_valid_h(&r->params);
    r->valid_w = edt_scale_valid_w(&r->params);
    EDT_TRY(reserve(r, r->params.out_w, 3 * r->src_w, err));
    plan_columns(r, flip);
    r->ratio_y = (float)r->src_h / (float)r->params.scaled_h;
    r->line_y[0] = r->line_y[1] = -1;
    r->next_y = 0;
    r->begun = true;
    return EDT_OK;
}

// Output rows up to the first that needs a row below the band; of that one the upper line is
// made already, because the band will be gone.
static edt_status take(edt_resizer *r, const band *rows, edt_error *err)
{
    const int64_t end = rows->y + rows->h;
    for (; r->next_y < r->valid_h; ++r->next_y) {
        const tap k = axis_tap(r->params.offset_y + r->next_y, r->ratio_y, r->src_h);
        if (k.lo >= end) {
            break;
        }
        const float *top = line_of(r, rows, k.lo, k.hi);
        if (top != NULL && k.hi >= end) {
            break;
        }
        const float *bottom = top == NULL ? NULL : line_of(r, rows, k.hi, k.lo);
        if (bottom == NULL) {
            EDT_FAIL(err, EDT_ERR_INTERNAL,
                     "resize: row %" PRId64 " or %" PRId64
                     " of the picture was left out before "
                     "rows %" PRId64 " to %" PRId64,
                     k.lo, k.hi, rows->y, end - 1);
        }
        blend_row(r, r->next_y, top, bottom, k.t);
        if (r->valid_w < r->params.out_w) {
            pad_row(r, r->next_y, r->valid_w);
        }
    }
    return EDT_OK;
}

edt_status edt_resize_begin(edt_resizer *resizer, int64_t src_h, int64_t src_w,
                            const edt_scale_params *params, bool flip,
                            const edt_normalize *normalize, void *out_canvas, edt_error *err)
{
    edt_resizer *r = resizer;
    r->params = *params;
    r->normalize = normalize;
    r->out_u8 = normalize == NULL ? out_canvas : NULL;
    r->out_f32 = normalize == NULL ? NULL : out_canvas;
    r->src_h = src_h;
    r->src_w = src_w;
    return begin(r, flip, err);
}

edt_status edt_resize_rows(edt_resizer *resizer, int64_t y, const edt_image *rows,
                           edt_error *err)
{
    if (!resizer->begun || rows->w != resizer->src_w || y < 0 || y + rows->h > resizer->src_h) {
        EDT_FAIL(err, EDT_ERR_INTERNAL,
                 "resize: rows %" PRId64 " to %" PRId64 " of width %" PRId64
                 " do not belong to the picture of %" PRId64 "x%" PRId64 " that was begun",
                 y, y + rows->h - 1, rows->w, resizer->src_w, resizer->src_h);
    }
    return take(resizer, &(band){.y = y, .h = rows->h, .image = rows}, err);
}

edt_status edt_resize_end(edt_resizer *resizer, edt_error *err)
{
    edt_resizer *r = resizer;
    if (!r->begun || r->next_y < r->valid_h) {
        EDT_FAIL(err, EDT_ERR_INTERNAL,
                 "resize: the picture ended after %" PRId64 " of %" PRId64 " rows of output",
                 r->next_y, r->valid_h);
    }
    r->begun = false;
    for (int64_t y = r->valid_h; y < r->params.out_h; ++y) {
        pad_row(r, y, 0);
    }
    return EDT_OK;
}

edt_status edt_resize_u8(edt_resizer *resizer, const edt_image *source,
                         const edt_scale_params *params, bool flip, edt_error *err,
                         uint8_t *out_canvas)
{
    EDT_TRY(
        edt_resize_begin(resizer, source->h, source->w, params, flip, NULL, out_canvas, err));
    EDT_TRY(edt_resize_rows(resizer, 0, source, err));
    return edt_resize_end(resizer, err);
}

edt_status edt_resize_f32(edt_resizer *resizer, const edt_image *source,
                          const edt_scale_params *params, bool flip,
                          const edt_normalize *normalize, edt_error *err, float *out_canvas)
{
    EDT_TRY(edt_resize_begin(resizer, source->h, source->w, params, flip, normalize, out_canvas,
                             err));
    EDT_TRY(edt_resize_rows(resizer, 0, source, err));
    return edt_resize_end(resizer, err);
}

edt_status edt_resize_plain_f32(edt_resizer *resizer, const float *source, int64_t src_h,
                                int64_t src_w, int64_t out_h, int64_t out_w, edt_error *err,
                                float *out_image)
{
    edt_resizer *r = resizer;
    r->params = (edt_scale_params){
        .out_h = out_h, .out_w = out_w, .scaled_h = out_h, .scaled_w = out_w};
    r->normalize = NULL;
    r->out_u8 = NULL;
    r->out_f32 = out_image;
    r->src_h = src_h;
    r->src_w = src_w;
    EDT_TRY(begin(r, false, err));
    EDT_TRY(take(r, &(band){.h = src_h, .plain = source}, err));
    return edt_resize_end(r, err);
}
