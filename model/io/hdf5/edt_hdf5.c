// edt_hdf5: the program that has the HDF5 library. Others start it (core/helper.h) and exchange
// tensors with it through memory (h5_wire.h), because that library is not safe against damaged
// files: here it may crash, hang or ask for any amount of memory without harm.
#include <stdio.h>
#include <string.h>

#include "core/helper.h"
#include "model/io/h5_wire.h"
#include "model/io/hdf5/hdf5_program.h"

enum { CPU_S = 20 };
static const uint64_t memory_bytes = (uint64_t)1 << 30;

int main(int argc, char **argv)
{
    const char *mode = argc == 2 ? argv[1] : "";
    edt_error err = {0};
    edt_status status;
    if (strcmp(mode, EDT_H5_VERSION) == 0) {
        status = edt_hdf5_version(EDT_HELPER_FIRST_FD, &err);
    } else if (strcmp(mode, EDT_H5_READ) == 0) {
        // What is written is the image in memory: its elements and the names.
        status = edt_helper_limit(CPU_S, memory_bytes, EDT_H5_MAX_BYTES + memory_bytes, &err);
        if (status == EDT_OK) {
            status = edt_hdf5_read(EDT_HELPER_FIRST_FD + 1, EDT_HELPER_FIRST_FD, &err);
        }
    } else if (strcmp(mode, EDT_H5_WRITE) == 0) {
        status = edt_hdf5_write(EDT_HELPER_FIRST_FD, EDT_HELPER_FIRST_FD + 1, &err);
    } else {
        (void)fprintf(stderr,
                      "edt_hdf5 reads and writes Keras weight files (.h5) for the other "
                      "programs, which start it themselves\n");
        return 2;
    }
    edt_helper_report(status, &err);
}
