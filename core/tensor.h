// Element types and shapes, shared by checkpoints, graph, backends and safetensors. Pure values,
// no memory.
#ifndef EDT_CORE_TENSOR_H
#define EDT_CORE_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum edt_dtype {
    EDT_DTYPE_NONE,
    EDT_DTYPE_F32,
    EDT_DTYPE_F64,
    EDT_DTYPE_I32,
    EDT_DTYPE_I64,
    EDT_DTYPE_U8,
    EDT_DTYPE_BF16,
    EDT_DTYPE_F16,
    EDT_DTYPE_BOOL,
} edt_dtype;

enum { EDT_MAX_DIMS = 5 };

// n_dims 0 is a scalar (one element). Activations are N,H,W,C; kernels H,W,I,O.
typedef struct edt_shape {
    int n_dims;
    int64_t dim[EDT_MAX_DIMS];
} edt_shape;

typedef struct edt_tensor_desc {
    edt_dtype dtype;
    edt_shape shape;
} edt_tensor_desc;

// Bytes of one element; 0 for EDT_DTYPE_NONE.
size_t edt_dtype_bytes(edt_dtype dtype);
const char *edt_dtype_name(edt_dtype dtype);
// The type that accompanies activations of `dtype`: of variables, statistics, losses and
// gradients of variables. f64 for f64, f32 for f32, bf16 and f16.
edt_dtype edt_dtype_wide(edt_dtype dtype);

edt_shape edt_shape_1(int64_t a);
edt_shape edt_shape_2(int64_t a, int64_t b);
edt_shape edt_shape_3(int64_t a, int64_t b, int64_t c);
edt_shape edt_shape_4(int64_t n, int64_t h, int64_t w, int64_t c);

// Product of the dimensions (1 for a scalar).
int64_t edt_shape_count(const edt_shape *shape);
bool edt_shape_equal(const edt_shape *a, const edt_shape *b);
size_t edt_tensor_bytes(const edt_tensor_desc *desc);

// Writes "[2,3,4]" and returns `out`; at least 112 bytes.
enum { EDT_SHAPE_TEXT_BYTES = 112 };
char *edt_shape_text(const edt_shape *shape, char out[EDT_SHAPE_TEXT_BYTES]);

#endif
