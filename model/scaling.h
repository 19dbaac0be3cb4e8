// The table of models: hparams that a model name stands for (spec/model.md 5.2) and backbone
// scaling (1.1).
#ifndef EDT_MODEL_SCALING_H
#define EDT_MODEL_SCALING_H

#include "core/hparams.h"

// Writes the model's row over `hp` (usually fresh defaults), `name` included. EDT_ERR_USAGE
// lists the known names and the nearest one.
edt_status edt_scaling_apply(edt_hparams *hp, const char *model_name, edt_error *err);

// Names "efficientdet-d0" ... in table order; NULL past the end.
const char *edt_scaling_model_name(int i_model);

// What the reference's README says of a row's size, as text; NULL where it says nothing (FLOPs of
// the lite models). Two of its figures are not those of its code: FLOPs of D5, parameters of D7x.
void edt_scaling_published(int i_model, const char **out_parameters, const char **out_flops);

// Width and depth of a backbone (1.1). The lite family keeps its stem, its head and the repeats
// of its first and last stage unscaled, has no squeeze-excite and uses relu6.
typedef struct edt_backbone_scale {
    const char *name;
    double width, depth;
    bool lite;
} edt_backbone_scale;

// EDT_ERR_USAGE lists the known names.
edt_status edt_scaling_backbone(const char *backbone_name, edt_error *err,
                                edt_backbone_scale *out_scale);

// Names "efficientnet-b0" ... in table order; NULL past the end.
const char *edt_scaling_backbone_name(int i_backbone);

// Channels of a stage: filters * width to the nearest multiple of 8, at least 8 and at least 90
// %.
int64_t edt_round_filters(double filters, double width);
// Blocks of a stage: depth * repeats, rounded up.
int64_t edt_round_repeats(double repeats, double depth);

#endif
