// The device that tests of the cuda backend run on: the emulated one, or a real one where
// EDT_PLUGIN_DIR names the folder of the real plug-in.
#ifndef EDT_TESTS_SUPPORT_CUDA_DEVICE_H
#define EDT_TESTS_SUPPORT_CUDA_DEVICE_H

#include "backend/backend.h"

// In a Criterion test: a deterministic backend without TF32, or the test is left (skipped, with
// the reason) where there is no device. Never NULL.
edt_backend *edt_test_cuda_backend(void);

#endif
