// The jobs of the program edt_hdf5 and what they share.
#ifndef EDT_MODEL_IO_HDF5_PROGRAM_H
#define EDT_MODEL_IO_HDF5_PROGRAM_H

#include "core/error.h"

// The version of the library, as text.
edt_status edt_hdf5_version(int text_fd, edt_error *err);
// A Keras weight file -> an image of its tensors (h5_wire.h). EDT_ERR_FORMAT,
// EDT_ERR_UNSUPPORTED.
edt_status edt_hdf5_read(int file_fd, int image_fd, edt_error *err);
// An image with a list of layers -> a Keras weight file. Equal images give equal bytes.
edt_status edt_hdf5_write(int image_fd, int file_fd, edt_error *err);

#endif
