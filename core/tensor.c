// Shape arithmetic; see tensor.h.
#include "core/tensor.h"

#include <inttypes.h>
#include <stdio.h>

size_t edt_dtype_bytes(edt_dtype dtype)
{
    switch (dtype) {
    case EDT_DTYPE_NONE: return 0;
    case EDT_DTYPE_U8:
    case EDT_DTYPE_BOOL: return 1;
    case EDT_DTYPE_BF16:
    case EDT_DTYPE_F16: return 2;
    case EDT_DTYPE_F32:
    case EDT_DTYPE_I32: return 4;
    case EDT_DTYPE_F64:
    case EDT_DTYPE_I64: return 8;
    }
    return 0;
}

const char *edt_dtype_name(edt_dtype dtype)
{
    static const char *const names[] = {"none", "f32", "f64", "i32", "i64", "u8", "bf16", "f16", "bool"};
    return (unsigned)dtype < sizeof names / sizeof names[0] ? names[dtype] : "unknown";
}

edt_dtype edt_dtype_wide(edt_dtype dtype)
{
    return dtype == EDT_DTYPE_F64 ? EDT_DTYPE_F64 : EDT_DTYPE_F32;
}

edt_shape edt_shape_1(int64_t a)
{
    return (edt_shape){.n_dims = 1, .dim = {a}};
}

edt_shape edt_shape_2(int64_t a, int64_t b)
{
    return (edt_shape){.n_dims = 2, .dim = {a, b}};
}

edt_shape edt_shape_3(int64_t a, int64_t b, int64_t c)
{
    return (edt_shape){.n_dims = 3, .dim = {a, b, c}};
}

edt_shape edt_shape_4(int64_t n, int64_t h, int64_t w, int64_t c)
{
    return (edt_shape){.n_dims = 4, .dim = {n, h, w, c}};
}

int64_t edt_shape_count(const edt_shape *shape)
{
    int64_t count = 1;
    for (int i = 0; i < shape->n_dims; ++i) {
        count *= shape->dim[i];
    }
    return count;
}

bool edt_shape_equal(const edt_shape *a, const edt_shape *b)
{
    if (a->n_dims != b->n_dims) {
        return false;
    }
    for (int i = 0; i < a->n_dims; ++i) {
        if (a->dim[i] != b->dim[i]) {
            return false;
        }
    }
    return true;
}

size_t edt_tensor_bytes(const edt_tensor_desc *desc)
{
    return (size_t)edt_shape_count(&desc->shape) * edt_dtype_bytes(desc->dtype);
}

char *edt_shape_text(const edt_shape *shape, char out[EDT_SHAPE_TEXT_BYTES])
{
    size_t used = 0;
    out[used++] = '[';
    for (int i = 0; i < shape->n_dims && used < EDT_SHAPE_TEXT_BYTES; ++i) {
        const int n = snprintf(out + used, EDT_SHAPE_TEXT_BYTES - used, i == 0 ? "%" PRId64 : ",%" PRId64,
                               shape->dim[i]);
        used += n > 0 ? (size_t)n : 0;
    }
    if (used < EDT_SHAPE_TEXT_BYTES - 1) {
        out[used++] = ']';
        out[used] = '\0';
    }
    return out;
}
