// CAST between f32, bf16 and f16 over threads.
#include <omp.h>
#include <string.h>

#include "backend/cpu/cpu_priv.h"

static void convert(const edt_cpu_kernels *simd, const edt_tensor_desc *from,
                    const edt_tensor_desc *to, const char *x, char *y, int64_t begin,
                    int64_t end)
{
    x += (size_t)begin * edt_dtype_bytes(from->dtype);
    y += (size_t)begin * edt_dtype_bytes(to->dtype);
    const void *source = x;
    void *target = y;
    const int64_t n = end - begin;
    if (from->dtype == to->dtype) {
        memcpy(y, x, (size_t)n * edt_dtype_bytes(to->dtype));
    } else if (to->dtype == EDT_DTYPE_BF16) {
        simd->to_bf16(source, target, n);
    } else if (to->dtype == EDT_DTYPE_F16) {
        simd->to_f16(source, target, n);
    } else if (from->dtype == EDT_DTYPE_BF16) {
        simd->from_bf16(source, target, n);
    } else {
        simd->from_f16(source, target, n);
    }
}

// From one 16-bit type to the other: f32, which holds both exactly, in between.
static void convert_low(const edt_cpu_kernels *simd, const edt_tensor_desc *from,
                        const edt_tensor_desc *to, const char *x, char *y, int64_t begin,
                        int64_t end)
{
    enum { PIECE = 1024 };
    float wide[PIECE];
    const edt_tensor_desc middle = {.dtype = EDT_DTYPE_F32, .shape = from->shape};
    for (int64_t i = begin; i < end; i += PIECE) {
        const int64_t n = end - i < PIECE ? end - i : PIECE;
        convert(simd, from, &middle, x + (size_t)i * edt_dtype_bytes(from->dtype),
                (char *)(void *)wide, 0, n);
        convert(simd, &middle, to, (const char *)(const void *)wide,
                y + (size_t)i * edt_dtype_bytes(to->dtype), 0, n);
    }
}

static edt_status run_cast(edt_kernel *kernel, const edt_cpu_run *run)
{
    const edt_tensor_desc *from = &kernel->desc.in[0];
    const edt_tensor_desc *to = &kernel->desc.out[0];
    const int64_t n = edt_shape_count(&from->shape);
    const bool low =
        from->dtype != to->dtype && from->dtype != EDT_DTYPE_F32 && to->dtype != EDT_DTYPE_F32;
    const int n_threads = edt_cpu_threads(run->backend, n);
#pragma omp parallel num_threads(n_threads)
    {
        int64_t begin;
        int64_t end;
        edt_cpu_split(n, omp_get_num_threads(), omp_get_thread_num(), &begin, &end);
        const edt_cpu_kernels *simd = edt_cpu_kernels_of(run->backend);
        if (low) {
            convert_low(simd, from, to, run->in[0], run->out[0], begin, end);
        } else {
            convert(simd, from, to, run->in[0], run->out[0], begin, end);
        }
    }
    return EDT_OK;
}

edt_status edt_cpu_cast_supports(const edt_op_desc *desc, edt_error *err)
{
    const edt_dtype types[2] = {desc->in[0].dtype, desc->attrs.cast_dtype};
    for (int i = 0; i < 2; i++) {
        if (types[i] != EDT_DTYPE_F32 && types[i] != EDT_DTYPE_BF16 &&
            types[i] != EDT_DTYPE_F16) {
            EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                     "cpu: cast of %s to %s; between f32, bf16 and f16 is there (the ref "
                     "backend has all)",
                     edt_dtype_name(types[0]), edt_dtype_name(types[1]));
        }
    }
    return EDT_OK;
}

edt_status edt_cpu_prepare_cast(edt_cpu_backend *backend, edt_kernel *kernel, edt_error *err)
{
    (void)backend;
    (void)err;
    kernel->run = run_cast;
    return EDT_OK;
}

void edt_cpu_act_f32(const edt_cpu_backend *backend, edt_act act, float *x, int64_t n)
{
    edt_cpu_kernels_of(backend)->act(act, x, x, n);
}
