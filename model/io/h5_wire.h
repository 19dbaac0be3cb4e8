// What passes between this process and the program that has the HDF5 library (model/io/hdf5): a
// safetensors image in memory that both map. The side that gets it checks it like any file.
#ifndef EDT_MODEL_IO_H5_WIRE_H
#define EDT_MODEL_IO_H5_WIRE_H

#include "core/safetensors.h"

// The program's name and its modes. "version": the first fd gets the library's version; "read":
// the second fd is the HDF5 file, the first one gets the image, whose tensors are called like
// their datasets ("layer/layer/conv/kernel:0"); "write": the first fd is an image, the second
// gets the file.
#define EDT_H5_PROGRAM "edt_hdf5"
#define EDT_H5_VERSION "version"
#define EDT_H5_READ "read"
#define EDT_H5_WRITE "write"

// Metadata of the image that "read" makes: these before a tensor's name. The first gives the
// weight's name in its layer, the second a reason; such a tensor has no elements in the image.
#define EDT_H5_NAME "name:"
#define EDT_H5_UNREADABLE "unreadable:"
// Of the image that "write" takes: a JSON list of {"name": layer, "weights": [name, ...]} in
// the file's order, and two attributes of the file.
#define EDT_H5_LAYERS "layers"
#define EDT_H5_BACKEND "backend"
#define EDT_H5_KERAS_VERSION "keras_version"

// Limits of both sides: on the elements of a file, and on texts.
#define EDT_H5_MAX_BYTES ((uint64_t)4 << 30)
enum { EDT_H5_MAX_TENSORS = 1 << 20, EDT_H5_MAX_NAME = 4096 };

typedef struct edt_h5_tensor {
    const char *name; // unique
    edt_tensor_desc desc;
    uint64_t begin; // set by edt_h5_wire_create, as is `data`: where its elements go
    uint8_t *data;
} edt_h5_tensor;

typedef struct edt_h5_wire {
    int fd; // -1: none
    uint8_t *data;
    size_t n_bytes;
} edt_h5_wire;

// A file in memory for an image to come, or for other bytes. Closed on exec.
edt_status edt_h5_wire_memory(const char *name, edt_error *err, int *out_fd);
// Writes the header of an image to `fd` and maps it with place for all elements. The fd stays
// the caller's; edt_h5_wire_unmap afterwards.
edt_status edt_h5_wire_create(int fd, edt_h5_tensor *tensors, int64_t n,
                              const edt_safetensors_meta *meta, int64_t n_meta, edt_error *err,
                              edt_h5_wire *out_wire);
// Maps what `fd` holds, read-only.
edt_status edt_h5_wire_map(int fd, edt_error *err, edt_h5_wire *out_wire);
void edt_h5_wire_unmap(edt_h5_wire *wire); // a zeroed one is legal

#endif
