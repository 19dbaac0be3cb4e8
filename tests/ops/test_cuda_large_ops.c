// Depthwise convolutions, losses and the update on CUDA where several blocks, tiles, chunks and
// pieces take part, which the small cases of op_cases.h do not reach.
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/cuda_device.h"
#include "tests/support/op_cases.h"

static edt_tensor_desc f32(edt_shape shape)
{
    return (edt_tensor_desc){EDT_DTYPE_F32, shape};
}

static edt_op_case begin(edt_op_kind kind, const char *name, double tolerance)
{
    edt_op_case c = {.tolerance = tolerance, .seed = 77};
    c.desc.kind = kind;
    c.desc.n_out = 1;
    (void)strncpy(c.name, name, sizeof c.name - 1);
    return c;
}

static void add_in(edt_op_case *c, edt_tensor_desc t)
{
    c->desc.in[c->desc.n_in++] = t;
}

static void compare(edt_backend *backend, const edt_op_case *c, edt_dtype real)
{
    edt_error err = {0};
    edt_op_report report;
    cr_expect_eq(edt_op_compare_typed(backend, c, real, &err, &report), EDT_OK, "%s", err.text);
}

Test(cuda_large_ops, depthwise_over_many_blocks, .timeout = 300)
{
    // n, h, w, c, k, s: several channel, column and row blocks; chunks of several rows.
    static const int64_t shapes[][6] = {
        {2, 37, 41, 72, 5, 1}, {1, 66, 130, 24, 3, 2}, {3, 33, 30, 136, 5, 2},
        {1, 9, 1030, 8, 3, 1}, {1, 40, 300, 3, 3, 1},
    };
    edt_backend *backend = edt_test_cuda_backend();
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; ++i) {
        const int64_t *d = shapes[i];
        const int k = (int)d[4];
        const int s = (int)d[5];
        const edt_conv_attrs conv = {.kh = k, .kw = k, .sh = s, .sw = s};
        const edt_shape x = edt_shape_4(d[0], d[1], d[2], d[3]);
        const edt_shape y =
            edt_shape_4(d[0], edt_same_out(d[1], s), edt_same_out(d[2], s), d[3]);
        const edt_shape w = edt_shape_4(k, k, d[3], 1);
        const edt_dtype real = i % 2 == 0 ? EDT_DTYPE_F32 : EDT_DTYPE_BF16;
        edt_op_case forward = begin(EDT_OP_DEPTHWISE, "depthwise", 5e-6);
        add_in(&forward, f32(x));
        add_in(&forward, f32(w));
        edt_op_case data = begin(EDT_OP_DEPTHWISE_DATA, "depthwise_data", 5e-6);
        add_in(&data, f32(y));
        add_in(&data, f32(w));
        data.desc.attrs.out_shape = x;
        edt_op_case weight = begin(EDT_OP_DEPTHWISE_WEIGHT, "depthwise_weight", 5e-6);
        add_in(&weight, f32(x));
        add_in(&weight, f32(y));
        weight.desc.attrs.accumulate = i % 2 == 1;
        forward.desc.attrs.conv = data.desc.attrs.conv = weight.desc.attrs.conv = conv;
        compare(backend, &forward, real);
        compare(backend, &data, real);
        compare(backend, &weight, real);
    }
    edt_backend_destroy(&backend);
}

Test(cuda_large_ops, losses_over_many_tiles, .timeout = 300)
{
    edt_backend *backend = edt_test_cuda_backend();
    static const int64_t classes[] = {90, 1, 3};
    for (int i = 0; i < 3; ++i) {
        edt_op_case focal = begin(EDT_OP_FOCAL_LOSS, "focal_loss", 5e-6);
        const int64_t h = i == 0 ? 19 : 61;
        const int64_t n_anchors = 9 * h * 17 + 40;
        focal.desc.attrs.loss = (edt_loss_attrs){.alpha = 0.25,
                                                 .gamma = 1.5,
                                                 .num_classes = classes[i],
                                                 .anchors_per_cell = 9,
                                                 .anchor_offset = 13};
        add_in(&focal, f32(edt_shape_4(3, h, 17, 9 * classes[i])));
        add_in(&focal, (edt_tensor_desc){EDT_DTYPE_I32, edt_shape_2(3, n_anchors)});
        add_in(&focal, f32(edt_shape_1(1)));
        focal.desc.n_out = 2;
        compare(backend, &focal, i == 0 ? EDT_DTYPE_BF16 : EDT_DTYPE_F32);
    }
    edt_op_case box = begin(EDT_OP_BOX_LOSS, "box_loss", 5e-6);
    box.desc.attrs.loss =
        (edt_loss_attrs){.delta = 0.1, .weight = 50, .anchors_per_cell = 9, .anchor_offset = 5};
    add_in(&box, f32(edt_shape_4(2, 40, 30, 36)));
    add_in(&box, f32(edt_shape_3(2, 40 * 30 * 9 + 7, 4)));
    add_in(&box, f32(edt_shape_1(1)));
    box.desc.n_out = 2;
    compare(backend, &box, EDT_DTYPE_F32);
    compare(backend, &box, EDT_DTYPE_F16);
    edt_backend_destroy(&backend);
}

// Two long segments, hundreds of short ones, some at odd places: pieces, warps and tails.
enum { N_SEGMENTS = 300 };

static int64_t make_segments(edt_param_segment *segments)
{
    int64_t offset = 0;
    for (int i = 0; i < N_SEGMENTS; ++i) {
        const int64_t n = i == 4 ? 50001 : i == 9 ? 16384 : i == 11 ? 300007 : 1 + 37 * i % 91;
        segments[i] = (edt_param_segment){.offset = offset,
                                          .n = n,
                                          .update = i % 5 != 3,
                                          .decay = i % 3 != 0,
                                          .average = i % 7 != 0};
        offset += i % 2 == 0 ? n : (n + 15) / 16 * 16;
    }
    return offset;
}

static edt_op_case update_case(const edt_param_segment *segments, int64_t n, int kind)
{
    edt_op_case c = begin(EDT_OP_OPTIMIZER, "optimizer", 2e-6);
    c.desc.attrs.optimizer = (edt_optimizer_attrs){.kind = (edt_optimizer_kind)kind,
                                                   .segments = segments,
                                                   .n_segments = N_SEGMENTS,
                                                   .momentum = 0.9,
                                                   .beta2 = 0.999,
                                                   .epsilon = 1e-7,
                                                   .clip = 4,
                                                   .weight_decay = 4e-2,
                                                   .l2_includes_frozen = kind == 1};
    for (int i = 0; i < 5; ++i) {
        add_in(&c, f32(edt_shape_1(n)));
    }
    add_in(&c, f32(edt_shape_1(2)));
    if (c.desc.attrs.optimizer.kind != EDT_OPTIMIZER_ADAM) {
        c.desc.in[3].dtype = EDT_DTYPE_NONE;
    }
    return c;
}

Test(cuda_large_ops, update_over_many_segments_and_pieces, .timeout = 300)
{
    edt_backend *backend = edt_test_cuda_backend();
    static edt_param_segment segments[N_SEGMENTS];
    const int64_t n = make_segments(segments);
    for (int kind = 0; kind < 3; ++kind) {
        const edt_op_case c = update_case(segments, n, kind);
        compare(backend, &c, EDT_DTYPE_F32);
    }
    edt_backend_destroy(&backend);
}

Test(cuda_large_ops, a_gradient_that_is_not_finite_changes_the_scale_only, .timeout = 120)
{
    edt_backend *backend = edt_test_cuda_backend();
    static edt_param_segment segments[N_SEGMENTS];
    const int64_t n = make_segments(segments);
    const float bad[] = {NAN, INFINITY};
    for (int i = 0; i < 2; ++i) {
        edt_op_case c = update_case(segments, n, EDT_OPTIMIZER_ADAM);
        edt_error err = {0};
        cr_assert_eq(edt_op_infer(&c.desc, &err), EDT_OK, "%s", err.text);
        void *in[6];
        float *before[6];
        for (int j = 0; j < 6; ++j) {
            const size_t n_bytes = edt_tensor_bytes(&c.desc.in[j]);
            in[j] = calloc(1, n_bytes);
            before[j] = malloc(n_bytes);
        }
        edt_op_fill(&c.desc, 5, in);
        ((float *)in[1])[segments[4].offset + 40000] = bad[i];
        ((float *)in[5])[0] = 1024;
        ((float *)in[5])[1] = 17;
        for (int j = 0; j < 6; ++j) {
            memcpy(before[j], in[j], edt_tensor_bytes(&c.desc.in[j]));
        }
        float stats[EDT_OPTIMIZER_STATS];
        void *const out[] = {stats};
        const edt_run_ctx ctx = {.learning_rate = 0.1, .ema_decay = 0.9, .adam_t = 2};
        cr_assert_eq(edt_op_execute(backend, &c.desc, &ctx, in, out, &err), EDT_OK, "%s",
                     err.text);
        for (int j = 0; j < 5; ++j) {
            cr_expect(j == 1 || memcmp(in[j], before[j], (size_t)n * sizeof(float)) == 0,
                      "input %d", j);
        }
        cr_expect_eq(((float *)in[5])[0], 512);
        cr_expect_eq(((float *)in[5])[1], 0);
        cr_expect_eq(stats[EDT_OPTIMIZER_STAT_FINITE], 0);
        cr_expect(isnan(stats[EDT_OPTIMIZER_STAT_NORM]));
        for (int j = 0; j < 6; ++j) {
            free(in[j]);
            free(before[j]);
        }
    }
    edt_backend_destroy(&backend);
}
