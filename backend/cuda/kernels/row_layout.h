// How kernels that work channel by channel lay threads over rows of channels. A thread stays
// with one group of neighbouring channels, so that what belongs to a channel is read once into
// registers, and walks down the rows; the threads of a block lie side by side in memory, first
// over its groups, then over rows. Planned by cuda_rows.c, read by kernels/rows.cuh.
#ifndef EDT_BACKEND_CUDA_KERNELS_ROW_LAYOUT_H
#define EDT_BACKEND_CUDA_KERNELS_ROW_LAYOUT_H

#include <stdint.h>

enum {
    EDT_CUDA_ROW_THREADS = 256, // of a block
    EDT_CUDA_PACKET_BYTES = 16, // read and written at once by a thread
    EDT_CUDA_WHOLE_GROUPS = 2,  // at most, of a block that has all rows to itself
    EDT_CUDA_SUM_CHANNELS = 8,  // of a block that adds partial sums
    EDT_CUDA_SUM_LANES = EDT_CUDA_ROW_THREADS / EDT_CUDA_SUM_CHANNELS,
};

// Images of n_rows rows of n_channels elements each. The grid is (parts, chunks, images); a
// grid smaller than the images walks over them.
typedef struct edt_cuda_rows {
    int64_t n_images, n_rows, n_channels;
    int vec;    // channels of a thread: those of a packet, or 1 where they do not fit
    int groups; // of vec channels, side by side in a block
    int lanes;  // rows side by side in a block: groups * lanes <= EDT_CUDA_ROW_THREADS
    int parts;  // blocks that share the rows of an image
    int chunks; // blocks side by side over the channels
    int grid_images;
} edt_cuda_rows;

// n / divisor for n below 2^31 without a division: (n * multiplier / 2^32 + n) >> shift.
typedef struct edt_cuda_divisor {
    uint32_t divisor, multiplier;
    int shift;
} edt_cuda_divisor;

// Pixels of the tensor that a kernel writes and of the one it reads, image by image.
typedef struct edt_cuda_pixels {
    int64_t n_images, n_channels;
    int vec; // channels of a thread: a packet, or 1
    int h, w, from_h, from_w;
    uint32_t n_items;               // threads' worth of work of an image
    edt_cuda_divisor groups, width; // of the written pixels: channel groups, pixels of a row
    int grid_x, grid_images;
} edt_cuda_pixels;

#endif
