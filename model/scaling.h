// The table of models: hparams that a model name stands for (spec/model.md 5.2) and backbone
// scaling (1.1).
#ifndef EDT_MODEL_SCALING_H
#define EDT_MODEL_SCALING_H

#include "core/hparams.h"

// Writes the model's row over `hp` (usually fresh defaults), `name` included. EDT_ERR_USAGE lists
// the known names and the nearest one.
edt_status edt_scaling_apply(edt_hparams *hp, const char *model_name, edt_error *err);

// Names "efficientdet-d0" ... in table order; NULL past the end.
const char *edt_scaling_model_name(int i_model);

#endif
