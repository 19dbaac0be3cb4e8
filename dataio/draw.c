// See draw.h.
#include "dataio/draw.h"

#include <cairo.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "core/mem.h"

// CSS colours in the reference's order: AliceBlue, Chartreuse, Aqua, ..., YellowGreen.
static const uint32_t palette[EDT_DRAW_N_COLORS] = {
    0xf0f8ff, 0x7fff00, 0x00ffff, 0x7fffd4, 0xf0ffff, 0xf5f5dc, 0xffe4c4, 0xffebcd, 0x8a2be2,
    0xdeb887, 0x5f9ea0, 0xfaebd7, 0xd2691e, 0xff7f50, 0x6495ed, 0xfff8dc, 0xdc143c, 0x00ffff,
    0x008b8b, 0xb8860b, 0xa9a9a9, 0xbdb76b, 0xff8c00, 0x9932cc, 0xe9967a, 0x8fbc8f, 0x00ced1,
    0x9400d3, 0xff1493, 0x00bfff, 0x1e90ff, 0xb22222, 0xfffaf0, 0x228b22, 0xff00ff, 0xdcdcdc,
    0xf8f8ff, 0xffd700, 0xdaa520, 0xfa8072, 0xd2b48c, 0xf0fff0, 0xff69b4, 0xcd5c5c, 0xfffff0,
    0xf0e68c, 0xe6e6fa, 0xfff0f5, 0x7cfc00, 0xfffacd, 0xadd8e6, 0xf08080, 0xe0ffff, 0xfafad2,
    0xd3d3d3, 0xd3d3d3, 0x90ee90, 0xffb6c1, 0xffa07a, 0x20b2aa, 0x87cefa, 0x778899, 0x778899,
    0xb0c4de, 0xffffe0, 0x00ff00, 0x32cd32, 0xfaf0e6, 0xff00ff, 0x66cdaa, 0xba55d3, 0x9370db,
    0x3cb371, 0x7b68ee, 0x00fa9a, 0x48d1cc, 0xc71585, 0xf5fffa, 0xffe4e1, 0xffe4b5, 0xffdead,
    0xfdf5e6, 0x808000, 0x6b8e23, 0xffa500, 0xff4500, 0xda70d6, 0xeee8aa, 0x98fb98, 0xafeeee,
    0xdb7093, 0xffefd5, 0xffdab9, 0xcd853f, 0xffc0cb, 0xdda0dd, 0xb0e0e6, 0x800080, 0xff0000,
    0xbc8f8f, 0x4169e1, 0x8b4513, 0x008000, 0xf4a460, 0x2e8b57, 0xfff5ee, 0xa0522d, 0xc0c0c0,
    0x87ceeb, 0x6a5acd, 0x708090, 0x708090, 0xfffafa, 0x00ff7f, 0x4682b4, 0xadff2f, 0x008080,
    0xd8bfd8, 0xff6347, 0x40e0d0, 0xee82ee, 0xf5deb3, 0xffffff, 0xf5f5f5, 0xffff00, 0x9acd32};

void edt_draw_class_color(int64_t class_id, uint8_t out_rgb[static 3])
{
    const int64_t i = (class_id % EDT_DRAW_N_COLORS + EDT_DRAW_N_COLORS) % EDT_DRAW_N_COLORS;
    out_rgb[0] = (uint8_t)(palette[i] >> 16);
    out_rgb[1] = (uint8_t)(palette[i] >> 8);
    out_rgb[2] = (uint8_t)palette[i];
}

// Length of the UTF-8 sequence at `text`, 0 when it is none. cairo stops drawing at the first
// malformed text, and texts come from record files.
static size_t utf8_length(const unsigned char *text)
{
    const unsigned char c = text[0];
    const size_t n = c < 0x80   ? 1
                     : c < 0xc2 ? 0
                     : c < 0xe0 ? 2
                     : c < 0xf0 ? 3
                     : c < 0xf5 ? 4
                                : 0;
    for (size_t i = 1; i < n; ++i) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    if (n == 3) {
        const unsigned code = (c & 0x0fu) << 12 | (text[1] & 0x3fu) << 6;
        return code < 0x800 || (code >= 0xd800 && code < 0xe000) ? 0 : n;
    }
    if (n == 4) {
        const unsigned code = (c & 0x07u) << 18 | (text[1] & 0x3fu) << 12;
        return code < 0x10000 || code > 0x10ffff ? 0 : n;
    }
    return n;
}

void edt_draw_clean_text(const char *text, char out[static EDT_DRAW_TEXT_BYTES])
{
    size_t used = 0;
    const unsigned char *at = (const unsigned char *)text;
    while (*at != '\0') {
        const size_t n = utf8_length(at);
        const bool drawable = n > 0 && *at >= 0x20 && *at != 0x7f;
        const size_t n_in = n > 0 ? n : 1, n_out = drawable ? n : 1;
        if (used + n_out + 1 > EDT_DRAW_TEXT_BYTES) {
            break;
        }
        if (drawable) {
            memcpy(out + used, at, n);
        } else {
            out[used] = '?';
        }
        used += n_out;
        at += n_in;
    }
    out[used] = '\0';
}

static void set_color(cairo_t *cr, int64_t class_id)
{
    uint8_t rgb[3];
    edt_draw_class_color(class_id, rgb);
    cairo_set_source_rgb(cr, rgb[0] / 255.0, rgb[1] / 255.0, rgb[2] / 255.0);
}

static bool has_text(const edt_draw_box *box)
{
    return box->text != NULL && box->text[0] != '\0';
}

static bool same_place(const edt_draw_box *a, const edt_draw_box *b)
{
    return memcmp(a->box, b->box, sizeof a->box) == 0;
}

typedef struct label_size {
    double w, h, margin;
} label_size;

static label_size measure(cairo_t *cr, const char *text)
{
    char clean[EDT_DRAW_TEXT_BYTES];
    cairo_text_extents_t extents;
    cairo_font_extents_t font;
    edt_draw_clean_text(text, clean);
    cairo_text_extents(cr, clean, &extents);
    cairo_font_extents(cr, &font);
    const double h = font.ascent + font.descent;
    return (label_size){.w = extents.x_advance, .h = h, .margin = ceil(0.05 * h)};
}

// One label whose lower edge is at `bottom`; returns where the next one above it ends.
static double draw_label(cairo_t *cr, const edt_draw_box *box, double left, double bottom,
                         int64_t color_class)
{
    char clean[EDT_DRAW_TEXT_BYTES];
    edt_draw_clean_text(box->text, clean);
    const label_size size = measure(cr, box->text);
    cairo_font_extents_t font;
    cairo_font_extents(cr, &font);
    set_color(cr, color_class);
    cairo_rectangle(cr, left, bottom - size.h - 2 * size.margin, size.w + 2 * size.margin,
                    size.h + 2 * size.margin);
    cairo_fill(cr);
    cairo_set_source_rgb(cr, 0, 0, 0);
    cairo_move_to(cr, left + size.margin, bottom - size.margin - font.descent);
    cairo_show_text(cr, clean);
    return bottom - size.h - 2 * size.margin;
}

// The labels of all boxes at the place of boxes[first]: above the box where there is room, else
// below its lower edge, moved up where the picture ends first; the last label is the lowest.
static void draw_labels(cairo_t *cr, const edt_image *image, const edt_draw_box *boxes,
                        int64_t first, int64_t n_boxes)
{
    double total = 0, widest = 0;
    for (int64_t i = first; i < n_boxes; ++i) {
        if (same_place(&boxes[i], &boxes[first]) && has_text(&boxes[i])) {
            const label_size size = measure(cr, boxes[i].text);
            total += size.h + 2 * size.margin;
            widest = fmax(widest, size.w + 2 * size.margin);
        }
    }
    const double top = boxes[first].box[0], low = boxes[first].box[2];
    double bottom = top > total ? top : fmin(low + total, (double)image->h);
    const double left = fmax(0.0, fmin((double)boxes[first].box[1], (double)image->w - widest));
    for (int64_t i = n_boxes - 1; i >= first; --i) {
        if (same_place(&boxes[i], &boxes[first]) && has_text(&boxes[i])) {
            bottom = draw_label(cr, &boxes[i], left, bottom, boxes[first].class_id);
        }
    }
}

static bool is_drawable(const edt_draw_box *box)
{
    return isfinite(box->box[0]) && isfinite(box->box[1]) && isfinite(box->box[2]) &&
           isfinite(box->box[3]);
}

static void draw_all(cairo_t *cr, const edt_image *image, const edt_draw_box *boxes,
                     int64_t n_boxes, const edt_draw_options *options)
{
    const double fitting = fmin(24.0, fmax(10.0, (double)image->h / 32.0));
    cairo_set_font_size(cr, options->font_size > 0 ? options->font_size : fitting);
    cairo_set_line_width(cr, options->line_width > 0 ? options->line_width : 2.0);
    int64_t n_drawn = 0;
    for (int64_t i = 0; i < n_boxes; ++i) {
        bool seen = !is_drawable(&boxes[i]);
        for (int64_t k = 0; k < i && !seen; ++k) {
            seen = same_place(&boxes[k], &boxes[i]);
        }
        if (seen) {
            continue;
        }
        if (options->max_boxes > 0 && n_drawn == options->max_boxes) {
            break;
        }
        const float *box = boxes[i].box;
        set_color(cr, boxes[i].class_id);
        cairo_rectangle(cr, box[1], box[0], (double)box[3] - box[1], (double)box[2] - box[0]);
        cairo_stroke(cr);
        draw_labels(cr, image, boxes, i, n_boxes);
        ++n_drawn;
    }
}

// A cairo surface with the picture's pixels.
typedef struct canvas {
    uint32_t *pixels;
    int64_t row; // pixels
    cairo_surface_t *surface;
    cairo_t *cr;
} canvas;

static edt_status open_canvas(const edt_image *image, edt_error *err, canvas *out)
{
    const int w = (int)image->w, h = (int)image->h;
    const int stride = cairo_format_stride_for_width(CAIRO_FORMAT_RGB24, w);
    uint32_t *pixels =
        stride < 0 ? NULL : edt_mem_alloc(EDT_MEM_IMAGE, (size_t)stride * (size_t)h);
    if (pixels == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to draw on a picture of %dx%d pixels", w, h);
    }
    const int64_t row = stride / 4;
    for (int64_t i = 0; i < image->h; ++i) {
        for (int64_t k = 0; k < image->w; ++k) {
            const uint8_t *rgb = image->data + i * image->stride + 3 * k;
            pixels[i * row + k] = (uint32_t)rgb[0] << 16 | (uint32_t)rgb[1] << 8 | rgb[2];
        }
    }
    cairo_surface_t *surface = cairo_image_surface_create_for_data(
        (unsigned char *)pixels, CAIRO_FORMAT_RGB24, w, h, stride);
    *out = (canvas){pixels, row, surface, cairo_create(surface)};
    cairo_select_font_face(out->cr, "sans", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
    return EDT_OK;
}

// Copies what was drawn back into the picture.
static edt_status close_canvas(canvas *c, const edt_image *image, edt_error *err)
{
    edt_status status = EDT_OK;
    cairo_surface_flush(c->surface);
    if (cairo_status(c->cr) != CAIRO_STATUS_SUCCESS) {
        status = edt_error_set(err, EDT_ERR_INTERNAL, "drawing: %s",
                               cairo_status_to_string(cairo_status(c->cr)));
    }
    cairo_destroy(c->cr);
    cairo_surface_destroy(c->surface);
    for (int64_t i = 0; status == EDT_OK && i < image->h; ++i) {
        for (int64_t k = 0; k < image->w; ++k) {
            uint8_t *rgb = image->data + i * image->stride + 3 * k;
            rgb[0] = (uint8_t)(c->pixels[i * c->row + k] >> 16);
            rgb[1] = (uint8_t)(c->pixels[i * c->row + k] >> 8);
            rgb[2] = (uint8_t)c->pixels[i * c->row + k];
        }
    }
    edt_mem_free(c->pixels);
    return status;
}

edt_status edt_draw_boxes(const edt_image *image, const edt_draw_box *boxes, int64_t n_boxes,
                          const edt_draw_options *options, edt_error *err)
{
    static const edt_draw_options defaults = {0};
    canvas c;
    EDT_TRY(open_canvas(image, err, &c));
    draw_all(c.cr, image, boxes, n_boxes, options == NULL ? &defaults : options);
    return close_canvas(&c, image, err);
}

edt_status edt_draw_text(const edt_image *image, const char *text, double x, double baseline,
                         double size, const uint8_t rgb[static 3], edt_error *err)
{
    char clean[EDT_DRAW_TEXT_BYTES];
    canvas c;
    edt_draw_clean_text(text, clean);
    EDT_TRY(open_canvas(image, err, &c));
    cairo_set_font_size(c.cr, size);
    cairo_set_source_rgb(c.cr, rgb[0] / 255.0, rgb[1] / 255.0, rgb[2] / 255.0);
    cairo_move_to(c.cr, x, baseline);
    cairo_show_text(c.cr, clean);
    return close_canvas(&c, image, err);
}
