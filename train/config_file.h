// config.yaml of a model directory: the settings that its run was started with, for people to
// read.
#ifndef EDT_TRAIN_CONFIG_FILE_H
#define EDT_TRAIN_CONFIG_FILE_H

#include "core/hparams.h"

// Writes model_dir/config.yaml, or, where it exists, warns with the list of settings that
// differ from it and leaves it as it is.
edt_status edt_config_file_enter(const char *model_dir, const edt_hparams *hp, edt_error *err);

// "key: 1 (was 2), ...": the settings that two tables as edt_hparams_to_yaml writes them have
// differently, in `arena`; "" when there is none. NULL when out of memory.
const char *edt_config_file_changes(const char *now, const char *was, edt_arena *arena);

#endif
