// The configuration a trained model runs with: model row, what its checkpoint says, then the user's
// --hparams. Checkpoints of `train` carry their whole table, so that nobody has to repeat class
// count, size or label map.
#ifndef EDT_EVAL_MODEL_CONFIG_H
#define EDT_EVAL_MODEL_CONFIG_H

#include "core/hparams.h"

// `hp` is initialised. `ckpt` is a directory or prefix, or "_" or "" for none; `model_name` NULL or
// "" takes the checkpoint's, else efficientdet-d0. Resolves the label map. *out_prefix (in `arena`)
// is NULL without a checkpoint.
edt_status edt_model_config_load(edt_hparams *hp, const char *model_name, const char *ckpt,
                                 const char *hparams, edt_arena *arena, edt_error *err,
                                 const char **out_prefix);

// Name of a class for drawing: the label map's; COCO's for an unnamed 90-class model, as the
// reference draws; else "class N" in `buffer`.
const char *edt_model_config_class_name(const edt_hparams *hp, int64_t class_id,
                                        char buffer[static 32]);

#endif
