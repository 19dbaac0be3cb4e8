// Charts for reports: lines and histograms on axes, bars, heat maps. A chart is described by a
// struct and written as PNG (two pixels per unit, so that it prints well) or SVG, as the name
// of the file ends. Colours that stay distinct for the colour-blind are at hand.
#ifndef EDT_DATAIO_PLOT_H
#define EDT_DATAIO_PLOT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

// Colours are 0xRRGGBB.
enum {
    EDT_PLOT_BLUE = 0x0072b2,
    EDT_PLOT_VERMILION = 0xd55e00,
    EDT_PLOT_GREEN = 0x009e73,
    EDT_PLOT_ORANGE = 0xe69f00,
    EDT_PLOT_PURPLE = 0xcc79a7,
    EDT_PLOT_SKY = 0x56b4e9,
    EDT_PLOT_BLACK = 0x222222,
    EDT_PLOT_GRAY = 0x8a8f98,
};

// A step of the ramp from light (0) to dark (1); brightness falls all the way.
uint32_t edt_plot_ramp(double value);

// Texts are UTF-8; "" or NULL for none.
typedef struct edt_plot_head {
    const char *title, *subtitle;
} edt_plot_head;

typedef struct edt_plot_axis {
    const char *label;
    double low, high; // equal: fits the data, from 0
    bool is_log;      // logarithms from 0.8, low and high do not matter; below: on the edge
} edt_plot_axis;

typedef struct edt_plot_line {
    const char *name; // for the legend
    const double *x, *y;
    int64_t n;     // points; those that are not finite break the line
    bool is_steps; // filled columns instead: y[i] from x[i] to x[i + 1], n + 1 in x
    bool is_dashed;
    double width; // 0: 1.6
    uint32_t rgb;
} edt_plot_line;

// A dot with a text beside it and a dashed line down to the axis.
typedef struct edt_plot_mark {
    double x, y;
    const char *text;
    uint32_t rgb;
} edt_plot_mark;

typedef struct edt_plot_chart {
    edt_plot_head head;
    double width, height; // 0: 720 by 460
    edt_plot_axis x, y;
    const edt_plot_line *lines;
    int64_t n_lines;
    const edt_plot_mark *marks;
    int64_t n_marks;
    const char *legend_title;
} edt_plot_chart;

edt_status edt_plot_write_chart(const edt_plot_chart *chart, const char *path, edt_error *err);

typedef struct edt_plot_bar {
    const char *name;
    double value;     // from 0; not finite: no bar
    const char *text; // behind the bar
    uint32_t rgb;
} edt_plot_bar;

// Horizontal bars, the first at the top; the picture grows with their number.
typedef struct edt_plot_bars {
    edt_plot_head head;
    double width;       // 0: 720
    double bar_height;  // 0: fits the number of bars, 14 to 26
    edt_plot_axis axis; // is_log: not for bars
    const edt_plot_bar *bars;
    int64_t n_bars;
} edt_plot_bars;

edt_status edt_plot_write_bars(const edt_plot_bars *bars, const char *path, edt_error *err);

// A matrix of values from 0 to 1 in shades (of their square root, so that small ones show);
// cells that are large enough carry their value in percent. Names stand at the left and,
// turned, at the top.
typedef struct edt_plot_heat {
    edt_plot_head head;
    const char *row_label, *column_label, *scale_label;
    const char *const *row_names, *const *column_names;
    int64_t n_rows, n_columns; // at least 1, at most 400
    const double *values;      // [n_rows][n_columns]; NaN: an empty cell
    bool is_last_apart;        // the last row and column are no classes like the others
} edt_plot_heat;

edt_status edt_plot_write_heat(const edt_plot_heat *heat, const char *path, edt_error *err);

#endif
