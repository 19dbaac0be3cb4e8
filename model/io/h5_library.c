// See h5_library.h. The program is asked, since it may lie beside another build of ours.
#include "model/io/h5_library.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/helper.h"
#include "model/io/h5_wire.h"

void edt_h5_library(edt_library *out_library)
{
    enum { TIMEOUT_S = 60 };
    *out_library =
        (edt_library){.name = "HDF5", .version = "none", .purpose = "Keras weight files (.h5)"};
    int fd = -1;
    if (edt_h5_wire_memory("edt_h5_version", NULL, &fd) != EDT_OK) {
        return;
    }
    const edt_helper_call call = {.program = EDT_H5_PROGRAM,
                                  .n_args = 1,
                                  .args = {EDT_H5_VERSION},
                                  .n_fds = 1,
                                  .fds = {fd},
                                  .timeout_s = TIMEOUT_S};
    bool died = false;
    char version[sizeof out_library->version] = {0};
    if (edt_helper_run(&call, NULL, &died) == EDT_OK &&
        pread(fd, version, sizeof version - 1, 0) > 0) {
        memcpy(out_library->version, version, sizeof version);
    }
    (void)close(fd);
}
