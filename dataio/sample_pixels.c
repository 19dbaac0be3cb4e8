// See sample_pixels.h.
#include "dataio/sample_pixels.h"

#include <inttypes.h>
#include <math.h>

#include "core/clock.h"
#include "core/trace.h"

// A path at work.
typedef struct pixel_run {
    const edt_pixel_path *path;
    edt_pixel_op *ops;       // [plan->n_ops], those for a part of the picture
    edt_image_window window; // that the resize looks at
    int64_t n_rows;          // down to its end
    double resize_seconds;
} pixel_run;

static edt_status resize_rows(pixel_run *run, int64_t y, const edt_image *rows, edt_error *err)
{
    const double t0 = edt_clock_now_s();
    const edt_status status = edt_resize_rows(run->path->resizer, y, rows, err);
    run->resize_seconds += edt_clock_now_s() - t0;
    return status;
}

static edt_status take_band(void *ctx, int64_t y, const edt_image *rows, edt_error *err)
{
    pixel_run *run = ctx;
    const edt_pixel_path *path = run->path;
    if (y + rows->h <= run->window.y) {
        return EDT_OK;
    }
    edt_image image = *rows;
    if (path->plan->n_ops > 0) {
        const int64_t n = edt_augment_plan_cut(path->plan, y, rows->h, run->ops);
        EDT_TRY(edt_pixel_ops_run(path->scratch, rows, run->ops, n, err, &image));
    }
    return resize_rows(run, y, &image, err);
}

// The rows whose levels the first n_rows rows after `op` depend on: that many from the top.
static int64_t rows_before(const edt_pixel_op *op, int64_t n_rows, int64_t h)
{
    const int64_t begin = op->region.y, end = begin + op->region.h;
    if (begin >= n_rows) {
        return n_rows;
    }
    int64_t last = n_rows; // one past the last row that is read
    switch (op->kind) {
    case EDT_PIXEL_BRIGHTNESS:
    case EDT_PIXEL_COLOR:
    case EDT_PIXEL_POSTERIZE:
    case EDT_PIXEL_SOLARIZE:
    case EDT_PIXEL_SOLARIZE_ADD:
    case EDT_PIXEL_FILL:
    case EDT_PIXEL_MIRROR: return n_rows;
    case EDT_PIXEL_SHARPNESS: last = n_rows + 1; break;
    case EDT_PIXEL_WARP: {
        const double y = (double)((n_rows < end ? n_rows : end) - begin - 1);
        const double x = (double)(op->region.w - 1);
        const double source = fmax(0.0, (double)op->b[0] * x) +
                              fmax(0.0, (double)op->b[1] * y) + (double)op->b[2] + 2.0;
        last = source < (double)h ? begin + (int64_t)ceil(fmax(source, 0.0)) : end;
        break;
    }
    case EDT_PIXEL_CONTRAST:
    case EDT_PIXEL_AUTO_CONTRAST:
    case EDT_PIXEL_EQUALIZE: last = end; break;
    case EDT_PIXEL_GRID_MASK: return h; // its centre is the region's
    }
    last = last < end ? last : end;
    return last > n_rows ? last : n_rows;
}

static edt_status reserve_ops(const edt_augment_plan *plan, edt_arena *arena, edt_error *err,
                              edt_pixel_op **out_ops)
{
    *out_ops = NULL;
    if (plan->n_ops > 0) {
        *out_ops = edt_arena_calloc(arena, (size_t)plan->n_ops, sizeof **out_ops);
        if (*out_ops == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %" PRId64 " pixel operations",
                     plan->n_ops);
        }
    }
    return EDT_OK;
}

// Operations that read other rows than they write: all rows in memory, as far down as any of
// the rows wanted depends on.
static edt_status run_whole(pixel_run *run, edt_error *err)
{
    const edt_pixel_path *path = run->path;
    const edt_augment_plan *plan = path->plan;
    int64_t n = run->n_rows, n_ops = 0;
    for (int64_t i = plan->n_ops - 1; i >= 0; --i) {
        n = rows_before(&plan->ops[i], n, path->h);
    }
    edt_image image, result;
    if (path->mixed != NULL) {
        image = *path->mixed;
    } else {
        EDT_TRY(edt_sample_picture_decode(path->picture, n, true, err, &image));
    }
    image.h = n;
    for (int64_t i = 0; i < plan->n_ops; ++i) {
        edt_pixel_op op = plan->ops[i];
        const int64_t left = n - op.region.y;
        op.region.h = left < op.region.h ? left : op.region.h;
        if (op.region.h > 0) {
            run->ops[n_ops++] = op;
        }
    }
    edt_trace_begin("pixel_ops");
    edt_status status = edt_pixel_ops_run(path->scratch, &image, run->ops, n_ops, err, &result);
    edt_trace_end();
    if (status == EDT_OK) {
        edt_trace_begin("resize");
        status = resize_rows(run, 0, &result, err);
        edt_trace_end();
    }
    return status;
}

static edt_status run_bands(pixel_run *run, edt_error *err)
{
    const edt_pixel_path *path = run->path;
    const edt_row_sink sink = {.take = take_band, .ctx = run};
    // Bands are too many for a line each: decoding, operations and resizing in one.
    edt_trace_begin("bands_into_slot");
    const edt_status status =
        path->mixed != NULL
            ? edt_sample_picture_feed(path->mixed, run->n_rows, NULL, &sink, err)
            : edt_sample_picture_stream(path->picture, run->n_rows, path->plan->n_ops > 0,
                                        path->plan->n_ops > 0 ? NULL : &run->window, &sink,
                                        err);
    edt_trace_end();
    return status;
}

edt_status edt_sample_pixels_run(const edt_pixel_path *path, edt_arena *arena, edt_error *err,
                                 void *out_canvas, double *out_resize_seconds)
{
    pixel_run run = {.path = path,
                     .window = edt_resize_window(path->scale, path->h, path->w, path->flip)};
    run.n_rows = run.window.y + run.window.h;
    EDT_TRY(reserve_ops(path->plan, arena, err, &run.ops));
    const double t0 = edt_clock_now_s();
    EDT_TRY(edt_resize_begin(path->resizer, path->h, path->w, path->scale, path->flip,
                             path->normalize, out_canvas, err));
    run.resize_seconds = edt_clock_now_s() - t0;
    EDT_TRY(path->plan->needs_whole_picture ? run_whole(&run, err) : run_bands(&run, err));
    const double t1 = edt_clock_now_s();
    EDT_TRY(edt_resize_end(path->resizer, err));
    *out_resize_seconds = run.resize_seconds + edt_clock_now_s() - t1;
    return EDT_OK;
}
