// How depthwise convolutions are cut into blocks: every output and every pixel of dy is covered
// once, within what a launch takes, also beyond 2^31 elements.
#include <criterion/criterion.h>

#include "backend/cuda/depthwise_plan.h"

enum { MULTIPROCESSORS = 132 };

static edt_cuda_depthwise_window window_of(int64_t n, int64_t h, int64_t w, int64_t c, int k,
                                           int s)
{
    const edt_conv_attrs conv = {.kh = k, .kw = k, .sh = s, .sw = s};
    const edt_shape x = edt_shape_4(n, h, w, c);
    const edt_shape y = edt_shape_4(n, edt_same_out(h, s), edt_same_out(w, s), c);
    return edt_cuda_depthwise_window_of(&x, &y, &conv);
}

static const edt_cuda_depthwise_window *every_window(int i)
{
    static const int64_t shapes[][4] = {
        {1, 512, 512, 32},   {1, 16, 16, 1152},     {16, 4, 4, 64}, {2, 9, 7, 24},
        {128, 768, 768, 48}, {256, 1536, 1536, 64}, {1, 1, 1, 8},   {3, 5, 1, 16}};
    static edt_cuda_depthwise_window g;
    if (i >= 8 * 4) {
        return NULL;
    }
    const int64_t *d = shapes[i / 4];
    g = window_of(d[0], d[1], d[2], d[3], i % 2 == 0 ? 3 : 5, 1 + i / 2 % 2);
    return &g;
}

Test(depthwise_plan, strips_cover_the_output_within_the_limits_of_a_launch)
{
    edt_error err = {0};
    const edt_cuda_depthwise_window *g;
    for (int i = 0; (g = every_window(i)) != NULL; ++i) {
        for (int data = 0; data < 2; ++data) {
            edt_cuda_strips s;
            cr_assert_eq(edt_cuda_strips_plan(g, data == 1, i % 3 == 0 ? 4 : 2, MULTIPROCESSORS,
                                              &err, &s),
                         EDT_OK, "%s", err.text);
            const int64_t rows = data == 1 ? g->h : g->oh;
            const int64_t columns = data == 1 ? g->w + (g->sw > 1 ? g->left : 0) : g->ow;
            cr_expect_eq(s.vector, i % 3 == 0 ? 4 : 8);
            cr_expect_leq(s.lanes * s.strips * s.rows, EDT_CUDA_STRIP_THREADS);
            cr_expect_geq(s.channel_blocks * s.lanes * s.vector, g->c);
            cr_expect_lt((s.channel_blocks - 1) * s.lanes * s.vector, g->c);
            cr_expect_geq(s.column_blocks * s.strips * s.pixels, columns);
            cr_expect_lt((s.column_blocks - 1) * s.strips * s.pixels, columns);
            cr_expect_geq(s.row_blocks * s.rows, rows);
            cr_expect_lt((s.row_blocks - 1) * s.rows, rows);
            cr_expect_eq(s.n_blocks, g->n * s.row_blocks * s.column_blocks * s.channel_blocks);
            cr_expect_leq(s.n_blocks, INT32_MAX);
            // data_strips relies on even first columns.
            cr_expect(data == 0 || g->sw == 1 || s.pixels == EDT_CUDA_STRIP_PIXELS);
        }
    }
}

Test(depthwise_plan, taps_cover_every_row_and_bound_each_float_sum)
{
    edt_error err = {0};
    const edt_cuda_depthwise_window *g;
    for (int i = 0; (g = every_window(i)) != NULL; ++i) {
        edt_cuda_taps t;
        cr_assert_eq(edt_cuda_taps_plan(g, i % 3 == 0 ? 4 : 2, MULTIPROCESSORS, &err, &t),
                     EDT_OK, "%s", err.text);
        const int64_t n_rows = g->n * g->oh;
        cr_expect_leq(t.lanes * g->kh * t.rows, 1024);
        cr_expect_geq(t.channel_blocks * t.lanes * t.vector, g->c);
        cr_expect_geq(t.n_chunks * t.rows_per_chunk, n_rows);
        cr_expect_lt((t.n_chunks - 1) * t.rows_per_chunk, n_rows);
        cr_expect_eq(t.n_partials, t.n_chunks * t.rows);
        const int64_t rows_of_thread = (t.rows_per_chunk - 1) / t.rows + 1;
        cr_expect(rows_of_thread == 1 || rows_of_thread * g->ow <= EDT_CUDA_TAPS_PIXELS,
                  "%lld rows of %lld pixels", (long long)rows_of_thread, (long long)g->ow);
        cr_expect_eq(edt_cuda_taps_workspace(g, &t),
                     (size_t)(t.n_partials * g->kh * g->kw * g->c) * sizeof(float));
        cr_expect_leq(t.n_chunks * t.channel_blocks, INT32_MAX);
    }
}

Test(depthwise_plan, a_single_picture_fills_the_device)
{
    edt_error err = {0};
    edt_cuda_strips s;
    edt_cuda_taps t;
    const edt_cuda_depthwise_window large = window_of(1, 256, 256, 96, 3, 2);
    cr_assert_eq(edt_cuda_strips_plan(&large, false, 2, MULTIPROCESSORS, &err, &s), EDT_OK);
    cr_expect_geq(s.n_blocks, 2 * MULTIPROCESSORS);
    cr_expect_eq(s.pixels, EDT_CUDA_STRIP_PIXELS);
    const edt_cuda_depthwise_window small = window_of(1, 16, 16, 1152, 5, 1);
    cr_assert_eq(edt_cuda_strips_plan(&small, false, 2, MULTIPROCESSORS, &err, &s), EDT_OK);
    cr_expect_eq(s.pixels, 2);
    cr_assert_eq(edt_cuda_taps_plan(&large, 2, MULTIPROCESSORS, &err, &t), EDT_OK);
    cr_expect_geq(t.n_chunks * t.channel_blocks, 16);
}

Test(depthwise_plan, odd_channels_and_unknown_windows_go_element_by_element)
{
    edt_error err = {0};
    edt_cuda_strips s;
    edt_cuda_taps t;
    const edt_cuda_depthwise_window windows[] = {window_of(1, 8, 8, 13, 3, 1),
                                                 window_of(1, 8, 8, 16, 7, 1),
                                                 window_of(1, 8, 8, 16, 3, 3)};
    for (int i = 0; i < 3; ++i) {
        cr_assert_eq(edt_cuda_strips_plan(&windows[i], i == 1, 2, MULTIPROCESSORS, &err, &s),
                     EDT_OK);
        cr_expect_eq(s.vector, 1);
        cr_assert_eq(edt_cuda_taps_plan(&windows[i], 2, MULTIPROCESSORS, &err, &t), EDT_OK);
        cr_expect_eq(t.vector, 1);
        cr_expect_geq(t.channel_blocks * t.lanes, windows[i].kh * windows[i].kw * windows[i].c);
    }
    // 8 channels fill a packet of 16-bit values, 4 one of floats, 4 16-bit values none.
    const edt_cuda_depthwise_window four = window_of(1, 8, 8, 4, 3, 1);
    cr_assert_eq(edt_cuda_strips_plan(&four, false, 4, MULTIPROCESSORS, &err, &s), EDT_OK);
    cr_expect_eq(s.vector, 4);
    cr_assert_eq(edt_cuda_strips_plan(&four, false, 2, MULTIPROCESSORS, &err, &s), EDT_OK);
    cr_expect_eq(s.vector, 1);
    // Grid-stride loops: the number of blocks stays bounded.
    const edt_cuda_depthwise_window huge = window_of(4096, 1536, 1536, 65, 3, 1);
    cr_assert_eq(edt_cuda_strips_plan(&huge, false, 2, MULTIPROCESSORS, &err, &s), EDT_OK);
    cr_expect_leq(s.n_blocks, 32 * MULTIPROCESSORS);
}

Test(depthwise_plan, too_many_blocks_are_refused)
{
    edt_error err = {0};
    edt_cuda_strips s;
    const edt_cuda_depthwise_window g = window_of((int64_t)1 << 30, 512, 512, 64, 3, 1);
    cr_expect_eq(edt_cuda_strips_plan(&g, false, 2, MULTIPROCESSORS, &err, &s),
                 EDT_ERR_UNSUPPORTED);
}
