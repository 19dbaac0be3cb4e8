// See rle_mask.h. The rasteriser draws the outline on a grid five times as fine and keeps the
// points where it passes from one column of pixels to the next. Only every fifth column of the
// grid counts, so those crossings are computed directly, in the arithmetic of the original.
#include "dataio/rle_mask.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SCALE = 5, MAX_DIGITS = 12, MANY = 32 };
static const double max_coordinate = 1e8;
static const int64_t max_pixels = INT32_MAX;
static const size_t max_crossings = (size_t)1 << 27;

static edt_status fail_memory(edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a mask");
}

static edt_status check_size(int64_t h, int64_t w, edt_error *err)
{
    if (h < 1 || w < 1 || h > max_pixels / w) {
        EDT_FAIL(err, EDT_ERR_INVALID,
                 "mask of %" PRId64 " x %" PRId64 " pixels (height x width): allowed are 1 to "
                 "2^31 - 1 pixels",
                 h, w);
    }
    return EDT_OK;
}

// One side of the polygon on the fine grid, from its lower end (along the longer direction).
typedef struct side {
    int64_t xs, ys, xe, ye;
    bool is_flat; // goes on in steps of x
    double slope;
    int64_t first, end; // fine columns c = 5 n + 2 in [first, end) that it crosses to c + 1
} side;

// The first c >= lo with c = 5 n + 2, n >= 0.
static int64_t next_column(int64_t lo)
{
    return lo <= 2 ? 2 : 2 + (lo - 2 + SCALE - 1) / SCALE * SCALE;
}

static side make_side(int64_t x0, int64_t y0, int64_t x1, int64_t y1, int64_t w)
{
    const int64_t dx = llabs(x1 - x0);
    const int64_t dy = llabs(y1 - y0);
    side s = {.xs = x0, .ys = y0, .xe = x1, .ye = y1, .is_flat = dx >= dy};
    if ((s.is_flat && x0 > x1) || (!s.is_flat && y0 > y1)) {
        s = (side){.xs = x1, .ys = y1, .xe = x0, .ye = y0, .is_flat = s.is_flat};
    }
    if (dx > 0) {
        s.slope =
            s.is_flat ? (double)(s.ye - s.ys) / (double)dx : (double)(s.xe - s.xs) / (double)dy;
    }
    const int64_t lo = s.xs < s.xe ? s.xs : s.xe;
    const int64_t hi = s.xs < s.xe ? s.xe : s.xs;
    const int64_t limit = SCALE * (w - 1) + 3;
    s.first = next_column(lo);
    s.end = hi < limit ? hi : limit;
    return s;
}

static size_t count_crossings(const side *s)
{
    return s->end > s->first ? (size_t)((s->end - s->first + SCALE - 1) / SCALE) : 0;
}

static int64_t v_of(const side *s, int64_t t)
{
    return (int64_t)((double)s->ys + s->slope * (double)t + .5);
}

static int64_t u_of(const side *s, int64_t t)
{
    return (int64_t)((double)s->xs + s->slope * (double)t + .5);
}

// The upper end of the step in which a steep side passes between columns c and c + 1.
static int64_t steep_crossing(const side *s, int64_t c)
{
    // u(t) grows or falls with t; t is the last place on the near side of the border.
    const bool grows = s->slope > 0;
    const int64_t last = s->ye - s->ys - 1;
    const double guess = ((double)c + .5 - (double)s->xs) / s->slope;
    int64_t t = guess < 0 ? 0 : guess > (double)last ? last : (int64_t)guess;
    while (t > 0 && (grows ? u_of(s, t) > c : u_of(s, t) <= c)) {
        --t;
    }
    while (t < last && (grows ? u_of(s, t + 1) <= c : u_of(s, t + 1) > c)) {
        ++t;
    }
    return s->ys + t;
}

// Row of pixels that a point of the fine grid stands for.
static uint32_t to_row(int64_t y, int64_t h)
{
    const int64_t row = y <= 2 ? 0 : (y - 2 + SCALE - 1) / SCALE;
    return (uint32_t)(row > h ? h : row);
}

typedef struct crossing {
    uint32_t column, row;
} crossing;

static size_t add_crossings(const side *s, int64_t h, crossing *out)
{
    size_t n = 0;
    for (int64_t c = s->first; c < s->end; c += SCALE) {
        int64_t y;
        if (s->is_flat) {
            const int64_t a = v_of(s, c - s->xs);
            const int64_t b = v_of(s, c - s->xs + 1);
            y = a < b ? a : b;
        } else {
            y = steep_crossing(s, c);
        }
        out[n++] = (crossing){(uint32_t)(c / SCALE), to_row(y, h)};
    }
    return n;
}

static int compare_u32(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a;
    const uint32_t y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void sort_few(uint32_t *values, size_t n)
{
    if (n > MANY) {
        qsort(values, n, sizeof *values, compare_u32);
        return;
    }
    for (size_t i = 1; i < n; ++i) {
        const uint32_t value = values[i];
        size_t k = i;
        for (; k > 0 && values[k - 1] > value; --k) {
            values[k] = values[k - 1];
        }
        values[k] = value;
    }
}

// Positions of all crossings in increasing order: by column, few in each. The last row of a
// column is the first of the next, so columns sorted alone are sorted together.
static bool sort_crossings(const crossing *points, size_t n, int64_t h, int64_t w,
                           edt_arena *arena, uint32_t *out)
{
    uint32_t *end = edt_arena_calloc(arena, (size_t)w + 1, sizeof *end);
    if (end == NULL) {
        return false;
    }
    for (size_t i = 0; i < n; ++i) {
        ++end[points[i].column + 1];
    }
    for (int64_t x = 0; x < w; ++x) {
        end[x + 1] += end[x];
    }
    for (size_t i = 0; i < n; ++i) {
        // end[x] moves from the begin of column x to its end.
        out[end[points[i].column]++] = points[i].column * (uint32_t)h + points[i].row;
    }
    for (int64_t x = 0; x < w; ++x) {
        const uint32_t begin = x > 0 ? end[x - 1] : 0;
        sort_few(out + begin, end[x] - begin);
    }
    return true;
}

static int64_t to_fine(double x)
{
    return (int64_t)(SCALE * x + .5);
}

edt_status edt_rle_from_polygon(const double *xy, size_t n_points, int64_t h, int64_t w,
                                edt_arena *arena, edt_error *err, edt_rle *out_rle)
{
    EDT_TRY(check_size(h, w, err));
    size_t n_crossings = 0;
    for (size_t i = 0; i < 2 * n_points; ++i) {
        if (!(fabs(xy[i]) <= max_coordinate)) {
            EDT_FAIL(err, EDT_ERR_INVALID, "polygon coordinate %g: allowed are -1e8 to 1e8",
                     xy[i]);
        }
    }
    for (int pass = 0; pass < 2; ++pass) {
        crossing *points = NULL;
        if (pass == 1) {
            points = edt_arena_alloc(arena, (n_crossings + 1) * sizeof *points);
            if (points == NULL) {
                return fail_memory(err);
            }
        }
        size_t n = 0;
        for (size_t i = 0; i < n_points; ++i) {
            const double *a = xy + 2 * i;
            const double *b = xy + (i + 1 < n_points ? 2 * (i + 1) : 0);
            const side s =
                make_side(to_fine(a[0]), to_fine(a[1]), to_fine(b[0]), to_fine(b[1]), w);
            n += pass == 0 ? count_crossings(&s) : add_crossings(&s, h, points + n);
        }
        n_crossings = n;
        if (n > max_crossings) {
            EDT_FAIL(err, EDT_ERR_INVALID,
                     "a polygon of %zu points crosses %zu columns of pixels", n_points, n);
        }
        if (pass == 0) {
            continue;
        }
        uint32_t *at = edt_arena_alloc(arena, (n + 1) * sizeof *at);
        uint32_t *counts = edt_arena_alloc(arena, (n + 1) * sizeof *counts);
        if (at == NULL || counts == NULL || !sort_crossings(points, n, h, w, arena, at)) {
            return fail_memory(err);
        }
        at[n] = (uint32_t)(h * w);
        uint32_t before = 0;
        for (size_t i = 0; i <= n; ++i) {
            const uint32_t here = at[i];
            at[i] = here - before;
            before = here;
        }
        // Two crossings at one place cancel out.
        size_t n_runs = 0;
        size_t i = 0;
        counts[n_runs++] = at[i++];
        while (i <= n) {
            if (at[i] > 0) {
                counts[n_runs++] = at[i++];
            } else if (++i <= n) {
                counts[n_runs - 1] += at[i++];
            }
        }
        *out_rle = (edt_rle){.h = h, .w = w, .n = n_runs, .counts = counts};
    }
    return EDT_OK;
}

edt_status edt_rle_from_box(const double xywh[4], int64_t h, int64_t w, edt_arena *arena,
                            edt_error *err, edt_rle *out_rle)
{
    const double xs = xywh[0];
    const double xe = xs + xywh[2];
    const double ys = xywh[1];
    const double ye = ys + xywh[3];
    const double xy[8] = {xs, ys, xs, ye, xe, ye, xe, ys};
    return edt_rle_from_polygon(xy, 4, h, w, arena, err, out_rle);
}

edt_status edt_rle_from_counts(const uint32_t *counts, size_t n, int64_t h, int64_t w,
                               edt_error *err, edt_rle *out_rle)
{
    EDT_TRY(check_size(h, w, err));
    uint64_t sum = 0;
    for (size_t i = 0; i < n; ++i) {
        sum += counts[i];
        if (sum > (uint64_t)(h * w)) {
            break;
        }
    }
    if (sum != (uint64_t)(h * w)) {
        EDT_FAIL(err, EDT_ERR_INVALID,
                 "the runs of the mask sum up to %s%" PRIu64 " pixels, its size %" PRId64
                 " x %" PRId64 " (height x width) has %" PRId64,
                 sum > (uint64_t)(h * w) ? "at least " : "", sum, h, w, h * w);
    }
    *out_rle = (edt_rle){.h = h, .w = w, .n = n, .counts = counts};
    return EDT_OK;
}

edt_status edt_rle_from_text(edt_text text, int64_t h, int64_t w, edt_arena *arena,
                             edt_error *err, edt_rle *out_rle)
{
    uint32_t *counts = edt_arena_alloc(arena, (text.n_bytes + 1) * sizeof *counts);
    size_t n = 0;
    if (counts == NULL) {
        return fail_memory(err);
    }
    for (size_t p = 0; p < text.n_bytes;) {
        int64_t x = 0;
        int n_digits = 0;
        bool more = true;
        while (more) {
            const int c = p < text.n_bytes ? (unsigned char)text.data[p] - 48 : -1;
            if (c < 0 || c > 63 || n_digits == MAX_DIGITS) {
                EDT_FAIL(err, EDT_ERR_FORMAT,
                         "compressed mask: byte %zu of %zu belongs to no number", p,
                         text.n_bytes);
            }
            x |= (int64_t)(c & 31) << (5 * n_digits);
            more = (c & 32) != 0;
            ++p;
            ++n_digits;
            if (!more && (c & 16) != 0) {
                x |= -((int64_t)1 << (5 * n_digits));
            }
        }
        if (n > 2) {
            x += counts[n - 2];
        }
        if (x < 0 || x > UINT32_MAX) {
            EDT_FAIL(err, EDT_ERR_INVALID, "compressed mask: run %zu has %" PRId64 " pixels", n,
                     x);
        }
        counts[n++] = (uint32_t)x;
    }
    return edt_rle_from_counts(counts, n, h, w, err, out_rle);
}

edt_status edt_rle_from_pixels(const uint8_t *pixels, int64_t h, int64_t w, edt_arena *arena,
                               edt_error *err, edt_rle *out_rle)
{
    EDT_TRY(check_size(h, w, err));
    uint32_t *counts = NULL;
    size_t n = 0;
    for (int pass = 0; pass < 2; ++pass) {
        uint32_t run = 0;
        bool value = false;
        n = 0;
        for (int64_t x = 0; x < w; ++x) {
            for (int64_t y = 0; y < h; ++y) {
                if ((pixels[y * w + x] != 0) != value) {
                    if (pass == 1) {
                        counts[n] = run;
                    }
                    ++n;
                    run = 0;
                    value = !value;
                }
                ++run;
            }
        }
        if (pass == 1) {
            counts[n++] = run;
            break;
        }
        counts = edt_arena_alloc(arena, (n + 1) * sizeof *counts);
        if (counts == NULL) {
            return fail_memory(err);
        }
    }
    *out_rle = (edt_rle){.h = h, .w = w, .n = n, .counts = counts};
    return EDT_OK;
}

edt_status edt_rle_to_text(const edt_rle *rle, edt_arena *arena, edt_error *err,
                           edt_text *out_text)
{
    // A difference of two 32-bit numbers has at most seven digits of five bits.
    char *text = edt_arena_alloc(arena, rle->n * 7 + 1);
    size_t n = 0;
    if (text == NULL) {
        return fail_memory(err);
    }
    for (size_t i = 0; i < rle->n; ++i) {
        int64_t x = rle->counts[i];
        if (i > 2) {
            x -= rle->counts[i - 2];
        }
        for (bool more = true; more;) {
            int c = (int)(x & 31);
            x >>= 5;
            more = (c & 16) != 0 ? x != -1 : x != 0;
            c |= more ? 32 : 0;
            text[n++] = (char)(c + 48);
        }
    }
    text[n] = '\0';
    *out_text = (edt_text){text, n};
    return EDT_OK;
}

void edt_rle_to_pixels(const edt_rle *rle, uint8_t *pixels)
{
    int64_t p = 0;
    for (size_t i = 0; i < rle->n; ++i) {
        const int64_t end = p + rle->counts[i];
        if (i % 2 == 1) {
            int64_t y = p % rle->h;
            int64_t x = p / rle->h;
            for (; p < end; ++p) {
                pixels[y * rle->w + x] = 1;
                if (++y == rle->h) {
                    y = 0;
                    ++x;
                }
            }
        }
        p = end;
    }
}

static bool merge_two(const edt_rle *a, const edt_rle *b, bool intersect, edt_arena *arena,
                      edt_rle *out)
{
    uint32_t *counts = edt_arena_alloc(arena, (a->n + b->n + 1) * sizeof *counts);
    if (counts == NULL) {
        return false;
    }
    const int64_t total = a->h * a->w;
    size_t ia = 0, ib = 0, n = 0;
    int64_t end_a = a->counts[0], end_b = b->counts[0];
    int64_t begin = 0; // of the run at hand
    bool value = false;
    for (int64_t p = 0; p < total;) {
        while (end_a <= p) {
            end_a += a->counts[++ia];
        }
        while (end_b <= p) {
            end_b += b->counts[++ib];
        }
        const bool va = ia % 2 == 1;
        const bool vb = ib % 2 == 1;
        const bool v = intersect ? va && vb : va || vb;
        if (v != value) {
            counts[n++] = (uint32_t)(p - begin);
            begin = p;
            value = v;
        }
        p = end_a < end_b ? end_a : end_b;
    }
    counts[n++] = (uint32_t)(total - begin);
    *out = (edt_rle){.h = a->h, .w = a->w, .n = n, .counts = counts};
    return true;
}

edt_status edt_rle_merge(const edt_rle *rles, size_t n, bool intersect, edt_arena *arena,
                         edt_error *err, edt_rle *out_rle)
{
    edt_rle merged = rles[0];
    for (size_t i = 1; i < n; ++i) {
        if (rles[i].h != merged.h || rles[i].w != merged.w) {
            EDT_FAIL(err, EDT_ERR_MISMATCH,
                     "masks of %" PRId64 " x %" PRId64 " and %" PRId64 " x %" PRId64
                     " pixels cannot be merged",
                     merged.h, merged.w, rles[i].h, rles[i].w);
        }
        if (!merge_two(&merged, &rles[i], intersect, arena, &merged)) {
            return fail_memory(err);
        }
    }
    *out_rle = merged;
    return EDT_OK;
}

edt_status edt_rle_resize(const edt_rle *rle, int64_t h, int64_t w, edt_arena *arena,
                          edt_error *err, edt_rle *out_rle)
{
    EDT_TRY(check_size(h, w, err));
    uint8_t *from = edt_mem_calloc(EDT_MEM_IMAGE, (size_t)(rle->h * rle->w), 1);
    uint8_t *to = edt_mem_alloc(EDT_MEM_IMAGE, (size_t)(h * w));
    edt_status status = from == NULL || to == NULL ? fail_memory(err) : EDT_OK;
    if (status == EDT_OK) {
        edt_rle_to_pixels(rle, from);
        for (int64_t y = 0; y < h; ++y) {
            const uint8_t *row = from + (2 * y + 1) * rle->h / (2 * h) * rle->w;
            for (int64_t x = 0; x < w; ++x) {
                to[y * w + x] = row[(2 * x + 1) * rle->w / (2 * w)];
            }
        }
        status = edt_rle_from_pixels(to, h, w, arena, err, out_rle);
    }
    edt_mem_free(from);
    edt_mem_free(to);
    return status;
}

int64_t edt_rle_area(const edt_rle *rle)
{
    int64_t area = 0;
    for (size_t i = 1; i < rle->n; i += 2) {
        area += rle->counts[i];
    }
    return area;
}

void edt_rle_box(const edt_rle *rle, int64_t out_box[4])
{
    int64_t ymin = rle->h, xmin = rle->w, ymax = 0, xmax = 0;
    int64_t p = 0;
    for (size_t i = 0; i < rle->n; ++i) {
        const int64_t end = p + rle->counts[i];
        if (i % 2 == 1 && end > p) {
            const int64_t x0 = p / rle->h;
            const int64_t x1 = (end - 1) / rle->h;
            const int64_t y0 = x0 == x1 ? p % rle->h : 0;
            const int64_t y1 = x0 == x1 ? (end - 1) % rle->h : rle->h - 1;
            xmin = x0 < xmin ? x0 : xmin;
            xmax = x1 + 1 > xmax ? x1 + 1 : xmax;
            ymin = y0 < ymin ? y0 : ymin;
            ymax = y1 + 1 > ymax ? y1 + 1 : ymax;
        }
        p = end;
    }
    const bool is_empty = ymax == 0;
    out_box[0] = is_empty ? 0 : ymin;
    out_box[1] = is_empty ? 0 : xmin;
    out_box[2] = ymax;
    out_box[3] = xmax;
}
