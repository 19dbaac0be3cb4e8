// A matrix in shades with its scale; see plot.h.
#include <math.h>
#include <stdio.h>

#include "dataio/plot_priv.h"

enum { MOST_CELLS = 400, SCALE_WIDTH = 14, LABEL_ROOM = 24 };

typedef struct layout {
    double cell, left, top, right, bottom, width, height;
    double scale_left, scale_top, scale_bottom;
    edt_plot_style name, value;
    bool has_values;
} layout;

static const edt_plot_style label_style = {.size = 12, .rgb = EDT_PLOT_INK, .align = 0.5};
static const edt_plot_style tick_style = {.size = 10, .rgb = EDT_PLOT_DIM};

// Shades go by the square root, so that small values show.
static double shade(double value)
{
    return sqrt(fmin(1.0, fmax(0.0, value)));
}

static double widest_name(cairo_t *cr, const char *const *names, int64_t n,
                          const edt_plot_style *style)
{
    double widest = 0;
    for (int64_t i = 0; i < n; ++i) {
        widest = fmax(widest, edt_plot_text_width(cr, names[i], style));
    }
    return widest;
}

static edt_status make_layout(const edt_plot_heat *heat, edt_error *err, layout *l)
{
    edt_plot_canvas ruler;
    const double n = (double)(heat->n_rows > heat->n_columns ? heat->n_rows : heat->n_columns);
    l->cell = n <= 12 ? 44 : n <= 25 ? 32 : n <= 45 ? 22 : 14;
    l->has_values = l->cell >= 22;
    l->name = (edt_plot_style){.size = fmin(11.5, 0.72 * l->cell), .rgb = EDT_PLOT_INK};
    l->value = (edt_plot_style){.size = fmin(11, 0.38 * l->cell), .align = 0.5};
    EDT_TRY(edt_plot_canvas_open(&ruler, NULL, 1, 1, err));
    const double rows = widest_name(ruler.cr, heat->row_names, heat->n_rows, &l->name);
    const double columns = widest_name(ruler.cr, heat->column_names, heat->n_columns, &l->name);
    const double head = edt_plot_head_width(ruler.cr, &heat->head);
    const double scale_label = edt_plot_text_width(ruler.cr, heat->scale_label, &label_style);
    EDT_TRY(edt_plot_canvas_close(&ruler, EDT_OK));
    l->left = EDT_PLOT_MARGIN + LABEL_ROOM + rows + 6;
    l->top = edt_plot_head_height(&heat->head) + LABEL_ROOM + columns + 6;
    l->right = l->left + l->cell * (double)heat->n_columns;
    l->bottom = l->top + l->cell * (double)heat->n_rows;
    // The scale is as high as its label needs, which may be more than a small matrix has.
    l->scale_left = l->right + 26;
    l->scale_top = l->top;
    l->scale_bottom = l->top + fmax(fmin(l->bottom - l->top, 320), fmax(120, scale_label));
    l->width = fmax(head, l->scale_left + SCALE_WIDTH + 64 + EDT_PLOT_MARGIN);
    l->height = fmax(l->bottom, l->scale_bottom + 8) + EDT_PLOT_MARGIN;
    return EDT_OK;
}

static void draw_names(cairo_t *cr, const edt_plot_heat *heat, const layout *l)
{
    edt_plot_style style = l->name;
    style.align = 1;
    for (int64_t i = 0; i < heat->n_rows; ++i) {
        edt_plot_put_text(cr, heat->row_names[i], l->left - 6,
                          l->top + ((double)i + 0.5) * l->cell, &style);
    }
    style.align = 0;
    style.is_upright = true;
    for (int64_t i = 0; i < heat->n_columns; ++i) {
        edt_plot_put_text(cr, heat->column_names[i], l->left + ((double)i + 0.5) * l->cell,
                          l->top - 6, &style);
    }
    edt_plot_put_text(cr, heat->column_label, (l->left + l->right) / 2,
                      edt_plot_head_height(&heat->head) + LABEL_ROOM / 2.0 - 2, &label_style);
    edt_plot_style upright = label_style;
    upright.is_upright = true;
    edt_plot_put_text(cr, heat->row_label, EDT_PLOT_MARGIN + 8, (l->top + l->bottom) / 2,
                      &upright);
}

static void draw_cell(cairo_t *cr, const layout *l, int64_t i_row, int64_t i_column,
                      double value)
{
    const double x = l->left + (double)i_column * l->cell;
    const double y = l->top + (double)i_row * l->cell;
    if (isnan(value) || value <= 0) {
        return;
    }
    edt_plot_set_color(cr, edt_plot_ramp(shade(value)), 1);
    cairo_rectangle(cr, x, y, l->cell, l->cell);
    cairo_fill(cr);
    if (l->has_values && value >= 0.005) {
        char text[16];
        edt_plot_style style = l->value;
        style.rgb = shade(value) > 0.58 ? 0xffffff : EDT_PLOT_INK;
        (void)snprintf(text, sizeof text, "%.0f", 100 * value);
        edt_plot_put_text(cr, text, x + l->cell / 2, y + l->cell / 2, &style);
    }
}

// Faint lines, every tenth stronger where names are small.
static void draw_grid(cairo_t *cr, const edt_plot_heat *heat, const layout *l)
{
    const bool is_dense = l->cell < 22;
    cairo_set_line_width(cr, 0.5);
    for (int64_t i = 0; i <= heat->n_rows; ++i) {
        const double y = l->top + (double)i * l->cell;
        edt_plot_set_color(cr, is_dense && i % 10 == 0 ? EDT_PLOT_FRAME : EDT_PLOT_GRID, 1);
        cairo_move_to(cr, l->left, y);
        cairo_line_to(cr, l->right, y);
        cairo_stroke(cr);
    }
    for (int64_t i = 0; i <= heat->n_columns; ++i) {
        const double x = l->left + (double)i * l->cell;
        edt_plot_set_color(cr, is_dense && i % 10 == 0 ? EDT_PLOT_FRAME : EDT_PLOT_GRID, 1);
        cairo_move_to(cr, x, l->top);
        cairo_line_to(cr, x, l->bottom);
        cairo_stroke(cr);
    }
    edt_plot_set_color(cr, EDT_PLOT_FRAME, 1);
    cairo_set_line_width(cr, 1);
    if (heat->is_last_apart) {
        cairo_move_to(cr, l->left, l->bottom - l->cell);
        cairo_line_to(cr, l->right, l->bottom - l->cell);
        cairo_move_to(cr, l->right - l->cell, l->top);
        cairo_line_to(cr, l->right - l->cell, l->bottom);
        cairo_stroke(cr);
    }
    cairo_rectangle(cr, l->left, l->top, l->right - l->left, l->bottom - l->top);
    cairo_stroke(cr);
}

static void draw_scale(cairo_t *cr, const edt_plot_heat *heat, const layout *l)
{
    const double h = l->scale_bottom - l->scale_top;
    enum { BANDS = 100 };
    for (int i = 0; i < BANDS; ++i) {
        edt_plot_set_color(cr, edt_plot_ramp((i + 0.5) / BANDS), 1);
        cairo_rectangle(cr, l->scale_left, l->scale_bottom - (i + 1) * h / BANDS, SCALE_WIDTH,
                        h / BANDS + 0.3);
        cairo_fill(cr);
    }
    static const int ticks[] = {0, 1, 5, 10, 25, 50, 75, 100};
    for (size_t i = 0; i < sizeof ticks / sizeof ticks[0]; ++i) {
        char text[16];
        (void)snprintf(text, sizeof text, "%d", ticks[i]);
        edt_plot_put_text(cr, text, l->scale_left + SCALE_WIDTH + 6,
                          l->scale_bottom - shade(ticks[i] / 100.0) * h, &tick_style);
    }
    edt_plot_style upright = label_style;
    upright.is_upright = true;
    edt_plot_put_text(cr, heat->scale_label, l->scale_left + SCALE_WIDTH + 42,
                      l->scale_top + h / 2, &upright);
}

edt_status edt_plot_write_heat(const edt_plot_heat *heat, const char *path, edt_error *err)
{
    layout l;
    edt_plot_canvas canvas;
    if (heat->n_rows < 1 || heat->n_columns < 1 || heat->n_rows > MOST_CELLS ||
        heat->n_columns > MOST_CELLS) {
        EDT_FAIL(err, EDT_ERR_INVALID,
                 "%s: a heat map of %lld by %lld cells: allowed are 1 to %d", path,
                 (long long)heat->n_rows, (long long)heat->n_columns, MOST_CELLS);
    }
    EDT_TRY(make_layout(heat, err, &l));
    EDT_TRY(edt_plot_canvas_open(&canvas, path, l.width, l.height, err));
    edt_plot_put_head(canvas.cr, &heat->head, EDT_PLOT_MARGIN);
    draw_names(canvas.cr, heat, &l);
    for (int64_t i = 0; i < heat->n_rows; ++i) {
        for (int64_t k = 0; k < heat->n_columns; ++k) {
            draw_cell(canvas.cr, &l, i, k, heat->values[i * heat->n_columns + k]);
        }
    }
    draw_grid(canvas.cr, heat, &l);
    draw_scale(canvas.cr, heat, &l);
    return edt_plot_canvas_close(&canvas, EDT_OK);
}
