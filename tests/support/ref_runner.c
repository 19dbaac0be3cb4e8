// See ref_runner.h.
#include "tests/support/ref_runner.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "tests/support/op_compare.h"

static edt_backend *ref;

void ref_runner_setup(void)
{
    edt_error err = {0};
    cr_assert_eq(edt_backend_ref_create(&err, &ref), EDT_OK);
}

void ref_runner_teardown(void)
{
    edt_backend_destroy(&ref);
}

edt_backend *ref_runner_backend(void)
{
    return ref;
}

ref_runner *ref_runner_begin(edt_op_kind kind, int n_out)
{
    static ref_runner r;
    memset(&r, 0, sizeof r);
    r.desc.kind = kind;
    r.desc.n_out = n_out;
    r.desc.attrs.bn = (edt_bn_attrs){.epsilon = 1e-3, .momentum = 0.99};
    return &r;
}

void ref_runner_give_typed(ref_runner *r, edt_dtype dtype, edt_shape shape,
                           const double *values)
{
    r->desc.in[r->desc.n_in] = (edt_tensor_desc){dtype, shape};
    r->in[r->desc.n_in++] = values;
}

void ref_runner_give(ref_runner *r, edt_shape shape, const double *values)
{
    ref_runner_give_typed(r, EDT_DTYPE_F32, shape, values);
}

static void convert(edt_dtype dtype, int64_t n, const double *from, void *to)
{
    for (int64_t i = 0; i < n; ++i) {
        switch (dtype) {
        case EDT_DTYPE_F32: ((float *)to)[i] = (float)from[i]; break;
        case EDT_DTYPE_F64: ((double *)to)[i] = from[i]; break;
        case EDT_DTYPE_I32: ((int32_t *)to)[i] = (int32_t)from[i]; break;
        default: ((uint8_t *)to)[i] = (uint8_t)from[i]; break;
        }
    }
}

static void convert_back(edt_dtype dtype, int64_t n, const void *from, double *to)
{
    for (int64_t i = 0; i < n; ++i) {
        switch (dtype) {
        case EDT_DTYPE_F32: to[i] = (double)((const float *)from)[i]; break;
        case EDT_DTYPE_F64: to[i] = ((const double *)from)[i]; break;
        default: to[i] = ((const uint8_t *)from)[i]; break;
        }
    }
}

void ref_runner_run(ref_runner *r, edt_dtype real)
{
    static double in_room[EDT_OP_MAX_IN][REF_RUNNER_ROOM];
    static double out_room[EDT_OP_MAX_OUT][REF_RUNNER_ROOM];
    edt_error err = {0};
    edt_op_desc desc;
    void *in[EDT_OP_MAX_IN] = {0};
    void *out[EDT_OP_MAX_OUT] = {0};
    cr_assert_eq(edt_op_retype(&r->desc, real, &err, &desc), EDT_OK, "%s", err.text);
    for (int i = 0; i < desc.n_in; ++i) {
        if (r->in[i] != NULL) {
            convert(desc.in[i].dtype, edt_shape_count(&desc.in[i].shape), r->in[i], in_room[i]);
            in[i] = in_room[i];
        }
    }
    for (int i = 0; i < desc.n_out; ++i) {
        cr_assert_leq(edt_shape_count(&desc.out[i].shape), REF_RUNNER_ROOM);
        out[i] = out_room[i];
    }
    cr_assert_eq(edt_op_execute(ref, &desc, &r->ctx, in, out, &err), EDT_OK, "%s", err.text);
    for (int i = 0; i < desc.n_out; ++i) {
        convert_back(desc.out[i].dtype, edt_shape_count(&desc.out[i].shape), out[i], r->out[i]);
    }
    for (int i = 0; i < desc.n_in; ++i) {
        if (in[i] != NULL) {
            convert_back(desc.in[i].dtype, edt_shape_count(&desc.in[i].shape), in[i],
                         r->inout[i]);
        }
    }
}

void ref_runner_expect(const double *got, int n, const double *want, double tolerance,
                       const char *what)
{
    for (int i = 0; i < n; ++i) {
        cr_expect(fabs(got[i] - want[i]) <= tolerance * fmax(1, fabs(want[i])),
                  "%s[%d] is %.10g, want %.10g", what, i, got[i], want[i]);
    }
}
