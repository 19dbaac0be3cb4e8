// What the comparison with ref (test_cuda_ops.c) does not reach of convolutions on CUDA: batch
// norm folded again when parameters change, recorded and replayed; TF32; algorithms chosen
// by measuring; batches gathered in parts.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "core/plugin.h"
#include "tests/support/cuda_device.h"
#include "tests/support/op_cases.h"

static bool is_dense(edt_op_kind kind)
{
    return kind == EDT_OP_CONV2D || kind == EDT_OP_CONV2D_DATA ||
           kind == EDT_OP_CONV2D_WEIGHT || kind == EDT_OP_CONV2D_BN_ACT;
}

// Compares the dense cases of a kind (EDT_OP_N_KINDS: all) with ref; returns the worst error.
static double compare(edt_backend *backend, edt_op_kind kind, edt_dtype real, double tolerance)
{
    edt_op_case c;
    double worst = 0;
    int n_cases = 0;
    for (int i = 0; edt_op_case_get(i, &c); i++) {
        if (is_dense(c.desc.kind) && (kind == EDT_OP_N_KINDS || c.desc.kind == kind)) {
            edt_op_report report = {0};
            edt_error err = {0};
            c.tolerance = tolerance;
            cr_expect_eq(edt_op_compare_typed(backend, &c, real, &err, &report), EDT_OK, "%s",
                         err.text);
            worst = report.worst > worst ? report.worst : worst;
            n_cases++;
        }
    }
    cr_assert_gt(n_cases, 0);
    return worst;
}

static edt_backend *open_backend(bool tf32, bool deterministic)
{
    edt_backend *backend = edt_test_cuda_backend(); // skips the test where there is no device
    edt_backend_destroy(&backend);
    const edt_backend_options options = {.tf32 = tf32, .deterministic = deterministic};
    edt_error err = {0};
    cr_assert_eq(edt_backend_create("cuda", &options, &err, &backend), EDT_OK, "%s", err.text);
    return backend;
}

Test(cuda_conv, tf32_rounds_factors_and_nothing_else, .timeout = 600)
{
    edt_backend *backend = open_backend(true, true);
    const double worst = compare(backend, EDT_OP_CONV2D, EDT_DTYPE_F32, 0x1p-9);
    cr_expect_gt(worst, 0x1p-16, "products were not rounded: %g", worst);
    edt_backend_destroy(&backend);
}

Test(cuda_conv, products_agree_with_ref_where_their_algorithms_are_measured, .timeout = 600)
{
    cr_assert_eq(setenv("EDT_CUDA_MEASURE", "1", 1), 0);
    edt_backend *backend = open_backend(false, false);
    (void)compare(backend, EDT_OP_CONV2D_WEIGHT, EDT_DTYPE_F32, 5e-6);
    (void)compare(backend, EDT_OP_CONV2D_WEIGHT, EDT_DTYPE_BF16, 5e-6);
    edt_backend_destroy(&backend);
}

// So large that the windows of a batch are gathered in parts.
static edt_op_case large_case(edt_op_kind kind)
{
    const edt_shape x = edt_shape_4(5, 560, 560, 3);
    const edt_shape y = edt_shape_4(5, 280, 280, 4);
    const edt_dtype real = EDT_DTYPE_F32;
    edt_op_case c = {.name = "large", .tolerance = 5e-6, .seed = 3};
    c.desc.kind = kind;
    c.desc.n_out = 1;
    c.desc.attrs.conv = (edt_conv_attrs){.kh = 3, .kw = 3, .sh = 2, .sw = 2};
    c.desc.in[c.desc.n_in++] = (edt_tensor_desc){real, x};
    if (kind == EDT_OP_CONV2D_WEIGHT) {
        c.desc.in[c.desc.n_in++] = (edt_tensor_desc){real, y};
        c.desc.attrs.accumulate = true;
        return c;
    }
    c.desc.in[c.desc.n_in++] = (edt_tensor_desc){real, edt_shape_4(3, 3, 3, 4)};
    while (c.desc.n_in < 6) {
        c.desc.in[c.desc.n_in++] = (edt_tensor_desc){real, edt_shape_1(4)};
    }
    c.desc.attrs.bn = (edt_bn_attrs){.epsilon = 1e-3, .momentum = 0.99};
    c.desc.in[c.desc.n_in++] = (edt_tensor_desc){real, y};
    c.desc.attrs.conv.has_residual = true;
    return c;
}

static void compare_large(edt_op_kind kind)
{
    edt_backend *backend = edt_test_cuda_backend();
    const edt_op_case c = large_case(kind);
    edt_op_report report = {0};
    edt_error err = {0};
    cr_expect_eq(edt_op_compare_typed(backend, &c, EDT_DTYPE_BF16, &err, &report), EDT_OK, "%s",
                 err.text);
    edt_backend_destroy(&backend);
}

Test(cuda_conv, a_stem_with_residual_gathered_in_parts, .timeout = 600)
{
    compare_large(EDT_OP_CONV2D_BN_ACT);
}

Test(cuda_conv, a_weight_gradient_gathered_in_parts_accumulates, .timeout = 600)
{
    compare_large(EDT_OP_CONV2D_WEIGHT);
}

// A CONV2D_BN_ACT on the device with its operands.
enum { N_IN = 6, CI = 8, CO = 16, PIXELS = 12 };

typedef struct folded {
    edt_backend *backend;
    edt_kernel *kernel;
    void *workspace;
    void *in[N_IN], *out[1];
    float y[PIXELS * CO];
} folded;

static void put(folded *f, int i, int64_t n, float first, float step)
{
    float values[CI * CO * 9];
    edt_error err = {0};
    for (int64_t k = 0; k < n; k++) {
        values[k] = first + step * (float)(k % 7);
    }
    cr_assert_eq(f->backend->table->upload(f->backend, f->in[i], values,
                                           (size_t)n * sizeof(float), &err),
                 EDT_OK, "%s", err.text);
}

static void open_folded(folded *f, int kernel_size)
{
    const edt_dtype real = EDT_DTYPE_F32;
    const edt_shape channels = edt_shape_1(CO);
    edt_error err = {0};
    size_t n_bytes = 0;
    *f = (folded){.backend = edt_test_cuda_backend()};
    edt_op_desc desc = {.kind = EDT_OP_CONV2D_BN_ACT, .n_in = N_IN, .n_out = 1};
    desc.attrs.conv = (edt_conv_attrs){.kh = kernel_size, .kw = kernel_size, .sh = 1, .sw = 1};
    desc.attrs.bn = (edt_bn_attrs){.epsilon = 1e-3, .momentum = 0.99, .act = EDT_ACT_SWISH};
    desc.in[0] = (edt_tensor_desc){real, edt_shape_4(1, 3, PIXELS / 3, CI)};
    desc.in[1] = (edt_tensor_desc){real, edt_shape_4(kernel_size, kernel_size, CI, CO)};
    for (int i = 2; i < N_IN; i++) {
        desc.in[i] = (edt_tensor_desc){real, channels};
    }
    cr_assert_eq(edt_op_infer(&desc, &err), EDT_OK, "%s", err.text);
    const edt_backend_table *table = f->backend->table;
    cr_assert_eq(table->prepare(f->backend, &desc, &err, &f->kernel, &n_bytes), EDT_OK, "%s",
                 err.text);
    cr_assert_eq(table->alloc(f->backend, EDT_MEM_WORKSPACE, n_bytes + 1, &err, &f->workspace),
                 EDT_OK);
    for (int i = 0; i < N_IN; i++) {
        cr_assert_eq(table->alloc(f->backend, EDT_MEM_PARAM, edt_tensor_bytes(&desc.in[i]),
                                  &err, &f->in[i]),
                     EDT_OK);
        put(f, i, edt_shape_count(&desc.in[i].shape), 0.25F, 0.125F);
    }
    cr_assert_eq(table->alloc(f->backend, EDT_MEM_ACTIVATION, sizeof f->y, &err, &f->out[0]),
                 EDT_OK);
}

static void close_folded(folded *f)
{
    const edt_backend_table *table = f->backend->table;
    for (int i = 0; i < N_IN; i++) {
        table->free(f->backend, f->in[i]);
    }
    table->free(f->backend, f->out[0]);
    table->free(f->backend, f->workspace);
    table->release(f->backend, f->kernel);
    edt_backend_destroy(&f->backend);
}

static void queue(folded *f, uint64_t version)
{
    edt_error err = {0};
    const edt_run_ctx ctx = {.params_version = version};
    cr_assert_eq(
        f->backend->table->run(f->backend, f->kernel, &ctx, f->in, f->out, f->workspace, &err),
        EDT_OK, "%s", err.text);
}

static void fetch(folded *f)
{
    edt_error err = {0};
    cr_assert_eq(f->backend->table->download(f->backend, f->y, f->out[0], sizeof f->y, &err),
                 EDT_OK, "%s", err.text);
}

static float first_of(folded *f, uint64_t version)
{
    queue(f, version);
    fetch(f);
    return f->y[0];
}

static void check_refolding(int kernel_size)
{
    folded f;
    open_folded(&f, kernel_size);
    const float before = first_of(&f, 1);
    put(&f, 2, CO, 3.0F, 0.5F); // gamma
    cr_expect_eq(first_of(&f, 1), before, "the same version is not folded again");
    const float after = first_of(&f, 2);
    cr_expect_neq(after, before, "another version is");
    put(&f, 3, CO, 1.0F, 0.5F); // beta
    cr_expect_neq(first_of(&f, 0), after, "version 0 always is");
    close_folded(&f);
}

Test(cuda_conv, batch_norm_is_folded_again_for_another_version, .timeout = 60)
{
    check_refolding(1);
    check_refolding(3);
}

Test(cuda_conv, folding_that_was_recorded_is_replayed_and_not_taken_for_done, .timeout = 60)
{
    folded f;
    edt_error err = {0};
    edt_capture *capture = NULL;
    open_folded(&f, 1);
    const edt_stream_table *streams = f.backend->table->streams;
    const float before = first_of(&f, 1);
    put(&f, 2, CO, 3.0F, 0.5F);
    cr_assert_eq(streams->capture_begin(f.backend, &err), EDT_OK, "%s", err.text);
    queue(&f, 2);
    cr_assert_eq(streams->capture_end(f.backend, &err, &capture), EDT_OK, "%s", err.text);
    const float after = first_of(&f, 2);
    cr_expect_neq(after, before, "a run after recording folds, since nothing has been yet");
    put(&f, 2, CO, 5.0F, 0.25F);
    cr_assert_eq(streams->replay(f.backend, capture, &err), EDT_OK, "%s", err.text);
    fetch(&f);
    cr_expect_neq(f.y[0], after, "a replay folds what it finds");
    streams->capture_destroy(f.backend, capture);
    close_folded(&f);
}
