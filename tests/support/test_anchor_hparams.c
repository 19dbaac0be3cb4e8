// See test_anchor_hparams.h.
#include "tests/support/test_anchor_hparams.h"

#include <math.h>

edt_hparams edt_test_anchor_hparams(int64_t h, int64_t w, int64_t max_level,
                                    double anchor_scale)
{
    edt_hparams hp = {
        .image_size = {h, w},
        .num_classes = 90,
        .min_level = 3,
        .max_level = max_level,
        .num_scales = 3,
        .anchor_scale = {.n = 1, .v = {anchor_scale}},
        .nms_configs = {.method = "gaussian", .max_output_size = 100},
    };
    const double ratios[] = {1.0, 2.0, 0.5};
    hp.aspect_ratios.n = 3;
    for (int i = 0; i < 3; ++i) {
        hp.aspect_ratios.ax[i] = sqrt(ratios[i]);
        hp.aspect_ratios.ay[i] = 1.0 / sqrt(ratios[i]);
    }
    return hp;
}
