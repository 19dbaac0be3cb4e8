#include <criterion/criterion.h>
#include <math.h>

#include "core/mem.h"
#include "dataio/shapes.h"

static const edt_shapes_style style = {
    .image_size = 128, .min_side = 24, .max_side = 60, .max_objects = 5, .max_turn = 180};

static uint64_t sum_bytes(const edt_image *image)
{
    uint64_t sum = 14695981039346656037u;
    for (int64_t i = 0; i < image->h * image->stride; ++i) {
        sum = (sum ^ image->data[i]) * 1099511628211u;
    }
    return sum;
}

static void draw(edt_shapes_canvas *canvas, uint64_t seed, uint64_t i, edt_image *out_image,
                 edt_shapes_scene *out_scene)
{
    edt_error err = {0};
    cr_assert_eq(edt_shapes_scene_draw(canvas, &style, seed, 0, i, &err, out_image, out_scene),
                 EDT_OK, "%s", err.text);
}

Test(shapes, pictures_depend_on_seed_and_number_only, .timeout = 30)
{
    edt_error err = {0};
    edt_shapes_canvas *a, *b;
    cr_assert_eq(edt_shapes_canvas_create(style.image_size, &err, &a), EDT_OK);
    cr_assert_eq(edt_shapes_canvas_create(style.image_size, &err, &b), EDT_OK);
    edt_image image;
    edt_shapes_scene scene, again;
    draw(a, 1, 5, &image, &scene);
    const uint64_t fifth = sum_bytes(&image);
    draw(b, 1, 6, &image, &again);
    cr_expect_neq(sum_bytes(&image), fifth);
    draw(b, 2, 5, &image, &again);
    cr_expect_neq(sum_bytes(&image), fifth);
    draw(b, 1, 5, &image, &again);
    cr_expect_eq(sum_bytes(&image), fifth);
    cr_expect_eq(again.n, scene.n);
    edt_shapes_canvas_destroy(a);
    edt_shapes_canvas_destroy(b);
    cr_expect_eq(edt_mem_get_total().n_live, 0);
}

Test(shapes, objects_lie_inside_and_hide_little_of_each_other, .timeout = 30)
{
    edt_error err = {0};
    edt_shapes_canvas *canvas;
    cr_assert_eq(edt_shapes_canvas_create(style.image_size, &err, &canvas), EDT_OK);
    int64_t n_of_class[EDT_SHAPES_N_CLASSES + 1] = {0};
    for (uint64_t i = 0; i < 60; ++i) {
        edt_image image;
        edt_shapes_scene s;
        draw(canvas, 3, i, &image, &s);
        cr_assert(s.n >= 1 && s.n <= style.max_objects);
        for (int64_t k = 0; k < s.n; ++k) {
            const edt_shapes_object *o = &s.objects[k];
            ++n_of_class[o->class_id];
            const double h = o->box[2] - o->box[0], w = o->box[3] - o->box[1];
            cr_expect(o->box[0] >= 1 && o->box[1] >= 1 && o->box[2] <= 127 && o->box[3] <= 127);
            cr_expect(fmax(h, w) >= 24 - 1e-9 && fmax(h, w) <= 60 + 1e-9);
            cr_expect(o->area > 0.2 * h * w && o->area <= h * w);
            for (int64_t j = 0; j < k; ++j) {
                const double *p = o->box, *q = s.objects[j].box;
                const double both = fmax(0, fmin(p[2], q[2]) - fmax(p[0], q[0])) *
                                    fmax(0, fmin(p[3], q[3]) - fmax(p[1], q[1]));
                cr_expect_leq(both, 0.25 * h * w + 1e-9);
            }
        }
    }
    for (int64_t c = 1; c <= EDT_SHAPES_N_CLASSES; ++c) {
        cr_expect_gt(n_of_class[c], 5, "%s", edt_shapes_class_name(c));
    }
    edt_shapes_canvas_destroy(canvas);
}

Test(shapes, style_must_fit_the_picture, .timeout = 10)
{
    edt_error err = {0};
    edt_shapes_style bad = style;
    bad.max_side = 127;
    cr_expect_eq(edt_shapes_style_check(&bad, &err), EDT_ERR_USAGE);
    bad = style;
    bad.min_side = 61;
    cr_expect_eq(edt_shapes_style_check(&bad, &err), EDT_ERR_USAGE);
    bad = style;
    bad.max_objects = EDT_SHAPES_MAX_OBJECTS + 1;
    cr_expect_eq(edt_shapes_style_check(&bad, &err), EDT_ERR_USAGE);
}
