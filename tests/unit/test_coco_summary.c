#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "eval/coco_priv.h"

Test(coco_summary, means_are_numpys, .timeout = 30)
{
    // numpy.mean(1 / (numpy.arange(n) + 1)): each branch of the pairwise sum and its ends.
    static const struct {
        int n;
        double mean;
    } cases[] = {{1, 0x1.0000000000000p+0},    {7, 0x1.7b4c470d956b9p-2},
                 {8, 0x1.5be2be2be2be2p-2},    {9, 0x1.41dfac33a6c8ap-2},
                 {127, 0x1.5df497c4cb612p-5},  {128, 0x1.5bb8ae9541ca7p-5},
                 {129, 0x1.5984a742c4323p-5},  {1000, 0x1.ea915c8a8db3dp-8},
                 {4099, 0x1.1c755a2cb35c9p-9}, {0, -1}};
    double x[4099];
    for (int i = 0; i < 4099; ++i) {
        x[i] = 1.0 / (i + 1.0);
    }
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        const double mean = edt_coco_mean(x, cases[i].n);
        cr_expect_eq(mean, cases[i].mean, "n %d: %a, not %a", cases[i].n, mean, cases[i].mean);
    }
}

Test(coco_summary, ap_reads_max_dets_100_only, .timeout = 30)
{
    const edt_coco_category category = {1, "thing"};
    const int64_t image = 1;
    const edt_coco_object object = {1, 1, 1, {0, 0, 10, 10}, 100, false, NULL};
    const float box[4] = {0, 0, 10, 10};
    edt_error err = {0};
    edt_coco_gt *gt;
    edt_coco_dt *dt;
    edt_coco_result *result;
    cr_assert_eq(edt_coco_gt_create(&image, 1, &category, 1, &object, 1, &err, &gt), EDT_OK);
    cr_assert_eq(edt_coco_dt_create(&err, &dt), EDT_OK);
    cr_assert_eq(edt_coco_dt_add_f32(dt, 1, 1, box, 0.5F, &err), EDT_OK);
    cr_assert_eq(
        edt_coco_evaluate(gt, dt, &(edt_coco_params){.max_dets = {20, 1, 5}}, &err, &result),
        EDT_OK, "%s", err.text);
    const double *stats = edt_coco_result_stats(result);
    cr_assert_eq(stats[0], -1);
    cr_assert_eq(stats[1], 0.9999999999999999); // the mean of 101 values below it, rounded
    char *text = NULL;
    size_t n;
    FILE *out = open_memstream(&text, &n);
    edt_coco_print_summary(result, out);
    (void)fclose(out);
    const char first[] =
        " Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all | maxDets=100 ] = "
        "-1.000\n Average Precision  (AP) @[ IoU=0.50      | area=   all | "
        "maxDets= 20 ] = 1.000\n";
    cr_assert_eq(strncmp(text, first, strlen(first)), 0, "%s", text);
    free(text);
    edt_coco_result_destroy(result);
    edt_coco_dt_destroy(dt);
    edt_coco_gt_destroy(gt);
}
