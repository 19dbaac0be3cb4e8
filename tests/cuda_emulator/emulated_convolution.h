// What the stand-in for cuDNN computes: a convolution or one of its gradients on packed
// channels-last arrays.
#ifndef EDT_TESTS_CUDA_EMULATOR_EMULATED_CONVOLUTION_H
#define EDT_TESTS_CUDA_EMULATOR_EMULATED_CONVOLUTION_H

#include "tests/cuda_emulator/emulated_types.h"

namespace edt_emulator
{

struct tensor {
    element type;
    int64_t dim[4]; // n, c, h, w; co, ci, kh, kw
    int64_t uid, alignment;
    int64_t count() const
    {
        return dim[0] * dim[1] * dim[2] * dim[3];
    }
};

enum pass { FORWARD, DATA, WEIGHT };

struct convolution {
    pass kind;
    tensor x, w, y;
    int64_t stride[2], before[2], after[2];
    bool unequal() const
    {
        return before[0] != after[0] || before[1] != after[1];
    }
};

// pointers: x, w, y, workspace (filled with NaN first, as a library leaves it). Work of a
// stream.
void convolve(const convolution &c, bool rounds_inputs, void *const pointers[4],
              size_t workspace_bytes);

} // namespace edt_emulator

#endif
