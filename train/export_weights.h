// What `export_model` does with weights: any checkpoint that can be read -> one of the formats
// of model/io/weights_save.h, compared with what was read, and told on stdout.
#ifndef EDT_TRAIN_EXPORT_WEIGHTS_H
#define EDT_TRAIN_EXPORT_WEIGHTS_H

#include "core/hparams.h"

typedef struct edt_export_options {
    const char *ckpt;   // what edt_model_config_load resolved
    const char *output; // prefix of a bundle, or a file
    const char
        *format; // "tf1", "tf2", "h5", "safetensors"; NULL or "": by the ending of output
    // "keep", "fold", "raw" (edt_weights_averages); "auto": keep where there are averages and
    // the format is one that our programs and the reference's take them from (tf1,
    // safetensors), else fold.
    const char *ema;
    bool overwrite; // else an existing output is EDT_ERR_USAGE
} edt_export_options;

// The weights must fit the model in `hp` completely. EDT_ERR_CORRUPT where the written file
// reads back otherwise.
edt_status edt_export_weights(const edt_hparams *hp, const edt_export_options *options,
                              edt_error *err);

#endif
