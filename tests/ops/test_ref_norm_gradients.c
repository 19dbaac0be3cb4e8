// Gradients of batch norm on the reference backend, as in test_ref_gradients.c, and those of
// its form over several ranks against it.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/op_bench.h"
#include "tests/support/op_compare.h"

TestSuite(ref_norm_gradients, .init = op_bench_setup, .fini = op_bench_teardown,
          .timeout = 120);

static void bn_gradients(bool batch, const int64_t *d, edt_act act, uint64_t seed)
{
    char what[96];
    (void)snprintf(what, sizeof what, "bn %s %ldx%ldx%ldx%ld %s", batch ? "train" : "infer",
                   (long)d[0], (long)d[1], (long)d[2], (long)d[3], edt_act_name(act));
    const edt_tensor_desc x = op_bench_real(d[0], d[1], d[2], d[3]);
    edt_op_desc forward =
        op_bench_desc(batch ? EDT_OP_BN_TRAIN : EDT_OP_BN_INFER, batch ? 3 : 1);
    forward.attrs.bn.act = act;
    edt_op_desc backward = op_bench_desc(batch ? EDT_OP_BN_TRAIN_BWD : EDT_OP_BN_INFER_BWD, 3);
    backward.attrs.bn.act = act;
    op_bench_add_in(&forward, x);
    op_bench_add_in(&backward, x);
    op_bench_add_in(&backward, x);
    for (int i = 0; i < 4; ++i) {
        op_bench_add_in(&forward, op_bench_vector(d[3]));
        op_bench_add_in(&backward, op_bench_vector(d[3]));
    }
    op_bench f = op_bench_make(&forward, seed);
    op_bench b = op_bench_make(&backward, seed + 1);
    double *gamma = f.in[1];
    gamma[0] = 6; // so that the bounds of relu6 and hswish are passed
    op_bench_run(&f);
    op_bench_copy_in(&b, 1, f.in[0]);
    op_bench_copy_in(&b, 2, f.in[1]);
    op_bench_copy_in(&b, 3, f.in[2]);
    op_bench_copy_in(&b, 4, batch ? f.out[1] : f.in[3]);
    op_bench_copy_in(&b, 5, batch ? f.out[2] : f.in[4]);
    op_bench_run(&b);
    for (int i = 0; i < 3; ++i) {
        op_bench_check(&f, b.in[0], i, b.out[i], 1, what);
    }
    op_bench_check_accumulate(&b, 1, what);
    op_bench_drop(&f);
    op_bench_drop(&b);
}

Test(ref_norm_gradients, batch_norm_with_every_activation)
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
    op_bench stats, apply, bwd_stats, bwd_apply;
} rank_half;

static op_bench half_of(edt_op_kind kind, int n_out, const op_bench *whole, bool sums_first,
                        bool sums_last, int n_large)
{
    edt_op_desc desc = op_bench_desc(kind, n_out);
    desc.attrs.bn = whole->desc.attrs.bn;
    desc.attrs.bn.n_ranks = 2;
    edt_shape shape = whole->desc.in[0].shape;
    shape.dim[0] /= 2;
    const int64_t c = shape.dim[3];
    for (int i = 0; i < n_large; ++i) {
        op_bench_add_in(&desc, (edt_tensor_desc){EDT_DTYPE_F64, shape});
    }
    if (sums_first) {
        op_bench_add_in(&desc, op_bench_vector(2 * c));
    }
    for (int i = 0; i < (kind == EDT_OP_BN_STATS ? 1 : 4); ++i) {
        op_bench_add_in(&desc, op_bench_vector(c));
    }
    if (sums_last) {
        op_bench_add_in(&desc, op_bench_vector(2 * c));
    }
    return op_bench_make(&desc, 1);
}

// Half r of operand i of `whole` into operand j.
static void copy_half(op_bench *to, int j, const op_bench *whole, int i, int r)
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
    edt_op_desc forward = op_bench_desc(EDT_OP_BN_TRAIN, 3);
    forward.attrs.bn.act = act;
    forward.attrs.bn.biased_moving_variance = true;
    edt_op_desc backward = op_bench_desc(EDT_OP_BN_TRAIN_BWD, 3);
    backward.attrs = forward.attrs;
    op_bench_add_in(&forward, op_bench_real(d[0], d[1], d[2], d[3]));
    op_bench_add_in(&backward, forward.in[0]);
    op_bench_add_in(&backward, forward.in[0]);
    for (int i = 0; i < 4; ++i) {
        op_bench_add_in(&forward, op_bench_vector(d[3]));
        op_bench_add_in(&backward, op_bench_vector(d[3]));
    }
    const int64_t c = d[3];
    op_bench f = op_bench_make(&forward, seed);
    op_bench b = op_bench_make(&backward, seed + 1);
    rank_half half[2];
    double sums[2 * 64] = {0};
    for (int r = 0; r < 2; ++r) {
        half[r].stats = half_of(EDT_OP_BN_STATS, 1, &f, false, false, 1);
        copy_half(&half[r].stats, 0, &f, 0, r);
        op_bench_copy_in(&half[r].stats, 1, f.in[3]);
        op_bench_run(&half[r].stats);
        for (int64_t i = 0; i < 2 * c; ++i) {
            sums[i] += ((double *)half[r].stats.out[0])[i];
        }
    }
    // The moving statistics that the ops leave, which op_bench_run() puts back.
    double moving[3][2][64];
    for (int r = 0; r < 3; ++r) {
        op_bench *one = &f;
        const int first = r < 2 ? 2 : 1;
        if (r < 2) {
            one = &half[r].apply;
            *one = half_of(EDT_OP_BN_APPLY, 3, &f, true, false, 1);
            copy_half(one, 0, &f, 0, r);
            op_bench_copy_in(one, 1, sums);
            for (int i = 1; i < 5; ++i) {
                op_bench_copy_in(one, i + 1, f.in[i]);
            }
        }
        const edt_run_ctx ctx = {0};
        edt_error err = {0};
        double saved[2][64];
        for (int i = 0; i < 2; ++i) {
            memcpy(saved[i], one->in[first + 2 + i], (size_t)c * sizeof(double));
        }
        cr_assert_eq(
            edt_op_execute(op_bench_backend(), &one->desc, &ctx, one->in, one->out, &err),
            EDT_OK);
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

    op_bench_copy_in(&b, 1, f.in[0]);
    op_bench_copy_in(&b, 2, f.in[1]);
    op_bench_copy_in(&b, 3, f.in[2]);
    op_bench_copy_in(&b, 4, f.out[1]);
    op_bench_copy_in(&b, 5, f.out[2]);
    op_bench_run(&b);
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
            op_bench_copy_in(&half[r].bwd_stats, i, b.in[i]);
            op_bench_copy_in(&half[r].bwd_apply, i, b.in[i]);
        }
        op_bench_run(&half[r].bwd_stats);
        for (int64_t i = 0; i < c; ++i) {
            both[0][i] += ((double *)half[r].bwd_stats.out[1])[i];
            both[1][i] += ((double *)half[r].bwd_stats.out[2])[i];
        }
        for (int64_t i = 0; i < 2 * c; ++i) {
            sums[i] += ((double *)half[r].bwd_stats.out[0])[i];
        }
        op_bench_check_accumulate(&half[r].bwd_stats, 1, "bn_bwd_stats");
    }
    expect_close(both[0], b.out[1], c, "dgamma");
    expect_close(both[1], b.out[2], c, "dbeta");
    for (int r = 0; r < 2; ++r) {
        op_bench_copy_in(&half[r].bwd_apply, 6, sums);
        op_bench_run(&half[r].bwd_apply);
        expect_close(half[r].bwd_apply.out[0], (double *)b.out[0] + r * n_half, n_half, "dx");
        op_bench_drop(&half[r].stats);
        op_bench_drop(&half[r].apply);
        op_bench_drop(&half[r].bwd_stats);
        op_bench_drop(&half[r].bwd_apply);
    }
    op_bench_drop(&f);
    op_bench_drop(&b);
}

Test(ref_norm_gradients, synchronised_batch_norm_of_two_halves_is_that_of_the_whole)
{
    static const int64_t shapes[][4] = {{2, 3, 5, 4}, {4, 4, 4, 3}, {6, 2, 1, 7}};
    for (int i = 0; i < 3; ++i) {
        for (int act = EDT_ACT_NONE; act <= EDT_ACT_SIGMOID; ++act) {
            sync_bn(shapes[i], (edt_act)act, (uint64_t)(i * 100 + act));
        }
    }
}
