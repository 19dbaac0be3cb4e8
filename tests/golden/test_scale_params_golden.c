// Evaluation scale, scaled size and image_scale against the reference, bit for bit.
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "augment/geometry.h"
#include "tests/support/test_dirs.h"

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

Test(scale_params_golden, every_row, .timeout = 30)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    FILE *table = fopen(edt_test_path(edt_test_golden_dir(), "data/scale_params.tsv"), "r");
    cr_assert_not_null(table);
    char line[512];
    int n_rows = 0;
    cr_assert_not_null(fgets(line, sizeof line, table));
    while (fgets(line, sizeof line, table) != NULL) {
        int64_t w, h, out_h, out_w, scaled_h, scaled_w;
        uint32_t hex;
        double scale, image_scale;
        cr_assert_eq(sscanf(line,
                            "%" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNx32
                            " %lf %" SCNd64 " %" SCNd64 " %lf",
                            &w, &h, &out_h, &out_w, &hex, &scale, &scaled_h, &scaled_w,
                            &image_scale),
                     9, "%s", line);
        edt_scale_params p;
        cr_assert_eq(edt_scale_params_eval(h, w, out_h, out_w, NULL, &p), EDT_OK, "%s", line);
        cr_assert_eq(bits_of(p.scale), hex, "%s", line);
        cr_assert_eq(p.scaled_h, scaled_h, "%s", line);
        cr_assert_eq(p.scaled_w, scaled_w, "%s", line);
        cr_assert_eq(bits_of(p.image_scale), bits_of((float)image_scale), "%s", line);
        ++n_rows;
    }
    (void)fclose(table);
    cr_assert_geq(n_rows, 280);
}

Test(scale_params_golden, a_side_of_zero_pixels_is_refused, .timeout = 10)
{
    edt_error err = {0};
    edt_scale_params p;
    cr_assert_eq(edt_scale_params_eval(1, 1000, 512, 512, &err, &p), EDT_ERR_INVALID);
    cr_assert_not_null(strstr(err.text, "1000x1"));
}
