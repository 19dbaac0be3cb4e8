// See draw_found.h.
#include "eval/draw_found.h"

#include <stdio.h>

#include "eval/model_config.h"

enum { MAX_DRAWN = 1000 };

edt_status edt_draw_found(const edt_hparams *hp, const edt_detection *found, int64_t n_found,
                          const edt_draw_found_options *options, const edt_image *image,
                          edt_error *err, int64_t *out_n)
{
    edt_draw_box boxes[MAX_DRAWN];
    char texts[MAX_DRAWN][96];
    int64_t n = 0;
    for (int64_t i = 0; i < n_found && n < MAX_DRAWN; ++i) {
        if ((double)found[i].score <= options->min_score) {
            continue;
        }
        char unnamed[32];
        (void)snprintf(texts[n], sizeof texts[n], "%s: %d%%",
                       edt_model_config_class_name(hp, found[i].label, unnamed),
                       (int)(100.0F * found[i].score));
        boxes[n] = (edt_draw_box){
            .box = {found[i].ymin, found[i].xmin, found[i].ymax, found[i].xmax},
            .class_id = found[i].label,
            .text = texts[n],
        };
        ++n;
    }
    const edt_draw_options draw = {
        .line_width = options->line_width,
        .max_boxes = options->max_boxes,
    };
    EDT_TRY(edt_draw_boxes(image, boxes, n, &draw, err));
    if (out_n != NULL) {
        *out_n = n;
    }
    return EDT_OK;
}
