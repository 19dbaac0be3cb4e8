// See normalize.h.
#include "augment/normalize.h"

#include <math.h>

#include "core/log.h"

static edt_status read_rgb(const edt_f64_list *list, const char *name, edt_error *err,
                           float out_rgb[static 3])
{
    if (list->n != 1 && list->n != 3) {
        EDT_FAIL(err, EDT_ERR_USAGE, "%s has %d values; it takes 1 or 3 (R, G, B)", name,
                 list->n);
    }
    for (int c = 0; c < 3; ++c) {
        out_rgb[c] = (float)list->v[list->n == 1 ? 0 : c];
        if (!isfinite(out_rgb[c])) {
            EDT_FAIL(err, EDT_ERR_USAGE, "%s: value %d is not a finite number", name, c);
        }
    }
    return EDT_OK;
}

edt_status edt_normalize_init(const edt_hparams *hp, edt_error *err,
                              edt_normalize *out_normalize)
{
    edt_normalize n = {.scale_range = hp->scale_range};
    EDT_TRY(read_rgb(&hp->mean_rgb, "mean_rgb", err, n.mean));
    EDT_TRY(read_rgb(&hp->stddev_rgb, "stddev_rgb", err, n.stddev));
    bool identity = true;
    for (int c = 0; c < 3; ++c) {
        if (n.stddev[c] == 0.0f) {
            EDT_FAIL(err, EDT_ERR_USAGE, "stddev_rgb: channel %d is 0; it must not be", c);
        }
        identity = identity && n.mean[c] == 0.0f && n.stddev[c] == 1.0f;
        for (int x = 0; x < 256; ++x) {
            n.level[c][x] = ((float)x - n.mean[c]) / n.stddev[c];
        }
    }
    if (n.scale_range && !identity) {
        EDT_WARN(
            "scale_range is applied on top of mean_rgb and stddev_rgb that are not 0 and 1: "
            "the network input will be nearly constant; set mean_rgb=0.0,stddev_rgb=1.0");
    }
    *out_normalize = n;
    return EDT_OK;
}
