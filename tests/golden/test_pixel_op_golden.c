// Operations on whole pictures and GridMask of the reference against augment/pixel_op.h and
// against the plain formulas that its other tests trust (support/pixel_oracle.h), byte for
// byte.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "augment/pixel_op.h"
#include "core/file.h"
#include "core/json.h"
#include "core/mem.h"
#include "tests/support/golden_file.h"
#include "tests/support/pixel_oracle.h"
#include "tests/support/test_dirs.h"

typedef struct cases {
    edt_arena arena;
    edt_mapped_file file;
    const edt_json_node *list;
    golden_file *tensors, *inputs;
    edt_pixel_scratch *scratch;
} cases;

static void open_cases(const char *stem, cases *c)
{
    const char *dir = edt_test_golden_dir();
    edt_error err = {0};
    edt_arena_init(&c->arena, EDT_MEM_MISC, 0);
    cr_assert_eq(
        edt_mapped_file_open(edt_test_path(dir, "data/augment/%s.json", stem), &err, &c->file),
        EDT_OK, "%s", err.text);
    cr_assert_eq(edt_json_parse(c->file.span, &c->arena, &err, &c->list), EDT_OK);
    c->tensors = golden_open(edt_test_path(dir, "data/augment/%s.safetensors", stem));
    c->inputs = golden_open(edt_test_path(dir, "data/augment/ops.safetensors"));
    cr_assert_eq(edt_pixel_scratch_create(&err, &c->scratch), EDT_OK);
}

static void close_cases(cases *c)
{
    edt_pixel_scratch_destroy(c->scratch);
    golden_close(c->inputs);
    golden_close(c->tensors);
    edt_mapped_file_close(&c->file);
    edt_arena_deinit(&c->arena);
}

static const golden_tensor *tensor_of(golden_file *file, const char *name, const char *what)
{
    char path[160];
    (void)snprintf(path, sizeof path, "%s/%s", name, what);
    const golden_tensor *t = golden_find(file, path);
    cr_assert_not_null(t, "%s", path);
    return t;
}

// A copy of input A, B, C or G, or A with rows and columns swapped.
static edt_image copy_input(cases *c, const char *input)
{
    const char name[] = {'i', 'n', 'p', 'u', 't', '_', input[0], 0};
    const golden_tensor *t = tensor_of(c->inputs, name, "image");
    const bool swapped = strstr(input, "transposed") != NULL;
    const int64_t h = t->shape.dim[0], w = t->shape.dim[1];
    const uint8_t *pixels = t->data;
    edt_image image = {.h = swapped ? w : h, .w = swapped ? h : w};
    image.stride = 3 * image.w;
    image.data = edt_arena_alloc(&c->arena, (size_t)(3 * h * w));
    for (int64_t y = 0; y < image.h; ++y) {
        for (int64_t x = 0; x < image.w; ++x) {
            memcpy(image.data + y * image.stride + 3 * x,
                   pixels + 3 * (swapped ? x * w + y : y * w + x), 3);
        }
    }
    return image;
}

// Runs `op` (NULL: none) both ways on the input and compares with the reference's picture.
static void check_op(cases *c, const char *name, const char *input, const edt_pixel_op *op)
{
    const golden_tensor *want = tensor_of(c->tensors, name, "image");
    edt_image plain = copy_input(c, input), image = copy_input(c, input), got;
    cr_assert_eq(want->shape.dim[0], plain.h);
    cr_assert_eq(want->shape.dim[1], plain.w);
    const size_t n = (size_t)(plain.h * plain.stride);
    if (op != NULL) {
        pixel_oracle_run(&plain, op);
    }
    cr_assert_eq(memcmp(plain.data, want->data, n), 0, "%s: plain formulas", name);
    cr_assert_eq(edt_pixel_ops_run(c->scratch, &image, op, op != NULL, NULL, &got), EDT_OK);
    cr_assert_eq(memcmp(got.data, want->data, n), 0, "%s", name);
}

static double draw_of(const edt_json_node *test_case, const char *what, const char *key,
                      int nth)
{
    const edt_json_node *draw = edt_json_get(test_case, "draws")->first;
    for (; draw != NULL; draw = draw->next) {
        if (strcmp(edt_json_get(draw, "what")->text, what) == 0 && nth-- == 0) {
            return edt_json_get(draw, key)->number;
        }
    }
    return NAN;
}

static void set_rotation(float degrees, edt_pixel_op *op)
{
    const float radians = degrees * (float)(3.14159265358979323846 / 180.0);
    const float cosine = cosf(radians), sine = sinf(radians);
    const float w = (float)(op->region.w - 1), h = (float)(op->region.h - 1);
    op->a[0] = cosine;
    op->a[1] = -sine;
    op->a[2] = (w - (cosine * w - sine * h)) / 2.0F;
    op->b[0] = sine;
    op->b[1] = cosine;
    op->b[2] = (h - (sine * w + cosine * h)) / 2.0F;
}

// The pixel operation of a case, for those that treat the whole picture without boxes.
static bool op_of(const edt_json_node *test_case, edt_pixel_op *op)
{
    static const struct {
        const char *name;
        edt_pixel_op_kind kind;
        double scale; // of the amount, cut to an integer
    } plain[] = {
        {"Brightness", EDT_PIXEL_BRIGHTNESS, 0},      {"Color", EDT_PIXEL_COLOR, 0},
        {"Contrast", EDT_PIXEL_CONTRAST, 0},          {"Sharpness", EDT_PIXEL_SHARPNESS, 0},
        {"AutoContrast", EDT_PIXEL_AUTO_CONTRAST, 0}, {"Equalize", EDT_PIXEL_EQUALIZE, 0},
        {"Posterize", EDT_PIXEL_POSTERIZE, 4},        {"Solarize", EDT_PIXEL_SOLARIZE, 256},
        {"SolarizeAdd", EDT_PIXEL_SOLARIZE_ADD, 110},
    };
    const char *name = edt_json_get(test_case, "op")->text;
    const double x = edt_json_get(test_case, "magnitude")->number / 10.0;
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; ++i) {
        if (strcmp(name, plain[i].name) == 0) {
            op->kind = plain[i].kind;
            op->factor = (float)(1.8 * x + 0.1);
            op->amount = (int32_t)(plain[i].scale * x);
            if (op->kind == EDT_PIXEL_SOLARIZE) {
                op->amount &= 255; // 256 wraps (spec/augment.md 7.1)
            }
            return true;
        }
    }
    const float sign = draw_of(test_case, "sign", "u", 0) >= 0.5 ? 1.0F : -1.0F;
    op->kind = EDT_PIXEL_WARP;
    op->a[0] = op->b[1] = 1.0F;
    if (strcmp(name, "TranslateX_BBox") == 0) {
        op->a[2] = sign * (float)(250 * x);
    } else if (strcmp(name, "TranslateY_BBox") == 0) {
        op->b[2] = sign * (float)(250 * x);
    } else if (strcmp(name, "ShearX_BBox") == 0) {
        op->a[1] = sign * (float)(0.3 * x);
    } else if (strcmp(name, "ShearY_BBox") == 0) {
        op->b[0] = sign * (float)(0.3 * x);
    } else if (strcmp(name, "Rotate_BBox") == 0) {
        set_rotation(sign * (float)(30 * x), op);
    } else {
        return false;
    }
    return true;
}

Test(pixel_op_golden, operations_on_whole_pictures, .timeout = 30)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    cases c;
    open_cases("ops", &c);
    int n_cases = 0;
    for (const edt_json_node *k = c.list->first; k != NULL; k = k->next) {
        const char *name = edt_json_get(k, "name")->text,
                   *input = edt_json_get(k, "input")->text;
        const edt_image image = copy_input(&c, input);
        edt_pixel_op op = {.region = {.h = image.h, .w = image.w}};
        if (op_of(k, &op)) {
            const double chance = draw_of(k, "apply", "u", 0);
            const bool applied = chance + edt_json_get(k, "probability")->number >= 1.0;
            check_op(&c, name, input, applied ? &op : NULL);
            ++n_cases;
        }
    }
    cr_assert_geq(n_cases, 100, "%d", n_cases);
    close_cases(&c);
}

Test(pixel_op_golden, grid_masks, .timeout = 30)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    cases c;
    open_cases("gridmask", &c);
    int n_cases = 0;
    for (const edt_json_node *k = c.list->first; k != NULL; k = k->next, ++n_cases) {
        const char *name = edt_json_get(k, "name")->text,
                   *input = edt_json_get(k, "input")->text;
        const int64_t h = (int64_t)edt_json_get(k, "height")->number;
        const int64_t w = (int64_t)edt_json_get(k, "width")->number;
        const float period = (float)draw_of(k, "d", "value", 0);
        const float bar = fminf(fmaxf(truncf(period * 0.6F + 0.5F), 1.0F), period - 1.0F);
        const float degrees = 10.0F * (float)draw_of(k, "angle", "value", 0);
        edt_pixel_op op = {.kind = EDT_PIXEL_GRID_MASK, .region = {.h = h, .w = w}};
        op.grid = (edt_grid){.size = (h > w ? h : w) * 3 / 2,
                             .period = (int64_t)period,
                             .bar = (int64_t)bar,
                             .row_offset = (int64_t)draw_of(k, "offset", "value", 0),
                             .column_offset = (int64_t)draw_of(k, "offset", "value", 1),
                             .angle = 3.14159265F * degrees / 180.0F};
        const golden_tensor *want = tensor_of(c.tensors, name, "mask");
        uint8_t *mask = edt_arena_alloc(&c.arena, (size_t)(h * w));
        pixel_oracle_mask(&op.grid, h, w, mask);
        cr_assert_eq(memcmp(mask, want->data, (size_t)(h * w)), 0, "%s: plain formulas", name);
        const bool applied = draw_of(k, "occur", "value", 0) < 0.5;
        check_op(&c, name, input, applied ? &op : NULL);
    }
    cr_assert_eq(n_cases, 7);
    close_cases(&c);
}
