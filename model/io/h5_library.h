// What `model_info --env` says about the HDF5 library, which only the program edt_hdf5 links.
#ifndef EDT_MODEL_IO_H5_LIBRARY_H
#define EDT_MODEL_IO_H5_LIBRARY_H

#include "core/libraries.h"

// One row; its version is "none" where that program is not there or does not run.
void edt_h5_library(edt_library *out_library);

#endif
