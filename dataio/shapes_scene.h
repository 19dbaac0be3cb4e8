// One drawn picture of the shapes data set: coloured shapes on a textured background and the
// boxes around them. A pure function of (seed, split, number of the picture).
#ifndef EDT_DATAIO_SHAPES_SCENE_H
#define EDT_DATAIO_SHAPES_SCENE_H

#include <stdint.h>

#include "augment/image.h"
#include "core/error.h"

enum { EDT_SHAPES_N_CLASSES = 6, EDT_SHAPES_MAX_OBJECTS = 32, EDT_SHAPES_MAX_CORNERS = 194 };

// "circle", "square", ...; 1 <= class_id <= EDT_SHAPES_N_CLASSES, else NULL.
const char *edt_shapes_class_name(int64_t class_id);

typedef struct edt_shapes_style {
    int64_t image_size;         // pixels, pictures are square
    int64_t min_side, max_side; // longer side of a shape's box, pixels
    int64_t max_objects;        // per picture; at least one is drawn
    double max_turn; // degrees: shapes are turned by up to this, either way; 0 to 180
} edt_shapes_style;

// EDT_ERR_USAGE for sides that do not fit the picture or each other.
edt_status edt_shapes_style_check(const edt_shapes_style *style, edt_error *err);

typedef struct edt_shapes_object {
    int64_t class_id;
    double box[4]; // ymin,xmin,ymax,xmax in pixels, inside the picture
    double area;   // pixels^2 covered by the shape (without the hole of a ring)
    // One polygon, x and y in pixels; a ring's goes in to its hole and back the same way.
    int n_corners;
    float corners[2 * EDT_SHAPES_MAX_CORNERS];
} edt_shapes_object;

typedef struct edt_shapes_scene {
    int64_t n;
    edt_shapes_object objects[EDT_SHAPES_MAX_OBJECTS];
} edt_shapes_scene;

// Pixels and cairo surface of one thread.
typedef struct edt_shapes_canvas edt_shapes_canvas;

edt_status edt_shapes_canvas_create(int64_t image_size, edt_error *err,
                                    edt_shapes_canvas **out_canvas);
void edt_shapes_canvas_destroy(edt_shapes_canvas *canvas);

// Draws picture `i` of a split. The view belongs to the canvas and lasts until its next use.
edt_status edt_shapes_scene_draw(edt_shapes_canvas *canvas, const edt_shapes_style *style,
                                 uint64_t seed, uint64_t split, uint64_t i, edt_error *err,
                                 edt_image *out_image, edt_shapes_scene *out_scene);

#endif
