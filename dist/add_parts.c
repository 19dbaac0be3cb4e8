// See add_parts.h. Blocks that stay in the first cache, so that every part is read once.
#include "dist/add_parts.h"

#include <string.h>

enum { BLOCK = 1024 };

#define DEFINE_ADD(name, V)                                                                    \
    static void name(V *to, const V *own, int rank, const uint8_t *parts, size_t stride_bytes, \
                     int n_ranks, int64_t begin, int64_t n)                                    \
    {                                                                                          \
        V sum[BLOCK];                                                                          \
        for (int r = 0; r < n_ranks; ++r) {                                                    \
            const void *part =                                                                 \
                r == rank ? (const void *)own : parts + (size_t)r * stride_bytes;              \
            const V *from = (const V *)part + begin;                                           \
            for (int64_t i = 0; i < n; ++i) {                                                  \
                sum[i] = r == 0 ? from[i] : sum[i] + from[i];                                  \
            }                                                                                  \
        }                                                                                      \
        memcpy(to + begin, sum, (size_t)n * sizeof *sum);                                      \
    }
DEFINE_ADD(add_f32, float)
DEFINE_ADD(add_f64, double)

void edt_add_parts(void *to, const void *own, int rank, const uint8_t *parts,
                   size_t stride_bytes, int n_ranks, int64_t n, edt_dtype dtype)
{
    for (int64_t begin = 0; begin < n; begin += BLOCK) {
        const int64_t count = n - begin < BLOCK ? n - begin : BLOCK;
        if (dtype == EDT_DTYPE_F32) {
            add_f32(to, own, rank, parts, stride_bytes, n_ranks, begin, count);
        } else {
            add_f64(to, own, rank, parts, stride_bytes, n_ranks, begin, count);
        }
    }
}
