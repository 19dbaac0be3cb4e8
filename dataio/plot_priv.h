// What the kinds of charts share: a surface that becomes a file, texts, ticks.
#ifndef EDT_DATAIO_PLOT_PRIV_H
#define EDT_DATAIO_PLOT_PRIV_H

#include <cairo.h>

#include "core/file.h"
#include "dataio/plot.h"

enum {
    EDT_PLOT_MARGIN = 18,
    EDT_PLOT_MOST_TICKS = 24,
    EDT_PLOT_INK = 0x22262b,
    EDT_PLOT_DIM = 0x5c636b,
    EDT_PLOT_GRID = 0xe3e6ea,
    EDT_PLOT_FRAME = 0xaab0b7,
};

typedef struct edt_plot_canvas {
    cairo_surface_t *surface;
    cairo_t *cr;
    edt_atomic_file *file; // NULL: for measuring only
    bool is_svg;
    edt_status status; // of writing
    edt_error *err;
    double scale;
} edt_plot_canvas;

// Without a path: a canvas to measure texts with.
edt_status edt_plot_canvas_open(edt_plot_canvas *canvas, const char *path, double width,
                                double height, edt_error *err);
// Writes the file unless `status` says that something failed; returns the first failure.
edt_status edt_plot_canvas_close(edt_plot_canvas *canvas, edt_status status);

void edt_plot_set_color(cairo_t *cr, uint32_t rgb, double alpha);

typedef struct edt_plot_style {
    double size;
    uint32_t rgb;
    double align; // 0: the place is the left end, 0.5: middle, 1: right end
    bool is_bold;
    bool is_upright; // turned to run upwards
} edt_plot_style;

double edt_plot_text_width(cairo_t *cr, const char *text, const edt_plot_style *style);
// `y`: the middle of small letters (of the line's run, when upright `x` is that).
void edt_plot_put_text(cairo_t *cr, const char *text, double x, double y,
                       const edt_plot_style *style);

// Height that title and subtitle take at the top, the margin above them included.
double edt_plot_head_height(const edt_plot_head *head);
void edt_plot_put_head(cairo_t *cr, const edt_plot_head *head, double x);
// How wide a picture must be for its head.
double edt_plot_head_width(cairo_t *cr, const edt_plot_head *head);

// An axis with its range settled and placed: value v lies at from + (v - low) / (high - low)
// * (to - from), in logarithms where that is asked for.
typedef struct edt_plot_scale {
    double low, high;
    bool is_log;
    double from, to;
    int n_ticks;
    double ticks[EDT_PLOT_MOST_TICKS];
    double step;
} edt_plot_scale;

// `most`: the greatest value of the data.
edt_plot_scale edt_plot_scale_make(const edt_plot_axis *axis, double least, double most);
double edt_plot_place(const edt_plot_scale *scale, double value);
void edt_plot_tick_text(const edt_plot_scale *scale, int i_tick, char out[32]);

#endif
