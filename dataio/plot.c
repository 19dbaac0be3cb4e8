// Surface, texts and ticks of charts; see plot.h. The kinds of charts are in plot_chart.c,
// plot_bars.c and plot_heat.c.
#include "dataio/plot.h"

#include <cairo-svg.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/path.h"
#include "dataio/draw.h"
#include "dataio/plot_priv.h"

enum { PNG_SCALE = 2, MOST_SIDE = 16000 };

uint32_t edt_plot_ramp(double value)
{
    // Light yellow over green to dark blue.
    static const double stops[][3] = {
        {0.98, 0.97, 0.78}, {0.78, 0.91, 0.71}, {0.50, 0.80, 0.73}, {0.25, 0.68, 0.76},
        {0.12, 0.50, 0.72}, {0.13, 0.30, 0.61}, {0.05, 0.13, 0.40}};
    enum { LAST = sizeof stops / sizeof stops[0] - 1 };
    const double at = fmin(1.0, fmax(0.0, value)) * LAST;
    const int i = at >= LAST ? LAST - 1 : (int)at;
    uint32_t rgb = 0;
    for (int c = 0; c < 3; ++c) {
        const double part = stops[i][c] + (at - i) * (stops[i + 1][c] - stops[i][c]);
        rgb = rgb << 8 | (uint32_t)lround(255 * part);
    }
    return rgb;
}

static cairo_status_t write_bytes(void *closure, const unsigned char *data, unsigned n)
{
    edt_plot_canvas *canvas = closure;
    if (canvas->status == EDT_OK) {
        canvas->status = edt_atomic_file_append(canvas->file, data, n, canvas->err);
    }
    return canvas->status == EDT_OK ? CAIRO_STATUS_SUCCESS : CAIRO_STATUS_WRITE_ERROR;
}

edt_status edt_plot_canvas_open(edt_plot_canvas *canvas, const char *path, double width,
                                double height, edt_error *err)
{
    *canvas = (edt_plot_canvas){.err = err, .status = EDT_OK, .scale = 1};
    if (path != NULL) {
        if (!(width <= MOST_SIDE && height <= MOST_SIDE)) {
            EDT_FAIL(err, EDT_ERR_INVALID,
                     "%s: a picture of %.0f by %.0f units is too large (at most %d)", path,
                     width, height, MOST_SIDE);
        }
        EDT_TRY(edt_atomic_file_open(path, err, &canvas->file));
    }
    canvas->is_svg = path != NULL && edt_path_has_suffix(path, ".svg");
    if (canvas->is_svg) {
        canvas->surface =
            cairo_svg_surface_create_for_stream(write_bytes, canvas, width, height);
        cairo_svg_surface_set_document_unit(canvas->surface, CAIRO_SVG_UNIT_PX);
    } else {
        canvas->scale = path != NULL ? PNG_SCALE : 1;
        canvas->surface =
            cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)ceil(width * canvas->scale),
                                       (int)ceil(height * canvas->scale));
    }
    canvas->cr = cairo_create(canvas->surface);
    cairo_scale(canvas->cr, canvas->scale, canvas->scale);
    // The same widths at every scale and in both formats.
    cairo_font_options_t *options = cairo_font_options_create();
    cairo_font_options_set_hint_metrics(options, CAIRO_HINT_METRICS_OFF);
    cairo_font_options_set_hint_style(options, CAIRO_HINT_STYLE_NONE);
    cairo_font_options_set_antialias(options, CAIRO_ANTIALIAS_GRAY);
    cairo_set_font_options(canvas->cr, options);
    cairo_font_options_destroy(options);
    edt_plot_set_color(canvas->cr, 0xffffff, 1);
    cairo_paint(canvas->cr);
    return EDT_OK;
}

edt_status edt_plot_canvas_close(edt_plot_canvas *canvas, edt_status status)
{
    if (canvas->file == NULL && canvas->cr == NULL) {
        return status;
    }
    cairo_status_t drawn = cairo_status(canvas->cr);
    if (canvas->file != NULL && status == EDT_OK && drawn == CAIRO_STATUS_SUCCESS &&
        !canvas->is_svg) {
        drawn = cairo_surface_write_to_png_stream(canvas->surface, write_bytes, canvas);
    }
    cairo_destroy(canvas->cr);
    cairo_surface_finish(canvas->surface); // an SVG is written here
    if (drawn == CAIRO_STATUS_SUCCESS) {
        drawn = cairo_surface_status(canvas->surface);
    }
    cairo_surface_destroy(canvas->surface);
    if (status == EDT_OK) {
        status = canvas->status;
    }
    if (status == EDT_OK && drawn != CAIRO_STATUS_SUCCESS) {
        const edt_status kind =
            drawn == CAIRO_STATUS_NO_MEMORY ? EDT_ERR_NOMEM : EDT_ERR_INTERNAL;
        status = edt_error_set(canvas->err, kind, "drawing a chart: %s",
                               cairo_status_to_string(drawn));
    }
    if (canvas->file != NULL && status == EDT_OK) {
        status = edt_atomic_file_commit_unsynced(canvas->file, canvas->err);
    }
    edt_atomic_file_close(canvas->file);
    *canvas = (edt_plot_canvas){0};
    return status;
}

void edt_plot_set_color(cairo_t *cr, uint32_t rgb, double alpha)
{
    cairo_set_source_rgba(cr, (rgb >> 16 & 255) / 255.0, (rgb >> 8 & 255) / 255.0,
                          (rgb & 255) / 255.0, alpha);
}

static void set_font(cairo_t *cr, const edt_plot_style *style)
{
    cairo_select_font_face(cr, "DejaVu Sans", CAIRO_FONT_SLANT_NORMAL,
                           style->is_bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(cr, style->size);
}

double edt_plot_text_width(cairo_t *cr, const char *text, const edt_plot_style *style)
{
    char clean[EDT_DRAW_TEXT_BYTES];
    cairo_text_extents_t extents;
    if (text == NULL) {
        return 0;
    }
    edt_draw_clean_text(text, clean);
    set_font(cr, style);
    cairo_text_extents(cr, clean, &extents);
    return extents.x_advance;
}

void edt_plot_put_text(cairo_t *cr, const char *text, double x, double y,
                       const edt_plot_style *style)
{
    char clean[EDT_DRAW_TEXT_BYTES];
    if (text == NULL || text[0] == '\0') {
        return;
    }
    edt_draw_clean_text(text, clean);
    const double shift = -style->align * edt_plot_text_width(cr, text, style);
    const double below = 0.36 * style->size; // of capitals' middle to the baseline
    edt_plot_set_color(cr, style->rgb, 1);
    cairo_save(cr);
    cairo_translate(cr, x, y);
    if (style->is_upright) {
        cairo_rotate(cr, -1.5707963267948966);
    }
    cairo_move_to(cr, shift, below);
    cairo_show_text(cr, clean);
    cairo_restore(cr);
}

static const edt_plot_style title_style = {.size = 15, .rgb = EDT_PLOT_INK, .is_bold = true};
static const edt_plot_style subtitle_style = {.size = 11.5, .rgb = EDT_PLOT_DIM};

static bool has_text(const char *text)
{
    return text != NULL && text[0] != '\0';
}

double edt_plot_head_height(const edt_plot_head *head)
{
    return EDT_PLOT_MARGIN + (has_text(head->title) ? 20 : 0) +
           (has_text(head->subtitle) ? 18 : 0) + 8;
}

void edt_plot_put_head(cairo_t *cr, const edt_plot_head *head, double x)
{
    double y = EDT_PLOT_MARGIN + 7;
    if (has_text(head->title)) {
        edt_plot_put_text(cr, head->title, x, y, &title_style);
        y += 20;
    }
    edt_plot_put_text(cr, head->subtitle, x, y, &subtitle_style);
}

double edt_plot_head_width(cairo_t *cr, const edt_plot_head *head)
{
    return 2 * EDT_PLOT_MARGIN + fmax(edt_plot_text_width(cr, head->title, &title_style),
                                      edt_plot_text_width(cr, head->subtitle, &subtitle_style));
}

// 1, 2 or 5 times a power of ten: about `n` steps in `range`.
static double nice_step(double range, int n)
{
    const double raw = range / n, power = pow(10, floor(log10(raw))), lead = raw / power;
    return power * (lead <= 1.0001 ? 1 : lead <= 2.0001 ? 2 : lead <= 5.0001 ? 5 : 10);
}

// Powers of ten, with 2 and 5 times these where they are few.
static void make_log_ticks(edt_plot_scale *scale)
{
    const bool is_short = scale->high < 2000;
    for (double power = 1; power <= scale->high; power *= 10) {
        for (int i = 0; i < (is_short ? 3 : 1); ++i) {
            const double tick = power * (i == 0 ? 1 : i == 1 ? 2 : 5);
            if (tick <= scale->high && scale->n_ticks < EDT_PLOT_MOST_TICKS) {
                scale->ticks[scale->n_ticks++] = tick;
            }
        }
    }
}

edt_plot_scale edt_plot_scale_make(const edt_plot_axis *axis, double least, double most)
{
    edt_plot_scale scale = {.low = axis->low, .high = axis->high, .is_log = axis->is_log};
    if (axis->is_log) {
        scale.low = 0.8;
        scale.high = fmax(most, 10) * 1.4;
        make_log_ticks(&scale);
        return scale;
    }
    if (!(axis->low < axis->high)) {
        scale.low = fmin(0, least);
        scale.high = most > scale.low ? most : scale.low + 1;
        scale.step = nice_step(scale.high - scale.low, 6);
        scale.low = floor(scale.low / scale.step) * scale.step;
        scale.high = ceil(scale.high / scale.step - 1e-9) * scale.step;
    } else {
        scale.step = nice_step(scale.high - scale.low, 6);
    }
    const double first = ceil(scale.low / scale.step - 1e-9);
    for (int i = 0; i < EDT_PLOT_MOST_TICKS; ++i) {
        const double tick = (first + i) * scale.step;
        if (tick > scale.high + 1e-9 * scale.step) {
            break;
        }
        scale.ticks[scale.n_ticks++] = tick;
    }
    return scale;
}

double edt_plot_place(const edt_plot_scale *scale, double value)
{
    double part;
    if (scale->is_log) {
        const double low = log10(scale->low);
        part = (log10(fmax(value, scale->low)) - low) / (log10(scale->high) - low);
    } else {
        part = (value - scale->low) / (scale->high - scale->low);
    }
    return scale->from + fmin(1.0, fmax(0.0, part)) * (scale->to - scale->from);
}

void edt_plot_tick_text(const edt_plot_scale *scale, int i_tick, char out[32])
{
    const double tick = scale->ticks[i_tick];
    const double step = scale->is_log ? 1 : scale->step;
    if (fabs(tick) >= 1e6) {
        (void)snprintf(out, 32, "%g M", tick / 1e6);
    } else if (fabs(tick) >= 1e4) {
        (void)snprintf(out, 32, "%g k", tick / 1e3);
    } else {
        const int decimals = (int)fmax(0, ceil(-log10(step) - 1e-9));
        (void)snprintf(out, 32, "%.*f", decimals > 8 ? 8 : decimals, tick == 0 ? 0 : tick);
    }
}
