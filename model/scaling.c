// The tables that model and backbone names stand for: EfficientDet D0-D7x and lite0-4,
// EfficientNet b0-b8, l2 and lite0-4.
#include "model/scaling.h"

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "core/nearest.h"

typedef struct model_row {
    const char *name;
    const char *backbone;
    int image_size;
    int n_filters;
    int n_cells;
    int head_repeats;
    int max_level;
    double anchor_scale;
    bool sum;                       // plain sum instead of fast attention
    bool lite;                      // relu6, (x - 127) / 128
    const char *parameters, *flops; // as the reference's README has them
} model_row;

static const model_row models[] = {
    {"efficientdet-d0", "efficientnet-b0", 512, 64, 3, 3, 7, 4.0, false, false, "3.9M",
     "2.54B"},
    {"efficientdet-d1", "efficientnet-b1", 640, 88, 4, 3, 7, 4.0, false, false, "6.6M", "6.1B"},
    {"efficientdet-d2", "efficientnet-b2", 768, 112, 5, 3, 7, 4.0, false, false, "8.1M", "11B"},
    {"efficientdet-d3", "efficientnet-b3", 896, 160, 6, 4, 7, 4.0, false, false, "12.0M",
     "24.9B"},
    {"efficientdet-d4", "efficientnet-b4", 1024, 224, 7, 4, 7, 4.0, false, false, "20.7M",
     "55.2B"},
    {"efficientdet-d5", "efficientnet-b5", 1280, 288, 7, 4, 7, 4.0, false, false, "33.7M",
     "130B"},
    {"efficientdet-d6", "efficientnet-b6", 1280, 384, 8, 5, 7, 4.0, true, false, "51.9M",
     "226B"},
    {"efficientdet-d7", "efficientnet-b6", 1536, 384, 8, 5, 7, 5.0, true, false, "51.9M",
     "325B"},
    {"efficientdet-d7x", "efficientnet-b7", 1536, 384, 8, 5, 8, 4.0, true, false, "77.0M",
     "410B"},
    {"efficientdet-lite0", "efficientnet-lite0", 320, 64, 3, 3, 7, 3.0, true, true, "3.2M",
     NULL},
    {"efficientdet-lite1", "efficientnet-lite1", 384, 88, 4, 3, 7, 3.0, true, true, "4.2M",
     NULL},
    {"efficientdet-lite2", "efficientnet-lite2", 448, 112, 5, 3, 7, 3.0, true, true, "5.3M",
     NULL},
    {"efficientdet-lite3", "efficientnet-lite3", 512, 160, 6, 4, 7, 4.0, true, true, "8.4M",
     NULL},
    {"efficientdet-lite3x", "efficientnet-lite3", 640, 200, 6, 4, 7, 3.0, true, true, "9.3M",
     NULL},
    {"efficientdet-lite4", "efficientnet-lite4", 640, 224, 7, 4, 7, 4.0, true, true, "15.1M",
     NULL},
};

static const edt_backbone_scale backbones[] = {
    {"efficientnet-b0", 1.0, 1.0, false},   {"efficientnet-b1", 1.0, 1.1, false},
    {"efficientnet-b2", 1.1, 1.2, false},   {"efficientnet-b3", 1.2, 1.4, false},
    {"efficientnet-b4", 1.4, 1.8, false},   {"efficientnet-b5", 1.6, 2.2, false},
    {"efficientnet-b6", 1.8, 2.6, false},   {"efficientnet-b7", 2.0, 3.1, false},
    {"efficientnet-b8", 2.2, 3.6, false},   {"efficientnet-l2", 4.3, 5.3, false},
    {"efficientnet-lite0", 1.0, 1.0, true}, {"efficientnet-lite1", 1.0, 1.1, true},
    {"efficientnet-lite2", 1.1, 1.2, true}, {"efficientnet-lite3", 1.2, 1.4, true},
    {"efficientnet-lite4", 1.4, 1.8, true},
};

const char *edt_scaling_model_name(int i_model)
{
    const int n = (int)(sizeof models / sizeof models[0]);
    return i_model >= 0 && i_model < n ? models[i_model].name : NULL;
}

void edt_scaling_published(int i_model, const char **out_parameters, const char **out_flops)
{
    *out_parameters = models[i_model].parameters;
    *out_flops = models[i_model].flops;
}

const char *edt_scaling_backbone_name(int i_backbone)
{
    const int n = (int)(sizeof backbones / sizeof backbones[0]);
    return i_backbone >= 0 && i_backbone < n ? backbones[i_backbone].name : NULL;
}

typedef const char *get_name(int i);

static const char *nearest_get(const void *ctx, int i)
{
    return (*(get_name *const *)ctx)(i);
}

static edt_status unknown(const char *what, const char *name, get_name *get, edt_error *err)
{
    const char *nearest = edt_nearest_name(name, nearest_get, &get);
    char list[1024];
    size_t n = 0;
    for (int i = 0; get(i) != NULL && n < sizeof list; ++i) {
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", i > 0 ? ", " : "", get(i));
    }
    EDT_FAIL(err, EDT_ERR_USAGE, "unknown %s '%.100s'%s%s%s; known: %s", what, name,
             nearest != NULL ? "; did you mean '" : "", nearest != NULL ? nearest : "",
             nearest != NULL ? "'?" : "", list);
}

static edt_status set(edt_hparams *hp, const char *key, edt_error *err, const char *fmt, ...)
    EDT_PRINTF(4, 5);

static edt_status set(edt_hparams *hp, const char *key, edt_error *err, const char *fmt, ...)
{
    char value[64];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(value, sizeof value, fmt, args);
    va_end(args);
    return edt_hparams_set(hp, key, value, err);
}

edt_status edt_scaling_apply(edt_hparams *hp, const char *model_name, edt_error *err)
{
    const model_row *row = NULL;
    for (size_t i = 0; i < sizeof models / sizeof models[0]; ++i) {
        if (strcmp(models[i].name, model_name) == 0) {
            row = &models[i];
        }
    }
    if (row == NULL) {
        return unknown("model", model_name, edt_scaling_model_name, err);
    }
    EDT_TRY(set(hp, "name", err, "%s", row->name));
    EDT_TRY(set(hp, "backbone_name", err, "%s", row->backbone));
    EDT_TRY(set(hp, "image_size", err, "%d", row->image_size));
    EDT_TRY(set(hp, "fpn_num_filters", err, "%d", row->n_filters));
    EDT_TRY(set(hp, "fpn_cell_repeats", err, "%d", row->n_cells));
    EDT_TRY(set(hp, "box_class_repeats", err, "%d", row->head_repeats));
    EDT_TRY(set(hp, "max_level", err, "%d", row->max_level));
    EDT_TRY(set(hp, "anchor_scale", err, "%.1f", row->anchor_scale));
    if (row->sum) {
        EDT_TRY(set(hp, "fpn_weight_method", err, "sum"));
    }
    if (row->lite) {
        EDT_TRY(set(hp, "act_type", err, "relu6"));
        EDT_TRY(set(hp, "mean_rgb", err, "127.0"));
        EDT_TRY(set(hp, "stddev_rgb", err, "128.0"));
    }
    return EDT_OK;
}

edt_status edt_scaling_backbone(const char *backbone_name, edt_error *err,
                                edt_backbone_scale *out_scale)
{
    for (size_t i = 0; i < sizeof backbones / sizeof backbones[0]; ++i) {
        if (strcmp(backbones[i].name, backbone_name) == 0) {
            *out_scale = backbones[i];
            return EDT_OK;
        }
    }
    return unknown("backbone", backbone_name, edt_scaling_backbone_name, err);
}

int64_t edt_round_filters(double filters, double width)
{
    const double scaled = filters * width;
    int64_t n = (int64_t)(scaled + 4) / 8 * 8;
    n = n < 8 ? 8 : n;
    return (double)n < 0.9 * scaled ? n + 8 : n;
}

int64_t edt_round_repeats(double repeats, double depth)
{
    return (int64_t)ceil(depth * repeats);
}
