// Shapes of convolutions on CUDA, without a device: matrix views, strides, paddings, launch
// geometry, also where counts pass 2^31.
#include "backend/cuda/cuda_conv_shapes.h"

#include <criterion/criterion.h>

static edt_op_desc conv_desc(edt_op_kind kind, edt_shape x, int64_t co, int k, int stride)
{
    edt_op_desc desc = {.kind = kind, .n_in = 2, .n_out = 1};
    edt_error err = {0};
    const edt_dtype real = EDT_DTYPE_BF16;
    const edt_shape y = edt_shape_4(x.dim[0], edt_same_out(x.dim[1], stride),
                                    edt_same_out(x.dim[2], stride), co);
    const edt_shape w = edt_shape_4(k, k, x.dim[3], co);
    desc.attrs.conv = (edt_conv_attrs){.kh = k, .kw = k, .sh = stride, .sw = stride};
    desc.attrs.out_shape = kind == EDT_OP_CONV2D_DATA ? x : (edt_shape){0};
    desc.in[0] = (edt_tensor_desc){real, kind == EDT_OP_CONV2D_DATA ? y : x};
    desc.in[1] = (edt_tensor_desc){real, kind == EDT_OP_CONV2D_WEIGHT ? y : w};
    cr_assert_eq(edt_op_infer(&desc, &err), EDT_OK, "%s", err.text);
    return desc;
}

static edt_cuda_gemm_view view_of(edt_op_kind kind, int64_t pixels, int64_t ci, int64_t co)
{
    const edt_op_desc desc = conv_desc(kind, edt_shape_4(1, 1, pixels, ci), co, 1, 1);
    const edt_cuda_conv_geometry g = edt_cuda_conv_geometry_of(&desc);
    cr_assert(edt_cuda_conv_is_pointwise(&g));
    return edt_cuda_gemm_view_of(&g);
}

// Computes D as the BLAS would, on matrices stored by columns.
static void multiply(const edt_cuda_gemm_view *v, const double *a, const double *b, double *d)
{
    for (int64_t i = 0; i < v->m; i++) {
        for (int64_t j = 0; j < v->n; j++) {
            double sum = 0;
            for (int64_t l = 0; l < v->k; l++) {
                const double x = v->trans_a ? a[l + i * v->a.ld] : a[i + l * v->a.ld];
                const double y = v->trans_b ? b[j + l * v->b.ld] : b[l + j * v->b.ld];
                sum += x * y;
            }
            d[i + j * v->d.ld] = sum;
        }
    }
}

enum { P = 5, CI = 3, CO = 4 };

static void check_fits(const edt_cuda_gemm_view *v)
{
    cr_expect_eq(v->trans_a ? v->a.cols : v->a.rows, v->m);
    cr_expect_eq(v->trans_a ? v->a.rows : v->a.cols, v->k);
    cr_expect_eq(v->trans_b ? v->b.cols : v->b.rows, v->k);
    cr_expect_eq(v->trans_b ? v->b.rows : v->b.cols, v->n);
    cr_expect_eq(v->d.rows, v->m);
    cr_expect_eq(v->d.cols, v->n);
    cr_expect(v->a.ld >= v->a.rows && v->b.ld >= v->b.rows && v->d.ld >= v->d.rows);
}

Test(cuda_conv_shapes, views_compute_the_three_products_on_row_major_arrays, .timeout = 30)
{
    double x[P * CI];
    double w[CI * CO];
    double y[P * CO];
    double got[P * CO];
    for (int i = 0; i < P * CI; i++) {
        x[i] = i * 7 % 11 - 4;
    }
    for (int i = 0; i < CI * CO; i++) {
        w[i] = i * 5 % 13 - 6;
    }
    for (int i = 0; i < P * CO; i++) {
        y[i] = i * 3 % 17 - 8;
    }
    edt_cuda_gemm_view v = view_of(EDT_OP_CONV2D, P, CI, CO);
    check_fits(&v);
    multiply(&v, w, x, got);
    for (int p = 0; p < P; p++) {
        for (int o = 0; o < CO; o++) {
            double want = 0;
            for (int i = 0; i < CI; i++) {
                want += x[p * CI + i] * w[i * CO + o];
            }
            cr_expect_eq(got[p * CO + o], want);
        }
    }
    v = view_of(EDT_OP_CONV2D_DATA, P, CI, CO);
    check_fits(&v);
    multiply(&v, w, y, got);
    for (int p = 0; p < P; p++) {
        for (int i = 0; i < CI; i++) {
            double want = 0;
            for (int o = 0; o < CO; o++) {
                want += y[p * CO + o] * w[i * CO + o];
            }
            cr_expect_eq(got[p * CI + i], want);
        }
    }
    v = view_of(EDT_OP_CONV2D_WEIGHT, P, CI, CO);
    check_fits(&v);
    multiply(&v, y, x, got);
    for (int i = 0; i < CI; i++) {
        for (int o = 0; o < CO; o++) {
            double want = 0;
            for (int p = 0; p < P; p++) {
                want += x[p * CI + i] * y[p * CO + o];
            }
            cr_expect_eq(got[i * CO + o], want);
        }
    }
}

Test(cuda_conv_shapes, views_hold_more_than_2_to_the_31_elements, .timeout = 30)
{
    const int64_t pixels = (int64_t)1 << 31;
    const edt_cuda_gemm_view v = view_of(EDT_OP_CONV2D_WEIGHT, pixels, 96, 810);
    cr_expect_eq(v.k, pixels);
    cr_expect_eq(v.a.cols, pixels);
    cr_expect_eq(v.a.ld, 810);
    cr_expect_eq(v.b.ld, 96);
    cr_expect_eq(v.d.ld, 810);
}

Test(cuda_conv_shapes, geometry_of_a_stem_pads_after_only, .timeout = 30)
{
    for (edt_op_kind kind = EDT_OP_CONV2D; kind <= EDT_OP_CONV2D_WEIGHT; kind++) {
        if (kind != EDT_OP_CONV2D && kind != EDT_OP_CONV2D_DATA &&
            kind != EDT_OP_CONV2D_WEIGHT) {
            continue;
        }
        const edt_op_desc desc = conv_desc(kind, edt_shape_4(2, 512, 513, 3), 32, 3, 2);
        const edt_cuda_conv_geometry g = edt_cuda_conv_geometry_of(&desc);
        cr_expect_not(edt_cuda_conv_is_pointwise(&g));
        cr_expect_eq(g.h, 512);
        cr_expect_eq(g.w, 513);
        cr_expect_eq(g.ho, 256);
        cr_expect_eq(g.wo, 257);
        cr_expect_eq(g.ci, 3);
        cr_expect_eq(g.co, 32);
        cr_expect_eq(g.before_h, 0);
        cr_expect_eq(g.after_h, 1);
        cr_expect_eq(g.before_w, 1);
        cr_expect_eq(g.after_w, 1);
        cr_expect(edt_cuda_conv_is_asymmetric(&g));
    }
}

// What the library computes as the size of y.
static int64_t library_out(int64_t in, int64_t before, int64_t after, int64_t k, int64_t stride)
{
    return (in + before + after - k) / stride + 1;
}

Test(cuda_conv_shapes, paddings_give_the_output_size_that_the_library_expects, .timeout = 30)
{
    for (int size = 1; size <= 17; size++) {
        for (int k = 1; k <= 5; k++) {
            for (int stride = 1; stride <= 3; stride++) {
                const edt_op_desc desc =
                    conv_desc(EDT_OP_CONV2D, edt_shape_4(1, size, size + 1, 2), 2, k, stride);
                const edt_cuda_conv_geometry g = edt_cuda_conv_geometry_of(&desc);
                const edt_cuda_conv_geometry p = edt_cuda_conv_padded(&g);
                cr_expect_eq(library_out(g.h, g.before_h, g.after_h, k, stride), g.ho);
                cr_expect_eq(library_out(g.w, g.before_w, g.after_w, k, stride), g.wo);
                cr_expect_eq(library_out(p.h, 0, 0, k, stride), g.ho);
                cr_expect_eq(library_out(p.w, 0, 0, k, stride), g.wo);
                cr_expect_not(edt_cuda_conv_is_asymmetric(&p));
            }
        }
    }
}

Test(cuda_conv_shapes, windows_are_gathered_in_parts_of_whole_images, .timeout = 30)
{
    const int64_t most = (int64_t)16 << 20;
    const edt_op_desc desc = conv_desc(EDT_OP_CONV2D, edt_shape_4(64, 512, 512, 3), 32, 3, 2);
    const edt_cuda_conv_geometry g = edt_cuda_conv_geometry_of(&desc);
    const edt_cuda_patches p = edt_cuda_patches_of(&g, EDT_DTYPE_BF16, most);
    cr_expect_eq(p.k, 27);
    cr_expect_eq(p.stride, 32);
    cr_expect_eq(p.images, 4); // 64 bytes for each of 65536 pixels
    cr_expect_eq(p.images * p.n_parts, 64);
    cr_expect_eq(p.rows, p.images * 65536);
    const edt_cuda_gemm_view v = edt_cuda_gemm_view_of_patches(&g, &p);
    check_fits(&v);
    cr_expect_eq(v.k, 32);
    cr_expect_eq(v.b.ld, 32);
    cr_expect_eq(edt_cuda_patches_of(&g, EDT_DTYPE_F32, most).stride, 28);
}

// A part of y (5 x 5 pixels of 9 channels) begins at a multiple of 16 bytes: those of 8 images
// do.
Test(cuda_conv_shapes, parts_divide_the_batch_and_are_aligned, .timeout = 30)
{
    for (int64_t n = 1; n <= 24; n++) {
        const edt_op_desc desc =
            conv_desc(EDT_OP_CONV2D_WEIGHT, edt_shape_4(n, 9, 9, 6), 9, 5, 2);
        const edt_cuda_conv_geometry g = edt_cuda_conv_geometry_of(&desc);
        for (int64_t most = 1; most < 200000; most *= 3) {
            const edt_cuda_patches p = edt_cuda_patches_of(&g, EDT_DTYPE_F16, most);
            cr_expect_eq(p.images * p.n_parts, n);
            cr_expect(p.n_parts == 1 || p.images % 8 == 0);
            const bool smallest = n % 8 == 0 ? p.images == 8 : p.n_parts == 1;
            cr_expect(smallest || p.rows * p.stride * 2 <= most);
        }
    }
}

Test(cuda_conv_shapes, channels_last_strides, .timeout = 30)
{
    int64_t dim[4];
    int64_t stride[4];
    edt_cuda_channels_last(1024, 96, 2048, 4096, dim, stride);
    const int64_t want_dim[4] = {1024, 96, 2048, 4096};
    const int64_t want_stride[4] = {(int64_t)2048 * 4096 * 96, 1, (int64_t)4096 * 96, 96};
    cr_expect_arr_eq(dim, want_dim, sizeof dim);
    cr_expect_arr_eq(stride, want_stride, sizeof stride);
}

Test(cuda_conv_shapes, accesses_are_as_wide_as_rows_allow, .timeout = 30)
{
    cr_expect_eq(edt_cuda_conv_vector(EDT_DTYPE_F32, 64), 4);
    cr_expect_eq(edt_cuda_conv_vector(EDT_DTYPE_BF16, 64), 8);
    cr_expect_eq(edt_cuda_conv_vector(EDT_DTYPE_F16, 36), 4);
    cr_expect_eq(edt_cuda_conv_vector(EDT_DTYPE_BF16, 810), 2);
    cr_expect_eq(edt_cuda_conv_vector(EDT_DTYPE_F32, 13), 1);
}

static void check_column_sum(edt_dtype real, int64_t rows, int64_t c)
{
    const int n_multiprocessors = 132;
    const edt_cuda_column_sum s = edt_cuda_column_sum_of(real, rows, c, n_multiprocessors);
    cr_expect_eq(c % s.vector, 0);
    cr_expect(s.lanes >= 1 && s.lanes <= 32 && (s.lanes & (s.lanes - 1)) == 0);
    cr_expect_geq(s.n_columns * s.lanes * s.vector, c);
    cr_expect_lt((s.n_columns - 1) * s.lanes * s.vector, c);
    cr_expect_geq(s.n_parts * s.rows_per_part, rows);
    cr_expect_lt((s.n_parts - 1) * s.rows_per_part, rows, "an empty part");
    cr_expect(s.n_parts >= 1 && s.n_parts <= 1024);
    cr_expect_leq(s.n_columns, INT32_MAX);
}

Test(cuda_conv_shapes, column_sums_cover_every_row_and_channel_once, .timeout = 30)
{
    static const int64_t channels[] = {1, 2, 4, 13, 36, 64, 88, 810, 1536};
    static const int64_t rows[] = {1, 2, 127, 128, 4096, 349184, (int64_t)3 << 31};
    for (size_t i = 0; i < sizeof channels / sizeof channels[0]; i++) {
        for (size_t j = 0; j < sizeof rows / sizeof rows[0]; j++) {
            check_column_sum(EDT_DTYPE_F32, rows[j], channels[i]);
            check_column_sum(EDT_DTYPE_BF16, rows[j], channels[i]);
        }
    }
}

Test(cuda_conv_shapes, column_sums_of_a_head_fill_the_device, .timeout = 30)
{
    const edt_cuda_column_sum s = edt_cuda_column_sum_of(EDT_DTYPE_BF16, 64 * 64 * 64, 64, 132);
    cr_expect_geq(s.n_columns * s.n_parts, 132);
    cr_expect_eq(s.vector, 8);
    cr_expect_eq(s.lanes, 8);
}

Test(cuda_conv_shapes, grid_stride_blocks_are_bounded_and_never_none, .timeout = 30)
{
    cr_expect_eq(edt_cuda_conv_blocks(0, 132), 1);
    cr_expect_eq(edt_cuda_conv_blocks(1, 132), 1);
    cr_expect_eq(edt_cuda_conv_blocks(257, 132), 2);
    cr_expect_eq(edt_cuda_conv_blocks((int64_t)1 << 40, 132), 8 * 132);
}
