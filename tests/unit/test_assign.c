#include <criterion/criterion.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "model/assign.h"
#include "model/box_coder.h"
#include "tests/support/test_anchor_hparams.h"

enum { MAX_BOXES = 40 };

typedef struct fixture {
    edt_anchors *anchors;
    edt_assigner *assigner;
    int32_t *cls, *want_cls, *want_match;
    float *box, *best;
} fixture;

static uint64_t next_random(uint64_t *state)
{
    *state += UINT64_C(0x9E3779B97F4A7C15);
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static double uniform(uint64_t *state)
{
    return (double)(next_random(state) >> 11) * 0x1p-53;
}

static fixture setup(int64_t h, int64_t w, int64_t max_level, bool defects)
{
    fixture f = {0};
    edt_error err = {0};
    const edt_hparams hp = edt_test_anchor_hparams(h, w, max_level, 4);
    cr_assert_eq(edt_anchors_create(&hp, &err, &f.anchors), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_assigner_create(f.anchors, defects, &err, &f.assigner), EDT_OK);
    const size_t n = (size_t)f.anchors->n;
    f.cls = calloc(n, sizeof *f.cls);
    f.want_cls = calloc(n, sizeof *f.cls);
    f.want_match = calloc(n, sizeof *f.cls);
    f.box = calloc(n * 4, sizeof *f.box);
    f.best = calloc(n, sizeof *f.best);
    return f;
}

static void teardown(fixture *f)
{
    free(f->cls);
    free(f->want_cls);
    free(f->want_match);
    free(f->box);
    free(f->best);
    edt_assigner_destroy(f->assigner);
    edt_anchors_destroy(f->anchors);
}

static float plain_iou(const float *g, const float *a)
{
    float h = fminf(g[2], a[2]) - fmaxf(g[0], a[0]);
    float w = fminf(g[3], a[3]) - fmaxf(g[1], a[1]);
    h = fmaxf(0.0F, h);
    w = fmaxf(0.0F, w);
    const float inter = h * w;
    const float area_g = (g[2] - g[0]) * (g[3] - g[1]);
    const float area_a = (a[2] - a[0]) * (a[3] - a[1]);
    return inter == 0.0F ? 0.0F : inter / (area_g + area_a - inter);
}

// The whole matrix, as spec/data.md 8.2 writes it.
static int64_t brute_force(fixture *f, const float *boxes, const int64_t *labels, int64_t n,
                           bool defects)
{
    const int64_t n_anchors = f->anchors->n;
    int64_t forced[MAX_BOXES];
    for (int64_t a = 0; a < n_anchors; ++a) {
        f->want_match[a] = -1;
        f->best[a] = -1.0F;
    }
    for (int64_t g = 0; g < n; ++g) {
        float best = -1.0F;
        for (int64_t a = 0; a < n_anchors; ++a) {
            const float iou = plain_iou(boxes + 4 * g, f->anchors->boxes + 4 * a);
            if (iou > best) {
                best = iou;
                forced[g] = a;
            }
            if (iou > f->best[a]) {
                f->best[a] = iou;
                f->want_match[a] = iou >= 0.5F ? (int32_t)g : -1;
            }
        }
        if (best == 0.0F && !defects) {
            forced[g] = -1;
        }
    }
    for (int64_t g = n - 1; g >= 0; --g) {
        if (forced[g] >= 0) {
            f->want_match[forced[g]] = (int32_t)g;
        }
    }
    int64_t n_positive = 0;
    for (int64_t a = 0; a < n_anchors; ++a) {
        const int32_t m = f->want_match[a];
        f->want_cls[a] = m < 0 ? -1 : (int32_t)labels[m] - 1;
        n_positive += m >= 0;
    }
    return n_positive;
}

static void random_boxes(uint64_t *rng, const edt_anchors *anchors, float *boxes, int64_t n)
{
    for (int64_t i = 0; i < n; ++i) {
        float *b = boxes + 4 * i;
        const double h = (double)anchors->image_h, w = (double)anchors->image_w;
        const double cy = uniform(rng) * h, cx = uniform(rng) * w;
        const double size = exp(log(1e-3) + uniform(rng) * (log(2 * h) - log(1e-3)));
        const double shape = exp(2.5 * (uniform(rng) - 0.5));
        const float ordinary[4] = {
            (float)(cy - size * shape / 2), (float)(cx - size / shape / 2),
            (float)(cy + size * shape / 2), (float)(cx + size / shape / 2)};
        memcpy(b, ordinary, sizeof ordinary);
        const uint64_t kind = next_random(rng) % 16;
        if (kind == 0 && i > 0) { // duplicate
            memcpy(b, boxes + 4 * (int64_t)(next_random(rng) % (uint64_t)i), 4 * sizeof *b);
        } else if (kind == 1) { // equal to an anchor
            const uint64_t a = next_random(rng) % (uint64_t)anchors->n;
            memcpy(b, anchors->boxes + 4 * a, 4 * sizeof *b);
        } else if (kind == 2) { // inverted in one axis or both
            b[2] = b[0] - (float)uniform(rng) * 20;
            if (next_random(rng) % 2) {
                b[3] = b[1] - 1;
            }
        } else if (kind == 3) { // on the grid: many equal IoUs
            b[0] = (float)(8 * (next_random(rng) % 16));
            b[1] = (float)(8 * (next_random(rng) % 16));
            b[2] = b[0] + (float)(8 << (next_random(rng) % 4));
            b[3] = b[1] + (float)(8 << (next_random(rng) % 4));
        } else if (kind == 4) { // outside
            b[0] += (float)(4 * h);
            b[2] += (float)(4 * h);
        } else if (kind == 5) { // empty or denormal
            b[0] = 0;
            b[1] = 0;
            b[2] = next_random(rng) % 2 ? 1e-25F : 0.0F;
            b[3] = 1e-25F;
        } else if (kind == 6) { // far too large
            b[0] = b[1] = next_random(rng) % 2 ? -1e30F : -1e5F;
            b[2] = b[3] = -b[0];
        } else if (kind == 7) { // clipped to the picture
            for (int c = 0; c < 4; ++c) {
                b[c] = fmaxf(0, fminf(b[c], (float)(c % 2 ? w : h) - 1));
            }
        }
    }
}

static void compare_with_brute_force(int64_t h, int64_t w, int64_t max_level, bool defects,
                                     uint64_t seed, int n_rounds)
{
    fixture f = setup(h, w, max_level, defects);
    uint64_t rng = seed;
    for (int round = 0; round < n_rounds; ++round) {
        float boxes[MAX_BOXES * 4];
        int64_t labels[MAX_BOXES];
        const int64_t n = (int64_t)(next_random(&rng) % (MAX_BOXES + 1));
        random_boxes(&rng, f.anchors, boxes, n);
        for (int64_t i = 0; i < n; ++i) {
            labels[i] = 1 + (int64_t)(next_random(&rng) % 90);
        }
        const int64_t want = brute_force(&f, boxes, labels, n, defects);
        float n_positive = -1;
        edt_error err = {0};
        cr_assert_eq(edt_assign(f.assigner, boxes, labels, n, f.cls, f.box, &n_positive, &err),
                     EDT_OK, "%s", err.text);
        cr_assert_eq((int64_t)n_positive, want, "round %d: %g positives, want %lld", round,
                     (double)n_positive, (long long)want);
        for (int64_t a = 0; a < f.anchors->n; ++a) {
            cr_assert_eq(f.cls[a], f.want_cls[a], "round %d anchor %lld: class %d, want %d",
                         round, (long long)a, f.cls[a], f.want_cls[a]);
            float code[4] = {0};
            if (f.want_match[a] >= 0) {
                edt_box_encode(f.anchors->boxes + 4 * a, boxes + 4 * f.want_match[a], code);
            }
            cr_assert_eq(memcmp(code, f.box + 4 * a, sizeof code), 0, "round %d anchor %lld",
                         round, (long long)a);
        }
    }
    teardown(&f);
}

Test(assign, equals_the_full_matrix_on_small_pictures, .timeout = 120)
{
    compare_with_brute_force(128, 128, 7, true, 1, 1500);
    compare_with_brute_force(101, 150, 6, true, 2, 1000);
    compare_with_brute_force(64, 96, 4, false, 3, 1500);
}

Test(assign, equals_the_full_matrix_on_full_pictures, .timeout = 120)
{
    compare_with_brute_force(512, 512, 7, true, 4, 15);
    compare_with_brute_force(384, 640, 7, false, 5, 15);
    compare_with_brute_force(511, 513, 8, true, 6, 15);
}

Test(assign, hopeless_box_claims_anchor_0_only_with_the_reference_defects, .timeout = 30)
{
    const float boxes[4] = {40, 40, 30, 60};
    const int64_t label = 7;
    for (int defects = 0; defects < 2; ++defects) {
        fixture f = setup(64, 64, 4, defects);
        float n_positive = -1;
        edt_error err = {0};
        cr_assert_eq(edt_assign(f.assigner, boxes, &label, 1, f.cls, f.box, &n_positive, &err),
                     EDT_OK);
        cr_assert_eq((int)n_positive, defects);
        cr_assert_eq(f.cls[0], defects ? 6 : -1);
        teardown(&f);
    }
}

Test(assign, second_image_allocates_nothing_and_forgets_the_first, .timeout = 30)
{
    fixture f = setup(128, 128, 7, false);
    const float boxes[8] = {10, 10, 60, 60, 30, 40, 100, 90};
    const int64_t labels[2] = {1, 2};
    float n_positive = 0;
    edt_error err = {0};
    cr_assert_eq(edt_assign(f.assigner, boxes, labels, 2, f.cls, f.box, &n_positive, &err),
                 EDT_OK);
    cr_assert_gt(n_positive, 1);
    const int64_t n_total = edt_mem_get_total().n_total;
    cr_assert_eq(edt_assign(f.assigner, boxes, labels, 2, f.cls, f.box, &n_positive, &err),
                 EDT_OK);
    cr_assert_eq(edt_assign(f.assigner, NULL, NULL, 0, f.cls, f.box, &n_positive, &err),
                 EDT_OK);
    cr_assert_eq(edt_mem_get_total().n_total, n_total);
    cr_assert_eq(n_positive, 0);
    for (int64_t a = 0; a < f.anchors->n; ++a) {
        cr_assert(f.cls[a] == -1 && f.box[4 * a] == 0);
    }
    teardown(&f);
}

Test(assign, refuses_boxes_that_are_not_finite, .timeout = 30)
{
    fixture f = setup(64, 64, 4, false);
    const float boxes[4] = {0, 0, NAN, 10};
    const int64_t label = 1;
    float n_positive = 0;
    edt_error err = {0};
    cr_assert_eq(edt_assign(f.assigner, boxes, &label, 1, f.cls, f.box, &n_positive, &err),
                 EDT_ERR_NUMERIC);
    teardown(&f);
}
