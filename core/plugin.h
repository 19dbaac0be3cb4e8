// Parts of the program that are loaded when they are asked for, so that the rest runs on
// machines without the libraries they need: libedt_cuda.so, libedt_nccl.so, libedt_mpi.so. Each
// exports one constant table.
#ifndef EDT_CORE_PLUGIN_H
#define EDT_CORE_PLUGIN_H

#include "core/error.h"

// Opens `file` (a plain name) from the folder that EDT_PLUGIN_DIR names or, where that is not
// set, from the folder of the running program, and finds `symbol` in it. Opened once per
// process and never closed. EDT_ERR_UNSUPPORTED says whether the file is not there (not built,
// not installed) or what the loader misses (a driver, a library).
edt_status edt_plugin_open(const char *file, const char *symbol, edt_error *err,
                           const void **out_symbol);

// Where `file` lies: in the folder that EDT_PLUGIN_DIR names, in that of the running program,
// or in the `bin` beside that one (test programs). EDT_ERR_UNSUPPORTED when it is in none of
// them.
enum { EDT_PLUGIN_PATH_BYTES = 4096 + 256 };
edt_status edt_plugin_find(const char *file, edt_error *err,
                           char out_path[static EDT_PLUGIN_PATH_BYTES]);

#endif
