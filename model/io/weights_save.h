// Writing a model's weights as a file that others read: a TensorFlow bundle by names (what the
// reference's TF1 programs load), an object-based one (what Keras' save_weights writes), Keras
// HDF5 or safetensors. No optimizer slots and no trainer state: those stay with
// edt_checkpoint_save.
#ifndef EDT_MODEL_IO_WEIGHTS_SAVE_H
#define EDT_MODEL_IO_WEIGHTS_SAVE_H

#include "core/safetensors.h"
#include "model/io/weights.h"
#include "model/params.h"

typedef enum edt_weights_averages {
    // Values and averages side by side, as a training checkpoint has them. Not in HDF5.
    EDT_WEIGHTS_KEEP,
    // The averages are the values. By names they are stored as averages too, as the reference's
    // own export does, whose inference asks for the averages by their names.
    EDT_WEIGHTS_FOLD,
    EDT_WEIGHTS_RAW, // the values only
} edt_weights_averages;

typedef struct edt_weights_save_options {
    edt_weights_format format;
    edt_weights_averages averages;
    int64_t global_step; // -1: not known, none is stored; HDF5 has no place for one
    int64_t n_meta;      // safetensors: its metadata
    const edt_safetensors_meta *meta;
} edt_weights_save_options;

// `path` is a prefix for bundles, else a file. The averages are those of EDT_PARAMS_EMA;
// without that arena FOLD takes the values, KEEP is EDT_ERR_INVALID. Written under temporary
// names; what was there is replaced when all is on the disk, and on an error nothing unfinished
// remains. Equal weights and options give equal bytes.
edt_status edt_weights_save(const edt_params *params, const char *path,
                            const edt_weights_save_options *options, edt_error *err);

// Opens what edt_weights_save wrote and compares it with the parameters bit for bit.
// EDT_ERR_CORRUPT names the first tensor that is missing or differs.
edt_status edt_weights_verify(const edt_params *params, const char *path,
                              const edt_weights_save_options *options, edt_error *err,
                              int *out_n_tensors);

// Whether edt_weights_save to `path` would replace something.
edt_status edt_weights_exist(const char *path, edt_weights_format format, edt_error *err,
                             bool *out_exist);

#endif
