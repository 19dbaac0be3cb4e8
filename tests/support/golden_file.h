// Golden vectors: a safetensors file held in memory. Everything here fails the running test
// when the file is malformed.
#ifndef EDT_TESTS_SUPPORT_GOLDEN_FILE_H
#define EDT_TESTS_SUPPORT_GOLDEN_FILE_H

#include "core/tensor.h"

typedef struct golden_tensor {
    const char *name;
    edt_dtype dtype;
    edt_shape shape;
    const void *data; // row-major, aligned for its type
} golden_tensor;

typedef struct golden_file golden_file;

golden_file *golden_open(const char *path);
void golden_close(golden_file *file); // NULL is fine
const char *golden_path(const golden_file *file); // as opened

int golden_count(const golden_file *file);
const golden_tensor *golden_at(const golden_file *file, int i_tensor);
const golden_tensor *golden_find(const golden_file *file, const char *name); // NULL: none
// Text of a __metadata__ entry, NULL: none.
const char *golden_metadata(const golden_file *file, const char *key);

#endif
