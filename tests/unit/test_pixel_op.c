// Pixel operations against the plain formulas (support/pixel_oracle.h), bit for bit, on every
// instruction set of this machine: random pictures, regions, strides and arguments. Pictures
// end with their last pixel, so that a sanitizer sees whatever goes past it.
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "augment/pixel_kernels.h"
#include "augment/pixel_op.h"
#include "core/mem.h"
#include "core/rng.h"
#include "tests/support/pixel_oracle.h"

enum { MAX_STEPS = 3 };
static const char *const variants[] = {"base", "avx2", "avx512"};

static int64_t below(edt_rng *rng, int64_t n)
{
    return (int64_t)edt_rng_below(rng, (uint64_t)n);
}

static float between(edt_rng *rng, double low, double high)
{
    return (float)edt_rng_uniform_range(rng, low, high);
}

// A picture in a block as long as a view may assume and no longer.
typedef struct picture {
    edt_image image;
    uint8_t *block;
    size_t n_bytes;
} picture;

static picture make_picture(int64_t h, int64_t w, int64_t stride)
{
    picture p = {.image = {.h = h, .w = w, .stride = stride}};
    // The block is exactly as long as a view may assume, so that address sanitizers see the
    // rest.
    p.n_bytes = (size_t)((h - 1) * stride + 3 * w);
    p.block = edt_mem_alloc(EDT_MEM_MISC, p.n_bytes);
    p.image.data = p.block;
    return p;
}

// Noise, flat areas or a narrow band of levels: statistics have different cases for them.
static void paint(edt_rng *rng, picture *p)
{
    const int64_t base = below(rng, 200), spread = 1 + below(rng, below(rng, 2) == 0 ? 4 : 256);
    for (size_t i = 0; i < p->n_bytes; ++i) {
        const int64_t v = base + below(rng, spread);
        p->block[i] = (uint8_t)(v > 255 ? v - 255 : v);
    }
}

static edt_region random_region(edt_rng *rng, int64_t h, int64_t w)
{
    if (below(rng, 2) == 0) {
        return (edt_region){.h = h, .w = w};
    }
    edt_region r = {.y = below(rng, h), .x = below(rng, w)};
    r.h = 1 + below(rng, h - r.y);
    r.w = 1 + below(rng, w - r.x);
    return r;
}

static void rotate(float radians, const edt_region *r, edt_pixel_op *op)
{
    const float c = cosf(radians), s = sinf(radians);
    const float w = (float)(r->w - 1), h = (float)(r->h - 1);
    const float a[3] = {c, -s, (w - (c * w - s * h)) / 2.0F};
    const float b[3] = {s, c, (h - (s * w + c * h)) / 2.0F};
    memcpy(op->a, a, sizeof a);
    memcpy(op->b, b, sizeof b);
}

static void random_warp(edt_rng *rng, edt_pixel_op *op)
{
    // Levels with few digits meet halves again and again, as the policies' do.
    const float digits = (float)(below(rng, 121) - 60) / 100.0F;
    const float level = below(rng, 3) == 0 ? between(rng, -1.5, 1.5) : digits;
    op->a[0] = op->b[1] = 1.0F;
    switch (below(rng, 7)) {
    case 0: op->a[1] = level; break;
    case 1: op->b[0] = level; break;
    case 2:
        op->a[2] = (float)(below(rng, 61) - 30);
        op->b[2] = (float)(below(rng, 61) - 30);
        break;
    case 3: // the float next to a half, which adding a half would round up
        op->a[2] = below(rng, 2) == 0 ? 0x1.fffffep-2F : between(rng, -20, 20);
        op->b[2] = below(rng, 2) == 0 ? -0x1.fffffep-2F : 0.0F;
        break;
    case 4: rotate(between(rng, -3.2, 3.2), &op->region, op); break;
    case 5: rotate(between(rng, -0.6, 0.6), &op->region, op); break;
    default:
        for (int i = 0; i < 3; ++i) {
            op->a[i] = between(rng, -2, 2) * (i == 2 ? 10.0F : 1.0F);
            op->b[i] = between(rng, -2, 2) * (i == 2 ? 10.0F : 1.0F);
        }
        break;
    }
}

static void random_grid(edt_rng *rng, edt_pixel_op *op)
{
    const int64_t h = op->region.h, w = op->region.w;
    edt_grid *g = &op->grid;
    g->size = (h > w ? h : w) * 3 / 2;
    g->period = 1 + below(rng, g->size);
    g->bar = below(rng, g->period + 1);
    g->row_offset = below(rng, g->period + 1);
    g->column_offset = below(rng, g->period + 1);
    const int64_t kind = below(rng, 4);
    g->angle = kind == 0   ? 0.0F
               : kind == 1 ? between(rng, -0.001, 0.001)
               : kind == 2 ? between(rng, -0.6, 0.6)
                           : between(rng, -3.2, 3.2);
    op->amount = below(rng, 2) == 0 ? 0 : 128;
}

static edt_pixel_op random_op(edt_rng *rng, edt_pixel_op_kind kind, int64_t h, int64_t w)
{
    static const float factors[] = {0.0F, 1.0F, 0.1F, 0.46F, 0.82F, 1.18F, 1.54F, 1.9F, 2.8F};
    edt_pixel_op op = {.kind = kind, .region = random_region(rng, h, w)};
    const int64_t i_factor = below(rng, 12);
    op.factor = i_factor < 9 ? factors[i_factor] : between(rng, -1, 3);
    switch (kind) {
    case EDT_PIXEL_POSTERIZE: op.amount = (int32_t)below(rng, 9); break;
    case EDT_PIXEL_SOLARIZE: op.amount = (int32_t)below(rng, 257); break;
    case EDT_PIXEL_SOLARIZE_ADD: op.amount = (int32_t)below(rng, 300); break;
    case EDT_PIXEL_FILL: op.amount = (int32_t)below(rng, 256); break;
    case EDT_PIXEL_WARP: random_warp(rng, &op); break;
    case EDT_PIXEL_GRID_MASK: random_grid(rng, &op); break;
    default: break;
    }
    return op;
}

static bool same_pixels(const edt_image *a, const edt_image *b)
{
    for (int64_t y = 0; y < a->h; ++y) {
        if (memcmp(a->data + y * a->stride, b->data + y * b->stride, (size_t)(3 * a->w)) != 0) {
            return false;
        }
    }
    return a->h == b->h && a->w == b->w;
}

// One case: up to three operations on one picture, whose first has this kind.
static void check_case(edt_rng *rng, edt_pixel_op_kind kind, edt_pixel_scratch *scratch,
                       int64_t max_side, const char *variant)
{
    const int64_t h = 1 + below(rng, max_side), w = 1 + below(rng, max_side);
    const int64_t stride = 3 * w + below(rng, 3) * below(rng, 40);
    picture p = make_picture(h, w, stride), want = make_picture(h, w, stride);
    paint(rng, &p);
    memcpy(want.block, p.block, p.n_bytes);
    edt_pixel_op ops[MAX_STEPS];
    const int64_t n_ops = 1 + below(rng, MAX_STEPS);
    for (int64_t i = 0; i < n_ops; ++i) {
        const int64_t other = below(rng, EDT_PIXEL_GRID_MASK + 1);
        ops[i] = random_op(rng, i == 0 ? kind : (edt_pixel_op_kind)other, h, w);
        pixel_oracle_run(&want.image, &ops[i]);
    }
    edt_image got;
    cr_assert_eq(edt_pixel_ops_run(scratch, &p.image, ops, n_ops, NULL, &got), EDT_OK);
    cr_assert(same_pixels(&got, &want.image),
              "%s: kind %d and %d more on %dx%d, region %d,%d %dx%d, factor %.9g, amount %d, "
              "a %.9g %.9g %.9g, b %.9g %.9g %.9g",
              variant, (int)kind, (int)n_ops - 1, (int)h, (int)w, (int)ops[0].region.y,
              (int)ops[0].region.x, (int)ops[0].region.h, (int)ops[0].region.w,
              (double)ops[0].factor, ops[0].amount, (double)ops[0].a[0], (double)ops[0].a[1],
              (double)ops[0].a[2], (double)ops[0].b[0], (double)ops[0].b[1],
              (double)ops[0].b[2]);
    // Between the rows nothing was written.
    for (int64_t y = 0; y + 1 < h; ++y) {
        const int64_t begin = y * stride + 3 * w;
        cr_assert_eq(memcmp(p.block + begin, want.block + begin, (size_t)(stride - 3 * w)), 0);
    }
    edt_mem_free(p.block);
    edt_mem_free(want.block);
}

static void check_kind(edt_pixel_op_kind kind, int n_cases, int64_t max_side)
{
    edt_pixel_scratch *scratch = NULL;
    cr_assert_eq(edt_pixel_scratch_create(NULL, &scratch), EDT_OK);
    int n_variants = 0;
    for (int v = 0; v < 3; ++v) {
        const edt_pixel_kernels *kernels = edt_pixel_kernels_find(variants[v]);
        if (kernels == NULL) {
            continue;
        }
        ++n_variants;
        edt_pixel_scratch_set_kernels(scratch, kernels);
        edt_rng rng;
        edt_rng_init(&rng, 7, (uint64_t)kind, 0, 0);
        for (int i = 0; i < n_cases; ++i) {
            check_case(&rng, kind, scratch, i % 8 == 7 ? 4 : max_side, variants[v]);
        }
    }
    cr_assert_geq(n_variants, 1);
    edt_pixel_scratch_destroy(scratch);
}

Test(pixel_op, maps_of_levels_are_the_formulas_on_every_instruction_set, .timeout = 60)
{
    static const edt_pixel_op_kind kinds[] = {
        EDT_PIXEL_BRIGHTNESS, EDT_PIXEL_CONTRAST, EDT_PIXEL_AUTO_CONTRAST, EDT_PIXEL_EQUALIZE,
        EDT_PIXEL_POSTERIZE,  EDT_PIXEL_SOLARIZE, EDT_PIXEL_SOLARIZE_ADD};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; ++i) {
        check_kind(kinds[i], 150, 70);
    }
}

Test(pixel_op, color_and_sharpness_are_the_formulas_on_every_instruction_set, .timeout = 60)
{
    check_kind(EDT_PIXEL_COLOR, 300, 100);
    check_kind(EDT_PIXEL_SHARPNESS, 300, 100);
}

Test(pixel_op, fill_and_mirror_stay_in_their_region, .timeout = 60)
{
    check_kind(EDT_PIXEL_FILL, 100, 50);
    check_kind(EDT_PIXEL_MIRROR, 100, 50);
}

Test(pixel_op, warps_are_the_formula_pixel_by_pixel, .timeout = 60)
{
    check_kind(EDT_PIXEL_WARP, 1500, 110);
}

Test(pixel_op, grid_mask_is_the_interpolated_mask, .timeout = 60)
{
    check_kind(EDT_PIXEL_GRID_MASK, 400, 90);
}

// Sizes at which sums of f32 lose digits that small pictures keep.
Test(pixel_op, long_shears_and_rotations_round_as_f32_does, .timeout = 60)
{
    edt_pixel_scratch *scratch = NULL;
    cr_assert_eq(edt_pixel_scratch_create(NULL, &scratch), EDT_OK);
    static const float levels[] = {0.06F, 0.3F, -0.24F, 0.5F, -0.125F, 0.45F};
    for (int i = 0; i < 24; ++i) {
        const bool wide = i % 2 == 0;
        const int64_t h = wide ? 5 : 3001, w = wide ? 4099 : 7;
        edt_pixel_op op = {.kind = EDT_PIXEL_WARP, .region = {.h = h, .w = w}};
        op.a[0] = op.b[1] = 1.0F;
        if (i % 4 < 2) {
            op.a[1] = levels[i / 4];
        } else {
            op.b[0] = levels[i / 4];
        }
        if (i >= 12 && i < 16) {
            rotate(0.002F * (float)(i - 13), &op.region, &op);
        }
        picture p = make_picture(h, w, 3 * w), want = make_picture(h, w, 3 * w);
        edt_rng rng;
        edt_rng_init(&rng, 11, (uint64_t)i, 0, 0);
        paint(&rng, &p);
        memcpy(want.block, p.block, p.n_bytes);
        pixel_oracle_run(&want.image, &op);
        edt_image got;
        cr_assert_eq(edt_pixel_ops_run(scratch, &p.image, &op, 1, NULL, &got), EDT_OK);
        cr_assert(same_pixels(&got, &want.image), "case %d", i);
        edt_mem_free(p.block);
        edt_mem_free(want.block);
    }
    edt_pixel_scratch_destroy(scratch);
}

Test(pixel_op, all_colours_blend_alike_on_every_instruction_set, .timeout = 60)
{
    // 4096 x 64 colours: every level of each channel in many combinations.
    enum { H = 64, W = 4096 };
    picture p = make_picture(H, W, 3 * W), want = make_picture(H, W, 3 * W);
    for (int v = 0; v < 3; ++v) {
        const edt_pixel_kernels *kernels = edt_pixel_kernels_find(variants[v]);
        if (kernels == NULL) {
            continue;
        }
        edt_pixel_scratch *scratch = NULL;
        cr_assert_eq(edt_pixel_scratch_create(NULL, &scratch), EDT_OK);
        edt_pixel_scratch_set_kernels(scratch, kernels);
        for (int64_t i = 0; i < H * W; ++i) {
            p.block[3 * i] = (uint8_t)(i * 4 + i / 4096);
            p.block[3 * i + 1] = (uint8_t)(i / 64 * 4 + i / 8192);
            p.block[3 * i + 2] = (uint8_t)(i / 4096 * 4 + i % 3);
        }
        memcpy(want.block, p.block, p.n_bytes);
        const edt_pixel_op op = {
            .kind = EDT_PIXEL_COLOR, .region = {.h = H, .w = W}, .factor = 1.18F};
        pixel_oracle_run(&want.image, &op);
        edt_image got;
        cr_assert_eq(edt_pixel_ops_run(scratch, &p.image, &op, 1, NULL, &got), EDT_OK);
        cr_assert(same_pixels(&got, &want.image), "%s", variants[v]);
        edt_pixel_scratch_destroy(scratch);
    }
    edt_mem_free(p.block);
    edt_mem_free(want.block);
}

Test(pixel_op, examples_of_the_specification, .timeout = 30)
{
    edt_pixel_scratch *scratch = NULL;
    cr_assert_eq(edt_pixel_scratch_create(NULL, &scratch), EDT_OK);
    // Brightness is a blend with 0, AutoContrast of 0..7 ends at 254.
    uint8_t levels[24];
    for (int i = 0; i < 24; ++i) {
        levels[i] = (uint8_t)(i / 3);
    }
    const edt_image image = {.data = levels, .h = 1, .w = 8, .stride = 24};
    const edt_pixel_op stretch = {.kind = EDT_PIXEL_AUTO_CONTRAST, .region = {.h = 1, .w = 8}};
    edt_image got;
    cr_assert_eq(edt_pixel_ops_run(scratch, &image, &stretch, 1, NULL, &got), EDT_OK);
    static const uint8_t stretched[] = {0, 36, 72, 109, 145, 182, 218, 254};
    for (int i = 0; i < 24; ++i) {
        cr_assert_eq(got.data[i], stretched[i / 3]);
    }
    uint8_t pixel[3] = {100, 255, 20};
    const edt_image one = {.data = pixel, .h = 1, .w = 1, .stride = 3};
    const edt_pixel_op darken = {
        .kind = EDT_PIXEL_BRIGHTNESS, .region = {.h = 1, .w = 1}, .factor = 0.1F};
    cr_assert_eq(edt_pixel_ops_run(scratch, &one, &darken, 1, NULL, &got), EDT_OK);
    cr_assert_eq(got.data[0], 10);
    edt_pixel_scratch_destroy(scratch);
}

Test(pixel_op, repeated_pictures_allocate_nothing, .timeout = 30)
{
    enum { H = 40, W = 60 };
    edt_pixel_scratch *scratch = NULL;
    cr_assert_eq(edt_pixel_scratch_create(NULL, &scratch), EDT_OK);
    picture p = make_picture(H, W, 3 * W);
    edt_rng rng;
    edt_rng_init(&rng, 3, 0, 0, 0);
    paint(&rng, &p);
    edt_pixel_op ops[EDT_PIXEL_GRID_MASK + 1];
    for (int kind = 0; kind <= EDT_PIXEL_GRID_MASK; ++kind) {
        ops[kind] = random_op(&rng, (edt_pixel_op_kind)kind, H, W);
    }
    rotate(0.3F, &ops[EDT_PIXEL_WARP].region, &ops[EDT_PIXEL_WARP]);
    edt_image got;
    const int64_t n_ops = EDT_PIXEL_GRID_MASK + 1;
    cr_assert_eq(edt_pixel_ops_run(scratch, &p.image, ops, n_ops, NULL, &got), EDT_OK);
    const int64_t before = edt_mem_get_total().n_total;
    for (int i = 0; i < 5; ++i) {
        cr_assert_eq(edt_pixel_ops_run(scratch, &p.image, ops, n_ops, NULL, &got), EDT_OK);
    }
    cr_assert_eq(edt_mem_get_total().n_total, before);
    edt_mem_free(p.block);
    edt_pixel_scratch_destroy(scratch);
}
