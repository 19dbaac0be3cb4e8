// A model's weights as a Keras HDF5 file, which Keras' own load_weights and h5py read.
#ifndef EDT_MODEL_IO_H5_WRITE_H
#define EDT_MODEL_IO_H5_WRITE_H

#include "model/params.h"

// Writes all parameters from arena `which` in the element type of the params. Layers and
// weights stand in the order of the reference's network, since Keras assigns by position
// (spec/model.md 7.5). The file appears under its name when it is complete and on the disk; on
// an error what was there remains. Equal parameters give equal bytes. EDT_ERR_INVALID: the
// arena is not there; EDT_ERR_UNSUPPORTED: built without the HDF5 library; EDT_ERR_IO.
edt_status edt_h5_write(const edt_params *params, edt_params_arena which, const char *path,
                        edt_error *err);

#endif
