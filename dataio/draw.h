// Boxes with label texts on an RGB picture (spec/data.md 10.1), through cairo. Colours are
// those of the reference's visualiser; pixels of text are not meant to equal anybody's.
#ifndef EDT_DATAIO_DRAW_H
#define EDT_DATAIO_DRAW_H

#include "augment/image.h"
#include "core/error.h"

enum { EDT_DRAW_N_COLORS = 126, EDT_DRAW_TEXT_BYTES = 120 };

// R,G,B of a class: the palette of 126 CSS colours by class modulo 126.
void edt_draw_class_color(int64_t class_id, uint8_t out_rgb[static 3]);

// A copy that cairo can draw: malformed UTF-8 and control characters become '?', long texts are
// cut.
void edt_draw_clean_text(const char *text, char out[static EDT_DRAW_TEXT_BYTES]);

typedef struct edt_draw_box {
    float box[4];     // ymin,xmin,ymax,xmax in pixels of the picture
    int64_t class_id; // chooses the colour
    const char *text; // UTF-8; NULL or "" for none
} edt_draw_box;

typedef struct edt_draw_options {
    double line_width; // pixels; 0: 2
    double font_size;  // pixels; 0: fits the picture, 10 to 24
    int64_t max_boxes; // distinct boxes, first come first drawn; 0: all
} edt_draw_options;

// Draws in place. Boxes with identical coordinates become one box with stacked labels (the
// first one's colour); boxes that are not finite are left out. `options` may be NULL.
// EDT_ERR_NOMEM.
edt_status edt_draw_boxes(const edt_image *image, const edt_draw_box *boxes, int64_t n_boxes,
                          const edt_draw_options *options, edt_error *err);

// One line of text in place: `x` and `baseline` in pixels of the picture, `size` of the font;
// what does not fit is cut off. EDT_ERR_NOMEM.
edt_status edt_draw_text(const edt_image *image, const char *text, double x, double baseline,
                         double size, const uint8_t rgb[static 3], edt_error *err);

#endif
