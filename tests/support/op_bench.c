// See op_bench.h.
#include "tests/support/op_bench.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "tests/support/op_compare.h"

enum { MAX_ELEMENTS = 4096 };
#define TOLERANCE 1e-6

static edt_backend *ref;

void op_bench_setup(void)
{
    edt_error err = {0};
    cr_assert_eq(edt_backend_ref_create(&err, &ref), EDT_OK);
}

void op_bench_teardown(void)
{
    edt_backend_destroy(&ref);
}

edt_backend *op_bench_backend(void)
{
    return ref;
}

op_bench op_bench_make(const edt_op_desc *desc, uint64_t seed)
{
    edt_error err = {0};
    op_bench b = {0};
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

void op_bench_drop(op_bench *b)
{
    for (int i = 0; i < EDT_OP_MAX_IN; ++i) {
        edt_mem_free(b->in[i]);
    }
    for (int i = 0; i < EDT_OP_MAX_OUT; ++i) {
        edt_mem_free(b->out[i]);
    }
}

void op_bench_run(op_bench *b)
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

void op_bench_copy_in(op_bench *to, int i, const void *from)
{
    memcpy(to->in[i], from, edt_tensor_bytes(&to->desc.in[i]));
}

// sum over output 0 of dy * y
static double project(op_bench *forward, const double *dy)
{
    op_bench_run(forward);
    const double *y = forward->out[0];
    double sum = 0;
    for (int64_t i = 0; i < edt_shape_count(&forward->desc.out[0].shape); ++i) {
        sum += dy[i] * y[i];
    }
    return sum;
}

void op_bench_check(op_bench *forward, const double *dy, int j, const double *analytic,
                    double scale, const char *what)
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

edt_tensor_desc op_bench_real(int64_t n, int64_t h, int64_t w, int64_t c)
{
    return (edt_tensor_desc){EDT_DTYPE_F64, edt_shape_4(n, h, w, c)};
}

edt_tensor_desc op_bench_vector(int64_t n)
{
    return (edt_tensor_desc){EDT_DTYPE_F64, edt_shape_1(n)};
}

edt_op_desc op_bench_desc(edt_op_kind kind, int n_out)
{
    edt_op_desc desc = {.kind = kind, .n_out = n_out};
    desc.attrs.bn = (edt_bn_attrs){.epsilon = 1e-3, .momentum = 0.99};
    return desc;
}

void op_bench_add_in(edt_op_desc *desc, edt_tensor_desc t)
{
    desc->in[desc->n_in++] = t;
}

void op_bench_check_accumulate(op_bench *backward, int first_param, const char *what)
{
    op_bench twice = *backward;
    double saved[EDT_OP_MAX_OUT][64];
    for (int i = 0; i < twice.desc.n_out; ++i) {
        memcpy(saved[i], twice.out[i],
               sizeof(double) *
                   (size_t)fmin(64, (double)edt_shape_count(&twice.desc.out[i].shape)));
    }
    twice.desc.attrs.accumulate = true;
    op_bench_run(&twice);
    for (int i = 0; i < twice.desc.n_out; ++i) {
        const double factor = i >= first_param ? 2 : 1;
        const double *now = twice.out[i];
        for (int64_t k = 0; k < 64 && k < edt_shape_count(&twice.desc.out[i].shape); ++k) {
            cr_assert_float_eq(now[k], factor * saved[i][k], 1e-12 * (1 + fabs(now[k])),
                               "%s: output %d with accumulate", what, i);
        }
    }
}
