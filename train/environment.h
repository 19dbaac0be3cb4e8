// What this build stands on and what this machine offers: processor, libraries, backends
// (`model_info --env`).
#ifndef EDT_TRAIN_ENVIRONMENT_H
#define EDT_TRAIN_ENVIRONMENT_H

#include <stdbool.h>

#include "core/libraries.h"

enum { EDT_ENVIRONMENT_BACKENDS = 3, EDT_ENVIRONMENT_TEXT_BYTES = 512 };

typedef struct edt_environment_backend {
    const char *name;
    bool can_run;
    char text[EDT_ENVIRONMENT_TEXT_BYTES]; // what it is, or why it cannot run here
} edt_environment_backend;

typedef struct edt_environment {
    char version[32];
    char compiler[96];
    char processor[96];
    int n_cores;            // of this process's affinity mask
    double memory_gib;      // of the machine
    char cpu_features[256]; // names with blanks between, as the kernels look for them
    int n_libraries;
    edt_library libraries[2 * EDT_LIBRARIES_MAX];
    // Lines "name: value" of the plug-ins: driver, devices and libraries of CUDA, NCCL, MPI, or
    // why one cannot be used here.
    char devices[4096];
    edt_environment_backend backends[EDT_ENVIRONMENT_BACKENDS];
} edt_environment;

// Cannot fail: what cannot be told is "unknown" or empty.
void edt_environment_read(edt_environment *out_environment);
// Model name of the processor, "unknown processor" where the system does not tell.
void edt_environment_processor(char *out_text, int n_bytes);

#endif
