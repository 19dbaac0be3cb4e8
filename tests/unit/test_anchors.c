#include <criterion/criterion.h>

#include "model/anchors.h"
#include "tests/support/test_anchor_hparams.h"

static edt_anchors *make(int64_t h, int64_t w, int64_t max_level, double scale)
{
    const edt_hparams hp = edt_test_anchor_hparams(h, w, max_level, scale);
    edt_error err = {0};
    edt_anchors *anchors = NULL;
    cr_assert_eq(edt_anchors_create(&hp, &err, &anchors), EDT_OK, "%s", err.text);
    return anchors;
}

static void expect_row(const edt_anchors *anchors, int64_t row, float ymin, float xmin,
                       float ymax, float xmax)
{
    const float *b = anchors->boxes + 4 * row;
    cr_assert(b[0] == ymin && b[1] == xmin && b[2] == ymax && b[3] == xmax,
              "row %lld is %.9g %.9g %.9g %.9g", (long long)row, (double)b[0], (double)b[1],
              (double)b[2], (double)b[3]);
}

// Values and counts: spec/model.md 4.1.
Test(anchors, table_values_of_the_specification, .timeout = 30)
{
    edt_anchors *a = make(512, 512, 7, 4);
    cr_assert_eq(a->n, 49104);
    cr_assert_eq(a->level_offset[4], 64 * 64 * 9);
    expect_row(a, 0, -12, -12, 20, 20);
    expect_row(a, 1, -7.3137083F, -18.6274166F, 15.3137083F, 26.6274166F);
    expect_row(a, 2, -18.6274166F, -7.3137083F, 26.6274166F, 15.3137083F);
    expect_row(a, 3, -16.1587372F, -16.1587372F, 24.1587372F, 24.1587372F);
    expect_row(a, 9, -12, -4, 20, 28);
    expect_row(a, 49103, -126.7005692F, 160.6497192F, 1022.7005615F, 735.3502808F);
    edt_anchors_destroy(a);

    a = make(511, 513, 7, 4);
    cr_assert_eq(a->n, 50220);
    expect_row(a, 0, -11.9765625F, -11.8384619F, 19.9609375F, 19.7307701F);
    expect_row(a, 50219, -126.4531097F, 231.3707886F, 1020.703125F, 692.0292358F);
    edt_anchors_destroy(a);

    a = make(1536, 1536, 8, 4);
    cr_assert_eq(a->n, 442260);
    expect_row(a, 442259, 258.5988770F, 833.2994385F, 2557.4011230F, 1982.7005615F);
    edt_anchors_destroy(a);
}

Test(anchors, refuses_settings_that_have_no_table, .timeout = 30)
{
    edt_error err = {0};
    edt_anchors *anchors = NULL;
    edt_hparams hp = edt_test_anchor_hparams(512, 512, 7, 4);
    hp.anchor_scale.n = 2;
    cr_assert_eq(edt_anchors_create(&hp, &err, &anchors), EDT_ERR_USAGE);
    hp = edt_test_anchor_hparams(0, 512, 7, 4);
    cr_assert_eq(edt_anchors_create(&hp, &err, &anchors), EDT_ERR_USAGE);
    hp = edt_test_anchor_hparams(512, 512, 16, 4);
    cr_assert_eq(edt_anchors_create(&hp, &err, &anchors), EDT_ERR_USAGE);
    hp = edt_test_anchor_hparams(65536, 65536, 7, 4);
    cr_assert_eq(edt_anchors_create(&hp, &err, &anchors), EDT_ERR_USAGE);
    cr_assert_null(anchors);
}
