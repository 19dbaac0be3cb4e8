// Versions of the libraries that the layers stand on, for `model_info --env`. Each layer
// reports its own; backends report theirs by edt_backend_describe.
#ifndef EDT_CORE_LIBRARIES_H
#define EDT_CORE_LIBRARIES_H

typedef struct edt_library {
    const char *name;
    char version[48];
    const char *purpose; // a few words
} edt_library;

enum { EDT_LIBRARIES_MAX = 16 };

// Fills out_libraries and returns how many (at most EDT_LIBRARIES_MAX): cJSON, libyaml.
int edt_core_libraries(edt_library out_libraries[static EDT_LIBRARIES_MAX]);

#endif
