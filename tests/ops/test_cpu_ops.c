// The cpu backend against `ref`, op by op: all cases of op_cases.h with every instruction set
// that this processor runs and with one and two threads; repeatability; repacking of weights.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "backend/cpu/cpu_priv.h"
#include "backend/ref/ref_cast.h"
#include "tests/support/op_cases.h"

static const char *const variants[] = {"avx512_bf16", "avx512", "avx2", "base"};
enum { N_VARIANTS = sizeof(variants) / sizeof(variants[0]) };

static void compare_all(const char *variant, int n_threads, edt_dtype real)
{
    edt_error err = {0};
    edt_backend *backend = NULL;
    const edt_status status =
        edt_cpu_backend_create_variant(n_threads, variant, &err, &backend);
    if (status == EDT_ERR_UNSUPPORTED) {
        cr_log_warn("skipped: %s", err.text);
        return;
    }
    cr_assert_eq(status, EDT_OK, "%s", err.text);
    edt_op_case op_case;
    int n_failed = 0;
    for (int i = 0; edt_op_case_get(i, &op_case); i++) {
        if (real != EDT_DTYPE_F32 && op_case.desc.kind == EDT_OP_CONV2D_DEPTHWISE_BN_ACT) {
            continue; // rounds between its parts, whose bits it gives: see below
        }
        edt_op_report report = {0};
        err = (edt_error){0};
        if (edt_op_compare_typed(backend, &op_case, real, &err, &report) != EDT_OK) {
            n_failed++;
            cr_log_error("%s, %d threads: %s", variant, n_threads, err.text);
        }
    }
    cr_assert_eq(n_failed, 0, "%d cases differ from ref", n_failed);
    edt_backend_destroy(&backend);
}

// The f32 kernels of the first variant are those of the second.
Test(cpu_ops, agree_with_ref_on_one_thread, .timeout = 300)
{
    for (int v = 1; v < N_VARIANTS; v++) {
        compare_all(variants[v], 1, EDT_DTYPE_F32);
    }
}

Test(cpu_ops, agree_with_ref_on_two_threads, .timeout = 300)
{
    for (int v = 1; v < N_VARIANTS; v++) {
        compare_all(variants[v], 2, EDT_DTYPE_F32);
    }
}

Test(cpu_ops, agree_with_ref_on_more_threads_than_rows, .timeout = 300)
{
    compare_all(variants[N_VARIANTS - 1], 5, EDT_DTYPE_F32);
    compare_all(variants[N_VARIANTS - 1], 5, EDT_DTYPE_BF16);
}

Test(cpu_ops, agree_with_ref_in_bf16, .timeout = 300)
{
    for (int v = 0; v < N_VARIANTS; v++) {
        compare_all(variants[v], 2, EDT_DTYPE_BF16);
    }
}

// A 4-d f32 operand.
static edt_tensor_desc real4(int64_t n, int64_t h, int64_t w, int64_t c)
{
    return (edt_tensor_desc){.dtype = EDT_DTYPE_F32, .shape = edt_shape_4(n, h, w, c)};
}

static edt_tensor_desc real1(int64_t n)
{
    return (edt_tensor_desc){.dtype = EDT_DTYPE_F32, .shape = edt_shape_1(n)};
}

static void compare_one(edt_backend *backend, edt_op_case *op_case, edt_dtype real)
{
    edt_error err = {0};
    edt_op_report report = {0};
    cr_expect_eq(edt_op_compare_typed(backend, op_case, real, &err, &report), EDT_OK, "%s",
                 err.text);
}

// Channel counts of the networks and odd ones, on a map that is odd too: tails of vectors,
// panels of one, two and three vectors, columns at the border.
static void compare_channels(edt_backend *backend, int64_t ci, int64_t co, edt_dtype real)
{
    edt_op_case c = {.tolerance = 2e-5, .seed = 7};
    edt_op_desc *d = &c.desc;
    d->attrs.bn = (edt_bn_attrs){.epsilon = 1e-3, .momentum = 0.99, .act = EDT_ACT_SWISH};
    d->attrs.conv = (edt_conv_attrs){.kh = 1, .kw = 1, .sh = 1, .sw = 1};
    d->kind = EDT_OP_CONV2D;
    d->n_in = 3;
    d->n_out = 1;
    d->in[0] = real4(2, 7, 5, ci);
    d->in[1] = real4(1, 1, ci, co);
    d->in[2] = real1(co);
    (void)snprintf(c.name, sizeof(c.name), "conv %d to %d", (int)ci, (int)co);
    compare_one(backend, &c, real);
    d->kind = EDT_OP_CONV2D_BN_ACT;
    d->n_in = 8;
    d->attrs.conv.has_bias = true;
    d->attrs.conv.has_residual = true;
    for (int i = 2; i < 7; i++) {
        d->in[i] = real1(co);
    }
    d->in[7] = real4(2, 7, 5, co);
    (void)snprintf(c.name, sizeof(c.name), "fused conv %d to %d", (int)ci, (int)co);
    compare_one(backend, &c, real);
    d->kind = EDT_OP_CONV2D_DATA;
    d->n_in = 2;
    d->in[0] = real4(2, 7, 5, co);
    d->attrs.out_shape = edt_shape_4(2, 7, 5, ci);
    (void)snprintf(c.name, sizeof(c.name), "conv gradient %d from %d", (int)ci, (int)co);
    compare_one(backend, &c, real);
    d->kind = EDT_OP_CONV2D_WEIGHT;
    d->n_out = 2;
    d->in[0] = real4(2, 29, 23, ci); // more rows than a block has, and odd
    d->in[1] = real4(2, 29, 23, co);
    d->attrs.out_shape = (edt_shape){0};
    (void)snprintf(c.name, sizeof(c.name), "conv weights %d to %d", (int)ci, (int)co);
    compare_one(backend, &c, real);
    for (int k = 3; k <= 5; k += 2) {
        for (int s = 1; s <= 2; s++) {
            const edt_op_kind kinds[] = {EDT_OP_DEPTHWISE, EDT_OP_DEPTHWISE_DATA,
                                         EDT_OP_DEPTHWISE_WEIGHT};
            for (int i = 0; i < 3; i++) {
                const edt_tensor_desc x = real4(2, 14, 21, ci);
                const edt_tensor_desc y =
                    real4(2, edt_same_out(14, s), edt_same_out(21, s), ci);
                *d = (edt_op_desc){.kind = kinds[i], .n_in = 2, .n_out = 1};
                d->attrs.conv = (edt_conv_attrs){.kh = k, .kw = k, .sh = s, .sw = s};
                d->in[0] = kinds[i] == EDT_OP_DEPTHWISE_DATA ? y : x;
                d->in[1] = kinds[i] == EDT_OP_DEPTHWISE_WEIGHT ? y : real4(k, k, ci, 1);
                if (kinds[i] == EDT_OP_DEPTHWISE_DATA) {
                    d->attrs.out_shape = x.shape;
                }
                (void)snprintf(c.name, sizeof(c.name), "%s of %d channels, %dx%d stride %d",
                               edt_op_get_info(kinds[i])->name, (int)ci, k, k, s);
                compare_one(backend, &c, real);
            }
        }
    }
}

Test(cpu_ops, odd_and_real_channel_counts_agree_with_ref, .timeout = 300)
{
    static const int64_t counts[][2] = {{3, 17},   {17, 40},  {16, 96}, {40, 240},
                                        {112, 36}, {320, 64}, {64, 90}, {5, 810}};
    for (int v = 0; v < N_VARIANTS; v++) {
        edt_error err = {0};
        edt_backend *backend = NULL;
        if (edt_cpu_backend_create_variant(2, variants[v], &err, &backend) != EDT_OK) {
            continue;
        }
        for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
            // The first variant differs in bf16, the others in f32.
            compare_channels(backend, counts[i][0], counts[i][1],
                             v == 0 ? EDT_DTYPE_BF16 : EDT_DTYPE_F32);
        }
        edt_backend_destroy(&backend);
    }
}

// Squeeze and excitation's gate inside the product: two images, odd counts of channels, last
// vectors of less than half, half and more.
Test(cpu_ops, gated_convolutions_agree_with_ref, .timeout = 60)
{
    static const int64_t counts[][2] = {{144, 24}, {17, 7}, {33, 16}, {40, 27}, {6, 40}};
    for (int v = 0; v < 2 * N_VARIANTS; v++) {
        edt_error err = {0};
        edt_backend *backend = NULL;
        if (edt_cpu_backend_create_variant(2, variants[v / 2], &err, &backend) != EDT_OK) {
            continue;
        }
        for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
            const int64_t ci = counts[i][0];
            const int64_t co = counts[i][1];
            edt_op_case c = {.tolerance = 2e-5, .seed = 11};
            edt_op_desc *d = &c.desc;
            *d = (edt_op_desc){.kind = EDT_OP_CONV2D_BN_ACT, .n_out = 1};
            d->attrs.bn = (edt_bn_attrs){.epsilon = 1e-3, .momentum = 0.99};
            d->attrs.conv = (edt_conv_attrs){.kh = 1, .kw = 1, .sh = 1, .sw = 1};
            d->attrs.conv.has_bias = i % 2 == 1;
            d->attrs.conv.has_gate = true;
            d->attrs.conv.has_residual = i < 3;
            d->in[d->n_in++] = real4(2, 14, 13, ci);
            d->in[d->n_in++] = real4(1, 1, ci, co);
            while (d->n_in < (i % 2 == 1 ? 7 : 6)) {
                d->in[d->n_in++] = real1(co);
            }
            d->in[d->n_in++] = real4(2, 1, 1, ci);
            if (i < 3) {
                d->in[d->n_in++] = real4(2, 14, 13, co);
            }
            (void)snprintf(c.name, sizeof(c.name), "gated conv %d to %d", (int)ci, (int)co);
            compare_one(backend, &c, v % 2 == 0 ? EDT_DTYPE_F32 : EDT_DTYPE_BF16);
        }
        edt_backend_destroy(&backend);
    }
}

// A convolution of x (n images of h x w) and a depthwise one of k x k: in one and apart. The
// first is 1x1, or the stem's.
static void compare_chain(edt_backend *backend, edt_dtype real, bool stem, int64_t n, int64_t h,
                          int64_t w, int k, int stride)
{
    enum { CO = 37, N_IN = 11 };
    const int64_t ci = stem ? 3 : 5;
    const int first = stem ? 3 : 1;
    const int first_stride = stem ? 2 : 1;
    edt_error err = {0};
    edt_op_desc f32 = {.kind = EDT_OP_CONV2D_DEPTHWISE_BN_ACT, .n_in = N_IN, .n_out = 2};
    f32.attrs.bn = (edt_bn_attrs){.epsilon = 1e-3, .momentum = 0.99, .act = EDT_ACT_SWISH};
    f32.attrs.first_conv =
        (edt_conv_attrs){.kh = first, .kw = first, .sh = first_stride, .sw = first_stride};
    f32.attrs.conv = (edt_conv_attrs){.kh = k, .kw = k, .sh = stride, .sw = stride};
    f32.in[0] = real4(n, h, w, ci);
    f32.in[1] = real4(first, first, ci, CO);
    for (int i = 2; i < N_IN; i++) {
        f32.in[i] = i == 6 ? real4(k, k, CO, 1) : real1(CO);
    }
    edt_op_desc chain;
    edt_op_desc parts[2];
    cr_assert_eq(edt_op_retype(&f32, real, &err, &chain), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_op_chain_parts(&chain, &err, &parts[0], &parts[1]), EDT_OK, "%s",
                 err.text);
    void *in[N_IN];
    for (int i = 0; i < N_IN; i++) {
        in[i] = edt_mem_alloc(EDT_MEM_MISC, edt_tensor_bytes(&chain.in[i]));
    }
    edt_op_fill(&chain, 11, in);
    void *got[2];
    void *want[2];
    for (int i = 0; i < 2; i++) {
        got[i] = edt_mem_calloc(EDT_MEM_MISC, 1, edt_tensor_bytes(&chain.out[i]));
        want[i] = edt_mem_calloc(EDT_MEM_MISC, 1, edt_tensor_bytes(&chain.out[i]));
    }
    void *between = edt_mem_alloc(EDT_MEM_MISC, edt_tensor_bytes(&parts[0].out[0]));
    void *const second_in[6] = {between, in[6], in[7], in[8], in[9], in[10]};
    const edt_run_ctx ctx = {.params_version = 1};
    cr_assert_eq(edt_op_execute(backend, &chain, &ctx, in, got, &err), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_op_execute(backend, &parts[0], &ctx, in, &between, &err), EDT_OK, "%s",
                 err.text);
    cr_assert_eq(edt_op_execute(backend, &parts[1], &ctx, second_in, want, &err), EDT_OK, "%s",
                 err.text);
    for (int i = 0; i < 2; i++) {
        cr_expect_eq(memcmp(got[i], want[i], edt_tensor_bytes(&chain.out[i])), 0,
                     "output %d of %d x %d x %d, %dx%d stride %d, %d threads, %s%s", i, (int)n,
                     (int)h, (int)w, k, k, stride, backend->n_threads, edt_dtype_name(real),
                     stem ? ", stem" : "");
        edt_mem_free(got[i]);
        edt_mem_free(want[i]);
    }
    for (int i = 0; i < N_IN; i++) {
        edt_mem_free(in[i]);
    }
    edt_mem_free(between);
}

// Threads that begin inside an image, end in the next one and meet in one window; rings that
// wrap; windows wider than the image is high.
Test(cpu_ops, two_convolutions_in_one_give_the_bits_of_the_two, .timeout = 60)
{
    static const int64_t sizes[][3] = {{1, 40, 150}, {3, 11, 70}, {2, 3, 300}, {1, 1, 1}};
    for (int n_threads = 1; n_threads <= 5; n_threads += 2) {
        edt_error err = {0};
        edt_backend *backend = NULL;
        cr_assert_eq(edt_backend_cpu_create(n_threads, &err, &backend), EDT_OK, "%s", err.text);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            for (int k = 1; k <= 5; k += 2) {
                for (int s = 1; s <= 2; s++) {
                    for (int j = 0; j < 4; j++) {
                        compare_chain(backend, j % 2 == 0 ? EDT_DTYPE_F32 : EDT_DTYPE_BF16,
                                      j < 2, sizes[i][0], sizes[i][1], sizes[i][2], k, s);
                    }
                }
            }
        }
        edt_backend_destroy(&backend);
    }
}

// Several images, whose gates differ, on maps that threads cut within an image; the last is too
// large for its dz to be stored.
Test(cpu_ops, batch_norm_behind_a_gate_agrees_with_ref, .timeout = 60)
{
    static const int64_t shapes[][4] = {
        {3, 5, 7, 33}, {2, 1, 1, 16}, {5, 3, 2, 70}, {3, 33, 31, 8}, {2, 129, 127, 70}};
    for (int v = 0; v < N_VARIANTS; v++) {
        edt_error err = {0};
        edt_backend *backend = NULL;
        if (edt_cpu_backend_create_variant(2, variants[v], &err, &backend) != EDT_OK) {
            continue;
        }
        const size_t n_shapes = sizeof(shapes) / sizeof(shapes[0]) - (v == 1 ? 0 : 1);
        for (size_t i = 0; i < 2 * n_shapes; i++) {
            const int64_t *s = shapes[i / 2];
            edt_op_case c = {.tolerance = 1e-5, .seed = 11 + i};
            edt_op_desc *d = &c.desc;
            d->kind = EDT_OP_BN_TRAIN_BWD;
            d->attrs.bn = (edt_bn_attrs){.epsilon = 1e-3,
                                         .act = i % 2 == 0 ? EDT_ACT_SWISH : EDT_ACT_NONE};
            d->n_in = 8;
            d->n_out = 3;
            for (int k = 0; k < 8; k++) {
                d->in[k] = k < 2   ? real4(s[0], s[1], s[2], s[3])
                           : k < 6 ? real1(s[3])
                                   : real4(s[0], 1, 1, s[3]);
            }
            (void)snprintf(c.name, sizeof(c.name), "%s, gated shape %d", variants[v],
                           (int)(i / 2));
            // The first variant differs in bf16, the others in f32.
            compare_one(backend, &c, v == 0 ? EDT_DTYPE_BF16 : EDT_DTYPE_F32);
        }
        edt_backend_destroy(&backend);
    }
}

Test(cpu_ops, the_same_inputs_give_the_same_bits, .timeout = 60)
{
    edt_error err = {0};
    edt_backend *backend = NULL;
    cr_assert_eq(edt_backend_cpu_create(2, &err, &backend), EDT_OK, "%s", err.text);
    edt_op_desc desc = {.kind = EDT_OP_DEPTHWISE_WEIGHT, .n_in = 2, .n_out = 1};
    desc.attrs.conv = (edt_conv_attrs){.kh = 5, .kw = 5, .sh = 1, .sw = 1};
    desc.in[0] = real4(2, 33, 31, 24);
    desc.in[1] = real4(2, 33, 31, 24);
    cr_assert_eq(edt_op_infer(&desc, &err), EDT_OK, "%s", err.text);
    const size_t n = 2 * 33 * 31 * 24;
    float *x = edt_mem_alloc(EDT_MEM_MISC, n * sizeof(float));
    float *dy = edt_mem_alloc(EDT_MEM_MISC, n * sizeof(float));
    void *const in[2] = {x, dy};
    edt_op_fill(&desc, 3, in);
    const edt_run_ctx ctx = {.params_version = 1};
    float first[25 * 24];
    float again[25 * 24];
    for (int i = 0; i < 20; i++) {
        void *const out[1] = {i == 0 ? first : again};
        cr_assert_eq(edt_op_execute(backend, &desc, &ctx, in, out, &err), EDT_OK, "%s",
                     err.text);
        cr_assert(i == 0 || memcmp(first, again, sizeof(first)) == 0, "run %d differs", i);
    }
    edt_mem_free(x);
    edt_mem_free(dy);
    edt_backend_destroy(&backend);
}

// One prepared fused convolution; only the weights change between the runs.
Test(cpu_ops, packed_weights_follow_the_version, .timeout = 60)
{
    enum { CI = 5, CO = 19 };
    edt_error err = {0};
    edt_backend *backend = NULL;
    cr_assert_eq(edt_backend_cpu_create(1, &err, &backend), EDT_OK, "%s", err.text);
    for (int k = 1; k <= 3; k += 2) {
        edt_op_desc desc = {.kind = EDT_OP_CONV2D_BN_ACT, .n_in = 6, .n_out = 1};
        desc.attrs.conv = (edt_conv_attrs){.kh = k, .kw = k, .sh = 1, .sw = 1};
        desc.attrs.bn.epsilon = 1e-3;
        desc.in[0] = real4(1, 1, 1, CI);
        desc.in[1] = real4(k, k, CI, CO);
        for (int i = 2; i < 6; i++) {
            desc.in[i] = real1(CO);
        }
        cr_assert_eq(edt_op_infer(&desc, &err), EDT_OK, "%s", err.text);
        float x[CI];
        float w[9 * CI * CO];
        float bn[4][CO];
        float y[CO];
        void *const in[6] = {x, w, bn[0], bn[1], bn[2], bn[3]};
        void *const out[1] = {y};
        edt_op_fill(&desc, 5, in);
        memset(bn[1], 0, sizeof(bn[1]));
        memset(bn[2], 0, sizeof(bn[2]));
        edt_kernel *kernel = NULL;
        size_t workspace_bytes = 0;
        cr_assert_eq(backend->table->prepare(backend, &desc, &err, &kernel, &workspace_bytes),
                     EDT_OK, "%s", err.text);
        void *workspace = edt_mem_alloc(EDT_MEM_MISC, workspace_bytes);
        const int64_t n_before = edt_mem_get_total().n_total;
        const uint64_t versions[] = {1, 2, 0, 0};
        float last = 0;
        for (int i = 0; i < 4; i++) {
            const edt_run_ctx ctx = {.params_version = versions[i]};
            cr_assert_eq(backend->table->run(backend, kernel, &ctx, in, out, workspace, &err),
                         EDT_OK, "%s", err.text);
            if (i > 0) {
                cr_expect_float_eq(y[CO - 1], 2 * last, 1e-5f * (1 + fabsf(last)),
                                   "run %d, %dx%d", i, k, k);
            }
            last = y[CO - 1];
            for (int j = 0; j < k * k * CI * CO; j++) {
                w[j] *= 2;
            }
        }
        cr_expect_eq(edt_mem_get_total().n_total, n_before, "a run allocated memory");
        edt_mem_free(workspace);
        backend->table->release(backend, kernel);
    }
    edt_backend_destroy(&backend);
}

static void cast(edt_backend *backend, edt_dtype from, edt_dtype to, int64_t n, void *x,
                 void *y)
{
    edt_error err = {0};
    edt_op_desc desc = {.kind = EDT_OP_CAST, .n_in = 1, .n_out = 1};
    desc.attrs.cast_dtype = to;
    desc.in[0] = (edt_tensor_desc){from, edt_shape_1(n)};
    cr_assert_eq(edt_op_infer(&desc, &err), EDT_OK, "%s", err.text);
    const edt_run_ctx ctx = {0};
    cr_assert_eq(edt_op_execute(backend, &desc, &ctx, &x, &y, &err), EDT_OK, "%s", err.text);
}

// Every 16-bit pattern widened; narrowed: every pattern's value, its neighbours in f32, the
// middle between it and the next and the middle's neighbours.
Test(cpu_ops, casts_agree_with_ref_on_every_16_bit_pattern, .timeout = 120)
{
    enum { N = 1 << 16, N_NEAR = 6 };
    static const edt_dtype types[2] = {EDT_DTYPE_BF16, EDT_DTYPE_F16};
    static uint16_t patterns[N];
    static float wide[N];
    static float near[N * N_NEAR];
    static uint16_t got[N * N_NEAR];
    for (int i = 0; i < N; i++) {
        patterns[i] = (uint16_t)i;
    }
    for (int v = 0; v < N_VARIANTS; v++) {
        edt_error err = {0};
        edt_backend *backend = NULL;
        if (edt_cpu_backend_create_variant(2, variants[v], &err, &backend) != EDT_OK) {
            continue;
        }
        for (int t = 0; t < 2; t++) {
            cast(backend, types[t], EDT_DTYPE_F32, N, patterns, wide);
            for (int i = 0; i < N; i++) {
                const double want = edt_ref_real_get(types[t], patterns, i);
                cr_assert(isnan(want)
                              ? isnan(wide[i])
                              : (double)wide[i] == want && !signbit(wide[i]) == !signbit(want),
                          "%s %s: pattern %04x gives %g, want %g", variants[v],
                          edt_dtype_name(types[t]), (unsigned)i, (double)wide[i], want);
                const float next = wide[(i + 1) % N];
                const float middle = 0.5F * wide[i] + 0.5F * next;
                float *to = near + i * N_NEAR;
                to[0] = wide[i];
                to[1] = nextafterf(wide[i], INFINITY);
                to[2] = nextafterf(wide[i], -INFINITY);
                to[3] = middle;
                to[4] = nextafterf(middle, INFINITY);
                to[5] = nextafterf(middle, -INFINITY);
            }
            cast(backend, EDT_DTYPE_F32, types[t], (int64_t)N * N_NEAR, near, got);
            for (int i = 0; i < N * N_NEAR; i++) {
                uint16_t want;
                edt_ref_real_put(types[t], &want, 0, (double)near[i]);
                cr_assert_eq(got[i], want, "%s %s: %a gives %04x, want %04x", variants[v],
                             edt_dtype_name(types[t]), (double)near[i], (unsigned)got[i],
                             (unsigned)want);
            }
        }
        edt_backend_destroy(&backend);
    }
}

// A gradient that is not finite: nothing moves but the loss scale.
Test(cpu_ops, a_scaled_gradient_that_is_not_finite_halves_the_scale, .timeout = 60)
{
    enum { N = 40 };
    static const edt_param_segment segment = {.n = N, .update = true, .average = true};
    edt_error err = {0};
    edt_backend *backend = NULL;
    cr_assert_eq(edt_backend_cpu_create(1, &err, &backend), EDT_OK, "%s", err.text);
    edt_op_desc desc = {.kind = EDT_OP_OPTIMIZER, .n_in = 6, .n_out = 1};
    desc.attrs.optimizer = (edt_optimizer_attrs){
        .segments = &segment, .n_segments = 1, .momentum = 0.9, .clip = 1};
    for (int i = 0; i < 5; i++) {
        desc.in[i] = real1(N);
    }
    desc.in[3].dtype = EDT_DTYPE_NONE;
    desc.in[5] = real1(2);
    cr_assert_eq(edt_op_infer(&desc, &err), EDT_OK, "%s", err.text);
    float arenas[5][N];
    float scale[2];
    float stats[EDT_OPTIMIZER_STATS];
    void *const in[6] = {arenas[0], arenas[1], arenas[2], NULL, arenas[4], scale};
    void *const out[1] = {stats};
    edt_op_fill(&desc, 1, in);
    float before[5][N];
    memcpy(before, arenas, sizeof before);
    arenas[1][17] = INFINITY;
    const edt_run_ctx ctx = {.learning_rate = 0.1, .ema_decay = 0.5};
    cr_assert_eq(edt_op_execute(backend, &desc, &ctx, in, out, &err), EDT_OK, "%s", err.text);
    cr_expect_eq(stats[EDT_OPTIMIZER_STAT_FINITE], 0);
    cr_expect(scale[0] == 512 && scale[1] == 0, "{%g, %g}", (double)scale[0], (double)scale[1]);
    for (int i = 0; i < 5; i += 2) {
        cr_expect_eq(memcmp(arenas[i], before[i], sizeof before[i]), 0, "operand %d moved", i);
    }
    edt_backend_destroy(&backend);
}

// Statistics of values far from the origin that they are taken from: 1000 +- 0.01 around 0,
// where float squares alone would have no digit left.
Test(cpu_ops, statistics_do_not_depend_on_how_far_the_origin_is, .timeout = 60)
{
    enum { ROWS = 777, C = 21 };
    static float x[ROWS * C];
    double exact[2][C] = {{0}};
    for (int i = 0; i < ROWS * C; i++) {
        x[i] = 1000 + 0.01F * (float)sin(i * 0.7 + i % C);
        const double d = (double)x[i] - 1000;
        exact[0][i % C] += d / ROWS;
        exact[1][i % C] += d * d / ROWS;
    }
    float mm[C] = {0};
    for (int v = 0; v < N_VARIANTS; v++) {
        edt_error err = {0};
        edt_backend *backend = NULL;
        if (edt_cpu_backend_create_variant(2, variants[v], &err, &backend) != EDT_OK) {
            continue;
        }
        edt_op_desc desc = {.kind = EDT_OP_BN_STATS, .n_in = 2, .n_out = 1};
        desc.in[0] = real4(3, 7, 37, C);
        desc.in[1] = real1(C);
        cr_assert_eq(edt_op_infer(&desc, &err), EDT_OK, "%s", err.text);
        double sums[2 * C];
        void *const in[2] = {x, mm};
        void *const out[1] = {sums};
        cr_assert_eq(edt_op_execute(backend, &desc, &(edt_run_ctx){0}, in, out, &err), EDT_OK,
                     "%s", err.text);
        for (int c = 0; c < C; c++) {
            const double mean = sums[c] / ROWS;
            const double var = sums[C + c] / ROWS - mean * mean;
            const double want = exact[1][c] - exact[0][c] * exact[0][c];
            cr_expect_float_eq(mean - 1000, exact[0][c], 1e-9, "%s: mean %.9g", variants[v],
                               mean);
            cr_expect_float_eq(var, want, 2e-5 * want, "%s: variance %.9g, want %.9g",
                               variants[v], var, want);
        }
        edt_backend_destroy(&backend);
    }
}

// A map of half a million columns: the float sums of a block stay small, and the rest is
// double.
Test(cpu_ops, depthwise_weight_gradients_of_large_maps_keep_their_digits, .timeout = 60)
{
    enum { H = 512, W = 512, N = 2, C = 4 };
    edt_error err = {0};
    edt_backend *backend = NULL;
    cr_assert_eq(edt_backend_cpu_create(1, &err, &backend), EDT_OK, "%s", err.text);
    edt_op_desc desc = {.kind = EDT_OP_DEPTHWISE_WEIGHT, .n_in = 2, .n_out = 1};
    desc.attrs.conv = (edt_conv_attrs){.kh = 1, .kw = 1, .sh = 1, .sw = 1};
    desc.in[0] = real4(N, H, W, C);
    desc.in[1] = real4(N, H, W, C);
    cr_assert_eq(edt_op_infer(&desc, &err), EDT_OK, "%s", err.text);
    const size_t n = (size_t)N * H * W * C;
    float *x = edt_mem_alloc(EDT_MEM_MISC, n * sizeof(float));
    float *dy = edt_mem_alloc(EDT_MEM_MISC, n * sizeof(float));
    double want[C] = {0};
    for (size_t i = 0; i < n; i++) {
        x[i] = 1 + 0.001F * (float)(i % 97);
        dy[i] = 1 + 0.003F * (float)(i % 31);
        want[i % C] += (double)x[i] * (double)dy[i];
    }
    float dw[C];
    void *const in[2] = {x, dy};
    void *const out[1] = {dw};
    cr_assert_eq(edt_op_execute(backend, &desc, &(edt_run_ctx){0}, in, out, &err), EDT_OK, "%s",
                 err.text);
    for (int c = 0; c < C; c++) {
        cr_expect_float_eq((double)dw[c], want[c], 1e-6 * want[c], "%.9g, want %.9g",
                           (double)dw[c], want[c]);
    }
    edt_mem_free(x);
    edt_mem_free(dy);
    edt_backend_destroy(&backend);
}

// One logit that is no number, of a class other than the pixel's: kernels that find the largest
// by comparison step over it.
Test(cpu_ops, a_logit_that_is_no_number_shows_in_the_loss_over_pixels, .timeout = 60)
{
    enum { K = 7 };
    edt_error err = {0};
    edt_backend *backend = NULL;
    cr_assert_eq(edt_backend_cpu_create(1, &err, &backend), EDT_OK, "%s", err.text);
    edt_op_desc desc = {.kind = EDT_OP_SEGMENTATION_LOSS, .n_in = 3, .n_out = 2};
    desc.in[0] = (edt_tensor_desc){EDT_DTYPE_F32, edt_shape_4(1, 1, 2, K)};
    desc.in[1] = (edt_tensor_desc){EDT_DTYPE_I32, edt_shape_3(1, 1, 2)};
    desc.in[2] = real1(1);
    cr_assert_eq(edt_op_infer(&desc, &err), EDT_OK, "%s", err.text);
    for (int bad = 0; bad < K; bad++) {
        float logits[2 * K] = {0}, norm = 2, loss = 0, gradient[2 * K];
        int32_t mask[2] = {0, (bad + 1) % K};
        logits[K + bad] = NAN;
        void *const in[3] = {logits, mask, &norm};
        void *const out[2] = {&loss, gradient};
        const edt_run_ctx ctx = {0};
        cr_assert_eq(edt_op_execute(backend, &desc, &ctx, in, out, &err), EDT_OK, "%s",
                     err.text);
        cr_expect(isnan(loss), "class %d: %g", bad, (double)loss);
        cr_expect(isnan(gradient[K + bad]) && isfinite(gradient[bad]), "class %d", bad);
    }
    edt_backend_destroy(&backend);
}
