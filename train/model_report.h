// The tables of `model_info`: one model's parts, all models, a model's variables, a
// checkpoint's tensors, the environment; as text or JSON on stdout.
#ifndef EDT_TRAIN_MODEL_REPORT_H
#define EDT_TRAIN_MODEL_REPORT_H

#include <stdbool.h>

#include "core/hparams.h"

// JSON: {name, image_size, parameters, flops, macs, variables, moving_statistics, anchors,
// variable_bytes, activation_bytes, stages: [{name, parameters, flops, macs}]}. macs:
// multiply-accumulates of convolutions; flops: as they are published (model/count.h).
edt_status edt_report_model(const edt_hparams *hp, bool json, edt_error *err);
// Every row of the table of models beside its published figures. JSON: [{name, parameters, flops, macs}].
edt_status edt_report_all_models(bool json, edt_error *err);
// Name, shape and kind of each variable. JSON: [{name, shape, trainable, object_path}].
edt_status edt_report_variables(const edt_hparams *hp, bool json, edt_error *err);
// Name, type, shape, smallest, mean and largest element of each tensor in a file of weights.
// JSON:
// [{name, dtype, shape, min, mean, max}]. EDT_ERR_CORRUPT where a checksum does not match.
edt_status edt_report_checkpoint(const char *path, bool json, edt_error *err);
// JSON: {version, compiler, processor, cores, memory_gib, cpu_features, libraries, backends}.
edt_status edt_report_environment(bool json, edt_error *err);

#endif
