// Charts as files: what is drawn where, both formats, odd texts, failures.
#include "dataio/plot.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "dataio/image_decode.h"
#include "tests/support/test_dirs.h"

static edt_error err;

typedef struct picture {
    int64_t h, w;
    uint8_t *rgb;
} picture;

static picture read_png(const char *path)
{
    char *bytes;
    size_t n;
    picture p;
    edt_image_decoder *decoder;
    edt_image image;
    cr_assert_eq(edt_file_read(path, 1 << 26, &err, &bytes, &n), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_image_decoder_create(NULL, &err, &decoder), EDT_OK);
    cr_assert_eq(
        edt_image_open(decoder, (edt_span){(const uint8_t *)bytes, n}, &err, &p.h, &p.w),
        EDT_OK, "%s", err.text);
    cr_assert_eq(edt_image_decode(decoder, 0, &err, &image), EDT_OK, "%s", err.text);
    p.rgb = edt_mem_alloc(EDT_MEM_IMAGE, (size_t)(p.h * p.w * 3));
    for (int64_t y = 0; y < p.h; ++y) {
        memcpy(p.rgb + y * p.w * 3, image.data + y * image.stride, (size_t)(p.w * 3));
    }
    edt_image_decoder_destroy(decoder);
    edt_mem_free(bytes);
    return p;
}

static int64_t count_color(const picture *p, uint32_t rgb)
{
    int64_t n = 0;
    for (int64_t i = 0; i < p->h * p->w; ++i) {
        const uint8_t *at = p->rgb + 3 * i;
        n += ((uint32_t)at[0] << 16 | (uint32_t)at[1] << 8 | at[2]) == rgb;
    }
    return n;
}

Test(plot, bars_are_as_long_as_their_values, .timeout = 30)
{
    const char *dir = edt_test_temp_dir();
    const char *path = edt_test_path(dir, "bars.png");
    const edt_plot_bar bars[] = {{"all of it", 1, "1.0", EDT_PLOT_BLUE},
                                 {"a quarter", 0.25, "0.25", EDT_PLOT_VERMILION},
                                 {"unknown", NAN, "none", EDT_PLOT_GREEN}};
    const edt_plot_bars chart = {.head = {"Bars", "three of them"},
                                 .axis = {.label = "value", .low = 0, .high = 1},
                                 .bars = bars,
                                 .n_bars = 3};
    cr_assert_eq(edt_plot_write_bars(&chart, path, &err), EDT_OK, "%s", err.text);
    picture p = read_png(path);
    cr_expect_eq(p.w, 1440); // two pixels per unit
    const double blue = (double)count_color(&p, EDT_PLOT_BLUE);
    const double vermilion = (double)count_color(&p, EDT_PLOT_VERMILION);
    cr_expect(blue > 10000 && fabs(vermilion / blue - 0.25) < 0.01, "%g, %g", blue, vermilion);
    cr_expect_eq(count_color(&p, EDT_PLOT_GREEN), 0);
    edt_mem_free(p.rgb);
    edt_test_remove_tree(dir);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

Test(plot, cells_have_the_shade_of_their_value, .timeout = 30)
{
    const char *dir = edt_test_temp_dir();
    const char *path = edt_test_path(dir, "heat.png");
    const char *const names[] = {"one", "two"};
    const double values[] = {1, 0.5, NAN, 0};
    const edt_plot_heat heat = {.head = {"Heat", NULL},
                                .row_names = names,
                                .column_names = names,
                                .n_rows = 2,
                                .n_columns = 2,
                                .values = values};
    cr_assert_eq(edt_plot_write_heat(&heat, path, &err), EDT_OK, "%s", err.text);
    picture p = read_png(path);
    const int64_t cell = 88 * 88; // the number in it takes some
    cr_expect(count_color(&p, edt_plot_ramp(1)) > cell / 2);
    cr_expect(count_color(&p, edt_plot_ramp(sqrt(0.5))) > cell / 2);
    cr_expect(count_color(&p, edt_plot_ramp(0)) < cell / 2);
    edt_mem_free(p.rgb);
    edt_test_remove_tree(dir);
}

Test(plot, the_ramp_darkens_all_the_way, .timeout = 30)
{
    double before = INFINITY;
    for (int i = 0; i <= 100; ++i) {
        const uint32_t rgb = edt_plot_ramp(i / 100.0);
        const double brightness =
            0.2126 * (rgb >> 16 & 255) + 0.7152 * (rgb >> 8 & 255) + 0.0722 * (rgb & 255);
        cr_expect(brightness <= before + 1, "step %d", i);
        before = brightness;
    }
    cr_expect_eq(edt_plot_ramp(-1), edt_plot_ramp(0));
    cr_expect_eq(edt_plot_ramp(2), edt_plot_ramp(1));
}

static edt_plot_chart line_chart(const edt_plot_line *lines, int64_t n)
{
    return (edt_plot_chart){.head = {"Lines \xff\x01 <&>", "with \xc3\xa4 and \xe2\x89\xa5"},
                            .x = {.label = "x"},
                            .y = {.label = "y"},
                            .lines = lines,
                            .n_lines = n};
}

Test(plot, lines_in_both_formats, .timeout = 30)
{
    const char *dir = edt_test_temp_dir();
    const char *png = edt_test_path(dir, "lines.png"), *svg = edt_test_path(dir, "lines.svg");
    const double x[] = {0, 1, 2, 3}, y[] = {0, 7000, NAN, 30000};
    const edt_plot_line lines[] = {
        {.name = "a", .x = x, .y = y, .n = 4, .width = 6, .rgb = EDT_PLOT_BLUE},
        {.name = "b", .x = x, .y = y, .n = 2, .is_dashed = true, .rgb = EDT_PLOT_PURPLE},
        {.name = "c", .x = x, .y = y, .n = 2, .is_steps = true, .rgb = EDT_PLOT_ORANGE}};
    const edt_plot_mark mark = {1, 7000, "here", EDT_PLOT_GREEN};
    edt_plot_chart chart = line_chart(lines, 3);
    chart.marks = &mark;
    chart.n_marks = 1;
    cr_assert_eq(edt_plot_write_chart(&chart, png, &err), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_plot_write_chart(&chart, svg, &err), EDT_OK, "%s", err.text);
    picture p = read_png(png);
    cr_expect(p.w == 1440 && p.h == 920);
    cr_expect(count_color(&p, EDT_PLOT_BLUE) > 500);
    cr_expect(count_color(&p, EDT_PLOT_GREEN) > 50);
    edt_mem_free(p.rgb);
    char *text;
    size_t n;
    cr_assert_eq(edt_file_read(svg, 1 << 24, &err, &text, &n), EDT_OK, "%s", err.text);
    cr_expect(strstr(text, "<svg") != NULL && strstr(text, "</svg>") != NULL);
    edt_mem_free(text);
    edt_test_remove_tree(dir);
}

Test(plot, empty_and_flat_data, .timeout = 30)
{
    const char *dir = edt_test_temp_dir();
    const char *path = edt_test_path(dir, "flat.png");
    const double zero[] = {0, 0};
    const edt_plot_line lines[] = {{.name = "flat", .x = zero, .y = zero, .n = 2},
                                   {.name = "none", .x = zero, .y = zero, .n = 0}};
    edt_plot_chart chart = line_chart(lines, 2);
    cr_expect_eq(edt_plot_write_chart(&chart, path, &err), EDT_OK, "%s", err.text);
    chart.y.is_log = true;
    cr_expect_eq(edt_plot_write_chart(&chart, path, &err), EDT_OK, "%s", err.text);
    chart.n_lines = 0;
    cr_expect_eq(edt_plot_write_chart(&chart, path, &err), EDT_OK, "%s", err.text);
    cr_expect_eq(edt_plot_write_bars(&(edt_plot_bars){.head = {"no bars", NULL}}, path, &err),
                 EDT_OK, "%s", err.text);
    edt_test_remove_tree(dir);
}

Test(plot, failures_leave_nothing_behind, .timeout = 30)
{
    const char *dir = edt_test_temp_dir();
    edt_plot_chart chart = line_chart(NULL, 0);
    cr_expect_eq(edt_plot_write_chart(&chart, edt_test_path(dir, "none/x.png"), &err),
                 EDT_ERR_NOT_FOUND);
    chart.width = 1e6;
    cr_expect_eq(edt_plot_write_chart(&chart, edt_test_path(dir, "x.png"), &err),
                 EDT_ERR_INVALID);
    cr_expect(strstr(err.text, "too large") != NULL, "%s", err.text);
    cr_expect_not(edt_test_exists(edt_test_path(dir, "x.png")));
    const edt_plot_heat heat = {.n_rows = 0, .n_columns = 3};
    cr_expect_eq(edt_plot_write_heat(&heat, edt_test_path(dir, "x.png"), &err),
                 EDT_ERR_INVALID);
    edt_test_remove_tree(dir);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}
