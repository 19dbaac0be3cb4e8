// See shapes_scene.h. Shapes are polygons (a circle has 96 corners), so that boxes and areas
// are those of what cairo fills.
#include "dataio/shapes_scene.h"

#include <cairo.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "core/mem.h"
#include "core/rng.h"
#include "dataio/shapes_texture.h"

enum {
    CIRCLE = 1,
    SQUARE,
    TRIANGLE,
    STAR,
    RING,
    CROSS,
    N_ROUND = 96, // corners of a circle
    MAX_POINTS = 2 * N_ROUND,
    MARGIN = 1, // pixels between a box and the picture's edge
    MAX_PLACE_TRIES = 60,
    MAX_COLOR_TRIES = 16
};

static const double pi = 3.14159265358979323846;
// Of two shapes at most so much may lie on each other: intersection over union, and share of
// the smaller one that is covered.
static const double max_iou = 0.12, max_covered = 0.25;
// Least distance of a shape's colour from the background under it, in RGB of [0, 1].
static const double min_contrast = 0.4;

struct edt_shapes_canvas {
    int64_t size;
    edt_image image;
    cairo_surface_t *surface; // RGB24
    cairo_t *cairo;
};

// The corners of a shape around the origin, then in the picture. A ring has a second loop, its
// hole.
typedef struct outline {
    int n, n_hole;
    double y[MAX_POINTS], x[MAX_POINTS];
} outline;

const char *edt_shapes_class_name(int64_t class_id)
{
    static const char *const names[EDT_SHAPES_N_CLASSES] = {"circle", "square", "triangle",
                                                            "star",   "ring",   "cross"};
    return class_id >= 1 && class_id <= EDT_SHAPES_N_CLASSES ? names[class_id - 1] : NULL;
}

edt_status edt_shapes_style_check(const edt_shapes_style *style, edt_error *err)
{
    if (style->image_size < 32 || style->image_size > 4096) {
        EDT_FAIL(err, EDT_ERR_USAGE, "image_size is %" PRId64 "; allowed are 32 to 4096",
                 style->image_size);
    }
    if (style->min_side < 8 || style->min_side > style->max_side ||
        style->max_side > style->image_size - 2 * MARGIN) {
        EDT_FAIL(
            err, EDT_ERR_USAGE,
            "min_side %" PRId64 " and max_side %" PRId64
            " do not fit: they need 8 <= min_side <= max_side <= image_size - %d = %" PRId64,
            style->min_side, style->max_side, 2 * MARGIN, style->image_size - 2 * MARGIN);
    }
    if (style->max_objects < 1 || style->max_objects > EDT_SHAPES_MAX_OBJECTS) {
        EDT_FAIL(err, EDT_ERR_USAGE, "max_objects is %" PRId64 "; allowed are 1 to %d",
                 style->max_objects, EDT_SHAPES_MAX_OBJECTS);
    }
    if (!(style->max_turn >= 0 && style->max_turn <= 180)) {
        EDT_FAIL(err, EDT_ERR_USAGE, "max_turn is %g; allowed are 0 to 180 degrees",
                 style->max_turn);
    }
    return EDT_OK;
}

edt_status edt_shapes_canvas_create(int64_t image_size, edt_error *err,
                                    edt_shapes_canvas **out_canvas)
{
    edt_shapes_canvas *canvas = edt_mem_calloc(EDT_MEM_IMAGE, 1, sizeof *canvas);
    if (canvas == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to draw in");
    }
    canvas->size = image_size;
    canvas->image = (edt_image){.h = image_size, .w = image_size, .stride = image_size * 3};
    canvas->image.data = edt_mem_alloc(EDT_MEM_IMAGE, (size_t)(image_size * image_size * 3));
    canvas->surface =
        cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)image_size, (int)image_size);
    canvas->cairo = cairo_create(canvas->surface);
    if (canvas->image.data == NULL || cairo_status(canvas->cairo) != CAIRO_STATUS_SUCCESS) {
        edt_shapes_canvas_destroy(canvas);
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to draw pictures of %" PRId64 " pixels",
                 image_size);
    }
    cairo_set_fill_rule(canvas->cairo, CAIRO_FILL_RULE_EVEN_ODD);
    *out_canvas = canvas;
    return EDT_OK;
}

void edt_shapes_canvas_destroy(edt_shapes_canvas *canvas)
{
    if (canvas == NULL) {
        return;
    }
    cairo_destroy(canvas->cairo);
    cairo_surface_destroy(canvas->surface);
    edt_mem_free(canvas->image.data);
    edt_mem_free(canvas);
}

static void add_point(outline *o, double y, double x)
{
    o->y[o->n] = y;
    o->x[o->n] = x;
    ++o->n;
}

// Corners on a circle; every second one at `inner` times the radius when inner < 1.
static void add_round(outline *o, int n, double radius, double inner)
{
    for (int i = 0; i < n; ++i) {
        const double r = i % 2 == 1 ? radius * inner : radius;
        const double a = 2 * pi * i / n - pi / 2;
        add_point(o, r * sin(a), r * cos(a));
    }
}

static void make_outline(int64_t class_id, edt_rng *rng, outline *o)
{
    o->n = o->n_hole = 0;
    switch (class_id) {
    case CIRCLE: add_round(o, N_ROUND, 1, 1); break;
    case SQUARE:
        add_point(o, -1, -1);
        add_point(o, -1, 1);
        add_point(o, 1, 1);
        add_point(o, 1, -1);
        break;
    case TRIANGLE: add_round(o, 3, 1, 1); break;
    case STAR: add_round(o, 10, 1, edt_rng_uniform_range(rng, 0.38, 0.5)); break;
    case RING:
        add_round(o, N_ROUND, 1, 1);
        o->n_hole = N_ROUND;
        add_round(o, N_ROUND, edt_rng_uniform_range(rng, 0.45, 0.65), 1);
        break;
    default: {
        const double t = edt_rng_uniform_range(rng, 0.25, 0.38);
        const double y[12] = {-1, -1, -t, -t, t, t, 1, 1, t, t, -t, -t};
        const double x[12] = {-t, t, t, 1, 1, t, t, -t, -t, -1, -1, -t};
        for (int i = 0; i < 12; ++i) {
            add_point(o, y[i], x[i]);
        }
    }
    }
}

static double loop_area(const outline *o, int begin, int end)
{
    double sum = 0;
    for (int i = begin; i < end; ++i) {
        const int next = i + 1 < end ? i + 1 : begin;
        sum += o->x[i] * o->y[next] - o->x[next] * o->y[i];
    }
    return fabs(sum) / 2;
}

static void get_box(const outline *o, double out_box[static 4])
{
    out_box[0] = out_box[2] = o->y[0];
    out_box[1] = out_box[3] = o->x[0];
    for (int i = 1; i < o->n; ++i) {
        out_box[0] = fmin(out_box[0], o->y[i]);
        out_box[1] = fmin(out_box[1], o->x[i]);
        out_box[2] = fmax(out_box[2], o->y[i]);
        out_box[3] = fmax(out_box[3], o->x[i]);
    }
}

// Stretches, turns and scales the shape so that the longer side of its box is `side`, and puts
// it somewhere into the picture.
static void place(outline *o, const edt_shapes_style *style, edt_rng *rng)
{
    const double most = style->max_turn * pi / 180;
    const double turn = edt_rng_uniform_range(rng, -most, most), c = cos(turn), s = sin(turn);
    const double stretch = edt_rng_uniform_range(rng, 0.9, 1.11);
    for (int i = 0; i < o->n; ++i) {
        const double y = o->y[i] * stretch, x = o->x[i] / stretch;
        o->y[i] = x * s + y * c;
        o->x[i] = x * c - y * s;
    }
    double box[4];
    get_box(o, box);
    const double lo = log((double)style->min_side), hi = log((double)style->max_side);
    const double side = exp(edt_rng_uniform_range(rng, lo, hi));
    const double scale = side / fmax(box[2] - box[0], box[3] - box[1]);
    const double room_y = (double)style->image_size - 2 * MARGIN - (box[2] - box[0]) * scale;
    const double room_x = (double)style->image_size - 2 * MARGIN - (box[3] - box[1]) * scale;
    const double top = MARGIN + room_y * edt_rng_uniform_f64(rng);
    const double left = MARGIN + room_x * edt_rng_uniform_f64(rng);
    for (int i = 0; i < o->n; ++i) {
        o->y[i] = (o->y[i] - box[0]) * scale + top;
        o->x[i] = (o->x[i] - box[1]) * scale + left;
    }
}

static double box_area(const double box[static 4])
{
    return (box[2] - box[0]) * (box[3] - box[1]);
}

static bool hides(const double a[static 4], const double b[static 4])
{
    const double h = fmin(a[2], b[2]) - fmax(a[0], b[0]);
    const double w = fmin(a[3], b[3]) - fmax(a[1], b[1]);
    if (h <= 0 || w <= 0) {
        return false;
    }
    const double both = h * w, area_a = box_area(a), area_b = box_area(b);
    return both > max_iou * (area_a + area_b - both) ||
           both > max_covered * fmin(area_a, area_b);
}

// A saturated colour that stands out from what lies under the box now.
static void choose_color(const edt_image *image, const double box[static 4], edt_rng *rng,
                         double out_rgb[static 3])
{
    double mean[3] = {0, 0, 0};
    int64_t n = 0;
    for (int64_t y = (int64_t)box[0]; y < (int64_t)box[2]; y += 2) {
        for (int64_t x = (int64_t)box[1]; x < (int64_t)box[3]; x += 2) {
            const uint8_t *pixel = image->data + y * image->stride + x * 3;
            for (int c = 0; c < 3; ++c) {
                mean[c] += pixel[c] / 255.0;
            }
            ++n;
        }
    }
    for (int i = 0; i < MAX_COLOR_TRIES; ++i) {
        const double hue = edt_rng_uniform_f64(rng);
        const double saturation = edt_rng_uniform_range(rng, 0.65, 1);
        edt_shapes_hsv(hue, saturation, edt_rng_uniform_range(rng, 0.5, 1), out_rgb);
        double square = 0;
        for (int c = 0; c < 3; ++c) {
            const double d = out_rgb[c] - mean[c] / (double)n;
            square += d * d;
        }
        if (square >= min_contrast * min_contrast) {
            return;
        }
    }
}

static void trace_path(cairo_t *cairo, const outline *o)
{
    cairo_new_path(cairo);
    const int n_outer = o->n - o->n_hole;
    for (int i = 0; i < o->n; ++i) {
        if (i == 0 || i == n_outer) {
            cairo_new_sub_path(cairo);
        }
        cairo_line_to(cairo, o->x[i], o->y[i]);
        if (i + 1 == n_outer || i + 1 == o->n) {
            cairo_close_path(cairo);
        }
    }
}

// Fill (plain or shaded along a direction) and an edge drawn inside the shape.
static void paint(cairo_t *cairo, const outline *o, const edt_shapes_object *object,
                  const double rgb[static 3], edt_rng *rng)
{
    const double cy = (object->box[0] + object->box[2]) / 2,
                 cx = (object->box[1] + object->box[3]) / 2;
    const double h = object->box[2] - object->box[0], w = object->box[3] - object->box[1];
    const double angle = edt_rng_uniform_range(rng, 0, 2 * pi);
    const double shade = edt_rng_uniform_range(rng, 0, 0.35);
    const double dy = sin(angle) * h / 2, dx = cos(angle) * w / 2;
    cairo_pattern_t *fill = cairo_pattern_create_linear(cx - dx, cy - dy, cx + dx, cy + dy);
    cairo_pattern_add_color_stop_rgb(fill, 0, rgb[0], rgb[1], rgb[2]);
    cairo_pattern_add_color_stop_rgb(fill, 1, rgb[0] * (1 - shade), rgb[1] * (1 - shade),
                                     rgb[2] * (1 - shade));
    trace_path(cairo, o);
    cairo_set_source(cairo, fill);
    cairo_fill(cairo);
    cairo_pattern_destroy(fill);

    const double edge = edt_rng_uniform_f64(rng) < 0.6 ? 0.035 * fmin(h, w) : 0;
    if (edge > 0.5) {
        const double tone = edt_rng_uniform_f64(rng) < 0.75 ? 0.35 : 1.5;
        cairo_save(cairo);
        trace_path(cairo, o);
        cairo_clip_preserve(cairo);
        cairo_set_source_rgb(cairo, rgb[0] * tone, rgb[1] * tone, rgb[2] * tone);
        cairo_set_line_width(cairo, 2 * edge);
        cairo_stroke(cairo);
        cairo_restore(cairo);
    }
}

// Three bytes a pixel <-> cairo's native-endian words.
static void to_surface(edt_shapes_canvas *canvas)
{
    unsigned char *words = cairo_image_surface_get_data(canvas->surface);
    const int stride = cairo_image_surface_get_stride(canvas->surface);
    for (int64_t y = 0; y < canvas->size; ++y) {
        const uint8_t *row = canvas->image.data + y * canvas->image.stride;
        for (int64_t x = 0; x < canvas->size; ++x) {
            const uint32_t word = (uint32_t)row[x * 3] << 16 | (uint32_t)row[x * 3 + 1] << 8 |
                                  (uint32_t)row[x * 3 + 2];
            memcpy(words + y * stride + x * 4, &word, sizeof word);
        }
    }
    cairo_surface_mark_dirty(canvas->surface);
}

static void from_surface(edt_shapes_canvas *canvas)
{
    cairo_surface_flush(canvas->surface);
    const unsigned char *words = cairo_image_surface_get_data(canvas->surface);
    const int stride = cairo_image_surface_get_stride(canvas->surface);
    for (int64_t y = 0; y < canvas->size; ++y) {
        uint8_t *row = canvas->image.data + y * canvas->image.stride;
        for (int64_t x = 0; x < canvas->size; ++x) {
            uint32_t word;
            memcpy(&word, words + y * stride + x * 4, sizeof word);
            row[x * 3] = (uint8_t)(word >> 16);
            row[x * 3 + 1] = (uint8_t)(word >> 8);
            row[x * 3 + 2] = (uint8_t)word;
        }
    }
}

static void add_corner(edt_shapes_object *object, const outline *o, int i)
{
    object->corners[2 * object->n_corners] = (float)o->x[i];
    object->corners[2 * object->n_corners + 1] = (float)o->y[i];
    ++object->n_corners;
}

static void store_corners(const outline *o, edt_shapes_object *object)
{
    const int n_outer = o->n - o->n_hole;
    for (int i = 0; i < n_outer; ++i) {
        add_corner(object, o, i);
    }
    if (o->n_hole > 0) {
        add_corner(object, o, 0);
        for (int i = n_outer; i < o->n; ++i) {
            add_corner(object, o, i);
        }
        add_corner(object, o, n_outer);
    }
}

// Finds a place for one more shape; false when the picture is too full for it.
static bool find_place(const edt_shapes_style *style, const edt_shapes_scene *scene,
                       edt_rng *rng, outline *o, edt_shapes_object *out_object)
{
    const int64_t class_id = 1 + (int64_t)edt_rng_below(rng, EDT_SHAPES_N_CLASSES);
    for (int i_try = 0; i_try < MAX_PLACE_TRIES; ++i_try) {
        make_outline(class_id, rng, o);
        place(o, style, rng);
        edt_shapes_object object = {.class_id = class_id};
        get_box(o, object.box);
        bool is_free = true;
        for (int64_t i = 0; i < scene->n && is_free; ++i) {
            is_free = !hides(object.box, scene->objects[i].box);
        }
        if (is_free) {
            const int n_outer = o->n - o->n_hole;
            object.area = loop_area(o, 0, n_outer) - loop_area(o, n_outer, o->n);
            store_corners(o, &object);
            *out_object = object;
            return true;
        }
    }
    return false;
}

edt_status edt_shapes_scene_draw(edt_shapes_canvas *canvas, const edt_shapes_style *style,
                                 uint64_t seed, uint64_t split, uint64_t i, edt_error *err,
                                 edt_image *out_image, edt_shapes_scene *out_scene)
{
    EDT_TRY(edt_shapes_style_check(style, err));
    edt_rng rng;
    edt_rng_init(&rng, seed, split, i, 0);
    edt_shapes_texture_fill(&canvas->image, &rng);
    to_surface(canvas);
    edt_shapes_scene scene = {.n = 0};
    const int64_t n_wanted = 1 + (int64_t)edt_rng_below(&rng, (uint64_t)style->max_objects);
    for (int64_t k = 0; k < n_wanted; ++k) {
        outline o;
        edt_shapes_object object;
        if (!find_place(style, &scene, &rng, &o, &object)) {
            break;
        }
        double rgb[3];
        choose_color(&canvas->image, object.box, &rng, rgb);
        paint(canvas->cairo, &o, &object, rgb, &rng);
        scene.objects[scene.n++] = object;
    }
    from_surface(canvas);
    if (cairo_status(canvas->cairo) != CAIRO_STATUS_SUCCESS) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "drawing: %s",
                 cairo_status_to_string(cairo_status(canvas->cairo)));
    }
    *out_image = canvas->image;
    *out_scene = scene;
    return EDT_OK;
}
