// A dense convolution and the depthwise one behind it, a few rows at a time: what cpu_chain.c
// needs of the two files that do them one by one. The value between them lives in a ring of
// rows per thread, which stays in the core's cache.
#ifndef EDT_BACKEND_CPU_CPU_CHAIN_H
#define EDT_BACKEND_CPU_CPU_CHAIN_H

#include "backend/cpu/cpu_priv.h"

// Where a depthwise convolution has its source from instead of in[0]. Each thread makes the
// rows that it reads, once and in order.
typedef struct EDT_R(edt_cpu_row_maker) {
    // Rows [begin, end), counted over all images, one after another to `to`.
    void (*make)(const void *ctx, int part, int64_t begin, int64_t end, edt_real *to);
    const void *ctx;
    int64_t n_rows, row_size; // of an image; elements of a row
    int64_t batch;            // rows made at a time
    int64_t ring_rows;        // at least the window's, less one, and a batch
    char *rings;              // of all threads
    size_t ring_bytes;        // of one, at least ring_rows
} EDT_R(edt_cpu_row_maker);
#define edt_cpu_row_maker EDT_R(edt_cpu_row_maker)

// A thread's rows, the last ring_rows of those made.
typedef struct EDT_R(edt_cpu_ring) {
    const edt_cpu_row_maker *maker;
    int part;
    edt_real *rows;
    int64_t made,
        limit; // rows made so far end, and are never made behind, counted over all images
} EDT_R(edt_cpu_ring);
#define edt_cpu_ring EDT_R(edt_cpu_ring)
#define edt_cpu_ring_begin EDT_R(edt_cpu_ring_begin)
#define edt_cpu_ring_fill EDT_R(edt_cpu_ring_fill)

// The last row that will be read is the one before `last_end` of image `last_image`.
edt_cpu_ring edt_cpu_ring_begin(const edt_cpu_row_maker *maker, int part, int64_t last_image,
                                int64_t last_end);
// Makes what is missing of an image's rows [first, end), as far as there are such, and forgets
// the rows before. Calls go forward.
void edt_cpu_ring_fill(edt_cpu_ring *ring, int64_t image, int64_t first, int64_t end);

static inline const edt_real *edt_cpu_ring_row(const edt_cpu_ring *ring, int64_t image,
                                               int64_t row)
{
    const edt_cpu_row_maker *m = ring->maker;
    return ring->rows + (image * m->n_rows + row) % m->ring_rows * m->row_size;
}

// DEPTHWISE_BN_ACT as its kernel runs it, but for in[0]. cpu_depthwise.c
#define edt_cpu_depthwise_run_made EDT_R(edt_cpu_depthwise_run_made)
edt_status edt_cpu_depthwise_run_made(edt_kernel *kernel, const edt_cpu_run *run,
                                      const edt_cpu_row_maker *maker);

// CONV2D_BN_ACT as own product in parts. cpu_conv.c
#define edt_cpu_conv_refresh EDT_R(edt_cpu_conv_refresh)
#define edt_cpu_conv_pixels EDT_R(edt_cpu_conv_pixels)
// What a run derives from parameters; comes before the pixels, on one thread.
edt_status edt_cpu_conv_refresh(edt_kernel *kernel, const edt_cpu_run *run);
// Pixels [begin, end) of the output, counted over all images, to y by thread `part`.
void edt_cpu_conv_pixels(const edt_kernel *kernel, const edt_cpu_run *run, int part,
                         int64_t begin, int64_t end, edt_real *y);

#endif
