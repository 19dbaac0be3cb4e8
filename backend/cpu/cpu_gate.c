// The products of cpu_gate.h, image by image: all threads pack their share of the scaled
// weights, then multiply their share of the image's rows.
#include "backend/cpu/cpu_gate.h"

#include <omp.h>

void edt_cpu_gate_run(const edt_op_desc *desc, const edt_cpu_run *run, const edt_cpu_gemm *gemm,
                      const float *folded, const edt_real *residual, void *packed)
{
    const edt_cpu_kernels *simd = edt_cpu_kernels_of(run->backend);
    const edt_cpu_rows rows = edt_cpu_rows_of(&desc->in[0]);
    const edt_real *x = run->in[0];
    const edt_real *gate = run->in[desc->attrs.conv.has_bias ? 7 : 6];
    edt_real *y = run->out[0];
    const int n_threads = edt_cpu_threads(run->backend, rows.rows * gemm->k * gemm->n / 16);
#pragma omp parallel num_threads(n_threads)
    {
        const int n_parts = omp_get_num_threads();
        const int part = omp_get_thread_num();
        int64_t begin;
        int64_t end;
        edt_cpu_split(rows.cells, n_parts, part, &begin, &end);
        for (int64_t n = 0; n < rows.n; n++) {
            const int64_t at = n * rows.cells + begin;
            simd->gemm_pack_scaled(folded, gate + n * gemm->k, gemm->k, gemm->n, part, n_parts,
                                   packed);
#pragma omp barrier
            simd->gemm(gemm, x + at * gemm->k,
                       residual == NULL ? NULL : residual + at * gemm->n, y + at * gemm->n,
                       end - begin, 0, 1);
#pragma omp barrier
        }
    }
}
