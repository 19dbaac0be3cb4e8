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
    if (want->whole) {
        most = 1;
    } else if (want->sums) {
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
    const int fewest = want->whole ? EDT_CUDA_WHOLE_GROUPS : FEWEST_GROUPS;
    if (ceil_div(n_groups, fewest) > limits->grid_y) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "cuda: %" PRId64 " channels are more than a grid of %d blocks takes (%d each)",
                 want->n_channels, limits->grid_y, fewest * rows.vec);
    }
    int groups = (int)(want->whole ? smaller(n_groups, fewest)
                                   : ceil_div(n_groups, ceil_div(n_groups, MOST_GROUPS)));
    lay(limits, want, n_groups, groups, &rows);
    // Narrower blocks where the device would have idle multiprocessors.
    while (groups >= 2 * fewest &&
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

edt_cuda_divisor edt_cuda_divisor_of(uint32_t divisor)
{
    int shift = 0;
    while (((uint64_t)1 << shift) < divisor) {
        ++shift;
    }
    const uint64_t beyond = ((uint64_t)1 << shift) - divisor;
    return (edt_cuda_divisor){
        .divisor = divisor,
        .multiplier = (uint32_t)((beyond << 32) / divisor + 1),
        .shift = shift,
    };
}

edt_status edt_cuda_pixels_plan(const edt_cuda_limits *limits, const edt_tensor_desc *from,
                                const edt_tensor_desc *to, edt_error *err,
                                edt_cuda_pixels *out_pixels)
{
    const int packet = EDT_CUDA_PACKET_BYTES / (int)edt_dtype_bytes(to->dtype);
    const int64_t *d = to->shape.dim;
    const int vec = d[3] % packet == 0 ? packet : 1;
    const int64_t n_groups = d[3] / vec;
    if (d[1] > INT32_MAX / d[2] / n_groups || from->shape.dim[1] > INT32_MAX ||
        from->shape.dim[2] > INT32_MAX) {
        char text[EDT_SHAPE_TEXT_BYTES];
        EDT_FAIL(
            err, EDT_ERR_UNSUPPORTED,
            "cuda: an image of shape %s is more than the 2^31 threads that a kernel of this "
            "kind counts",
            edt_shape_text(&to->shape, text));
    }
    const int64_t n_items = d[1] * d[2] * n_groups;
    *out_pixels = (edt_cuda_pixels){
        .n_images = d[0],
        .n_channels = d[3],
        .vec = vec,
        .h = (int)d[1],
        .w = (int)d[2],
        .from_h = (int)from->shape.dim[1],
        .from_w = (int)from->shape.dim[2],
        .n_items = (uint32_t)n_items,
        .groups = edt_cuda_divisor_of((uint32_t)n_groups),
        .width = edt_cuda_divisor_of((uint32_t)d[2]),
        .grid_x = edt_cuda_blocks_for(limits, n_items),
        .grid_images = (int)smaller(d[0], limits->grid_y),
    };
    return EDT_OK;
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
