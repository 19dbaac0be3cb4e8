// Horizontal bars with names at the left and texts behind them; see plot.h.
#include <math.h>

#include "dataio/plot_priv.h"

enum { AXIS_ROOM = 46 };

static const edt_plot_style tick_style = {.size = 10, .rgb = EDT_PLOT_DIM, .align = 0.5};
static const edt_plot_style label_style = {.size = 11.5, .rgb = EDT_PLOT_INK, .align = 0.5};

typedef struct layout {
    double width, height, row, left, right, top, bottom;
    edt_plot_style name, text;
    edt_plot_scale scale;
} layout;

static edt_status make_layout(const edt_plot_bars *bars, edt_error *err, layout *l)
{
    edt_plot_canvas ruler;
    double names = 0, texts = 0, most = 0;
    l->row = bars->bar_height > 0 ? bars->bar_height
                                  : fmin(26, fmax(14, 900.0 / (double)(bars->n_bars + 1)));
    const double size = fmin(11.5, 0.7 * l->row);
    l->name = (edt_plot_style){.size = size, .rgb = EDT_PLOT_INK, .align = 1};
    l->text = (edt_plot_style){.size = size, .rgb = EDT_PLOT_DIM};
    EDT_TRY(edt_plot_canvas_open(&ruler, NULL, 1, 1, err));
    for (int64_t i = 0; i < bars->n_bars; ++i) {
        const edt_plot_bar *bar = &bars->bars[i];
        names = fmax(names, edt_plot_text_width(ruler.cr, bar->name, &l->name));
        texts = fmax(texts, edt_plot_text_width(ruler.cr, bar->text, &l->text));
        most = isfinite(bar->value) ? fmax(most, bar->value) : most;
    }
    l->width =
        fmax(bars->width > 0 ? bars->width : 720, edt_plot_head_width(ruler.cr, &bars->head));
    EDT_TRY(edt_plot_canvas_close(&ruler, EDT_OK));
    l->scale = edt_plot_scale_make(&bars->axis, 0, most);
    l->left = EDT_PLOT_MARGIN + names + 8;
    l->right = fmax(l->left + 120, l->width - EDT_PLOT_MARGIN - texts - 8);
    l->width = l->right + texts + 8 + EDT_PLOT_MARGIN;
    l->top = edt_plot_head_height(&bars->head) + 2;
    l->bottom = l->top + l->row * (double)bars->n_bars + 4;
    l->height = l->bottom + AXIS_ROOM;
    l->scale.from = l->left;
    l->scale.to = l->right;
    return EDT_OK;
}

edt_status edt_plot_write_bars(const edt_plot_bars *bars, const char *path, edt_error *err)
{
    layout l;
    edt_plot_canvas canvas;
    EDT_TRY(make_layout(bars, err, &l));
    EDT_TRY(edt_plot_canvas_open(&canvas, path, l.width, l.height, err));
    cairo_t *cr = canvas.cr;
    edt_plot_put_head(cr, &bars->head, EDT_PLOT_MARGIN);
    cairo_set_line_width(cr, 1);
    for (int i = 0; i < l.scale.n_ticks; ++i) {
        char text[32];
        const double at = edt_plot_place(&l.scale, l.scale.ticks[i]);
        edt_plot_set_color(cr, EDT_PLOT_GRID, 1);
        cairo_move_to(cr, at, l.top);
        cairo_line_to(cr, at, l.bottom);
        cairo_stroke(cr);
        edt_plot_tick_text(&l.scale, i, text);
        edt_plot_put_text(cr, text, at, l.bottom + 11, &tick_style);
    }
    edt_plot_put_text(cr, bars->axis.label, (l.left + l.right) / 2, l.bottom + 30,
                      &label_style);
    for (int64_t i = 0; i < bars->n_bars; ++i) {
        const edt_plot_bar *bar = &bars->bars[i];
        const double middle = l.top + 2 + ((double)i + 0.5) * l.row;
        const bool is_drawn = isfinite(bar->value);
        const double end = is_drawn ? edt_plot_place(&l.scale, bar->value) : l.left;
        edt_plot_set_color(cr, bar->rgb, 1);
        cairo_rectangle(cr, l.left, middle - 0.38 * l.row, end - l.left, 0.76 * l.row);
        cairo_fill(cr);
        edt_plot_put_text(cr, bar->name, l.left - 8, middle, &l.name);
        const double text_width = edt_plot_text_width(cr, bar->text, &l.text);
        edt_plot_set_color(cr, 0xffffff, 1); // lines of the grid end at texts
        cairo_rectangle(cr, end + 3, middle - 0.45 * l.row, text_width + 6, 0.9 * l.row);
        cairo_fill(cr);
        edt_plot_put_text(cr, bar->text, end + 6, middle, &l.text);
    }
    edt_plot_set_color(cr, EDT_PLOT_FRAME, 1);
    cairo_move_to(cr, l.left, l.top);
    cairo_line_to(cr, l.left, l.bottom);
    cairo_stroke(cr);
    return edt_plot_canvas_close(&canvas, EDT_OK);
}
