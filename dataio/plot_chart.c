// Lines, filled columns and marks on two axes, the legend at the right; see plot.h.
#include <math.h>

#include "dataio/plot_priv.h"

enum { LEGEND_LINE = 18, SWATCH = 22, TICK_SIZE = 10, TICK_ROOM = 20, LABEL_ROOM = 22 };

static const edt_plot_style tick_style = {.size = TICK_SIZE, .rgb = EDT_PLOT_DIM};
static const edt_plot_style label_style = {.size = 11.5, .rgb = EDT_PLOT_INK, .align = 0.5};
static const edt_plot_style legend_style = {.size = 11, .rgb = EDT_PLOT_INK};

typedef struct area {
    double left, top, right, bottom;
} area;

static void get_range(const edt_plot_chart *chart, bool of_y, double *out_least,
                      double *out_most)
{
    double least = INFINITY, most = -INFINITY;
    for (int64_t i = 0; i < chart->n_lines; ++i) {
        const edt_plot_line *line = &chart->lines[i];
        const int64_t n = line->n + (!of_y && line->is_steps ? 1 : 0);
        for (int64_t k = 0; k < n; ++k) {
            const double v = of_y ? line->y[k] : line->x[k];
            if (isfinite(v)) {
                least = fmin(least, v);
                most = fmax(most, v);
            }
        }
    }
    *out_least = isfinite(least) ? least : 0;
    *out_most = isfinite(most) ? most : 1;
}

static double legend_width(cairo_t *cr, const edt_plot_chart *chart)
{
    double widest = edt_plot_text_width(cr, chart->legend_title, &legend_style);
    bool has_names = false;
    for (int64_t i = 0; i < chart->n_lines; ++i) {
        if (chart->lines[i].name != NULL) {
            widest = fmax(widest, edt_plot_text_width(cr, chart->lines[i].name, &legend_style));
            has_names = true;
        }
    }
    return has_names ? widest + SWATCH + 6 + 16 : 0;
}

static double ticks_width(cairo_t *cr, const edt_plot_scale *scale)
{
    double widest = 0;
    for (int i = 0; i < scale->n_ticks; ++i) {
        char text[32];
        edt_plot_tick_text(scale, i, text);
        widest = fmax(widest, edt_plot_text_width(cr, text, &tick_style));
    }
    return widest;
}

static void draw_axes(cairo_t *cr, const edt_plot_chart *chart, const edt_plot_scale *x,
                      const edt_plot_scale *y, const area *a, double y_label_x)
{
    char text[32];
    edt_plot_style style = tick_style;
    cairo_set_line_width(cr, 1);
    for (int i = 0; i < y->n_ticks; ++i) {
        const double at = edt_plot_place(y, y->ticks[i]);
        edt_plot_set_color(cr, EDT_PLOT_GRID, 1);
        cairo_move_to(cr, a->left, at);
        cairo_line_to(cr, a->right, at);
        cairo_stroke(cr);
        edt_plot_tick_text(y, i, text);
        style.align = 1;
        edt_plot_put_text(cr, text, a->left - 7, at, &style);
    }
    for (int i = 0; i < x->n_ticks; ++i) {
        const double at = edt_plot_place(x, x->ticks[i]);
        edt_plot_set_color(cr, EDT_PLOT_GRID, 1);
        cairo_move_to(cr, at, a->top);
        cairo_line_to(cr, at, a->bottom);
        cairo_stroke(cr);
        edt_plot_tick_text(x, i, text);
        style.align = 0.5;
        edt_plot_put_text(cr, text, at, a->bottom + 12, &style);
    }
    edt_plot_put_text(cr, chart->x.label, (a->left + a->right) / 2,
                      a->bottom + TICK_ROOM + LABEL_ROOM / 2.0, &label_style);
    edt_plot_style upright = label_style;
    upright.is_upright = true;
    edt_plot_put_text(cr, chart->y.label, y_label_x, (a->top + a->bottom) / 2, &upright);
}

static void draw_frame(cairo_t *cr, const area *a)
{
    cairo_set_line_width(cr, 1);
    edt_plot_set_color(cr, EDT_PLOT_FRAME, 1);
    cairo_move_to(cr, a->left, a->top);
    cairo_line_to(cr, a->left, a->bottom);
    cairo_line_to(cr, a->right, a->bottom);
    cairo_stroke(cr);
}

static void fill_columns(cairo_t *cr, const edt_plot_line *line, const edt_plot_scale *x,
                         const edt_plot_scale *y)
{
    for (int64_t i = 0; i < line->n; ++i) {
        const double left = edt_plot_place(x, line->x[i]);
        const double right = edt_plot_place(x, line->x[i + 1]);
        const double top = edt_plot_place(y, line->y[i]);
        cairo_rectangle(cr, left, top, right - left, y->from - top);
    }
    edt_plot_set_color(cr, line->rgb, 0.28);
    cairo_fill(cr);
}

static void outline_columns(cairo_t *cr, const edt_plot_line *line, const edt_plot_scale *x,
                            const edt_plot_scale *y)
{
    for (int64_t i = 0; i < line->n; ++i) {
        const double top = edt_plot_place(y, line->y[i]);
        cairo_line_to(cr, edt_plot_place(x, line->x[i]), top);
        cairo_line_to(cr, edt_plot_place(x, line->x[i + 1]), top);
    }
    edt_plot_set_color(cr, line->rgb, 1);
    cairo_set_line_width(cr, line->width > 0 ? line->width : 1.5);
    cairo_stroke(cr);
}

static void draw_line(cairo_t *cr, const edt_plot_line *line, const edt_plot_scale *x,
                      const edt_plot_scale *y)
{
    static const double dashes[2] = {5, 4};
    bool is_down = false;
    for (int64_t i = 0; i < line->n; ++i) {
        if (!isfinite(line->x[i]) || !isfinite(line->y[i])) {
            is_down = false;
            continue;
        }
        const double px = edt_plot_place(x, line->x[i]), py = edt_plot_place(y, line->y[i]);
        if (is_down) {
            cairo_line_to(cr, px, py);
        } else {
            cairo_move_to(cr, px, py);
        }
        is_down = true;
    }
    edt_plot_set_color(cr, line->rgb, 1);
    cairo_set_line_width(cr, line->width > 0 ? line->width : 1.6);
    cairo_set_dash(cr, dashes, line->is_dashed ? 2 : 0, 0);
    cairo_stroke(cr);
    cairo_set_dash(cr, NULL, 0, 0);
}

// The text stands at the foot of the line, on a light ground, where curves are rare.
static void draw_mark(cairo_t *cr, const edt_plot_mark *mark, const edt_plot_scale *x,
                      const edt_plot_scale *y, const area *a)
{
    static const double dashes[2] = {2, 3};
    const double px = edt_plot_place(x, mark->x), py = edt_plot_place(y, mark->y);
    edt_plot_set_color(cr, mark->rgb, 1);
    cairo_set_line_width(cr, 1);
    cairo_set_dash(cr, dashes, 2, 0);
    cairo_move_to(cr, px, py);
    cairo_line_to(cr, px, a->bottom);
    cairo_stroke(cr);
    cairo_set_dash(cr, NULL, 0, 0);
    cairo_arc(cr, px, py, 4, 0, 6.283185307179586);
    cairo_fill_preserve(cr);
    edt_plot_set_color(cr, 0xffffff, 1);
    cairo_stroke(cr);
    edt_plot_style style = {.size = 11, .rgb = EDT_PLOT_INK, .is_bold = true};
    const double w = edt_plot_text_width(cr, mark->text, &style);
    const bool is_left = px + 10 + w > a->right;
    const double tx = is_left ? fmax(a->left + 4, px - 10 - w) : px + 10;
    const double ty = a->bottom - 14;
    edt_plot_set_color(cr, 0xffffff, 0.85);
    cairo_rectangle(cr, tx - 4, ty - 9, w + 8, 18);
    cairo_fill(cr);
    edt_plot_put_text(cr, mark->text, tx, ty, &style);
}

static void draw_legend(cairo_t *cr, const edt_plot_chart *chart, double left, double top)
{
    static const double dashes[2] = {5, 4};
    double y = top + 8;
    if (chart->legend_title != NULL) {
        edt_plot_style style = legend_style;
        style.rgb = EDT_PLOT_DIM;
        edt_plot_put_text(cr, chart->legend_title, left + SWATCH + 6, y, &style);
        y += LEGEND_LINE;
    }
    for (int64_t i = 0; i < chart->n_lines; ++i) {
        const edt_plot_line *line = &chart->lines[i];
        if (line->name == NULL) {
            continue;
        }
        if (line->is_steps) {
            cairo_rectangle(cr, left, y - 5, SWATCH, 10);
            edt_plot_set_color(cr, line->rgb, 0.28);
            cairo_fill_preserve(cr);
        } else {
            cairo_move_to(cr, left, y);
            cairo_line_to(cr, left + SWATCH, y);
        }
        edt_plot_set_color(cr, line->rgb, 1);
        cairo_set_line_width(cr, line->is_steps ? 1.3 : 2.2);
        cairo_set_dash(cr, dashes, line->is_dashed ? 2 : 0, 0);
        cairo_stroke(cr);
        cairo_set_dash(cr, NULL, 0, 0);
        edt_plot_put_text(cr, line->name, left + SWATCH + 6, y, &legend_style);
        y += LEGEND_LINE;
    }
}

edt_status edt_plot_write_chart(const edt_plot_chart *chart, const char *path, edt_error *err)
{
    const double height = chart->height > 0 ? chart->height : 460;
    double width = chart->width > 0 ? chart->width : 720, least, most;
    edt_plot_canvas canvas;
    get_range(chart, false, &least, &most);
    edt_plot_scale x = edt_plot_scale_make(&chart->x, least, most);
    get_range(chart, true, &least, &most);
    edt_plot_scale y = edt_plot_scale_make(&chart->y, least, most);

    EDT_TRY(edt_plot_canvas_open(&canvas, NULL, 1, 1, err));
    const double legend = legend_width(canvas.cr, chart);
    const double ticks = ticks_width(canvas.cr, &y);
    width = fmax(width, edt_plot_head_width(canvas.cr, &chart->head));
    EDT_TRY(edt_plot_canvas_close(&canvas, EDT_OK));

    const area a = {.left = EDT_PLOT_MARGIN + LABEL_ROOM + ticks + 7,
                    .top = edt_plot_head_height(&chart->head) + 4,
                    .right = width - EDT_PLOT_MARGIN - 4 - legend,
                    .bottom = height - 8 - TICK_ROOM - LABEL_ROOM};
    x.from = a.left;
    x.to = a.right;
    y.from = a.bottom;
    y.to = a.top;
    EDT_TRY(edt_plot_canvas_open(&canvas, path, width, height, err));
    edt_plot_put_head(canvas.cr, &chart->head, EDT_PLOT_MARGIN);
    draw_axes(canvas.cr, chart, &x, &y, &a, EDT_PLOT_MARGIN + 6);
    // Outlines come last, so that columns in front of others do not hide their colour.
    for (int64_t i = 0; i < chart->n_lines; ++i) {
        if (chart->lines[i].is_steps) {
            fill_columns(canvas.cr, &chart->lines[i], &x, &y);
        }
    }
    for (int64_t i = 0; i < chart->n_lines; ++i) {
        if (chart->lines[i].is_steps) {
            outline_columns(canvas.cr, &chart->lines[i], &x, &y);
        } else {
            draw_line(canvas.cr, &chart->lines[i], &x, &y);
        }
    }
    draw_frame(canvas.cr, &a);
    for (int64_t i = 0; i < chart->n_marks; ++i) {
        draw_mark(canvas.cr, &chart->marks[i], &x, &y, &a);
    }
    if (legend > 0) {
        draw_legend(canvas.cr, chart, a.right + 16, a.top);
    }
    return edt_plot_canvas_close(&canvas, EDT_OK);
}
