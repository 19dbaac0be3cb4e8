// Launch geometry of the kernels that work over rows of channels or over single elements: plain
// arithmetic, without a device.
#ifndef EDT_BACKEND_CUDA_CUDA_ROWS_H
#define EDT_BACKEND_CUDA_CUDA_ROWS_H

#include "backend/cuda/kernels/cuda_kernels.h"
#include "backend/cuda/kernels/row_layout.h"
#include "core/error.h"
#include "core/tensor.h"

// Sizes of one run over rows. `sums`: the kernel leaves a sum per part behind, so that a part
// has to be worth one; otherwise as many parts as keep the device busy. `whole`: one part, in
// narrow blocks, for kernels whose threads want the sums of all rows at once.
typedef struct edt_cuda_rows_want {
    edt_dtype real;
    int64_t n_images, n_rows, n_channels; // each at least 1
    bool sums, whole;
} edt_cuda_rows_want;

// EDT_ERR_UNSUPPORTED where the channels do not fit a grid.
edt_status edt_cuda_rows_plan(const edt_cuda_limits *limits, const edt_cuda_rows_want *want,
                              edt_error *err, edt_cuda_rows *out_rows);

// The rows of an N,H,W,C tensor: all of them as one image, or image by image.
edt_cuda_rows_want edt_cuda_rows_of(const edt_tensor_desc *x, bool by_image, bool sums);

// Bytes of n_sums sums in double per channel, part and image.
size_t edt_cuda_rows_sum_bytes(const edt_cuda_rows *rows, int n_sums);

// Layout for a kernel that makes `to` from `from`, N,H,W,C tensors of equal N and C.
// EDT_ERR_UNSUPPORTED for images of 2^31 threads' worth of work or more.
edt_status edt_cuda_pixels_plan(const edt_cuda_limits *limits, const edt_tensor_desc *from,
                                const edt_tensor_desc *to, edt_error *err,
                                edt_cuda_pixels *out_pixels);

// divisor in 1..2^31.
edt_cuda_divisor edt_cuda_divisor_of(uint32_t divisor);

// Blocks for n_items threads, of which each may take several; n_items of 0 gives 1.
int edt_cuda_blocks_for(const edt_cuda_limits *limits, int64_t n_items);

// Rounds up to where the next array of a workspace may begin.
size_t edt_cuda_round_up(size_t n_bytes);

#endif
