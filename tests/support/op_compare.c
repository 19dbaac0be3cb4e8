// See op_compare.h.
#include "tests/support/op_compare.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "backend/ref/ref_cast.h"

typedef struct device_operands {
    void *in[EDT_OP_MAX_IN];
    void *out[EDT_OP_MAX_OUT];
    void *workspace;
} device_operands;

static edt_status upload(edt_backend *backend, const edt_tensor_desc *desc, const void *host,
                         edt_error *err, void **out_block)
{
    if (host == NULL) {
        return EDT_OK;
    }
    const size_t n_bytes = edt_tensor_bytes(desc);
    EDT_TRY(backend->table->alloc(backend, EDT_MEM_MISC, n_bytes, err, out_block));
    return backend->table->upload(backend, *out_block, host, n_bytes, err);
}

edt_status edt_op_execute(edt_backend *backend, const edt_op_desc *desc, const edt_run_ctx *ctx,
                          void *const *in, void *const *out, edt_error *err)
{
    const edt_backend_table *table = backend->table;
    const uint32_t inout = edt_op_get_info(desc->kind)->inout_mask;
    edt_status status = EDT_OK;
    edt_kernel *kernel = NULL;
    size_t workspace_bytes = 0;
    device_operands device = {0};
    EDT_TRY_GOTO(table->supports(backend, desc, err));
    EDT_TRY_GOTO(table->prepare(backend, desc, err, &kernel, &workspace_bytes));
    if (workspace_bytes > 0) {
        EDT_TRY_GOTO(
            table->alloc(backend, EDT_MEM_WORKSPACE, workspace_bytes, err, &device.workspace));
    }
    for (int i = 0; i < desc->n_in; ++i) {
        EDT_TRY_GOTO(upload(backend, &desc->in[i], in[i], err, &device.in[i]));
    }
    for (int i = 0; i < desc->n_out; ++i) {
        EDT_TRY_GOTO(upload(backend, &desc->out[i], out[i], err, &device.out[i]));
    }
    if (table->begin != NULL) {
        EDT_TRY_GOTO(table->begin(backend, ctx, err));
    }
    EDT_TRY_GOTO(
        table->run(backend, kernel, ctx, device.in, device.out, device.workspace, err));
    EDT_TRY_GOTO(table->synchronize(backend, err));
    for (int i = 0; i < desc->n_in; ++i) {
        if ((inout >> i & 1) != 0 && in[i] != NULL) {
            EDT_TRY_GOTO(table->download(backend, in[i], device.in[i],
                                         edt_tensor_bytes(&desc->in[i]), err));
        }
    }
    for (int i = 0; i < desc->n_out; ++i) {
        if (out[i] != NULL) {
            EDT_TRY_GOTO(table->download(backend, out[i], device.out[i],
                                         edt_tensor_bytes(&desc->out[i]), err));
        }
    }
fail:
    for (int i = 0; i < EDT_OP_MAX_IN; ++i) {
        table->free(backend, device.in[i]);
    }
    for (int i = 0; i < EDT_OP_MAX_OUT; ++i) {
        table->free(backend, device.out[i]);
    }
    table->free(backend, device.workspace);
    if (kernel != NULL) {
        table->release(backend, kernel);
    }
    return status;
}

// Type of input i, f32 in a case, where activations are `real` (backend/op.h).
static edt_dtype input_dtype(const edt_op_desc *desc, int i, edt_dtype real)
{
    const edt_dtype wide = edt_dtype_wide(real);
    const int n_in = desc->n_in;
    const int scale = desc->attrs.loss.scaled ? 1 : 0;
    switch (desc->kind) {
    case EDT_OP_BN_STATS:
    case EDT_OP_BN_TRAIN:
    case EDT_OP_BN_INFER:
    case EDT_OP_BN_APPLY:
    case EDT_OP_DROP_CONNECT: return i == 0 ? real : wide;
    case EDT_OP_BN_TRAIN_BWD: return i < 2 || i > 5 ? real : wide;
    case EDT_OP_BN_BWD_STATS:
    case EDT_OP_BN_BWD_APPLY:
    case EDT_OP_BN_INFER_BWD: return i < 2 ? real : wide;
    case EDT_OP_CONV2D_BN_ACT:
    case EDT_OP_DEPTHWISE_BN_ACT: return i < 2 || i > 5 ? real : wide;
    case EDT_OP_CONV2D_DEPTHWISE_BN_ACT: return i < 2 || i == 6 ? real : wide;
    case EDT_OP_FUSE: return i < desc->attrs.fuse_n ? real : wide;
    case EDT_OP_FUSE_BWD: return i <= desc->attrs.fuse_n ? real : wide;
    case EDT_OP_SRELU: return i == 0 ? real : wide;
    case EDT_OP_SRELU_BWD: return i < 2 ? real : wide;
    case EDT_OP_SEGMENTATION_LOSS:
    case EDT_OP_FOCAL_LOSS:
    case EDT_OP_BOX_LOSS: return i == 0 ? real : i == 3 ? EDT_DTYPE_F32 : wide;
    case EDT_OP_IOU_LOSS:
        return i < n_in - 3 - scale ? real : i < n_in - scale ? wide : EDT_DTYPE_F32;
    case EDT_OP_OPTIMIZER: return i == 5 ? EDT_DTYPE_F32 : wide;
    default: return real;
    }
}

edt_status edt_op_retype(const edt_op_desc *desc, edt_dtype real, edt_error *err,
                         edt_op_desc *out_desc)
{
    edt_op_desc typed = *desc;
    for (int i = 0; i < typed.n_in; ++i) {
        if (typed.in[i].dtype == EDT_DTYPE_F32) {
            typed.in[i].dtype = input_dtype(desc, i, real);
        }
    }
    typed.attrs.norm_dtype = real;
    EDT_TRY(edt_op_infer(&typed, err));
    *out_desc = typed;
    return EDT_OK;
}

// One run of a case: its operands on the host, filled and then overwritten by the results.
typedef struct case_run {
    edt_op_desc desc;
    void *in[EDT_OP_MAX_IN];
    void *out[EDT_OP_MAX_OUT];
} case_run;

static void free_run(case_run *run)
{
    for (int i = 0; i < EDT_OP_MAX_IN; ++i) {
        edt_mem_free(run->in[i]);
    }
    for (int i = 0; i < EDT_OP_MAX_OUT; ++i) {
        edt_mem_free(run->out[i]);
    }
}

static edt_status allocate(const edt_tensor_desc *desc, edt_error *err, void **out_block)
{
    *out_block = edt_mem_calloc(EDT_MEM_MISC, 1, edt_tensor_bytes(desc));
    if (*out_block == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for an operand");
    }
    return EDT_OK;
}

// Outputs start from the same arbitrary values everywhere, so that a missing write and a wrong
// `accumulate` both show.
static void prefill_out(const edt_tensor_desc *desc, void *to)
{
    const int64_t n = edt_shape_count(&desc->shape);
    for (int64_t i = 0; i < n; ++i) {
        const double value = 0.25 + 0.125 * (double)(i % 5);
        edt_ref_real_put(desc->dtype, to, i, value);
    }
}

static edt_status alloc_run(const edt_op_case *op_case, edt_dtype real, edt_error *err,
                            case_run *run)
{
    EDT_TRY(edt_op_retype(&op_case->desc, real, err, &run->desc));
    for (int i = 0; i < run->desc.n_in; ++i) {
        if (run->desc.in[i].dtype != EDT_DTYPE_NONE) {
            EDT_TRY(allocate(&run->desc.in[i], err, &run->in[i]));
        }
    }
    for (int i = 0; i < run->desc.n_out; ++i) {
        if ((op_case->absent_out >> i & 1) == 0) {
            EDT_TRY(allocate(&run->desc.out[i], err, &run->out[i]));
            prefill_out(&run->desc.out[i], run->out[i]);
        }
    }
    return EDT_OK;
}

// The same numbers in the other's types, which hold them exactly.
static void widen_inputs(const case_run *from, case_run *to)
{
    for (int i = 0; i < from->desc.n_in; ++i) {
        const edt_tensor_desc *t = &from->desc.in[i];
        if (from->in[i] == NULL) {
            continue;
        }
        if (t->dtype == to->desc.in[i].dtype) {
            memcpy(to->in[i], from->in[i], edt_tensor_bytes(t));
            continue;
        }
        for (int64_t k = 0; k < edt_shape_count(&t->shape); ++k) {
            edt_ref_real_put(to->desc.in[i].dtype, to->in[i], k,
                             edt_ref_real_get(t->dtype, from->in[i], k));
        }
    }
}

static edt_status execute_run(edt_backend *backend, case_run *run, edt_error *err)
{
    static const edt_run_ctx ctx = {
        .params_version = 0, .learning_rate = 0.05, .ema_decay = 0.9, .adam_t = 3};
    return edt_op_execute(backend, &run->desc, &ctx, run->in, run->out, err);
}

static double value_at(const edt_tensor_desc *desc, const void *from, int64_t i)
{
    switch (desc->dtype) {
    case EDT_DTYPE_U8: return ((const uint8_t *)from)[i];
    default: return edt_ref_real_get(desc->dtype, from, i);
    }
}

// Largest difference of `got` to `want` relative to the largest of `want`.
static double relative_error(const edt_tensor_desc *want_desc, const void *want,
                             const edt_tensor_desc *got_desc, const void *got,
                             int64_t *out_index, double *out_largest)
{
    const int64_t n = edt_shape_count(&want_desc->shape);
    double largest = 0;
    double worst = 0;
    *out_index = 0;
    for (int64_t i = 0; i < n; ++i) {
        const double w = value_at(want_desc, want, i);
        const double difference = fabs(value_at(got_desc, got, i) - w);
        largest = fmax(largest, fabs(w));
        if (!(difference <= worst)) { // a NaN is the worst
            worst = isnan(difference) ? INFINITY : difference;
            *out_index = i;
        }
    }
    *out_largest = fmax(largest, 1e-30);
    return worst == 0 ? 0 : worst / *out_largest;
}

// What rounding a result to its type may change, relative to the largest. A convolution may
// round twice: libraries store the sums of products in the result's type before what follows
// them.
static double rounding_of(edt_op_kind kind, edt_dtype dtype, double largest)
{
    const double n = kind == EDT_OP_CONV2D || kind == EDT_OP_CONV2D_BN_ACT ? 2 : 1;
    switch (dtype) {
    case EDT_DTYPE_BF16: return n * 0x1p-8;
    case EDT_DTYPE_F16: return n * (0x1p-11 + 0x1p-25 / largest);
    default: return 0;
    }
}

typedef struct comparison {
    const edt_op_case *op_case;
    edt_dtype real;
    const case_run *exact, *ref, *got;
    edt_op_report report;
} comparison;

static edt_status compare_operand(comparison *c, bool is_out, int i, edt_error *err)
{
    const edt_tensor_desc *got_desc = is_out ? &c->got->desc.out[i] : &c->got->desc.in[i];
    const edt_tensor_desc *exact_desc = is_out ? &c->exact->desc.out[i] : &c->exact->desc.in[i];
    const void *got = is_out ? c->got->out[i] : c->got->in[i];
    const void *ref = is_out ? c->ref->out[i] : c->ref->in[i];
    const void *exact = is_out ? c->exact->out[i] : c->exact->in[i];
    if (got == NULL) {
        return EDT_OK;
    }
    const edt_tensor_desc *ref_desc = is_out ? &c->ref->desc.out[i] : &c->ref->desc.in[i];
    const bool real = c->op_case->desc.kind != EDT_OP_CAST && got_desc->dtype != EDT_DTYPE_U8;
    const edt_tensor_desc *want_desc = real ? exact_desc : ref_desc;
    const void *want = real ? exact : ref;
    double largest;
    int64_t index;
    const double error = relative_error(want_desc, want, got_desc, got, &index, &largest);
    int64_t ref_index;
    const double ref_error =
        relative_error(want_desc, want, ref_desc, ref, &ref_index, &largest);
    const double allowed = real ? c->op_case->tolerance + rounding_of(c->op_case->desc.kind,
                                                                      got_desc->dtype, largest)
                                : 0;
    c->report.ref_worst = fmax(c->report.ref_worst, ref_error);
    if (error > c->report.worst) {
        c->report.worst = error;
        c->report.worst_operand = is_out ? i : EDT_OP_MAX_OUT + i;
    }
    if (error > allowed) {
        char text[EDT_SHAPE_TEXT_BYTES];
        EDT_FAIL(
            err, EDT_ERR_MISMATCH,
            "case %s in %s: %s %d %s differs most at %" PRId64
            ": %.9g, want %.9g; relative to the largest value %.3g, allowed %.3g (the float "
            "reference: %.3g)",
            c->op_case->name, edt_dtype_name(c->real), is_out ? "output" : "updated input", i,
            edt_shape_text(&got_desc->shape, text), index, value_at(got_desc, got, index),
            value_at(want_desc, want, index), error, allowed, ref_error);
    }
    return EDT_OK;
}

static edt_status compare_all(comparison *c, edt_error *err)
{
    const edt_op_kind kind = c->op_case->desc.kind;
    const uint32_t inout = edt_op_get_info(kind)->inout_mask;
    for (int i = 0; i < c->got->desc.n_out; ++i) {
        EDT_TRY(compare_operand(c, true, i, err));
    }
    for (int i = 0; i < c->got->desc.n_in; ++i) {
        const bool unspecified = kind == EDT_OP_OPTIMIZER && i == 1; // the gradients
        if ((inout >> i & 1) != 0 && !unspecified) {
            EDT_TRY(compare_operand(c, false, i, err));
        }
    }
    return EDT_OK;
}

edt_status edt_op_compare_typed(edt_backend *backend, const edt_op_case *op_case,
                                edt_dtype real, edt_error *err, edt_op_report *out_report)
{
    edt_status status = EDT_OK;
    edt_backend *ref = NULL;
    case_run exact = {0};
    case_run ref_float = {0};
    case_run got = {0};
    // The reference has all types for casts and two for everything else.
    const edt_dtype ref_real = op_case->desc.kind == EDT_OP_CAST ? real : EDT_DTYPE_F32;
    EDT_TRY(edt_backend_ref_create(err, &ref));
    EDT_TRY_GOTO(alloc_run(op_case, EDT_DTYPE_F64, err, &exact));
    EDT_TRY_GOTO(alloc_run(op_case, ref_real, err, &ref_float));
    EDT_TRY_GOTO(alloc_run(op_case, real, err, &got));
    edt_op_fill(&got.desc, op_case->seed, got.in);
    widen_inputs(&got, &exact);
    widen_inputs(&got, &ref_float);
    EDT_TRY_GOTO(execute_run(backend, &got, err));
    EDT_TRY_GOTO(execute_run(ref, &exact, err));
    EDT_TRY_GOTO(execute_run(ref, &ref_float, err));
    comparison c = {
        .op_case = op_case, .real = real, .exact = &exact, .ref = &ref_float, .got = &got};
    EDT_TRY_GOTO(compare_all(&c, err));
    *out_report = c.report;
fail:
    free_run(&exact);
    free_run(&ref_float);
    free_run(&got);
    edt_backend_destroy(&ref);
    return status;
}

edt_status edt_op_compare(edt_backend *backend, const edt_op_case *op_case, edt_error *err,
                          edt_op_report *out_report)
{
    return edt_op_compare_typed(backend, op_case, EDT_DTYPE_F32, err, out_report);
}
