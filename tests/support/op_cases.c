// See op_cases.h. Each group counts its cases by a small table or by nested choices; the index
// walks through the groups.
#include "tests/support/op_cases.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static edt_tensor_desc f32(edt_shape shape)
{
    return (edt_tensor_desc){EDT_DTYPE_F32, shape};
}

static void begin(edt_op_case *c, edt_op_kind kind, int i, double tolerance)
{
    *c = (edt_op_case){.tolerance = tolerance, .seed = (uint64_t)i + 1};
    c->desc.kind = kind;
    c->desc.n_out = 1;
    c->desc.attrs.bn = (edt_bn_attrs){.epsilon = 1e-3, .momentum = 0.99};
    (void)snprintf(c->name, sizeof c->name, "%s", edt_op_get_info(kind)->name);
}

static void add_in(edt_op_case *c, edt_tensor_desc t)
{
    c->desc.in[c->desc.n_in++] = t;
}

static void describe(edt_op_case *c, const char *fmt, ...) EDT_PRINTF(2, 3);
static void describe(edt_op_case *c, const char *fmt, ...)
{
    const size_t used = strlen(c->name);
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(c->name + used, sizeof c->name - used, fmt, args);
    va_end(args);
}

typedef struct window_shape {
    int64_t n, h, w, ci, co;
    int k, s;
} window_shape;

static const window_shape dense_shapes[] = {
    {1, 8, 8, 3, 32, 3, 2},   {2, 9, 7, 3, 16, 3, 2},   {1, 8, 6, 16, 24, 1, 1},
    {3, 5, 5, 24, 40, 1, 1},  {1, 1, 1, 96, 4, 1, 1},   {2, 7, 10, 5, 7, 3, 1},
    {1, 9, 9, 6, 9, 5, 2},    {1, 6, 11, 4, 33, 5, 1},  {1, 16, 16, 64, 36, 1, 1},
    {1, 4, 4, 320, 64, 1, 1}, {2, 4, 4, 64, 810, 1, 1}, {1, 10, 10, 48, 288, 1, 1},
    {1, 9, 6, 16, 12, 2, 2},  {1, 9, 11, 6, 9, 7, 2},   {1, 10, 9, 64, 64, 3, 1},
    {1, 34, 29, 3, 24, 3, 2},
};
static const window_shape depthwise_shapes[] = {
    {1, 8, 8, 32, 32, 3, 1},     {2, 9, 7, 24, 24, 3, 2},  {1, 10, 8, 96, 96, 3, 2},
    {1, 7, 7, 40, 40, 5, 2},     {2, 8, 6, 13, 13, 5, 2},  {3, 5, 9, 64, 64, 5, 1},
    {1, 1, 1, 64, 64, 3, 1},     {1, 2, 2, 7, 7, 5, 1},    {1, 4, 1, 5, 5, 3, 2},
    {1, 16, 16, 144, 144, 3, 2}, {1, 9, 10, 17, 17, 7, 2}, {2, 6, 7, 24, 24, 2, 1},
    {1, 5, 4, 8, 8, 1, 1},       {1, 8, 9, 16, 16, 11, 1}, {1, 7, 8, 40, 40, 7, 1},
};
enum {
    N_DENSE = sizeof dense_shapes / sizeof dense_shapes[0],
    N_DEPTHWISE = sizeof depthwise_shapes / sizeof depthwise_shapes[0],
};

static void set_window(edt_op_case *c, const window_shape *s)
{
    c->desc.attrs.conv = (edt_conv_attrs){.kh = s->k, .kw = s->k, .sh = s->s, .sw = s->s};
    describe(c, " %ldx%ldx%ldx%ld->%ld k%d s%d", (long)s->n, (long)s->h, (long)s->w,
             (long)s->ci, (long)s->co, s->k, s->s);
}

static edt_shape shape_in(const window_shape *s)
{
    return edt_shape_4(s->n, s->h, s->w, s->ci);
}

static edt_shape shape_out(const window_shape *s)
{
    return edt_shape_4(s->n, edt_same_out(s->h, s->s), edt_same_out(s->w, s->s), s->co);
}

// Convolutions and their gradients: kinds x shapes x {plain, with the optional parts}.
static bool conv_case(int i, edt_op_case *c)
{
    static const edt_op_kind kinds[] = {EDT_OP_CONV2D,           EDT_OP_CONV2D_DATA,
                                        EDT_OP_CONV2D_WEIGHT,    EDT_OP_CONV2D_BN_ACT,
                                        EDT_OP_DEPTHWISE,        EDT_OP_DEPTHWISE_DATA,
                                        EDT_OP_DEPTHWISE_WEIGHT, EDT_OP_DEPTHWISE_BN_ACT};
    enum { N_KINDS = sizeof kinds / sizeof kinds[0] };
    const int n_shapes = N_DENSE > N_DEPTHWISE ? N_DENSE : N_DEPTHWISE;
    if (i >= N_KINDS * n_shapes * 2) {
        return false;
    }
    const edt_op_kind kind = kinds[i / (2 * n_shapes)];
    const bool depthwise = i / (2 * n_shapes) >= 4;
    const bool more = i % 2 == 1;
    const int i_shape = i / 2 % n_shapes % (depthwise ? N_DEPTHWISE : N_DENSE);
    const window_shape *s = depthwise ? &depthwise_shapes[i_shape] : &dense_shapes[i_shape];
    const edt_tensor_desc w = f32(edt_shape_4(s->k, s->k, s->ci, depthwise ? 1 : s->co));
    begin(c, kind, i, 5e-6);
    set_window(c, s);
    switch (kind) {
    case EDT_OP_CONV2D_DATA:
    case EDT_OP_DEPTHWISE_DATA:
        add_in(c, f32(shape_out(s)));
        add_in(c, w);
        c->desc.attrs.out_shape = shape_in(s);
        break;
    case EDT_OP_CONV2D_WEIGHT:
    case EDT_OP_DEPTHWISE_WEIGHT:
        add_in(c, f32(shape_in(s)));
        add_in(c, f32(shape_out(s)));
        c->desc.n_out = more && !depthwise ? 2 : 1;
        c->desc.attrs.accumulate = more;
        break;
    default:
        add_in(c, f32(shape_in(s)));
        add_in(c, w);
        break;
    }
    if (kind == EDT_OP_CONV2D_BN_ACT || kind == EDT_OP_DEPTHWISE_BN_ACT) {
        for (int j = 0; j < 4; ++j) {
            add_in(c, f32(edt_shape_1(s->co)));
        }
        // By shape: another shape in a table leaves those of the others as they are.
        c->desc.attrs.bn.act = (edt_act)((i_shape + (depthwise ? 0 : 3)) % 7);
        describe(c, " %s", edt_act_name(c->desc.attrs.bn.act));
        c->desc.n_out = more && depthwise ? 2 : 1;
    }
    const bool bias = more && (kind == EDT_OP_CONV2D || kind == EDT_OP_CONV2D_BN_ACT);
    if (bias) {
        add_in(c, f32(edt_shape_1(s->co)));
        c->desc.attrs.conv.has_bias = true;
    }
    if (more && kind == EDT_OP_CONV2D_BN_ACT && i_shape % 2 == 0) {
        add_in(c, f32(shape_out(s)));
        c->desc.attrs.conv.has_residual = true;
        describe(c, " residual");
    }
    describe(c, more ? " more" : "");
    return true;
}

// A 1x1 convolution of a few channels and the depthwise one behind it, with and without the
// mean.
static bool chain_case(int i, edt_op_case *c)
{
    if (i >= 2 * N_DEPTHWISE) {
        return false;
    }
    const int i_shape = i / 2;
    window_shape s = depthwise_shapes[i_shape];
    begin(c, EDT_OP_CONV2D_DEPTHWISE_BN_ACT, i, 1e-5);
    c->desc.attrs.bn.act = (edt_act)(i_shape % 7);
    c->desc.attrs.first_conv = (edt_conv_attrs){.kh = 1, .kw = 1, .sh = 1, .sw = 1};
    s.ci = 1 + (s.co + i_shape) % 24;
    set_window(c, &s);
    add_in(c, f32(shape_in(&s)));
    add_in(c, f32(edt_shape_4(1, 1, s.ci, s.co)));
    for (int j = 0; j < 9; ++j) {
        add_in(c, f32(j == 4 ? edt_shape_4(s.k, s.k, s.co, 1) : edt_shape_1(s.co)));
    }
    c->desc.n_out = 1 + i % 2;
    describe(c, " %s%s", edt_act_name(c->desc.attrs.bn.act), i % 2 == 1 ? " mean" : "");
    return true;
}

static bool bn_case(int i, edt_op_case *c)
{
    static const edt_op_kind kinds[] = {EDT_OP_BN_TRAIN, EDT_OP_BN_INFER, EDT_OP_BN_TRAIN_BWD,
                                        EDT_OP_BN_INFER_BWD};
    static const int64_t shapes[][4] = {
        {2, 5, 3, 16}, {1, 7, 9, 33}, {3, 16, 16, 64}, {1, 1, 1, 88}};
    if (i >= 4 * 4 * 7) {
        return false;
    }
    const edt_op_kind kind = kinds[i / 28];
    const int64_t *d = shapes[i / 7 % 4];
    const edt_tensor_desc x = f32(edt_shape_4(d[0], d[1], d[2], d[3]));
    begin(c, kind, i, 1e-5);
    c->desc.attrs.bn.act = (edt_act)(i % 7);
    c->desc.attrs.bn.biased_moving_variance = i / 7 % 2 == 1;
    describe(c, " %ldx%ldx%ldx%ld %s", (long)d[0], (long)d[1], (long)d[2], (long)d[3],
             edt_act_name(c->desc.attrs.bn.act));
    const bool backward = kind == EDT_OP_BN_TRAIN_BWD || kind == EDT_OP_BN_INFER_BWD;
    add_in(c, x);
    if (backward) {
        add_in(c, x);
    }
    for (int j = 0; j < 4; ++j) {
        add_in(c, f32(edt_shape_1(d[3])));
    }
    c->desc.n_out = kind == EDT_OP_BN_INFER ? 1 : 3;
    c->desc.attrs.accumulate = backward && i % 2 == 1;
    if (backward && i % 7 == 2) {
        c->absent_out = i % 2 == 0 ? 1U : 6U;
    }
    return true;
}

// The halves of synchronised batch norm, on one rank and as one of three.
static bool sync_bn_case(int i, edt_op_case *c)
{
    static const edt_op_kind kinds[] = {EDT_OP_BN_STATS, EDT_OP_BN_APPLY, EDT_OP_BN_BWD_STATS,
                                        EDT_OP_BN_BWD_APPLY};
    static const int64_t shapes[][4] = {
        {2, 5, 3, 16}, {1, 7, 9, 33}, {3, 16, 16, 64}, {1, 1, 1, 88}, {2, 33, 31, 3}};
    enum { N_SHAPES = sizeof shapes / sizeof shapes[0], N_EACH = N_SHAPES * 7 };
    if (i >= 4 * N_EACH) {
        return false;
    }
    const edt_op_kind kind = kinds[i / N_EACH];
    const int64_t *d = shapes[i / 7 % N_SHAPES];
    const edt_tensor_desc x = f32(edt_shape_4(d[0], d[1], d[2], d[3]));
    const edt_tensor_desc channels = f32(edt_shape_1(d[3]));
    const edt_tensor_desc sums = {EDT_DTYPE_F64, edt_shape_1(2 * d[3])};
    begin(c, kind, i, 1e-5);
    edt_bn_attrs *bn = &c->desc.attrs.bn;
    bn->act = (edt_act)(i % 7);
    bn->n_ranks = i % 2 == 0 ? 1 : 3;
    bn->biased_moving_variance = i / 7 % 2 == 0;
    describe(c, " %ldx%ldx%ldx%ld %s, %d ranks", (long)d[0], (long)d[1], (long)d[2], (long)d[3],
             edt_act_name(bn->act), bn->n_ranks);
    add_in(c, x);
    if (kind == EDT_OP_BN_STATS) {
        add_in(c, channels);
        return true;
    }
    add_in(c, kind == EDT_OP_BN_APPLY ? sums : x);
    for (int j = 0; j < 4; ++j) {
        add_in(c, channels);
    }
    if (kind == EDT_OP_BN_BWD_APPLY) {
        add_in(c, sums);
        return true;
    }
    c->desc.n_out = 3;
    if (kind == EDT_OP_BN_BWD_STATS) {
        c->desc.attrs.accumulate = i % 2 == 1;
        c->absent_out = i % 7 == 2 ? 6U : i % 7 == 3 ? 1U : 0;
    }
    return true;
}

static bool cast_case(int i, edt_op_case *c)
{
    static const edt_dtype types[] = {EDT_DTYPE_F32, EDT_DTYPE_BF16, EDT_DTYPE_F16};
    static const int64_t counts[] = {1, 1003, 70000};
    if (i >= 9) {
        return false;
    }
    begin(c, EDT_OP_CAST, i, 0);
    c->desc.attrs.cast_dtype = types[i % 3];
    add_in(c, f32(edt_shape_1(counts[i / 3])));
    describe(c, " of %ld to %s", (long)counts[i / 3], edt_dtype_name(types[i % 3]));
    return true;
}

static bool map_case(int i, edt_op_case *c)
{
    static const int64_t shapes[][4] = {{2, 5, 3, 16}, {1, 7, 9, 33}, {3, 8, 8, 64}};
    enum { N_ACT = 7, N_REST = 6, N_EACH = 2 * N_ACT + N_REST };
    if (i >= 3 * N_EACH) {
        return false;
    }
    const int64_t *d = shapes[i / N_EACH];
    const edt_tensor_desc x = f32(edt_shape_4(d[0], d[1], d[2], d[3]));
    const edt_tensor_desc s = f32(edt_shape_4(d[0], 1, 1, d[3]));
    const int j = i % N_EACH;
    if (j < 2 * N_ACT) {
        begin(c, j < N_ACT ? EDT_OP_ACT : EDT_OP_ACT_BWD, i, 2e-6);
        c->desc.attrs.act = (edt_act)(j % N_ACT);
        add_in(c, x);
        if (j >= N_ACT) {
            add_in(c, x);
        }
        describe(c, " %s", edt_act_name(c->desc.attrs.act));
    } else {
        static const edt_op_kind kinds[N_REST] = {EDT_OP_ADD,
                                                  EDT_OP_DROP_CONNECT,
                                                  EDT_OP_GLOBAL_AVG_POOL,
                                                  EDT_OP_SCALE_CHANNELS,
                                                  EDT_OP_GLOBAL_AVG_POOL_BWD,
                                                  EDT_OP_SCALE_CHANNELS_BWD};
        begin(c, kinds[j - 2 * N_ACT], i, 2e-6);
        add_in(c, c->desc.kind == EDT_OP_GLOBAL_AVG_POOL_BWD ? s : x);
        switch (c->desc.kind) {
        case EDT_OP_ADD: add_in(c, x); break;
        case EDT_OP_DROP_CONNECT:
            add_in(c, f32(edt_shape_2(4, d[0])));
            c->desc.attrs.drop_survival = 0.8125;
            c->desc.attrs.drop_row = 2;
            break;
        case EDT_OP_GLOBAL_AVG_POOL_BWD: c->desc.attrs.out_shape = x.shape; break;
        case EDT_OP_SCALE_CHANNELS: add_in(c, s); break;
        case EDT_OP_SCALE_CHANNELS_BWD:
            add_in(c, x);
            add_in(c, s);
            c->desc.n_out = 2;
            break;
        default: break;
        }
    }
    describe(c, " %ldx%ldx%ldx%ld", (long)d[0], (long)d[1], (long)d[2], (long)d[3]);
    return true;
}

static bool sample_case(int i, edt_op_case *c)
{
    static const window_shape pools[] = {
        {1, 8, 8, 64, 64, 3, 2}, {2, 9, 7, 5, 5, 3, 2},  {1, 2, 2, 16, 16, 3, 2},
        {1, 5, 6, 9, 9, 2, 2},   {1, 10, 9, 8, 8, 4, 3}, {3, 3, 3, 33, 33, 3, 2},
    };
    static const int64_t resizes[][6] = {{1, 4, 4, 8, 8, 64},  {2, 5, 3, 9, 5, 7},
                                         {1, 1, 1, 2, 2, 16},  {1, 33, 17, 65, 33, 8},
                                         {1, 3, 5, 10, 11, 5}, {2, 4, 4, 4, 4, 9}};
    if (i >= 4 * 6) {
        return false;
    }
    static const edt_op_kind kinds[] = {EDT_OP_MAX_POOL, EDT_OP_MAX_POOL_BWD,
                                        EDT_OP_RESIZE_NEAREST, EDT_OP_RESIZE_NEAREST_BWD};
    begin(c, kinds[i / 6], i, 2e-6);
    if (i < 12) {
        const window_shape *s = &pools[i % 6];
        set_window(c, s);
        if (c->desc.kind == EDT_OP_MAX_POOL) {
            add_in(c, f32(shape_in(s)));
            c->desc.n_out = i % 3 == 2 ? 1 : 2;
        } else {
            add_in(c, f32(shape_out(s)));
            add_in(c, (edt_tensor_desc){EDT_DTYPE_U8, shape_out(s)});
            c->desc.attrs.out_shape = shape_in(s);
        }
        return true;
    }
    const int64_t *d = resizes[i % 6];
    const edt_shape small = edt_shape_4(d[0], d[1], d[2], d[5]);
    const edt_shape large = edt_shape_4(d[0], d[3], d[4], d[5]);
    const bool backward = c->desc.kind == EDT_OP_RESIZE_NEAREST_BWD;
    add_in(c, f32(backward ? large : small));
    c->desc.attrs.out_shape = backward ? small : large;
    describe(c, " %ldx%ld<->%ldx%ld", (long)d[1], (long)d[2], (long)d[3], (long)d[4]);
    return true;
}

static bool fuse_case(int i, edt_op_case *c)
{
    static const int n_inputs[2][5] = {{1, 2, 3, 4, 7}, {1, 2, 3, 5, 6}};
    if (i >= 2 * 5 * 5 * 2) {
        return false;
    }
    const bool backward = i % 2 == 1;
    const bool large = i / 50 == 1;
    const int m = n_inputs[large][i / 2 % 5];
    const edt_fuse_method method = (edt_fuse_method)(i / 10 % 5);
    const edt_shape x = large ? edt_shape_4(2, 8, 8, 64) : edt_shape_4(1, 5, 3, 17);
    begin(c, backward ? EDT_OP_FUSE_BWD : EDT_OP_FUSE, i, 5e-6);
    c->desc.attrs.fuse_method = method;
    c->desc.attrs.fuse_n = m;
    c->desc.attrs.act = large ? EDT_ACT_SWISH : (edt_act)(i % 7);
    c->desc.attrs.accumulate = large;
    for (int j = 0; j < m + (backward ? 1 : 0); ++j) {
        add_in(c, f32(x));
    }
    const bool per_channel =
        method == EDT_FUSE_CHANNEL_ATTN || method == EDT_FUSE_CHANNEL_FASTATTN;
    const edt_shape scalar = {.n_dims = 0};
    for (int j = 0; method != EDT_FUSE_SUM && j < m; ++j) {
        add_in(c, f32(per_channel ? edt_shape_1(x.dim[3]) : scalar));
    }
    c->desc.n_out = backward ? (method == EDT_FUSE_SUM ? m : 2 * m) : 1;
    if (backward && large && m == 3) {
        c->absent_out = 2;
    }
    describe(c, " method %d, %d inputs, %s%s", (int)method, m, edt_act_name(c->desc.attrs.act),
             large ? ", large" : "");
    return true;
}

static bool loss_case(int i, edt_op_case *c)
{
    enum { N_FOCAL = 4, N_BOX = 3, N_IOU = 8, N_PLAIN = N_FOCAL + N_BOX + N_IOU };
    if (i >= 2 * N_PLAIN) {
        return false;
    }
    const bool scaled = i >= N_PLAIN;
    i %= N_PLAIN;
    edt_loss_attrs loss = {
        .alpha = 0.25,
        .gamma = 1.5,
        .delta = 0.1,
        .weight = 50,
        .num_classes = 7,
        .anchors_per_cell = 9,
        .anchor_offset = 5 * i,
    };
    const int64_t n = 1 + i % 2;
    const edt_tensor_desc norm = f32(edt_shape_1(1));
    const int64_t n_total = 4 * 3 * 9 + 100;
    if (i < N_FOCAL) {
        begin(c, EDT_OP_FOCAL_LOSS, i, 5e-6);
        loss.label_smoothing = i == 1 ? 0.1 : 0;
        loss.gamma = i == 2 ? 2 : i == 3 ? 0 : 1.5;
        add_in(c, f32(edt_shape_4(n, 4, 3, 9 * 7)));
        add_in(c, (edt_tensor_desc){EDT_DTYPE_I32, edt_shape_2(n, n_total)});
        add_in(c, norm);
    } else if (i < N_FOCAL + N_BOX) {
        begin(c, EDT_OP_BOX_LOSS, i, 5e-6);
        add_in(c, f32(edt_shape_4(n, 4, 3, 9 * 4)));
        add_in(c, f32(edt_shape_3(n, n_total, 4)));
        add_in(c, norm);
    } else {
        begin(c, EDT_OP_IOU_LOSS, i, 2e-5);
        loss.iou_kind = (edt_iou_loss_kind)(i % 4);
        loss.misaligned_rows = i % 3 == 0;
        loss.ciou_v_gradient = i >= N_FOCAL + N_BOX + 4;
        loss.weight = 2;
        add_in(c, f32(edt_shape_4(n, 4, 3, 36)));
        add_in(c, f32(edt_shape_4(n, 2, 2, 36)));
        add_in(c, f32(edt_shape_4(n, 1, 1, 36)));
        const int64_t n_anchors = (12 + 4 + 1) * 9;
        add_in(c, f32(edt_shape_2(n_anchors, 4)));
        add_in(c, f32(edt_shape_3(n, n_anchors, 4)));
        add_in(c, norm);
    }
    loss.scaled = scaled;
    if (scaled) {
        add_in(c, f32(edt_shape_1(2)));
    }
    c->desc.n_out = c->desc.kind == EDT_OP_IOU_LOSS ? 4 : 2;
    c->desc.attrs.loss = loss;
    describe(c, " %d%s", i, scaled ? " scaled" : "");
    return true;
}

// Joining, bias and srelu with their gradients, and the loss over pixels.
static bool segmentation_case(int i, edt_op_case *c)
{
    static const edt_op_kind kinds[] = {EDT_OP_CONCAT,   EDT_OP_CONCAT_BWD, EDT_OP_BIAS,
                                        EDT_OP_BIAS_BWD, EDT_OP_SRELU,      EDT_OP_SRELU_BWD};
    // N, H, W, channels, and those of the second operand of CONCAT or the classes of the loss
    static const int64_t shapes[][5] = {{2, 5, 3, 16, 16}, {1, 7, 9, 33, 3},
                                        {3, 8, 8, 64, 64}, {1, 1, 1, 5, 1},
                                        {2, 16, 12, 4, 7}, {1, 33, 17, 8, 91}};
    enum { N_KINDS = 6, N_SHAPES = 6, N_MAPS = 2 * N_KINDS * N_SHAPES };
    if (i >= N_MAPS + 2 * N_SHAPES) {
        return false;
    }
    const int64_t *d = shapes[i / 2 % N_SHAPES];
    const bool more = i % 2 == 1;
    const edt_tensor_desc x = f32(edt_shape_4(d[0], d[1], d[2], d[3]));
    if (i >= N_MAPS) {
        begin(c, EDT_OP_SEGMENTATION_LOSS, i, 5e-6);
        add_in(c, f32(edt_shape_4(d[0], d[1], d[2], d[4])));
        add_in(c, (edt_tensor_desc){EDT_DTYPE_I32, edt_shape_3(d[0], d[1], d[2])});
        add_in(c, f32(edt_shape_1(1)));
        c->desc.attrs.loss.scaled = more;
        if (more) {
            add_in(c, f32(edt_shape_1(2)));
        }
        c->desc.n_out = i / 2 % 3 == 2 ? 1 : 2;
        c->desc.attrs.accumulate = i / 2 % 2 == 1;
        describe(c, " %ldx%ldx%ld of %ld%s", (long)d[0], (long)d[1], (long)d[2], (long)d[4],
                 more ? " scaled" : "");
        return true;
    }
    begin(c, kinds[i / (2 * N_SHAPES)], i, 5e-6);
    switch (c->desc.kind) {
    case EDT_OP_CONCAT:
        add_in(c, x);
        add_in(c, f32(edt_shape_4(d[0], d[1], d[2], d[4])));
        break;
    case EDT_OP_CONCAT_BWD:
        add_in(c, f32(edt_shape_4(d[0], d[1], d[2], d[3] + d[4])));
        c->desc.attrs.out_shape = x.shape;
        c->desc.n_out = 2;
        c->absent_out = more ? 1U << (i / 2 % 2) : 0;
        break;
    case EDT_OP_BIAS:
        add_in(c, x);
        add_in(c, f32(edt_shape_1(d[3])));
        break;
    case EDT_OP_BIAS_BWD:
        add_in(c, x);
        c->desc.attrs.accumulate = more;
        break;
    default:
        for (int j = c->desc.kind == EDT_OP_SRELU ? 1 : 0; j < 2; ++j) {
            add_in(c, x);
        }
        add_in(c, f32(more ? edt_shape_1(1) : (edt_shape){.n_dims = 0}));
        if (c->desc.kind == EDT_OP_SRELU_BWD) {
            c->desc.attrs.accumulate = more;
            c->desc.n_out = 2;
            c->absent_out = i / 2 % 3 == 1 ? 1U << (i % 2) : 0;
        }
        break;
    }
    c->seed = (uint64_t)(i / 2) + 1;
    describe(c, " %ldx%ldx%ldx%ld+%ld%s", (long)d[0], (long)d[1], (long)d[2], (long)d[3],
             (long)d[4], more ? " more" : "");
    return true;
}

static bool update_case(int i, edt_op_case *c)
{
    static const edt_param_segment segments[] = {
        {.offset = 0, .n = 40, .update = true, .decay = true, .average = true},
        {.offset = 40, .n = 7, .update = true, .average = true},
        {.offset = 48, .n = 100, .decay = true, .average = true}, // frozen
        {.offset = 160, .n = 333, .update = true, .decay = true},
        {.offset = 496, .n = 16, .average = true}, // moving statistics
    };
    enum { N_UPDATES = 3 * 2 * 2 * 2 };
    if (i >= N_UPDATES + 2) {
        return false;
    }
    if (i >= N_UPDATES) {
        begin(c, EDT_OP_NORMALIZE, i, 1e-6);
        c->desc.in[0] = (edt_tensor_desc){EDT_DTYPE_U8, edt_shape_4(2, 9, 11, 3)};
        c->desc.in[1] = (edt_tensor_desc){EDT_DTYPE_I32, edt_shape_2(2, 2)};
        c->desc.n_in = 2;
        const float mean[3] = {123.675F, 116.28F, 103.53F};
        const float std[3] = {58.395F, 57.12F, 57.375F};
        memcpy(c->desc.attrs.norm_mean, mean, sizeof mean);
        memcpy(c->desc.attrs.norm_std, std, sizeof std);
        c->desc.attrs.norm_scale_range = i > N_UPDATES;
        return true;
    }
    begin(c, EDT_OP_OPTIMIZER, i, 2e-6);
    edt_optimizer_attrs *a = &c->desc.attrs.optimizer;
    *a = (edt_optimizer_attrs){
        .kind = (edt_optimizer_kind)(i % 3),
        .segments = segments,
        .n_segments = sizeof segments / sizeof segments[0],
        .momentum = 0.9,
        .beta2 = 0.999,
        .epsilon = 1e-7,
        .clip = i / 3 % 2 == 0 ? 0 : 4,
        .weight_decay = 4e-2,
        .l2_includes_frozen = i % 2 == 0,
    };
    const bool ema = i / 6 % 2 == 1;
    const bool scaled = i / 12 == 1;
    const bool adam = a->kind == EDT_OPTIMIZER_ADAM;
    for (int j = 0; j < (ema || scaled ? 5 : adam ? 4 : 3); ++j) {
        add_in(c, f32(edt_shape_1(512)));
    }
    if (!adam) {
        c->desc.in[3].dtype = EDT_DTYPE_NONE;
    }
    if (!ema) {
        c->desc.in[4].dtype = EDT_DTYPE_NONE;
    }
    if (scaled) {
        add_in(c, f32(edt_shape_1(2)));
    }
    describe(c, " kind %d%s%s%s", (int)a->kind, a->clip > 0 ? " clip" : "", ema ? " ema" : "",
             scaled ? " scaled" : "");
    return true;
}

bool edt_op_case_get(int i, edt_op_case *out_case)
{
    static bool (*const groups[])(int, edt_op_case *) = {
        conv_case, bn_case,   sync_bn_case, cast_case,         map_case,  sample_case,
        fuse_case, loss_case, update_case,  segmentation_case, chain_case};
    for (size_t g = 0; g < sizeof groups / sizeof groups[0]; ++g) {
        int n = 0;
        if (groups[g](i, out_case)) {
            return true;
        }
        while (groups[g](n, out_case)) {
            ++n;
        }
        i -= n;
    }
    return false;
}
