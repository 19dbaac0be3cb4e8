// Gradients of the reference backend against central differences of its forward ops, in double:
// every element of every gradient within 1e-6 of the largest one. Those of batch norm and of
// losses have files of their own.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/op_bench.h"
#include "tests/support/op_compare.h"

TestSuite(ref_gradients, .init = op_bench_setup, .fini = op_bench_teardown, .timeout = 120);

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
    const edt_tensor_desc x = op_bench_real(s->n, s->h, s->w, s->ci);
    const edt_tensor_desc w = op_bench_real(s->kh, s->kw, s->ci, depthwise ? 1 : s->co);
    edt_op_desc forward = op_bench_desc(depthwise ? EDT_OP_DEPTHWISE : EDT_OP_CONV2D, 1);
    forward.attrs.conv = (edt_conv_attrs){
        .kh = s->kh, .kw = s->kw, .sh = s->sh, .sw = s->sw, .has_bias = !depthwise};
    op_bench_add_in(&forward, x);
    op_bench_add_in(&forward, w);
    if (!depthwise) {
        op_bench_add_in(&forward, op_bench_vector(s->co));
    }
    op_bench f = op_bench_make(&forward, seed);
    const edt_tensor_desc y = f.desc.out[0];

    edt_op_desc data = op_bench_desc(depthwise ? EDT_OP_DEPTHWISE_DATA : EDT_OP_CONV2D_DATA, 1);
    data.attrs.conv = forward.attrs.conv;
    data.attrs.out_shape = x.shape;
    op_bench_add_in(&data, y);
    op_bench_add_in(&data, w);
    op_bench d = op_bench_make(&data, seed + 1);
    const double *dy = d.in[0];
    op_bench_copy_in(&d, 1, f.in[1]);
    op_bench_run(&d);
    op_bench_check(&f, dy, 0, d.out[0], 1, what);

    edt_op_desc weight = op_bench_desc(
        depthwise ? EDT_OP_DEPTHWISE_WEIGHT : EDT_OP_CONV2D_WEIGHT, depthwise ? 1 : 2);
    weight.attrs.conv = forward.attrs.conv;
    op_bench_add_in(&weight, x);
    op_bench_add_in(&weight, y);
    op_bench b = op_bench_make(&weight, seed + 2);
    op_bench_copy_in(&b, 0, f.in[0]);
    op_bench_copy_in(&b, 1, dy);
    op_bench_run(&b);
    op_bench_check(&f, dy, 1, b.out[0], 1, what);
    if (!depthwise) {
        op_bench_check(&f, dy, 2, b.out[1], 1, what);
    }
    op_bench_check_accumulate(&b, 0, what);
    op_bench_drop(&f);
    op_bench_drop(&d);
    op_bench_drop(&b);
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

Test(ref_gradients, activations)
{
    for (int act = EDT_ACT_NONE; act <= EDT_ACT_SIGMOID; ++act) {
        edt_op_desc forward = op_bench_desc(EDT_OP_ACT, 1);
        edt_op_desc backward = op_bench_desc(EDT_OP_ACT_BWD, 1);
        forward.attrs.act = backward.attrs.act = (edt_act)act;
        op_bench_add_in(&forward, op_bench_real(2, 3, 5, 7));
        op_bench_add_in(&backward, op_bench_real(2, 3, 5, 7));
        op_bench_add_in(&backward, op_bench_real(2, 3, 5, 7));
        op_bench f = op_bench_make(&forward, (uint64_t)act);
        op_bench b = op_bench_make(&backward, 77);
        op_bench_copy_in(&b, 1, f.in[0]);
        op_bench_run(&b);
        op_bench_check(&f, b.in[0], 0, b.out[0], 1, edt_act_name((edt_act)act));
        op_bench_drop(&f);
        op_bench_drop(&b);
    }
}

Test(ref_gradients, squeeze_and_excite_and_drop_connect)
{
    static const int64_t shapes[][4] = {{2, 3, 5, 4}, {1, 1, 1, 3}, {3, 2, 2, 5}};
    for (int i = 0; i < 3; ++i) {
        const int64_t *d = shapes[i];
        const edt_tensor_desc x = op_bench_real(d[0], d[1], d[2], d[3]);
        const edt_tensor_desc s = op_bench_real(d[0], 1, 1, d[3]);
        edt_op_desc pool = op_bench_desc(EDT_OP_GLOBAL_AVG_POOL, 1);
        op_bench_add_in(&pool, x);
        edt_op_desc pool_bwd = op_bench_desc(EDT_OP_GLOBAL_AVG_POOL_BWD, 1);
        op_bench_add_in(&pool_bwd, s);
        pool_bwd.attrs.out_shape = x.shape;
        op_bench f = op_bench_make(&pool, 1);
        op_bench b = op_bench_make(&pool_bwd, 2);
        op_bench_run(&b);
        op_bench_check(&f, b.in[0], 0, b.out[0], 1, "global_avg_pool");
        op_bench_drop(&f);
        op_bench_drop(&b);

        edt_op_desc scale = op_bench_desc(EDT_OP_SCALE_CHANNELS, 1);
        op_bench_add_in(&scale, x);
        op_bench_add_in(&scale, s);
        edt_op_desc scale_bwd = op_bench_desc(EDT_OP_SCALE_CHANNELS_BWD, 2);
        op_bench_add_in(&scale_bwd, x);
        op_bench_add_in(&scale_bwd, x);
        op_bench_add_in(&scale_bwd, s);
        f = op_bench_make(&scale, 3);
        b = op_bench_make(&scale_bwd, 4);
        op_bench_copy_in(&b, 1, f.in[0]);
        op_bench_copy_in(&b, 2, f.in[1]);
        op_bench_run(&b);
        op_bench_check(&f, b.in[0], 0, b.out[0], 1, "scale_channels");
        op_bench_check(&f, b.in[0], 1, b.out[1], 1, "scale_channels");
        op_bench_drop(&f);
        op_bench_drop(&b);

        edt_op_desc dropped = op_bench_desc(EDT_OP_DROP_CONNECT, 1);
        dropped.attrs.drop_survival = 0.6;
        dropped.attrs.drop_row = 1;
        op_bench_add_in(&dropped, x);
        op_bench_add_in(&dropped, (edt_tensor_desc){EDT_DTYPE_F64, edt_shape_2(2, d[0])});
        f = op_bench_make(&dropped, 5);
        b = op_bench_make(&dropped, 6);
        op_bench_copy_in(&b, 1, f.in[1]);
        op_bench_run(&b);
        op_bench_check(&f, b.in[0], 0, b.out[0], 1, "drop_connect");
        op_bench_drop(&f);
        op_bench_drop(&b);
    }
}

Test(ref_gradients, max_pooling_and_nearest_resizing)
{
    for (int i = 0; i < N_WINDOWS; ++i) {
        const window_shape *s = &windows[i];
        edt_op_desc forward = op_bench_desc(EDT_OP_MAX_POOL, 2);
        forward.attrs.conv =
            (edt_conv_attrs){.kh = s->kh, .kw = s->kw, .sh = s->sh, .sw = s->sw};
        op_bench_add_in(&forward, op_bench_real(s->n, s->h, s->w, s->ci));
        op_bench f = op_bench_make(&forward, (uint64_t)i);
        double *x = f.in[0];
        for (int64_t k = 0; k < edt_shape_count(&f.desc.in[0].shape); ++k) {
            x[k] += 1e-3 * (double)(k * 37 % 101); // no ties
        }
        op_bench_run(&f);
        edt_op_desc backward = op_bench_desc(EDT_OP_MAX_POOL_BWD, 1);
        backward.attrs.conv = forward.attrs.conv;
        backward.attrs.out_shape = f.desc.in[0].shape;
        op_bench_add_in(&backward, f.desc.out[0]);
        op_bench_add_in(&backward, f.desc.out[1]);
        op_bench b = op_bench_make(&backward, (uint64_t)i + 50);
        op_bench_copy_in(&b, 1, f.out[1]);
        op_bench_run(&b);
        op_bench_check(&f, b.in[0], 0, b.out[0], 1, "max_pool");
        op_bench_drop(&f);
        op_bench_drop(&b);
    }
    static const int64_t sizes[][4] = {{2, 3, 4, 6}, {3, 5, 7, 9}, {1, 1, 2, 3}, {4, 3, 4, 3}};
    for (int i = 0; i < 4; ++i) {
        edt_op_desc forward = op_bench_desc(EDT_OP_RESIZE_NEAREST, 1);
        op_bench_add_in(&forward, op_bench_real(2, sizes[i][0], sizes[i][1], 3));
        forward.attrs.out_shape = edt_shape_4(2, sizes[i][2], sizes[i][3], 3);
        op_bench f = op_bench_make(&forward, 1);
        edt_op_desc backward = op_bench_desc(EDT_OP_RESIZE_NEAREST_BWD, 1);
        op_bench_add_in(&backward, f.desc.out[0]);
        backward.attrs.out_shape = f.desc.in[0].shape;
        op_bench b = op_bench_make(&backward, 2);
        op_bench_run(&b);
        op_bench_check(&f, b.in[0], 0, b.out[0], 1, "resize_nearest");
        op_bench_drop(&f);
        op_bench_drop(&b);
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
    const edt_tensor_desc x = op_bench_real(2, 3, 2, 5);
    const edt_tensor_desc w =
        per_channel ? op_bench_vector(5) : (edt_tensor_desc){.dtype = EDT_DTYPE_F64};
    edt_op_desc forward = op_bench_desc(EDT_OP_FUSE, 1);
    edt_op_desc backward = op_bench_desc(EDT_OP_FUSE_BWD, weighted ? 2 * m : m);
    forward.attrs.fuse_method = method;
    forward.attrs.fuse_n = m;
    forward.attrs.act = act;
    backward.attrs = forward.attrs;
    op_bench_add_in(&backward, x);
    for (int j = 0; j < m; ++j) {
        op_bench_add_in(&forward, x);
        op_bench_add_in(&backward, x);
    }
    for (int j = 0; weighted && j < m; ++j) {
        op_bench_add_in(&forward, w);
        op_bench_add_in(&backward, w);
    }
    op_bench f = op_bench_make(&forward, seed);
    op_bench b = op_bench_make(&backward, seed + 1);
    for (int j = 0; j < f.desc.n_in; ++j) {
        op_bench_copy_in(&b, j + 1, f.in[j]);
    }
    op_bench_run(&b);
    for (int j = 0; j < f.desc.n_in; ++j) {
        op_bench_check(&f, b.in[0], j, b.out[j], 1, what);
    }
    op_bench_check_accumulate(&b, m, what);
    op_bench_drop(&f);
    op_bench_drop(&b);
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

Test(ref_gradients, joining_bias_and_srelu)
{
    static const int64_t shapes[][5] = {{2, 3, 5, 4, 2}, {1, 1, 1, 3, 1}, {3, 2, 2, 1, 5}};
    for (int i = 0; i < 3; ++i) {
        const int64_t *d = shapes[i];
        const edt_tensor_desc x = op_bench_real(d[0], d[1], d[2], d[3]);
        edt_op_desc concat = op_bench_desc(EDT_OP_CONCAT, 1);
        op_bench_add_in(&concat, x);
        op_bench_add_in(&concat, op_bench_real(d[0], d[1], d[2], d[4]));
        op_bench f = op_bench_make(&concat, 1);
        edt_op_desc concat_bwd = op_bench_desc(EDT_OP_CONCAT_BWD, 2);
        op_bench_add_in(&concat_bwd, f.desc.out[0]);
        concat_bwd.attrs.out_shape = x.shape;
        op_bench b = op_bench_make(&concat_bwd, 2);
        op_bench_run(&b);
        op_bench_check(&f, b.in[0], 0, b.out[0], 1, "concat");
        op_bench_check(&f, b.in[0], 1, b.out[1], 1, "concat");
        op_bench_drop(&f);
        op_bench_drop(&b);

        edt_op_desc bias = op_bench_desc(EDT_OP_BIAS, 1);
        op_bench_add_in(&bias, x);
        op_bench_add_in(&bias, op_bench_vector(d[3]));
        edt_op_desc bias_bwd = op_bench_desc(EDT_OP_BIAS_BWD, 1);
        op_bench_add_in(&bias_bwd, x);
        f = op_bench_make(&bias, 3);
        b = op_bench_make(&bias_bwd, 4);
        op_bench_run(&b);
        op_bench_check(&f, b.in[0], 0, b.in[0], 1, "bias");
        op_bench_check(&f, b.in[0], 1, b.out[0], 1, "bias");
        op_bench_check_accumulate(&b, 0, "bias");
        op_bench_drop(&f);
        op_bench_drop(&b);

        edt_op_desc srelu = op_bench_desc(EDT_OP_SRELU, 1);
        op_bench_add_in(&srelu, x);
        op_bench_add_in(&srelu, (edt_tensor_desc){.dtype = EDT_DTYPE_F64});
        edt_op_desc srelu_bwd = op_bench_desc(EDT_OP_SRELU_BWD, 2);
        op_bench_add_in(&srelu_bwd, x);
        op_bench_add_in(&srelu_bwd, x);
        op_bench_add_in(&srelu_bwd, (edt_tensor_desc){.dtype = EDT_DTYPE_F64});
        f = op_bench_make(&srelu, 5);
        b = op_bench_make(&srelu_bwd, 6);
        op_bench_copy_in(&b, 1, f.in[0]);
        op_bench_copy_in(&b, 2, f.in[1]);
        op_bench_run(&b);
        op_bench_check(&f, b.in[0], 0, b.out[0], 1, "srelu");
        op_bench_check(&f, b.in[0], 1, b.out[1], 1, "srelu");
        op_bench_check_accumulate(&b, 1, "srelu");
        op_bench_drop(&f);
        op_bench_drop(&b);
    }
}

// The transposed convolution of the segmentation head and what autodiff makes of it: the
// gradients of CONV2D_DATA as a forward node are CONV2D over its input and CONV2D_WEIGHT over
// its kernel.
Test(ref_gradients, transposed_convolution)
{
    const edt_tensor_desc small = op_bench_real(2, 3, 2, 4);
    const edt_tensor_desc large = op_bench_real(2, 6, 4, 5);
    const edt_tensor_desc w = op_bench_real(3, 3, 5, 4);
    edt_op_desc forward = op_bench_desc(EDT_OP_CONV2D_DATA, 1);
    forward.attrs.conv = (edt_conv_attrs){.kh = 3, .kw = 3, .sh = 2, .sw = 2};
    forward.attrs.out_shape = large.shape;
    edt_op_desc data = op_bench_desc(EDT_OP_CONV2D, 1);
    edt_op_desc weight = op_bench_desc(EDT_OP_CONV2D_WEIGHT, 1);
    data.attrs.conv = weight.attrs.conv = forward.attrs.conv;
    op_bench_add_in(&forward, small);
    op_bench_add_in(&forward, w);
    op_bench_add_in(&data, large);
    op_bench_add_in(&data, w);
    op_bench_add_in(&weight, large);
    op_bench_add_in(&weight, small);
    op_bench f = op_bench_make(&forward, 1);
    op_bench d = op_bench_make(&data, 2);
    op_bench b = op_bench_make(&weight, 3);
    op_bench_copy_in(&d, 1, f.in[1]);
    op_bench_copy_in(&b, 0, d.in[0]);
    op_bench_copy_in(&b, 1, f.in[0]);
    op_bench_run(&d);
    op_bench_run(&b);
    op_bench_check(&f, d.in[0], 0, d.out[0], 1, "transposed convolution");
    op_bench_check(&f, d.in[0], 1, b.out[0], 1, "transposed convolution");
    op_bench_drop(&f);
    op_bench_drop(&d);
    op_bench_drop(&b);
}
