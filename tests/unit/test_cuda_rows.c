// Launch geometry of kernels over rows, pixels and elements: every element belongs to exactly
// one thread, grids keep to the device's limits, and nothing overflows beyond 2^31 elements.
#include <criterion/criterion.h>

#include "backend/cuda/cuda_rows.h"

static const edt_cuda_limits h100 = {
    .major = 9,
    .n_multiprocessors = 132,
    .threads_per_multiprocessor = 2048,
    .grid_x = INT32_MAX,
    .grid_y = 65535,
    .grid_z = 65535,
};

static edt_cuda_rows plan(edt_dtype real, int64_t n_images, int64_t n_rows, int64_t n_channels,
                          bool sums)
{
    edt_error err = {0};
    const edt_cuda_rows_want want = {
        .real = real,
        .n_images = n_images,
        .n_rows = n_rows,
        .n_channels = n_channels,
        .sums = sums,
    };
    edt_cuda_rows rows;
    cr_assert_eq(edt_cuda_rows_plan(&h100, &want, &err, &rows), EDT_OK, "%s", err.text);
    return rows;
}

static void check_cover(const edt_cuda_rows *rows)
{
    cr_assert(rows->groups >= 1 && rows->lanes >= 1 && rows->parts >= 1);
    cr_assert_leq(rows->groups * rows->lanes, EDT_CUDA_ROW_THREADS);
    cr_assert_eq(rows->n_channels % rows->vec, 0);
    const int64_t width = (int64_t)rows->groups * rows->vec;
    cr_assert_geq(rows->chunks * width, rows->n_channels);
    cr_assert_lt((rows->chunks - 1) * width, rows->n_channels, "a block without channels");
    cr_assert_leq((int64_t)(rows->parts - 1) * rows->lanes, rows->n_rows - 1,
                  "a block without rows");
    cr_assert(rows->chunks <= h100.grid_y && rows->grid_images <= h100.grid_z);
}

Test(cuda_rows, blocks_cover_all_channels_and_rows, .timeout = 60)
{
    static const int64_t channels[] = {1,  3,  7,   8,   16,   33,   64,
                                       88, 96, 112, 240, 1152, 2304, 3840};
    static const int64_t n_rows[] = {1, 2, 16, 63, 64, 4096, 65536, 8388608};
    for (size_t c = 0; c < sizeof channels / sizeof channels[0]; ++c) {
        for (size_t r = 0; r < sizeof n_rows / sizeof n_rows[0]; ++r) {
            for (int i = 0; i < 4; ++i) {
                const edt_cuda_rows rows = plan(i % 2 == 0 ? EDT_DTYPE_BF16 : EDT_DTYPE_F32, 1,
                                                n_rows[r], channels[c], i >= 2);
                check_cover(&rows);
            }
        }
    }
}

Test(cuda_rows, packets_only_where_they_divide_the_channels)
{
    cr_assert_eq(plan(EDT_DTYPE_BF16, 1, 100, 88, false).vec, 8);
    cr_assert_eq(plan(EDT_DTYPE_BF16, 1, 100, 84, false).vec, 1);
    cr_assert_eq(plan(EDT_DTYPE_F32, 1, 100, 84, false).vec, 4);
    cr_assert_eq(plan(EDT_DTYPE_F32, 1, 100, 33, false).vec, 1);
}

Test(cuda_rows, one_picture_fills_the_device)
{
    // D0's largest map and a P3 level, batch 1.
    const edt_cuda_rows stem = plan(EDT_DTYPE_BF16, 1, 256 * 256, 32, true);
    cr_assert_geq(stem.parts * stem.chunks, h100.n_multiprocessors);
    const edt_cuda_rows p3 = plan(EDT_DTYPE_BF16, 1, 64 * 64, 64, false);
    cr_assert_geq(p3.parts * p3.chunks, 128);
}

Test(cuda_rows, partial_sums_stay_small_next_to_what_they_sum)
{
    const edt_cuda_rows rows = plan(EDT_DTYPE_BF16, 1, 16 * 256, 1152, true);
    const double bytes = 2.0 * (double)rows.n_rows * (double)rows.n_channels;
    cr_assert_lt((double)edt_cuda_rows_sum_bytes(&rows, 2), bytes / 5);
}

Test(cuda_rows, sizes_beyond_2_to_the_31_do_not_overflow)
{
    const edt_cuda_rows rows = plan(EDT_DTYPE_BF16, 200000, 1 << 20, 96, true);
    check_cover(&rows);
    cr_assert_eq(rows.grid_images, 65535);
    cr_assert_eq(edt_cuda_rows_sum_bytes(&rows, 2),
                 (size_t)200000 * (size_t)rows.parts * 2 * 96 * sizeof(double));
    const edt_cuda_rows tall = plan(EDT_DTYPE_F32, 1, (int64_t)1 << 40, 64, true);
    check_cover(&tall);
    cr_assert_geq(edt_cuda_blocks_for(&h100, (int64_t)1 << 40), h100.n_multiprocessors);
    cr_assert_eq(edt_cuda_blocks_for(&h100, 0), 1);
    cr_assert_eq(edt_cuda_blocks_for(&h100, 257), 2);
}

Test(cuda_rows, divisions_by_multiplication_are_exact)
{
    static const uint32_t divisors[] = {1,    2,     3,     5,          7,         8,
                                        10,   11,    64,    72,         641,       1152,
                                        4095, 65537, 65536, 1000000007, INT32_MAX, 1U << 30};
    for (size_t i = 0; i < sizeof divisors / sizeof divisors[0]; ++i) {
        const uint32_t d = divisors[i];
        const edt_cuda_divisor by = edt_cuda_divisor_of(d);
        const uint32_t most = INT32_MAX;
        const uint32_t samples[] = {0,   1, d - 1, d, d + 1, most / d * d - 1, most / d * d,
                                    most};
        for (uint32_t k = 0; k < 100008; ++k) {
            const uint32_t n = (k < 8 ? samples[k] : (k - 8) * 21473U) & most;
            const uint64_t high = ((uint64_t)n * by.multiplier) >> 32;
            cr_assert_eq((high + n) >> by.shift, n / d, "%u / %u", n, d);
        }
    }
}

Test(cuda_rows, images_of_too_many_threads_are_refused)
{
    edt_error err = {0};
    edt_cuda_pixels pixels;
    edt_tensor_desc x = {EDT_DTYPE_BF16, edt_shape_4(70000, 4096, 4096, 64)};
    edt_tensor_desc half = {EDT_DTYPE_BF16, edt_shape_4(70000, 2048, 2048, 64)};
    cr_assert_eq(edt_cuda_pixels_plan(&h100, &half, &x, &err, &pixels), EDT_OK, "%s", err.text);
    cr_assert_eq(pixels.n_items, 4096U * 4096U * 8U);
    cr_assert_eq(pixels.grid_images, 65535);
    x.shape.dim[1] = 65536;
    x.shape.dim[2] = 65536;
    cr_assert_eq(edt_cuda_pixels_plan(&h100, &half, &x, &err, &pixels), EDT_ERR_UNSUPPORTED);
}
