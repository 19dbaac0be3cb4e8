// See cuda_rows.h. Blocks take up to 64 groups of channels: a packet each makes 1 KiB of
// neighbouring bytes, and few enough groups leave several rows per block for any number of
// channels.
#include "backend/cuda/cuda_rows.h"

#include <inttypes.h>

#include "core/mem.h"

enum {
    MOST_GROUPS = 64,
    FEWEST_GROUPS = 8,       // 128 bytes of packets: whole cache lines
    SUM_BLOCKS = 4,          // per multiprocessor: registers allow no more
    LEAST_ROWS = 64,         // of a part with sums: 16 times what it leaves behind
    LEAST_ROWS_PER_LANE = 4, // what a thread reads at once
};

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a - 1) / b + 1;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t threads_blocks(const edt_cuda_limits *limits)
{
    return larger(1, (int64_t)limits->n_multiprocessors *
                         (limits->threads_per_multiprocessor / EDT_CUDA_ROW_THREADS));
}

// Parts, lanes and chunks for so many groups in a block.
static void lay(const edt_cuda_limits *limits, const edt_cuda_rows_want *want, int64_t n_groups,
                int groups, edt_cuda_rows *rows)
{
    rows->groups = groups;
    rows->lanes = EDT_CUDA_ROW_THREADS / groups;
    rows->chunks = (int)ceil_div(n_groups, groups);
    const int64_t steps = ceil_div(want->n_rows, rows->lanes);
    const int64_t beside = larger(1, rows->chunks * smaller(want->n_images, limits->grid_z));
    int64_t most = ceil_div(threads_blocks(limits), beside);
    if (want->sums) {
        most = ceil_div((int64_t)limits->n_multiprocessors * SUM_BLOCKS, beside);
        const int64_t least = larger(LEAST_ROWS_PER_LANE, ceil_div(LEAST_ROWS, rows->lanes));
        most = smaller(most, ceil_div(steps, least));
    }
    rows->parts = (int)larger(1, smaller(smaller(steps, most), limits->grid_x));
}

edt_status edt_cuda_rows_plan(const edt_cuda_limits *limits, const edt_cuda_rows_want *want,
                              edt_error *err, edt_cuda_rows *out_rows)
{
    const int packet = EDT_CUDA_PACKET_BYTES / (int)edt_dtype_bytes(want->real);
    edt_cuda_rows rows = {
        .n_images = want->n_images,
        .n_rows = want->n_rows,
        .n_channels = want->n_channels,
        .vec = want->n_channels % packet == 0 ? packet : 1,
        .grid_images = (int)smaller(want->n_images, limits->grid_z),
    };
    const int64_t n_groups = want->n_channels / rows.vec;
    if (ceil_div(n_groups, FEWEST_GROUPS) > limits->grid_y) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "cuda: %" PRId64 " channels are more than a grid of %d blocks takes (%d each)",
                 want->n_channels, limits->grid_y, FEWEST_GROUPS * rows.vec);
    }
    int groups = (int)ceil_div(n_groups, ceil_div(n_groups, MOST_GROUPS));
    lay(limits, want, n_groups, groups, &rows);
    // Narrower blocks where the device would have idle multiprocessors.
    while (groups >= 2 * FEWEST_GROUPS &&
           (int64_t)rows.parts * rows.chunks * rows.grid_images < limits->n_multiprocessors) {
        groups = (groups + 1) / 2;
        lay(limits, want, n_groups, groups, &rows);
    }
    *out_rows = rows;
    return EDT_OK;
}

edt_cuda_rows_want edt_cuda_rows_of(const edt_tensor_desc *x, bool by_image, bool sums)
{
    const int64_t n_cells = x->shape.dim[1] * x->shape.dim[2];
    return (edt_cuda_rows_want){
        .real = x->dtype,
        .n_images = by_image ? x->shape.dim[0] : 1,
        .n_rows = by_image ? n_cells : x->shape.dim[0] * n_cells,
        .n_channels = x->shape.dim[3],
        .sums = sums,
    };
}

size_t edt_cuda_rows_sum_bytes(const edt_cuda_rows *rows, int n_sums)
{
    return edt_cuda_round_up((size_t)rows->n_images * (size_t)rows->parts * (size_t)n_sums *
                             (size_t)rows->n_channels * sizeof(double));
}

int edt_cuda_blocks_for(const edt_cuda_limits *limits, int64_t n_items)
{
    // Four waves: a few blocks more than fit even out the last one.
    const int64_t most = smaller(4 * threads_blocks(limits), limits->grid_x);
    return n_items < 1 ? 1 : (int)smaller(ceil_div(n_items, EDT_CUDA_ROW_THREADS), most);
}

size_t edt_cuda_round_up(size_t n_bytes)
{
    return (n_bytes + EDT_MEM_ALIGN - 1) / EDT_MEM_ALIGN * EDT_MEM_ALIGN;
}
