#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/anchors.h"
#include "tests/support/golden_case.h"
#include "tests/support/golden_file.h"
#include "tests/support/test_anchor_hparams.h"
#include "tests/support/test_dirs.h"

static edt_hparams hparams_of(const golden_case *c)
{
    double size[2];
    cr_assert_eq(golden_case_numbers(c, "size_hw", size, 2), 2);
    edt_hparams hp = edt_test_anchor_hparams((int64_t)size[0], (int64_t)size[1],
                                             (int64_t)golden_case_number(c, "max_level", 7), 4);
    hp.min_level = (int64_t)golden_case_number(c, "min_level", 3);
    hp.num_scales = (int64_t)golden_case_number(c, "num_scales", 3);
    hp.anchor_scale.n =
        golden_case_numbers(c, "anchor_scale", hp.anchor_scale.v, EDT_HPARAMS_MAX_LIST);
    double ratios[2 * EDT_HPARAMS_MAX_LIST];
    const int n = golden_case_numbers(c, "aspect_ratios", ratios, 2 * EDT_HPARAMS_MAX_LIST);
    const bool pairs = golden_case_is_nested(c, "aspect_ratios");
    hp.aspect_ratios.n = pairs ? n / 2 : n;
    for (int i = 0; i < hp.aspect_ratios.n; ++i) {
        hp.aspect_ratios.ax[i] = pairs ? ratios[2 * i] : sqrt(ratios[i]);
        hp.aspect_ratios.ay[i] = pairs ? ratios[2 * i + 1] : 1.0 / sqrt(ratios[i]);
    }
    return hp;
}

static void compare(const golden_file *file, const golden_case *c)
{
    const edt_hparams hp = hparams_of(c);
    edt_anchors *anchors = NULL;
    edt_error err = {0};
    cr_assert_eq(edt_anchors_create(&hp, &err, &anchors), EDT_OK, "%s", err.text);
    cr_assert_eq(anchors->n, (int64_t)golden_case_number(c, "count", 0), "%s", c->name);
    char name[160];
    (void)snprintf(name, sizeof name, "%s.rows", c->name);
    const golden_tensor *rows = golden_find(file, name);
    (void)snprintf(name, sizeof name, "%s.boxes", c->name);
    const golden_tensor *boxes = golden_find(file, rows != NULL ? name : c->name);
    cr_assert_not_null(boxes, "%s", c->name);
    for (int64_t i = 0; i < boxes->shape.dim[0]; ++i) {
        const int64_t row = rows == NULL ? i : ((const int32_t *)rows->data)[i];
        cr_assert_eq(memcmp(anchors->boxes + 4 * row, (const float *)boxes->data + 4 * i, 16),
                     0, "%s: row %lld differs", c->name, (long long)row);
    }
    (void)snprintf(name, sizeof name, "%s.sum", c->name);
    const float *want_sum = golden_find(file, name)->data;
    for (int k = 0; k < 4; ++k) {
        double sum = 0;
        for (int64_t i = 0; i < anchors->n; ++i) {
            sum += (double)anchors->boxes[4 * i + k];
        }
        cr_assert_eq((float)sum, want_sum[k], "%s: column %d sums to %.9g, want %.9g", c->name,
                     k, sum, (double)want_sum[k]);
    }
    edt_anchors_destroy(anchors);
}

Test(anchors_golden, tables_equal_the_references_bit_for_bit, .timeout = 60)
{
    const char *path =
        edt_test_path(edt_test_golden_dir(), "model/anchors/anchors.safetensors");
    EDT_TEST_NEEDS_FILE(path);
    golden_file *file = golden_open(path);
    golden_case c;
    int n = 0;
    while (golden_case_at(golden_metadata(file, "cases"), n, &c)) {
        compare(file, &c);
        ++n;
    }
    cr_assert_gt(n, 0);
    golden_close(file);
}
