// See resize_columns.h. A window never reaches outside its source row, so that kernels may load
// all of it. Where both taps are one column (at the edges, and where an output falls on a
// source column) the weight is 0 and the second byte may be anything.
#include "augment/resize_columns.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/mem.h"

edt_resize_tap edt_resize_tap_at(int64_t i, float ratio, int64_t n_in)
{
    const float p = ((float)i + 0.5f) * ratio - 0.5f;
    // floor and ceil without a call: p > -1.
    const int64_t cut = (int64_t)p;
    const int64_t below = (float)cut > p ? cut - 1 : cut;
    const int64_t above = (float)below < p ? below + 1 : below;
    const int64_t last = n_in - 1;
    return (edt_resize_tap){.lo = below < 0 ? 0 : (below > last ? last : below),
                            .hi = above < 0 ? 0 : (above > last ? last : above),
                            .t = p - (float)below};
}

static bool grow(void *block, int64_t n_items, size_t item_bytes)
{
    void *old;
    memcpy(&old, block, sizeof old);
    edt_mem_free(old);
    void *fresh = edt_mem_calloc(EDT_MEM_IMAGE, (size_t)n_items, item_bytes);
    memcpy(block, &fresh, sizeof fresh);
    return fresh != NULL;
}

static edt_status reserve(edt_resize_columns *c, int64_t n_columns, edt_error *err)
{
    if (n_columns <= c->capacity) {
        return EDT_OK;
    }
    c->capacity = 0;
    const int64_t n_values = 3 * n_columns + EDT_RESIZE_GROUP_MAX;
    if (!grow(&c->lo, n_columns, sizeof *c->lo) || !grow(&c->hi, n_columns, sizeof *c->hi) ||
        !grow(&c->t, n_columns, sizeof *c->t) ||
        !grow(&c->window, n_values / 4, sizeof *c->window) ||
        !grow(&c->index, n_values, sizeof *c->index) ||
        !grow(&c->weight, n_values, sizeof *c->weight) ||
        !grow(&c->byte, n_values, sizeof *c->byte)) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to resize to %" PRId64 " columns", n_columns);
    }
    c->capacity = n_columns;
    return EDT_OK;
}

void edt_resize_columns_deinit(edt_resize_columns *columns)
{
    edt_mem_free(columns->lo);
    edt_mem_free(columns->hi);
    edt_mem_free(columns->t);
    edt_mem_free(columns->window);
    edt_mem_free(columns->index);
    edt_mem_free(columns->weight);
    edt_mem_free(columns->byte);
    *columns = (edt_resize_columns){0};
}

static void fill_taps(edt_resize_columns *c, const edt_scale_params *params, int64_t src_w,
                      bool flip)
{
    const float ratio = (float)src_w / (float)params->scaled_w;
    int64_t first = src_w, last = -1;
    for (int64_t i = 0; i < c->n; ++i) {
        edt_resize_tap k = edt_resize_tap_at(params->offset_x + i, ratio, src_w);
        if (flip) {
            k.lo = src_w - 1 - k.lo;
            k.hi = src_w - 1 - k.hi;
        }
        const int64_t least = k.lo < k.hi ? k.lo : k.hi, most = k.lo < k.hi ? k.hi : k.lo;
        first = least < first ? least : first;
        last = most > last ? most : last;
        c->lo[i] = (int32_t)k.lo;
        c->hi[i] = (int32_t)k.hi;
        c->t[i] = k.t;
    }
    for (int64_t i = 0; i < c->n; ++i) {
        c->lo[i] = (int32_t)(3 * (c->lo[i] - first));
        c->hi[i] = (int32_t)(3 * (c->hi[i] - first));
    }
    c->first = first;
    c->n_touched = last - first + 1;
}

// Weights and first bytes of all values; those past the last column repeat it.
static void spread_taps(edt_resize_columns *c)
{
    const int32_t origin = (int32_t)(3 * c->first);
    for (int64_t i = 0; i < c->n; ++i) {
        const float weight = c->lo[i] == c->hi[i] ? 0.0f : c->t[i];
        for (int k = 0; k < 3; ++k) {
            c->weight[3 * i + k] = weight;
            c->byte[3 * i + k] = origin + c->lo[i] + k;
        }
    }
    for (int64_t v = 3 * c->n; v < c->n_values; ++v) {
        c->weight[v] = 0.0f;
        c->byte[v] = c->byte[v - 3];
    }
}

// Lays a window over each group; false when one does not fit.
static bool lay_windows(edt_resize_columns *c, int64_t row_bytes, edt_resize_grouping grouping)
{
    const int32_t width = grouping.window_bytes, last_start = (int32_t)row_bytes - width;
    if (last_start < 0) {
        return false;
    }
    for (int64_t g = 0, v = 0; v < c->n_values; ++g) {
        int32_t least = INT32_MAX, most = 0;
        for (int64_t i = v; i < v + grouping.n_values; ++i) {
            const int32_t a = c->byte[i], b = c->weight[i] != 0.0f ? a + c->step : a;
            least = a < least ? a : least;
            least = b < least ? b : least;
            most = a > most ? a : most;
            most = b > most ? b : most;
        }
        const int32_t start = least < last_start ? least : last_start;
        if (most - start >= width) {
            return false;
        }
        c->window[g] = start;
        for (const int64_t end = v + grouping.n_values; v < end; ++v) {
            c->index[v] = (uint8_t)(c->byte[v] - start);
        }
    }
    return true;
}

edt_status edt_resize_columns_plan(edt_resize_columns *columns, const edt_scale_params *params,
                                   int64_t src_w, bool flip, edt_resize_grouping grouping,
                                   edt_error *err)
{
    edt_resize_columns *c = columns;
    EDT_TRY(reserve(c, params->out_w, err));
    c->n = edt_scale_valid_w(params);
    c->n_values =
        (3 * c->n + EDT_RESIZE_GROUP_MAX - 1) / EDT_RESIZE_GROUP_MAX * EDT_RESIZE_GROUP_MAX;
    c->step = flip ? -3 : 3;
    fill_taps(c, params, src_w, flip);
    c->grouped = false;
    if (grouping.n_values > 0) {
        spread_taps(c);
        c->grouped = lay_windows(c, 3 * src_w, grouping);
    }
    return EDT_OK;
}
