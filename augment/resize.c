// See resize.h. Each source row that is touched is interpolated along x once into a line of the
// canvas' width; the two lines of an output row stay in a ring of two, so that enlarging costs
// one blend per output row. A mirrored picture is read through mirrored taps, which gives the
// same bits as mirroring the pixels first.
#include "augment/resize.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "augment/resize_kernels.h"
#include "augment/vector.h"
#include "core/fill.h"
#include "core/mem.h"

enum { STREAM_BYTES = 512 * 1024 };    // canvases from here on are written past the caches
enum { SLACK = EDT_RESIZE_GROUP_MAX }; // floats past a row that vector accesses may touch

struct edt_resizer {
    const edt_resize_kernels *kernels;
    edt_resize_columns columns;
    float *row;     // one source row in f32, the columns that are touched
    float *line[2]; // the row after interpolation along x
    int64_t line_y[2];
    int64_t n_line, n_row; // capacities

    // The picture under way.
    bool begun;
    edt_scale_params params;
    const edt_normalize *normalize; // NULL: raw levels
    bool stream;                    // the canvas is written past the caches
    bool grouped;                   // lines come from the kernels' groups
    edt_resize_levels levels;
    uint8_t *out_u8; // one of the two
    float *out_f32;
    int64_t src_h, src_w;
    float ratio_y;
    int64_t valid_h;
    int64_t next_y; // output rows that are done
};

typedef float v4 __attribute__((vector_size(16)));

edt_status edt_resizer_create(edt_error *err, edt_resizer **out_resizer)
{
    edt_resizer *r = edt_mem_calloc(EDT_MEM_IMAGE, 1, sizeof *r);
    if (r == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the resize buffers");
    }
    r->kernels = edt_resize_kernels_at(0);
    *out_resizer = r;
    return EDT_OK;
}

void edt_resizer_destroy(edt_resizer *resizer)
{
    if (resizer == NULL) {
        return;
    }
    edt_resize_columns_deinit(&resizer->columns);
    edt_mem_free(resizer->row);
    edt_mem_free(resizer->line[0]);
    edt_mem_free(resizer->line[1]);
    edt_mem_free(resizer);
}

void edt_resizer_use_kernels(edt_resizer *resizer, const edt_resize_kernels *kernels)
{
    resizer->kernels = kernels;
}

// A block of n zeroed floats instead of *block.
static bool renew(float **block, int64_t n)
{
    edt_mem_free(*block);
    *block = edt_mem_calloc(EDT_MEM_IMAGE, (size_t)n, sizeof(float));
    return *block != NULL;
}

// Room for lines of n_line values and n_row values of a source row.
static edt_status reserve(edt_resizer *r, int64_t n_line, int64_t n_row, edt_error *err)
{
    if (n_line > r->n_line) {
        r->n_line = 0;
        if (!renew(&r->line[0], n_line + SLACK) || !renew(&r->line[1], n_line + SLACK)) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to resize to rows of %" PRId64 " values",
                     n_line);
        }
        r->n_line = n_line;
    }
    if (n_row > r->n_row) {
        r->n_row = 0;
        if (!renew(&r->row, n_row + SLACK)) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to resize a row of %" PRId64 " values",
                     n_row);
        }
        r->n_row = n_row;
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
static void to_range(float *values, int64_t n)
{
    for (int64_t i = 0; i < n; ++i) {
        values[i] = edt_normalize_range(values[i]);
    }
}

// Sets the constants of normalising; false when the kernels' way of dividing differs from true
// division for any level.
static bool prepare_levels(edt_resizer *r)
{
    enum { N = EDT_RESIZE_GROUP_MAX, N_LEVELS = 256 };
    edt_resize_levels *l = &r->levels;
    for (int i = 0; i < N; ++i) {
        l->mean[i] = r->normalize->mean[i % 3];
        l->stddev[i] = r->normalize->stddev[i % 3];
        l->inverse[i] = 1.0f / l->stddev[i];
        if (!(l->stddev[i] > 0.0f)) {
            return false; // a zero may come out negative, which a weight of 0 does not keep
        }
    }
    uint8_t bytes[3 * N_LEVELS];
    float want[3 * N_LEVELS], got[3 * N_LEVELS];
    for (int i = 0; i < 3 * N_LEVELS; ++i) {
        bytes[i] = (uint8_t)(i / 3);
        want[i] = r->normalize->level[i % 3][i / 3];
    }
    r->kernels->normalise(l, bytes, (int64_t)3 * N_LEVELS, got);
    return memcmp(want, got, sizeof want) == 0;
}

// Rows [y, y + h) of the source: `image` or `plain` holds them.
typedef struct band {
    int64_t y, h;
    const edt_image *image;
    const float *plain;
} band;

// The line of the band's row `at`.
static void make_line(edt_resizer *r, const band *rows, int64_t at, float *out_line)
{
    const edt_resize_columns *c = &r->columns;
    if (rows->plain != NULL) {
        memcpy(r->row, rows->plain + 3 * (at * r->src_w + c->first),
               (size_t)c->n_touched * 3 * sizeof(float));
    } else {
        const uint8_t *levels = rows->image->data + at * rows->image->stride;
        const int64_t skip = r->ratio_y < 2.0f ? 2 : (int64_t)r->ratio_y;
        const int64_t ahead = skip * rows->image->stride; // may lie in the next band
        if (r->grouped && r->normalize == NULL) {
            r->kernels->line_raw(c, levels, ahead, out_line);
            return;
        }
        if (r->grouped) {
            r->kernels->line_normalised(c, &r->levels, levels, ahead, out_line);
            return;
        }
        if (r->normalize != NULL) {
            levels_normalised(r->normalize, levels + 3 * c->first, c->n_touched, r->row);
        } else {
            levels_to_f32(levels + 3 * c->first, 3 * c->n_touched, r->row);
        }
    }
    interpolate_x(r->row, c->lo, c->hi, c->t, c->n, out_line);
}

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
    make_line(r, rows, y - rows->y, r->line[slot]);
    r->line_y[slot] = y;
    return r->line[slot];
}

int64_t edt_resize_rows_needed(const edt_scale_params *params, int64_t src_h)
{
    const float ratio = (float)src_h / (float)params->scaled_h;
    return edt_resize_tap_at(params->offset_y + edt_scale_valid_h(params) - 1, ratio, src_h)
               .hi +
           1;
}

edt_image_window edt_resize_window(const edt_scale_params *params, int64_t src_h, int64_t src_w,
                                   bool flip)
{
    const float ratio_y = (float)src_h / (float)params->scaled_h;
    const float ratio_x = (float)src_w / (float)params->scaled_w;
    const int64_t last = params->offset_x + edt_scale_valid_w(params) - 1;
    const int64_t top = edt_resize_tap_at(params->offset_y, ratio_y, src_h).lo;
    const int64_t left = edt_resize_tap_at(params->offset_x, ratio_x, src_w).lo;
    const int64_t right = edt_resize_tap_at(last, ratio_x, src_w).hi;
    return (edt_image_window){.y = top,
                              .x = flip ? src_w - 1 - right : left,
                              .h = edt_resize_rows_needed(params, src_h) - top,
                              .w = right - left + 1};
}

// Fills the canvas' values [first, first + n).
static void pad(const edt_resizer *r, int64_t first, int64_t n)
{
    if (r->out_u8 != NULL) {
        edt_fill_words_unordered(r->out_u8 + first, 0, (size_t)n);
        return;
    }
    const float padding = r->normalize != NULL ? edt_normalize_padding(r->normalize) : 0.0f;
    uint32_t word;
    memcpy(&word, &padding, sizeof word);
    edt_fill_words_unordered(r->out_f32 + first, word, (size_t)n * sizeof padding);
}

static void blend_row(const edt_resizer *r, int64_t y, const float *top, const float *bottom,
                      float t)
{
    const int64_t n = 3 * r->columns.n, first = 3 * y * r->params.out_w;
    if (r->out_u8 != NULL) {
        r->kernels->blend_u8(top, bottom, t, n, r->stream, r->out_u8 + first);
        return;
    }
    r->kernels->blend_f32(top, bottom, t, n, r->stream, r->out_f32 + first);
    if (r->normalize != NULL && r->normalize->scale_range) {
        to_range(r->out_f32 + first, n);
    }
}

// A canvas that would fill the caches anyway is written past them: nothing reads it soon, and
// its lines need not be fetched first. Asks for rows of whole cache lines.
static bool streams(const edt_resizer *r)
{
    const size_t value_bytes = r->out_u8 != NULL ? 1 : sizeof(float);
    const size_t row_bytes = (size_t)r->params.out_w * 3 * value_bytes;
    const uintptr_t at = r->out_u8 != NULL ? (uintptr_t)r->out_u8 : (uintptr_t)r->out_f32;
    const bool reread = r->normalize == NULL ? r->out_u8 == NULL : r->normalize->scale_range;
    return r->kernels->streams && !reread && at % EDT_MEM_ALIGN == 0 &&
           row_bytes % EDT_MEM_ALIGN == 0 &&
           row_bytes * (size_t)r->params.out_h >= STREAM_BYTES;
}

// `levels`: the source is u8.
static edt_status begin(edt_resizer *r, bool flip, bool levels, edt_error *err)
{
    r->begun = false;
    r->valid_h = edt_scale_valid_h(&r->params);
    EDT_TRY(reserve(r, 3 * r->params.out_w, 3 * r->src_w, err));
    const edt_resize_grouping none = {0};
    EDT_TRY(edt_resize_columns_plan(&r->columns, &r->params, r->src_w, flip,
                                    levels ? r->kernels->grouping : none, err));
    r->grouped = r->columns.grouped && (r->normalize == NULL || prepare_levels(r));
    r->stream = streams(r);
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
        const edt_resize_tap k =
            edt_resize_tap_at(r->params.offset_y + r->next_y, r->ratio_y, r->src_h);
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
        if (r->columns.n < r->params.out_w) {
            pad(r, 3 * (r->next_y * r->params.out_w + r->columns.n),
                3 * (r->params.out_w - r->columns.n));
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
    return begin(r, flip, true, err);
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
    pad(r, 3 * r->valid_h * r->params.out_w,
        3 * (r->params.out_h - r->valid_h) * r->params.out_w);
    edt_fill_order();
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
    EDT_TRY(begin(r, false, false, err));
    EDT_TRY(take(r, &(band){.h = src_h, .plain = source}, err));
    return edt_resize_end(r, err);
}
