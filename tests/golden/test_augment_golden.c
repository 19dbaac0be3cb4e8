// Augmentation against the reference with its recorded draws: the policies' tables, every
// operation by itself, whole policies, GridMask and the stand-alone mosaic. Boxes and pixels
// bit for bit.
#include <cjson/cJSON.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "augment/augmenter.h"
#include "augment/autoaugment.h"
#include "augment/gridmask.h"
#include "augment/mosaic.h"
#include "augment/randaugment.h"
#include "core/mem.h"
#include "tests/support/golden_file.h"
#include "tests/support/pixel_oracle.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_records.h"

static const char *augment_path(const char *name)
{
    return edt_test_path(edt_test_golden_dir(), "data/augment/%s", name);
}

static cJSON *read_json(const char *name)
{
    const edt_span text = edt_test_read_file(augment_path(name));
    cJSON *root = cJSON_ParseWithLength((const char *)text.data, text.n_bytes);
    cr_assert_not_null(root, "%s", name);
    edt_mem_free((void *)text.data);
    return root;
}

static const cJSON *member(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    cr_assert_not_null(item, "no %s", key);
    return item;
}

static const char *text_of(const cJSON *object, const char *key)
{
    return cJSON_GetStringValue(member(object, key));
}

static double number(const cJSON *object, const char *key)
{
    return cJSON_GetNumberValue(member(object, key));
}

// What the reference drew, in its order; the kind and the range of every number are compared.
typedef struct recording {
    const char *name; // of the case
    const cJSON *next;
} recording;

static const cJSON *take(recording *r)
{
    const cJSON *draw = r->next;
    cr_assert_not_null(draw, "%s: more draws than the reference makes", r->name);
    r->next = draw->next;
    return draw;
}

static float replay_uniform(void *ctx)
{
    recording *r = ctx;
    const cJSON *draw = take(r);
    const char *what = text_of(draw, "what");
    cr_assert(strcmp(what, "sign") == 0 || strcmp(what, "apply") == 0 ||
                  strcmp(what, "apply_box") == 0 || strcmp(what, "randaug_unused") == 0,
              "%s: a uniform number where the reference draws %s", r->name, what);
    return (float)number(draw, "u");
}

static int64_t replay_integer(void *ctx, int64_t low, int64_t high)
{
    recording *r = ctx;
    const cJSON *draw = take(r);
    cr_assert_eq((double)low, number(draw, "low"), "%s: %s from %d", r->name,
                 text_of(draw, "what"), (int)low);
    cr_assert_eq((double)high, number(draw, "high_exclusive"), "%s: %s below %d", r->name,
                 text_of(draw, "what"), (int)high);
    return (int64_t)number(draw, "value");
}

static float replay_normal(void *ctx)
{
    return (float)number(take(ctx), "z");
}

static void replay_order(void *ctx, int64_t n, int64_t *out_order)
{
    recording *r = ctx;
    const cJSON *value = member(take(r), "value");
    cr_assert_eq(cJSON_GetArraySize(value), n, "%s", r->name);
    for (int64_t i = 0; i < n; ++i) {
        out_order[i] = (int64_t)cJSON_GetNumberValue(cJSON_GetArrayItem(value, (int)i));
    }
}

static edt_draws replay(recording *r)
{
    return (edt_draws){.uniform = replay_uniform,
                       .integer = replay_integer,
                       .normal = replay_normal,
                       .order = replay_order,
                       .ctx = r};
}

static edt_policy_op op_of(const char *name)
{
    int op = 0;
    while (op <= EDT_POLICY_CUTOUT_ONLY_BBOXES && strcmp(edt_policy_op_name(op), name) != 0) {
        ++op;
    }
    cr_assert_leq(op, EDT_POLICY_CUTOUT_ONLY_BBOXES, "no operation %s", name);
    return (edt_policy_op)op;
}

enum { MAX_BOXES = 4, MAX_PIXELS = 128 * 128 };

// A picture with objects; pixels and rows are overwritten.
typedef struct subject {
    uint8_t pixels[3 * MAX_PIXELS];
    float boxes[4 * MAX_BOXES], area[MAX_BOXES];
    int64_t labels[MAX_BOXES];
    bool is_crowd[MAX_BOXES];
    edt_image image;
    edt_objects objects;
} subject;

typedef struct augment_fixture {
    golden_file *inputs;
    edt_arena arena;
    edt_pixel_scratch *scratch;
    subject subject;
} augment_fixture;

static augment_fixture fixture;

static void set_up(void)
{
    memset(&fixture, 0, sizeof fixture);
    edt_arena_init(&fixture.arena, EDT_MEM_ARENA, 0);
    if (edt_test_exists(augment_path("ops.safetensors"))) {
        fixture.inputs = golden_open(augment_path("ops.safetensors"));
    }
    cr_assert_eq(edt_pixel_scratch_create(NULL, &fixture.scratch), EDT_OK);
}

static void tear_down(void)
{
    golden_close(fixture.inputs);
    edt_pixel_scratch_destroy(fixture.scratch);
    edt_arena_deinit(&fixture.arena);
}

TestSuite(augment_golden, .init = set_up, .fini = tear_down);

static const golden_tensor *part_of(const golden_file *file, const char *name, const char *part)
{
    char full[128];
    (void)snprintf(full, sizeof full, "%s/%s", name, part);
    const golden_tensor *tensor = golden_find(file, full);
    cr_assert_not_null(tensor, "no %s", full);
    return tensor;
}

// input_A, input_B ... or A_transposed.
static subject *load(const char *input, int64_t n_boxes)
{
    subject *s = &fixture.subject;
    char name[16];
    (void)snprintf(name, sizeof name, "input_%c", input[0]);
    const golden_tensor *image = part_of(fixture.inputs, name, "image");
    const golden_tensor *boxes = part_of(fixture.inputs, name, "boxes");
    const int64_t h = image->shape.dim[0], w = image->shape.dim[1];
    cr_assert(h * w <= MAX_PIXELS && boxes->shape.dim[0] <= MAX_BOXES);
    const bool transposed = strstr(input, "transposed") != NULL;
    for (int64_t y = 0; y < h; ++y) {
        for (int64_t x = 0; x < w; ++x) {
            memcpy(s->pixels + 3 * (transposed ? x * h + y : y * w + x),
                   (const uint8_t *)image->data + 3 * (y * w + x), 3);
        }
    }
    s->image = (edt_image){.data = s->pixels,
                           .h = transposed ? w : h,
                           .w = transposed ? h : w,
                           .stride = 3 * (transposed ? h : w)};
    s->objects = (edt_objects){.n = n_boxes < 0 ? boxes->shape.dim[0] : n_boxes,
                               .boxes = s->boxes,
                               .labels = s->labels,
                               .is_crowd = s->is_crowd,
                               .area = s->area};
    cr_assert(n_boxes <= 0 || n_boxes == boxes->shape.dim[0]);
    memcpy(s->boxes, boxes->data, (size_t)boxes->shape.dim[0] * 4 * sizeof(float));
    return s;
}

static void check_boxes(const golden_file *file, const char *name, const subject *s)
{
    const golden_tensor *want = part_of(file, name, "boxes");
    cr_assert_eq(s->objects.n, want->shape.dim[0], "%s: %d boxes", name, (int)s->objects.n);
    for (int64_t i = 0; i < 4 * s->objects.n; ++i) {
        const float box = ((const float *)want->data)[i];
        cr_assert_eq(s->objects.boxes[i], box, "%s: box %d, number %d is %.9g, not %.9g", name,
                     (int)(i / 4), (int)(i % 4), (double)s->objects.boxes[i], (double)box);
    }
}

static void check_pixels(const golden_file *file, const char *name, const subject *s,
                         const edt_pixel_op *ops, int64_t n_ops)
{
    const golden_tensor *want = part_of(file, name, "image");
    // The plain formulas, which the tests of the pixel operations trust.
    static uint8_t plain[3 * MAX_PIXELS];
    edt_image got = s->image;
    got.data = memcpy(plain, s->pixels, sizeof plain);
    for (int64_t i = 0; i < n_ops; ++i) {
        pixel_oracle_run(&got, &ops[i]);
    }
    cr_assert_eq(memcmp(plain, want->data, (size_t)(got.h * got.stride)), 0,
                 "%s: plain formulas", name);
    cr_assert_eq(edt_pixel_ops_run(fixture.scratch, &s->image, ops, n_ops, NULL, &got), EDT_OK);
    cr_assert(got.h == want->shape.dim[0] && got.w == want->shape.dim[1], "%s", name);
    int64_t n_wrong = 0, first = -1;
    for (int64_t y = 0; y < got.h; ++y) {
        for (int64_t i = 0; i < 3 * got.w; ++i) {
            const int64_t at = y * 3 * got.w + i;
            if (got.data[y * got.stride + i] != ((const uint8_t *)want->data)[at]) {
                first = first < 0 ? at : first;
                ++n_wrong;
            }
        }
    }
    cr_assert_eq(n_wrong, 0, "%s: %d of %d levels differ, the first in row %d, column %d", name,
                 (int)n_wrong, (int)(3 * got.h * got.w), (int)(first / 3 / got.w),
                 (int)(first / 3 % got.w));
}

static void check_all_drawn(const recording *r)
{
    cr_assert_null(r->next, "%s: the reference draws more: %s", r->name,
                   r->next != NULL ? text_of(r->next, "what") : "");
}

static edt_augment_scene scene_of(subject *s, const edt_draws *draws)
{
    return (edt_augment_scene){.h = s->image.h,
                               .w = s->image.w,
                               .objects = &s->objects,
                               .draws = draws,
                               .arena = &fixture.arena,
                               .wrap_thresholds = true};
}

Test(augment_golden, policy_tables, .timeout = 30)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    cJSON *root = read_json("policy_tables.json");
    int n_policies = 0;
    for (const cJSON *p = root->child; p != NULL; p = p->next, ++n_policies) {
        const edt_policy *policy = edt_policy_find(p->string);
        cr_assert_not_null(policy, "%s", p->string);
        cr_assert_str_eq(policy->name, p->string);
        cr_assert_eq(policy->n, cJSON_GetArraySize(p), "%s", p->string);
        const edt_sub_policy *sub = policy->sub_policies;
        for (const cJSON *q = p->child; q != NULL; q = q->next, ++sub) {
            cr_assert_eq(sub->n_steps, cJSON_GetArraySize(q), "%s", p->string);
            for (int k = 0; k < sub->n_steps; ++k) {
                const cJSON *step = cJSON_GetArrayItem(q, k);
                cr_assert_eq(sub->steps[k].op,
                             op_of(cJSON_GetStringValue(cJSON_GetArrayItem(step, 0))));
                cr_assert_eq(sub->steps[k].probability,
                             cJSON_GetNumberValue(cJSON_GetArrayItem(step, 1)));
                cr_assert_eq(sub->steps[k].magnitude,
                             cJSON_GetNumberValue(cJSON_GetArrayItem(step, 2)));
            }
        }
    }
    cr_assert_eq(n_policies, 5);
    cr_assert_null(edt_policy_find("v4"));
    cJSON_Delete(root);
}

Test(augment_golden, single_operations, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    cJSON *root = read_json("ops.json");
    int n_cases = 0;
    for (const cJSON *c = root->child; c != NULL; c = c->next, ++n_cases) {
        edt_arena_reset(&fixture.arena);
        recording r = {.name = text_of(c, "name"), .next = member(c, "draws")->child};
        const edt_draws draws = replay(&r);
        subject *s = load(text_of(c, "input"), (int64_t)number(c, "input_boxes"));
        // A policy of one operation.
        const edt_sub_policy sub = {.n_steps = 1,
                                    .steps = {{.op = op_of(text_of(c, "op")),
                                               .probability = number(c, "probability"),
                                               .magnitude = (int)number(c, "magnitude")}}};
        edt_augment_scene scene = scene_of(s, &draws);
        const bool positive =
            edt_policy_op_is_signed(sub.steps[0].op) ? edt_augment_happens(&draws, 0.5) : true;
        const bool per_box = edt_policy_op_is_per_box(sub.steps[0].op);
        if (edt_augment_happens(&draws, per_box ? 1.0 : sub.steps[0].probability)) {
            cr_assert_eq(edt_policy_step_draw(&scene, &sub.steps[0], positive, NULL), EDT_OK);
        }
        check_all_drawn(&r);
        check_boxes(fixture.inputs, r.name, s);
        check_pixels(fixture.inputs, r.name, s, scene.ops, scene.n_ops);
    }
    cr_assert_eq(n_cases, 222);
    cJSON_Delete(root);
}

Test(augment_golden, whole_policies, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    cJSON *root = read_json("policies.json");
    golden_file *file = golden_open(augment_path("policies.safetensors"));
    edt_hparams hp;
    cr_assert_eq(edt_hparams_init(&hp, NULL), EDT_OK);
    int n_cases = 0, n_in_bands = 0;
    for (const cJSON *c = root->child; c != NULL; c = c->next, ++n_cases) {
        edt_arena_reset(&fixture.arena);
        recording r = {.name = text_of(c, "name"), .next = member(c, "draws")->child};
        const edt_draws draws = replay(&r);
        subject *s = load(text_of(c, "input"), -1);
        hp.autoaugment_policy = text_of(c, "policy");
        edt_augment_config config;
        cr_assert_eq(edt_augment_configure(&hp, NULL, &config), EDT_OK);
        edt_augment_plan plan;
        cr_assert_eq(edt_augment_plan_draw(&config, s->image.h, s->image.w, &draws,
                                           &fixture.arena, NULL, &s->objects, &plan),
                     EDT_OK);
        check_all_drawn(&r);
        check_boxes(file, r.name, s);
        n_in_bands += !plan.needs_whole_picture && plan.n_ops > 0;
        if (!plan.needs_whole_picture) {
            // Band by band gives the same.
            edt_pixel_op ops[16];
            for (int64_t y = 0; y < s->image.h; y += 7) {
                edt_image band = s->image, got;
                band.data += y * band.stride;
                band.h = y + 7 < s->image.h ? 7 : s->image.h - y;
                const int64_t n = edt_augment_plan_cut(&plan, y, band.h, ops);
                cr_assert_eq(edt_pixel_ops_run(fixture.scratch, &band, ops, n, NULL, &got),
                             EDT_OK);
                for (int64_t i = 0; i < band.h; ++i) {
                    memmove(band.data + i * band.stride, got.data + i * got.stride,
                            (size_t)(3 * band.w));
                }
            }
            plan.n_ops = 0;
        }
        check_pixels(file, r.name, s, plan.ops, plan.n_ops);
    }
    cr_assert_eq(n_cases, 70);
    cr_assert_geq(n_in_bands, 10);
    hp.autoaugment_policy = NULL;
    edt_hparams_deinit(&hp);
    golden_close(file);
    cJSON_Delete(root);
}

Test(augment_golden, grid_masks, .timeout = 30)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    cJSON *root = read_json("gridmask.json");
    golden_file *file = golden_open(augment_path("gridmask.safetensors"));
    const edt_augment_config config = {.grid_mask = true};
    int n_cases = 0;
    for (const cJSON *c = root->child; c != NULL; c = c->next, ++n_cases) {
        edt_arena_reset(&fixture.arena);
        recording r = {.name = text_of(c, "name"), .next = member(c, "draws")->child};
        const edt_draws draws = replay(&r);
        subject *s = load(text_of(c, "input"), -1);
        edt_augment_plan plan;
        cr_assert_eq(edt_augment_plan_draw(&config, s->image.h, s->image.w, &draws,
                                           &fixture.arena, NULL, &s->objects, &plan),
                     EDT_OK);
        check_all_drawn(&r);
        check_pixels(file, r.name, s, plan.ops, plan.n_ops);
        if (plan.n_ops > 0) {
            // Painted white the picture shows the mask.
            const golden_tensor *mask = part_of(file, r.name, "mask");
            edt_pixel_op op = plan.ops[0];
            op.amount = 255;
            memset(s->pixels, 0, sizeof s->pixels);
            edt_image got;
            cr_assert_eq(edt_pixel_ops_run(fixture.scratch, &s->image, &op, 1, NULL, &got),
                         EDT_OK);
            for (int64_t i = 0; i < got.h * got.w; ++i) {
                cr_assert_eq(got.data[i / got.w * got.stride + 3 * (i % got.w)] == 0,
                             ((const uint8_t *)mask->data)[i] != 0, "%s: mask", r.name);
            }
        }
    }
    cr_assert_eq(n_cases, 7);
    golden_close(file);
    cJSON_Delete(root);
}

Test(augment_golden, stand_alone_mosaics, .timeout = 30)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    cJSON *root = read_json("mosaic.json");
    golden_file *file = golden_open(augment_path("mosaic.safetensors"));
    const golden_tensor *images = golden_find(file, "images"),
                        *boxes = golden_find(file, "boxes");
    const int64_t h = images->shape.dim[1], w = images->shape.dim[2],
                  n_boxes = boxes->shape.dim[1];
    edt_mix_buffers *buffers;
    cr_assert_eq(edt_mix_buffers_create(NULL, &buffers), EDT_OK);
    int n_cases = 0;
    for (const cJSON *c = root->child; c != NULL; c = c->next, ++n_cases) {
        recording r = {.name = text_of(c, "name"), .next = member(c, "draws")->child};
        const edt_draws draws = replay(&r);
        const cJSON *size = member(c, "out_size_rows_cols");
        const edt_mosaic_split split =
            edt_mosaic_draw((int64_t)cJSON_GetNumberValue(cJSON_GetArrayItem(size, 0)),
                            (int64_t)cJSON_GetNumberValue(cJSON_GetArrayItem(size, 1)),
                            (int64_t)number(c, "min_percent"), &draws);
        check_all_drawn(&r);
        const golden_tensor *want = part_of(file, r.name, "image");
        const size_t n_bytes = (size_t)(split.out_h * split.out_w * 3) * sizeof(float);
        float *got = edt_mem_calloc(EDT_MEM_MISC, 1, n_bytes);
        cr_assert_eq(edt_mosaic_reference(buffers, images->data, h, w, &split, NULL, got),
                     EDT_OK);
        cr_assert_eq(memcmp(got, want->data, n_bytes), 0, "%s: picture", r.name);
        edt_mem_free(got);
        for (int i = 0; i < EDT_MOSAIC_TILES; ++i) {
            char part[16];
            double moved[32];
            (void)snprintf(part, sizeof part, "boxes_%d", i);
            want = part_of(file, r.name, part);
            edt_mosaic_reference_boxes(&split, i, h, w,
                                       (const int32_t *)boxes->data + 4 * n_boxes * i, n_boxes,
                                       moved);
            cr_assert_eq(memcmp(moved, want->data, (size_t)(4 * n_boxes) * sizeof(double)), 0,
                         "%s: %s", r.name, part);
        }
    }
    cr_assert_eq(n_cases, 3);
    edt_mix_buffers_destroy(buffers);
    golden_close(file);
    cJSON_Delete(root);
}
