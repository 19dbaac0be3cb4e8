// Gradients of the reference backend against central differences of its forward ops, in double:
// every element of every gradient within 1e-6 of the largest one.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "backend/ref/ref_iou_pair.h"
#include "tests/support/op_compare.h"

enum { MAX_ELEMENTS = 4096 };
#define TOLERANCE 1e-6

static edt_backend *ref;

static void setup(void)
{
    edt_error err = {0};
    cr_assert_eq(edt_backend_ref_create(&err, &ref), EDT_OK);
}

static void teardown(void)
{
    edt_backend_destroy(&ref);
}

TestSuite(ref_gradients, .init = setup, .fini = teardown, .timeout = 120);

// An op with its operands in host memory.
typedef struct bench {
    edt_op_desc desc;
    void *in[EDT_OP_MAX_IN];
    void *out[EDT_OP_MAX_OUT];
} bench;

static bench make(const edt_op_desc *desc, uint64_t seed)
{
    edt_error err = {0};
    bench b = {0};
    cr_assert_eq(edt_op_retype(desc, EDT_DTYPE_F64, &err, &b.desc), EDT_OK, "%s", err.text);
    for (int i = 0; i < b.desc.n_in; ++i) {
        b.in[i] = edt_mem_calloc(EDT_MEM_MISC, 1, edt_tensor_bytes(&b.desc.in[i]));
    }
    for (int i = 0; i < b.desc.n_out; ++i) {
        b.out[i] = edt_mem_calloc(EDT_MEM_MISC, 1, edt_tensor_bytes(&b.desc.out[i]));
    }
    edt_op_fill(&b.desc, seed, b.in);
    return b;
}

static void drop(bench *b)
{
    for (int i = 0; i < EDT_OP_MAX_IN; ++i) {
        edt_mem_free(b->in[i]);
    }
    for (int i = 0; i < EDT_OP_MAX_OUT; ++i) {
        edt_mem_free(b->out[i]);
    }
}

// In-place operands are put back, so that a run can be repeated.
static void run(bench *b)
{
    static const edt_run_ctx ctx = {0};
    const uint32_t inout = edt_op_get_info(b->desc.kind)->inout_mask;
    static double saved[EDT_OP_MAX_IN][MAX_ELEMENTS];
    edt_error err = {0};
    for (int i = 0; i < b->desc.n_in; ++i) {
        if ((inout >> i & 1) != 0) {
            memcpy(saved[i], b->in[i], edt_tensor_bytes(&b->desc.in[i]));
        }
    }
    cr_assert_eq(edt_op_execute(ref, &b->desc, &ctx, b->in, b->out, &err), EDT_OK, "%s",
                 err.text);
    for (int i = 0; i < b->desc.n_in; ++i) {
        if ((inout >> i & 1) != 0) {
            memcpy(b->in[i], saved[i], edt_tensor_bytes(&b->desc.in[i]));
        }
    }
}

static void copy_in(bench *to, int i, const void *from)
{
    memcpy(to->in[i], from, edt_tensor_bytes(&to->desc.in[i]));
}

// sum over output 0 of dy * y
static double project(bench *forward, const double *dy)
{
    run(forward);
    const double *y = forward->out[0];
    double sum = 0;
    for (int64_t i = 0; i < edt_shape_count(&forward->desc.out[0].shape); ++i) {
        sum += dy[i] * y[i];
    }
    return sum;
}

// `analytic` is scale times the gradient of project() over input j.
static void check(bench *forward, const double *dy, int j, const double *analytic, double scale,
                  const char *what)
{
    const int64_t n = edt_shape_count(&forward->desc.in[j].shape);
    double *x = forward->in[j];
    double largest = 1e-3;
    for (int64_t i = 0; i < n; ++i) {
        largest = fmax(largest, fabs(analytic[i]));
    }
    for (int64_t i = 0; i < n; ++i) {
        const double step = 1e-5;
        const double centre = x[i];
        x[i] = centre + step;
        const double above = project(forward, dy);
        x[i] = centre - step;
        const double below = project(forward, dy);
        x[i] = centre;
        const double numeric = scale * (above - below) / (2 * step);
        cr_assert(
            fabs(numeric - analytic[i]) <= TOLERANCE * largest,
            "%s, input %d, element %ld: gradient %.12g, differences give %.12g (largest %.3g)",
            what, j, (long)i, analytic[i], numeric, largest);
    }
}

static edt_tensor_desc real_of(int64_t n, int64_t h, int64_t w, int64_t c)
{
    return (edt_tensor_desc){EDT_DTYPE_F64, edt_shape_4(n, h, w, c)};
}

static edt_tensor_desc vector_of(int64_t n)
{
    return (edt_tensor_desc){EDT_DTYPE_F64, edt_shape_1(n)};
}

static edt_op_desc describe(edt_op_kind kind, int n_out)
{
    edt_op_desc desc = {.kind = kind, .n_out = n_out};
    desc.attrs.bn = (edt_bn_attrs){.epsilon = 1e-3, .momentum = 0.99};
    return desc;
}

static void add_in(edt_op_desc *desc, edt_tensor_desc t)
{
    desc->in[desc->n_in++] = t;
}

// The parameter gradients of `backward` are outputs first_param..; running it again with
// accumulate adds them once more.
static void check_accumulate(bench *backward, int first_param, const char *what)
{
    bench twice = *backward;
    double saved[EDT_OP_MAX_OUT][64];
    for (int i = 0; i < twice.desc.n_out; ++i) {
        memcpy(saved[i], twice.out[i],
               sizeof(double) *
                   (size_t)fmin(64, (double)edt_shape_count(&twice.desc.out[i].shape)));
    }
    twice.desc.attrs.accumulate = true;
    run(&twice);
    for (int i = 0; i < twice.desc.n_out; ++i) {
        const double factor = i >= first_param ? 2 : 1;
        const double *now = twice.out[i];
        for (int64_t k = 0; k < 64 && k < edt_shape_count(&twice.desc.out[i].shape); ++k) {
            cr_assert_float_eq(now[k], factor * saved[i][k], 1e-12 * (1 + fabs(now[k])),
                               "%s: output %d with accumulate", what, i);
        }
    }
}

typedef struct window_shape {
    int64_t n, h, w, ci, co;
    int kh, kw, sh, sw;
} window_shape;

static const window_shape windows[] = {
    {1, 4, 4, 3, 5, 3, 3, 2, 2}, {2, 5, 3, 2, 4, 3, 3, 2, 2}, {1, 4, 5, 3, 2, 1, 1, 1, 1},
    {3, 3, 4, 2, 3, 3, 3, 1, 1}, {1, 6, 5, 2, 3, 5, 5, 2, 2}, {1, 5, 6, 2, 70, 5, 5, 1, 1},
    {2, 1, 1, 5, 3, 1, 1, 1, 1}, {1, 1, 2, 3, 2, 3, 3, 1, 1}, {1, 7, 4, 2, 2, 3, 5, 2, 1},
    {1, 5, 5, 2, 2, 1, 1, 2, 2}, {1, 7, 8, 2, 2, 2, 4, 3, 2},
};
enum { N_WINDOWS = sizeof windows / sizeof windows[0] };

static void conv_gradients(const window_shape *s, bool depthwise, uint64_t seed)
{
    char what[96];
    (void)snprintf(what, sizeof what, "%s %ldx%ldx%ldx%ld k%dx%d s%dx%d",
                   depthwise ? "depthwise" : "conv", (long)s->n, (long)s->h, (long)s->w,
                   (long)s->ci, s->kh, s->kw, s->sh, s->sw);
    const edt_tensor_desc x = real_of(s->n, s->h, s->w, s->ci);
    const edt_tensor_desc w = real_of(s->kh, s->kw, s->ci, depthwise ? 1 : s->co);
    edt_op_desc forward = describe(depthwise ? EDT_OP_DEPTHWISE : EDT_OP_CONV2D, 1);
    forward.attrs.conv = (edt_conv_attrs){
        .kh = s->kh, .kw = s->kw, .sh = s->sh, .sw = s->sw, .has_bias = !depthwise};
    add_in(&forward, x);
    add_in(&forward, w);
    if (!depthwise) {
        add_in(&forward, vector_of(s->co));
    }
    bench f = make(&forward, seed);
    const edt_tensor_desc y = f.desc.out[0];

    edt_op_desc data = describe(depthwise ? EDT_OP_DEPTHWISE_DATA : EDT_OP_CONV2D_DATA, 1);
    data.attrs.conv = forward.attrs.conv;
    data.attrs.out_shape = x.shape;
    add_in(&data, y);
    add_in(&data, w);
    bench d = make(&data, seed + 1);
    const double *dy = d.in[0];
    copy_in(&d, 1, f.in[1]);
    run(&d);
    check(&f, dy, 0, d.out[0], 1, what);

    edt_op_desc weight =
        describe(depthwise ? EDT_OP_DEPTHWISE_WEIGHT : EDT_OP_CONV2D_WEIGHT, depthwise ? 1 : 2);
    weight.attrs.conv = forward.attrs.conv;
    add_in(&weight, x);
    add_in(&weight, y);
    bench b = make(&weight, seed + 2);
    copy_in(&b, 0, f.in[0]);
    copy_in(&b, 1, dy);
    run(&b);
    check(&f, dy, 1, b.out[0], 1, what);
    if (!depthwise) {
        check(&f, dy, 2, b.out[1], 1, what);
    }
    check_accumulate(&b, 0, what);
    drop(&f);
    drop(&d);
    drop(&b);
}

Test(ref_gradients, convolution)
{
    for (int i = 0; i < N_WINDOWS; ++i) {
        conv_gradients(&windows[i], false, 10 * (uint64_t)i);
    }
}

Test(ref_gradients, depthwise_convolution)
{
    for (int i = 0; i < N_WINDOWS; ++i) {
        conv_gradients(&windows[i], true, 10 * (uint64_t)i);
    }
}

static void bn_gradients(bool batch, const int64_t *d, edt_act act, uint64_t seed)
{
    char what[96];
    (void)snprintf(what, sizeof what, "bn %s %ldx%ldx%ldx%ld %s", batch ? "train" : "infer",
                   (long)d[0], (long)d[1], (long)d[2], (long)d[3], edt_act_name(act));
    const edt_tensor_desc x = real_of(d[0], d[1], d[2], d[3]);
    edt_op_desc forward = describe(batch ? EDT_OP_BN_TRAIN : EDT_OP_BN_INFER, batch ? 3 : 1);
    forward.attrs.bn.act = act;
    edt_op_desc backward = describe(batch ? EDT_OP_BN_TRAIN_BWD : EDT_OP_BN_INFER_BWD, 3);
    backward.attrs.bn.act = act;
    add_in(&forward, x);
    add_in(&backward, x);
    add_in(&backward, x);
    for (int i = 0; i < 4; ++i) {
        add_in(&forward, vector_of(d[3]));
        add_in(&backward, vector_of(d[3]));
    }
    bench f = make(&forward, seed);
    bench b = make(&backward, seed + 1);
    double *gamma = f.in[1];
    gamma[0] = 6; // so that the bounds of relu6 and hswish are passed
    run(&f);
    copy_in(&b, 1, f.in[0]);
    copy_in(&b, 2, f.in[1]);
    copy_in(&b, 3, f.in[2]);
    copy_in(&b, 4, batch ? f.out[1] : f.in[3]);
    copy_in(&b, 5, batch ? f.out[2] : f.in[4]);
    run(&b);
    for (int i = 0; i < 3; ++i) {
        check(&f, b.in[0], i, b.out[i], 1, what);
    }
    check_accumulate(&b, 1, what);
    drop(&f);
    drop(&b);
}

Test(ref_gradients, batch_norm_with_every_activation)
{
    static const int64_t shapes[][4] = {{2, 3, 5, 4}, {1, 4, 4, 3}, {3, 2, 1, 7}};
    for (int i = 0; i < 3; ++i) {
        for (int act = EDT_ACT_NONE; act <= EDT_ACT_SIGMOID; ++act) {
            bn_gradients(true, shapes[i], (edt_act)act, (uint64_t)(i * 100 + act));
            bn_gradients(false, shapes[i], (edt_act)act, (uint64_t)(i * 100 + act));
        }
    }
}

// Synchronised batch norm over two ranks that hold half of the images each: both halves'
// results must be those of plain batch norm on all images, whose gradients are checked above.
typedef struct rank_half {
    bench stats, apply, bwd_stats, bwd_apply;
} rank_half;

static bench half_of(edt_op_kind kind, int n_out, const bench *whole, bool sums_first,
                     bool sums_last, int n_large)
{
    edt_op_desc desc = describe(kind, n_out);
    desc.attrs.bn = whole->desc.attrs.bn;
    desc.attrs.bn.n_ranks = 2;
    edt_shape shape = whole->desc.in[0].shape;
    shape.dim[0] /= 2;
    const int64_t c = shape.dim[3];
    for (int i = 0; i < n_large; ++i) {
        add_in(&desc, (edt_tensor_desc){EDT_DTYPE_F64, shape});
    }
    if (sums_first) {
        add_in(&desc, vector_of(2 * c));
    }
    for (int i = 0; i < (kind == EDT_OP_BN_STATS ? 1 : 4); ++i) {
        add_in(&desc, vector_of(c));
    }
    if (sums_last) {
        add_in(&desc, vector_of(2 * c));
    }
    return make(&desc, 1);
}

// Half r of operand i of `whole` into operand j.
static void copy_half(bench *to, int j, const bench *whole, int i, int r)
{
    const size_t n_bytes = edt_tensor_bytes(&to->desc.in[j]);
    memcpy(to->in[j], (const char *)whole->in[i] + (size_t)r * n_bytes, n_bytes);
}

static void expect_close(const double *got, const double *want, int64_t n, const char *what)
{
    for (int64_t i = 0; i < n; ++i) {
        cr_assert_float_eq(got[i], want[i], 1e-11 * (1 + fabs(want[i])),
                           "%s[%ld]: %.17g, want %.17g", what, (long)i, got[i], want[i]);
    }
}

static void sync_bn(const int64_t *d, edt_act act, uint64_t seed)
{
    edt_op_desc forward = describe(EDT_OP_BN_TRAIN, 3);
    forward.attrs.bn.act = act;
    forward.attrs.bn.biased_moving_variance = true;
    edt_op_desc backward = describe(EDT_OP_BN_TRAIN_BWD, 3);
    backward.attrs = forward.attrs;
    add_in(&forward, real_of(d[0], d[1], d[2], d[3]));
    add_in(&backward, forward.in[0]);
    add_in(&backward, forward.in[0]);
    for (int i = 0; i < 4; ++i) {
        add_in(&forward, vector_of(d[3]));
        add_in(&backward, vector_of(d[3]));
    }
    const int64_t c = d[3];
    bench f = make(&forward, seed);
    bench b = make(&backward, seed + 1);
    rank_half half[2];
    double sums[2 * 64] = {0};
    for (int r = 0; r < 2; ++r) {
        half[r].stats = half_of(EDT_OP_BN_STATS, 1, &f, false, false, 1);
        copy_half(&half[r].stats, 0, &f, 0, r);
        copy_in(&half[r].stats, 1, f.in[3]);
        run(&half[r].stats);
        for (int64_t i = 0; i < 2 * c; ++i) {
            sums[i] += ((double *)half[r].stats.out[0])[i];
        }
    }
    // The moving statistics that the ops leave, which run() puts back.
    double moving[3][2][64];
    for (int r = 0; r < 3; ++r) {
        bench *one = &f;
        const int first = r < 2 ? 2 : 1;
        if (r < 2) {
            one = &half[r].apply;
            *one = half_of(EDT_OP_BN_APPLY, 3, &f, true, false, 1);
            copy_half(one, 0, &f, 0, r);
            copy_in(one, 1, sums);
            for (int i = 1; i < 5; ++i) {
                copy_in(one, i + 1, f.in[i]);
            }
        }
        const edt_run_ctx ctx = {0};
        edt_error err = {0};
        double saved[2][64];
        for (int i = 0; i < 2; ++i) {
            memcpy(saved[i], one->in[first + 2 + i], (size_t)c * sizeof(double));
        }
        cr_assert_eq(edt_op_execute(ref, &one->desc, &ctx, one->in, one->out, &err), EDT_OK);
        for (int i = 0; i < 2; ++i) {
            memcpy(moving[r][i], one->in[first + 2 + i], (size_t)c * sizeof(double));
            memcpy(one->in[first + 2 + i], saved[i], (size_t)c * sizeof(double));
        }
    }
    const int64_t n_half = edt_shape_count(&half[0].apply.desc.in[0].shape);
    for (int r = 0; r < 2; ++r) {
        expect_close(half[r].apply.out[0], (double *)f.out[0] + r * n_half, n_half, "y");
        expect_close(half[r].apply.out[1], f.out[1], c, "mean");
        expect_close(half[r].apply.out[2], f.out[2], c, "invstd");
        expect_close(moving[r][0], moving[2][0], c, "moving mean");
        expect_close(moving[r][1], moving[2][1], c, "moving variance");
    }

    copy_in(&b, 1, f.in[0]);
    copy_in(&b, 2, f.in[1]);
    copy_in(&b, 3, f.in[2]);
    copy_in(&b, 4, f.out[1]);
    copy_in(&b, 5, f.out[2]);
    run(&b);
    double both[2][64] = {{0}};
    memset(sums, 0, sizeof sums);
    for (int r = 0; r < 2; ++r) {
        half[r].bwd_stats = half_of(EDT_OP_BN_BWD_STATS, 3, &f, false, false, 2);
        half[r].bwd_apply = half_of(EDT_OP_BN_BWD_APPLY, 1, &f, false, true, 2);
        for (int i = 0; i < 2; ++i) {
            copy_half(&half[r].bwd_stats, i, &b, i, r);
            copy_half(&half[r].bwd_apply, i, &b, i, r);
        }
        for (int i = 2; i < 6; ++i) {
            copy_in(&half[r].bwd_stats, i, b.in[i]);
            copy_in(&half[r].bwd_apply, i, b.in[i]);
        }
        run(&half[r].bwd_stats);
        for (int64_t i = 0; i < c; ++i) {
            both[0][i] += ((double *)half[r].bwd_stats.out[1])[i];
            both[1][i] += ((double *)half[r].bwd_stats.out[2])[i];
        }
        for (int64_t i = 0; i < 2 * c; ++i) {
            sums[i] += ((double *)half[r].bwd_stats.out[0])[i];
        }
        check_accumulate(&half[r].bwd_stats, 1, "bn_bwd_stats");
    }
    expect_close(both[0], b.out[1], c, "dgamma");
    expect_close(both[1], b.out[2], c, "dbeta");
    for (int r = 0; r < 2; ++r) {
        copy_in(&half[r].bwd_apply, 6, sums);
        run(&half[r].bwd_apply);
        expect_close(half[r].bwd_apply.out[0], (double *)b.out[0] + r * n_half, n_half, "dx");
        drop(&half[r].stats);
        drop(&half[r].apply);
        drop(&half[r].bwd_stats);
        drop(&half[r].bwd_apply);
    }
    drop(&f);
    drop(&b);
}

Test(ref_gradients, synchronised_batch_norm_of_two_halves_is_that_of_the_whole)
{
    static const int64_t shapes[][4] = {{2, 3, 5, 4}, {4, 4, 4, 3}, {6, 2, 1, 7}};
    for (int i = 0; i < 3; ++i) {
        for (int act = EDT_ACT_NONE; act <= EDT_ACT_SIGMOID; ++act) {
            sync_bn(shapes[i], (edt_act)act, (uint64_t)(i * 100 + act));
        }
    }
}

Test(ref_gradients, activations)
{
    for (int act = EDT_ACT_NONE; act <= EDT_ACT_SIGMOID; ++act) {
        edt_op_desc forward = describe(EDT_OP_ACT, 1);
        edt_op_desc backward = describe(EDT_OP_ACT_BWD, 1);
        forward.attrs.act = backward.attrs.act = (edt_act)act;
        add_in(&forward, real_of(2, 3, 5, 7));
        add_in(&backward, real_of(2, 3, 5, 7));
        add_in(&backward, real_of(2, 3, 5, 7));
        bench f = make(&forward, (uint64_t)act);
        bench b = make(&backward, 77);
        copy_in(&b, 1, f.in[0]);
        run(&b);
        check(&f, b.in[0], 0, b.out[0], 1, edt_act_name((edt_act)act));
        drop(&f);
        drop(&b);
    }
}

Test(ref_gradients, squeeze_and_excite_and_drop_connect)
{
    static const int64_t shapes[][4] = {{2, 3, 5, 4}, {1, 1, 1, 3}, {3, 2, 2, 5}};
    for (int i = 0; i < 3; ++i) {
        const int64_t *d = shapes[i];
        const edt_tensor_desc x = real_of(d[0], d[1], d[2], d[3]);
        const edt_tensor_desc s = real_of(d[0], 1, 1, d[3]);
        edt_op_desc pool = describe(EDT_OP_GLOBAL_AVG_POOL, 1);
        add_in(&pool, x);
        edt_op_desc pool_bwd = describe(EDT_OP_GLOBAL_AVG_POOL_BWD, 1);
        add_in(&pool_bwd, s);
        pool_bwd.attrs.out_shape = x.shape;
        bench f = make(&pool, 1);
        bench b = make(&pool_bwd, 2);
        run(&b);
        check(&f, b.in[0], 0, b.out[0], 1, "global_avg_pool");
        drop(&f);
        drop(&b);

        edt_op_desc scale = describe(EDT_OP_SCALE_CHANNELS, 1);
        add_in(&scale, x);
        add_in(&scale, s);
        edt_op_desc scale_bwd = describe(EDT_OP_SCALE_CHANNELS_BWD, 2);
        add_in(&scale_bwd, x);
        add_in(&scale_bwd, x);
        add_in(&scale_bwd, s);
        f = make(&scale, 3);
        b = make(&scale_bwd, 4);
        copy_in(&b, 1, f.in[0]);
        copy_in(&b, 2, f.in[1]);
        run(&b);
        check(&f, b.in[0], 0, b.out[0], 1, "scale_channels");
        check(&f, b.in[0], 1, b.out[1], 1, "scale_channels");
        drop(&f);
        drop(&b);

        edt_op_desc dropped = describe(EDT_OP_DROP_CONNECT, 1);
        dropped.attrs.drop_survival = 0.6;
        dropped.attrs.drop_row = 1;
        add_in(&dropped, x);
        add_in(&dropped, (edt_tensor_desc){EDT_DTYPE_F64, edt_shape_2(2, d[0])});
        f = make(&dropped, 5);
        b = make(&dropped, 6);
        copy_in(&b, 1, f.in[1]);
        run(&b);
        check(&f, b.in[0], 0, b.out[0], 1, "drop_connect");
        drop(&f);
        drop(&b);
    }
}

Test(ref_gradients, max_pooling_and_nearest_resizing)
{
    for (int i = 0; i < N_WINDOWS; ++i) {
        const window_shape *s = &windows[i];
        edt_op_desc forward = describe(EDT_OP_MAX_POOL, 2);
        forward.attrs.conv =
            (edt_conv_attrs){.kh = s->kh, .kw = s->kw, .sh = s->sh, .sw = s->sw};
        add_in(&forward, real_of(s->n, s->h, s->w, s->ci));
        bench f = make(&forward, (uint64_t)i);
        double *x = f.in[0];
        for (int64_t k = 0; k < edt_shape_count(&f.desc.in[0].shape); ++k) {
            x[k] += 1e-3 * (double)(k * 37 % 101); // no ties
        }
        run(&f);
        edt_op_desc backward = describe(EDT_OP_MAX_POOL_BWD, 1);
        backward.attrs.conv = forward.attrs.conv;
        backward.attrs.out_shape = f.desc.in[0].shape;
        add_in(&backward, f.desc.out[0]);
        add_in(&backward, f.desc.out[1]);
        bench b = make(&backward, (uint64_t)i + 50);
        copy_in(&b, 1, f.out[1]);
        run(&b);
        check(&f, b.in[0], 0, b.out[0], 1, "max_pool");
        drop(&f);
        drop(&b);
    }
    static const int64_t sizes[][4] = {{2, 3, 4, 6}, {3, 5, 7, 9}, {1, 1, 2, 3}, {4, 3, 4, 3}};
    for (int i = 0; i < 4; ++i) {
        edt_op_desc forward = describe(EDT_OP_RESIZE_NEAREST, 1);
        add_in(&forward, real_of(2, sizes[i][0], sizes[i][1], 3));
        forward.attrs.out_shape = edt_shape_4(2, sizes[i][2], sizes[i][3], 3);
        bench f = make(&forward, 1);
        edt_op_desc backward = describe(EDT_OP_RESIZE_NEAREST_BWD, 1);
        add_in(&backward, f.desc.out[0]);
        backward.attrs.out_shape = f.desc.in[0].shape;
        bench b = make(&backward, 2);
        run(&b);
        check(&f, b.in[0], 0, b.out[0], 1, "resize_nearest");
        drop(&f);
        drop(&b);
    }
}

static void fuse_gradients(edt_fuse_method method, int m, edt_act act, uint64_t seed)
{
    char what[96];
    (void)snprintf(what, sizeof what, "fuse method %d of %d, %s", (int)method, m,
                   edt_act_name(act));
    const bool weighted = method != EDT_FUSE_SUM;
    const bool per_channel =
        method == EDT_FUSE_CHANNEL_FASTATTN || method == EDT_FUSE_CHANNEL_ATTN;
    const edt_tensor_desc x = real_of(2, 3, 2, 5);
    const edt_tensor_desc w =
        per_channel ? vector_of(5) : (edt_tensor_desc){.dtype = EDT_DTYPE_F64};
    edt_op_desc forward = describe(EDT_OP_FUSE, 1);
    edt_op_desc backward = describe(EDT_OP_FUSE_BWD, weighted ? 2 * m : m);
    forward.attrs.fuse_method = method;
    forward.attrs.fuse_n = m;
    forward.attrs.act = act;
    backward.attrs = forward.attrs;
    add_in(&backward, x);
    for (int j = 0; j < m; ++j) {
        add_in(&forward, x);
        add_in(&backward, x);
    }
    for (int j = 0; weighted && j < m; ++j) {
        add_in(&forward, w);
        add_in(&backward, w);
    }
    bench f = make(&forward, seed);
    bench b = make(&backward, seed + 1);
    for (int j = 0; j < f.desc.n_in; ++j) {
        copy_in(&b, j + 1, f.in[j]);
    }
    run(&b);
    for (int j = 0; j < f.desc.n_in; ++j) {
        check(&f, b.in[0], j, b.out[j], 1, what);
    }
    check_accumulate(&b, m, what);
    drop(&f);
    drop(&b);
}

Test(ref_gradients, fusion_with_every_method)
{
    for (int method = EDT_FUSE_SUM; method <= EDT_FUSE_CHANNEL_ATTN; ++method) {
        for (int m = 1; m <= EDT_FUSE_MAX_IN; m += m < 3 ? 1 : 2) {
            fuse_gradients((edt_fuse_method)method, m, EDT_ACT_NONE,
                           (uint64_t)(method * 9 + m));
            fuse_gradients((edt_fuse_method)method, m, EDT_ACT_SWISH,
                           (uint64_t)(method * 9 + m));
            fuse_gradients((edt_fuse_method)method, m, EDT_ACT_RELU6,
                           (uint64_t)(method * 9 + m));
        }
    }
}

static void loss_gradients(edt_op_kind kind, edt_loss_attrs loss, int64_t n, const char *what)
{
    static const double one[1] = {1};
    edt_op_desc desc = describe(kind, 2);
    desc.attrs.loss = loss;
    if (kind == EDT_OP_IOU_LOSS) {
        desc.n_out = 3;
        add_in(&desc, real_of(n, 2, 3, 8));
        add_in(&desc, real_of(n, 1, 2, 8));
        add_in(&desc, (edt_tensor_desc){EDT_DTYPE_F64, edt_shape_2(16, 4)});
        add_in(&desc, (edt_tensor_desc){EDT_DTYPE_F64, edt_shape_3(n, 16, 4)});
    } else {
        const bool focal = kind == EDT_OP_FOCAL_LOSS;
        add_in(&desc, real_of(n, 3, 2, 2 * (focal ? loss.num_classes : 4)));
        add_in(&desc, focal ? (edt_tensor_desc){EDT_DTYPE_I32, edt_shape_2(n, 20)}
                            : (edt_tensor_desc){EDT_DTYPE_F64, edt_shape_3(n, 20, 4)});
    }
    add_in(&desc, vector_of(1));
    bench b = make(&desc, (uint64_t)n * 17);
    run(&b);
    double *gradients[2];
    for (int i = 0; i + 1 < desc.n_out; ++i) {
        const size_t n_bytes = edt_tensor_bytes(&b.desc.out[i + 1]);
        gradients[i] = edt_mem_alloc(EDT_MEM_MISC, n_bytes);
        memcpy(gradients[i], b.out[i + 1], n_bytes);
    }
    for (int i = 0; i + 1 < desc.n_out; ++i) {
        check(&b, one, i, gradients[i], kind == EDT_OP_FOCAL_LOSS ? 1 : loss.weight, what);
        edt_mem_free(gradients[i]);
    }
    drop(&b);
}

Test(ref_gradients, losses)
{
    const edt_loss_attrs loss = {.alpha = 0.25,
                                 .gamma = 1.5,
                                 .delta = 0.1,
                                 .weight = 50,
                                 .num_classes = 5,
                                 .anchors_per_cell = 2,
                                 .anchor_offset = 4};
    for (int64_t n = 1; n <= 3; ++n) {
        loss_gradients(EDT_OP_FOCAL_LOSS, loss, n, "focal");
        edt_loss_attrs smooth = loss;
        smooth.label_smoothing = 0.1;
        smooth.gamma = 2;
        loss_gradients(EDT_OP_FOCAL_LOSS, smooth, n, "focal, smoothed");
        loss_gradients(EDT_OP_BOX_LOSS, loss, n, "box");
        for (int kind = EDT_LOSS_IOU; kind <= EDT_LOSS_CIOU; ++kind) {
            edt_loss_attrs iou = loss;
            iou.iou_kind = (edt_iou_loss_kind)kind;
            iou.weight = 2;
            iou.ciou_v_gradient = true;
            loss_gradients(EDT_OP_IOU_LOSS, iou, n, "iou kinds");
            iou.misaligned_rows = true;
            loss_gradients(EDT_OP_IOU_LOSS, iou, n, "iou kinds, misaligned");
        }
    }
}

Test(ref_gradients, joining_bias_and_srelu)
{
    static const int64_t shapes[][5] = {{2, 3, 5, 4, 2}, {1, 1, 1, 3, 1}, {3, 2, 2, 1, 5}};
    for (int i = 0; i < 3; ++i) {
        const int64_t *d = shapes[i];
        const edt_tensor_desc x = real_of(d[0], d[1], d[2], d[3]);
        edt_op_desc concat = describe(EDT_OP_CONCAT, 1);
        add_in(&concat, x);
        add_in(&concat, real_of(d[0], d[1], d[2], d[4]));
        bench f = make(&concat, 1);
        edt_op_desc concat_bwd = describe(EDT_OP_CONCAT_BWD, 2);
        add_in(&concat_bwd, f.desc.out[0]);
        concat_bwd.attrs.out_shape = x.shape;
        bench b = make(&concat_bwd, 2);
        run(&b);
        check(&f, b.in[0], 0, b.out[0], 1, "concat");
        check(&f, b.in[0], 1, b.out[1], 1, "concat");
        drop(&f);
        drop(&b);

        edt_op_desc bias = describe(EDT_OP_BIAS, 1);
        add_in(&bias, x);
        add_in(&bias, vector_of(d[3]));
        edt_op_desc bias_bwd = describe(EDT_OP_BIAS_BWD, 1);
        add_in(&bias_bwd, x);
        f = make(&bias, 3);
        b = make(&bias_bwd, 4);
        run(&b);
        check(&f, b.in[0], 0, b.in[0], 1, "bias");
        check(&f, b.in[0], 1, b.out[0], 1, "bias");
        check_accumulate(&b, 0, "bias");
        drop(&f);
        drop(&b);

        edt_op_desc srelu = describe(EDT_OP_SRELU, 1);
        add_in(&srelu, x);
        add_in(&srelu, (edt_tensor_desc){.dtype = EDT_DTYPE_F64});
        edt_op_desc srelu_bwd = describe(EDT_OP_SRELU_BWD, 2);
        add_in(&srelu_bwd, x);
        add_in(&srelu_bwd, x);
        add_in(&srelu_bwd, (edt_tensor_desc){.dtype = EDT_DTYPE_F64});
        f = make(&srelu, 5);
        b = make(&srelu_bwd, 6);
        copy_in(&b, 1, f.in[0]);
        copy_in(&b, 2, f.in[1]);
        run(&b);
        check(&f, b.in[0], 0, b.out[0], 1, "srelu");
        check(&f, b.in[0], 1, b.out[1], 1, "srelu");
        check_accumulate(&b, 1, "srelu");
        drop(&f);
        drop(&b);
    }
}

Test(ref_gradients, segmentation_loss)
{
    static const double one[1] = {1};
    for (int64_t n_classes = 1; n_classes <= 5; n_classes += 2) {
        edt_op_desc desc = describe(EDT_OP_SEGMENTATION_LOSS, 2);
        add_in(&desc, real_of(2, 3, 4, n_classes));
        add_in(&desc, (edt_tensor_desc){EDT_DTYPE_I32, edt_shape_3(2, 3, 4)});
        add_in(&desc, vector_of(1));
        bench b = make(&desc, (uint64_t)n_classes);
        run(&b);
        double gradient[2 * 3 * 4 * 5];
        memcpy(gradient, b.out[1], edt_tensor_bytes(&b.desc.out[1]));
        check(&b, one, 0, gradient, 1, "segmentation loss");
        drop(&b);
    }
}

// The transposed convolution of the segmentation head and what autodiff makes of it: the
// gradients of CONV2D_DATA as a forward node are CONV2D over its input and CONV2D_WEIGHT over
// its kernel.
Test(ref_gradients, transposed_convolution)
{
    const edt_tensor_desc small = real_of(2, 3, 2, 4);
    const edt_tensor_desc large = real_of(2, 6, 4, 5);
    const edt_tensor_desc w = real_of(3, 3, 5, 4);
    edt_op_desc forward = describe(EDT_OP_CONV2D_DATA, 1);
    forward.attrs.conv = (edt_conv_attrs){.kh = 3, .kw = 3, .sh = 2, .sw = 2};
    forward.attrs.out_shape = large.shape;
    edt_op_desc data = describe(EDT_OP_CONV2D, 1);
    edt_op_desc weight = describe(EDT_OP_CONV2D_WEIGHT, 1);
    data.attrs.conv = weight.attrs.conv = forward.attrs.conv;
    add_in(&forward, small);
    add_in(&forward, w);
    add_in(&data, large);
    add_in(&data, w);
    add_in(&weight, large);
    add_in(&weight, small);
    bench f = make(&forward, 1);
    bench d = make(&data, 2);
    bench b = make(&weight, 3);
    copy_in(&d, 1, f.in[1]);
    copy_in(&b, 0, d.in[0]);
    copy_in(&b, 1, f.in[0]);
    run(&d);
    run(&b);
    check(&f, d.in[0], 0, d.out[0], 1, "transposed convolution");
    check(&f, d.in[0], 1, b.out[0], 1, "transposed convolution");
    drop(&f);
    drop(&d);
    drop(&b);
}

// Without ciou_v_gradient the gradient is that of the loss with v held.
static double ciou_with_fixed_v(const double *pred, const double *target, double v)
{
    double unused[4];
    const double iou = 1 - edt_ref_iou_pair_loss(EDT_LOSS_IOU, false, pred, target, unused);
    const double diou = edt_ref_iou_pair_loss(EDT_LOSS_DIOU, false, pred, target, unused);
    return diou + v * v / (1 - iou + v);
}

Test(ref_gradients, ciou_without_the_gradient_of_v)
{
    static const double targets[3][4] = {{0, 0, 4, 8}, {1, 2, 5, 4}, {-3, -3, 0, 9}};
    const double pred[4] = {0.5, 1, 4.5, 6};
    for (int t = 0; t < 3; ++t) {
        double gradient[4];
        const double *target = targets[t];
        const double loss = edt_ref_iou_pair_loss(EDT_LOSS_CIOU, false, pred, target, gradient);
        const double angle = atan((pred[3] - pred[1]) / (pred[2] - pred[0])) -
                             atan((target[3] - target[1]) / (target[2] - target[0]));
        const double v = 4 * angle * angle / (M_PI * M_PI);
        cr_expect_float_eq(loss, ciou_with_fixed_v(pred, target, v), 1e-12);
        for (int i = 0; i < 4; ++i) {
            double p[4];
            memcpy(p, pred, sizeof p);
            p[i] = pred[i] + 1e-5;
            const double above = ciou_with_fixed_v(p, target, v);
            p[i] = pred[i] - 1e-5;
            const double below = ciou_with_fixed_v(p, target, v);
            cr_expect_float_eq(gradient[i], (above - below) / 2e-5, 1e-8);
        }
    }
}
