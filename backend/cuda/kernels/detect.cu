// See detect_kernels.h. Products that the host rounds before adding are rounded here too, and
// sums of ranks and counts are of integers: the rows are those of model/postprocess.c but for
// the last bit of an exponential.
// All stages are in one file, since they read and write the same keys and lists.

#include "backend/cuda/kernels/detect_kernels.h"

#include "backend/cuda/kernels/device.cuh"

namespace
{

using edt::to_float;

enum {
    THREADS = 256,
    WARP = 32,
    BINS = EDT_CUDA_DETECT_BINS,
    PASSES = EDT_CUDA_DETECT_PASSES,
    COPIES = 4, // of the bins of a block, against threads that count the same bin
};

// On a device single exponentials err by up to two units in the last place, libm's by hardly
// more than half of one.
__device__ inline float exact_exp(float v)
{
#ifdef EDT_CUDA_EMULATED
    return expf(v);
#else
    return (float)exp((double)v);
#endif
}

__device__ inline float score_of(float logit)
{
    return 1.0F / (1.0F + exact_exp(-logit));
}

// As edt_topk_key: larger keys first, NaN below everything, -0 as +0.
__device__ inline uint32_t order_bits(float value)
{
    const uint32_t bits = __float_as_uint(value + 0.0F);
    if (isnan(value)) {
        return 0;
    }
    return (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
}

__device__ inline uint64_t make_key(float value, uint32_t index)
{
    return (uint64_t)order_bits(value) << 32 | (uint32_t)~index;
}

__device__ inline uint32_t key_index(uint64_t key)
{
    return ~(uint32_t)key;
}

__device__ inline float key_value(uint64_t key)
{
    const uint32_t bits = (uint32_t)(key >> 32);
    return __uint_as_float((bits & 0x80000000U) != 0 ? bits & 0x7fffffffU : ~bits);
}

__device__ inline int shift_of(int pass)
{
    return pass < 3    ? (pass == 0   ? 53
                          : pass == 1 ? 42
                                      : 32)
           : pass == 3 ? 21
           : pass == 4 ? 10
                       : 0;
}

__device__ inline int bits_of(int pass)
{
    return pass == 2 || pass == 5 ? 10 : 11;
}

// The state before `pass`, from the one before and its bins; all threads of the block must
// call it and all get it.
__device__ edt_cuda_select advance(const edt_cuda_detect &a, int64_t image, int pass)
{
    __shared__ uint32_t counts[2][THREADS];
    __shared__ edt_cuda_select next;
    if (pass == 0) {
        edt_cuda_select first;
        first.prefix = 0;
        first.wanted = a.n_take;
        first.shift = 64;
        first.done = 0;
        return first;
    }
    const edt_cuda_select before = a.selects[image * PASSES + pass - 1];
    if (before.done != 0) {
        return before;
    }
    const uint32_t *const bins = a.bins + (image * PASSES + pass - 1) * BINS;
    const int per_thread = (1 << bits_of(pass - 1)) / THREADS;
    const int highest = (THREADS - (int)threadIdx.x) * per_thread - 1; // of this thread's bins
    uint32_t own = 0;
    for (int i = 0; i < per_thread; ++i) {
        own += bins[highest - i];
    }
    int from = 0;
    counts[0][threadIdx.x] = own;
    __syncthreads();
    for (int step = 1; step < THREADS; step *= 2) { // sums over threads up to this one
        const uint32_t left =
            (int)threadIdx.x >= step ? counts[from][threadIdx.x - (unsigned)step] : 0;
        counts[1 - from][threadIdx.x] = counts[from][threadIdx.x] + left;
        from = 1 - from;
        __syncthreads();
    }
    int64_t above = (int64_t)counts[from][threadIdx.x] - own;
    if (above < before.wanted && before.wanted <= above + own) {
        int bin = highest;
        while (above + bins[bin] < before.wanted) {
            above += bins[bin--];
        }
        next.shift = shift_of(pass - 1);
        next.prefix = before.prefix | (uint64_t)bin << next.shift;
        next.wanted = before.wanted - above;
        next.done = a.n_take - next.wanted + bins[bin] <= a.n_collect || next.shift == 0;
    }
    __syncthreads();
    return next;
}

// Calls `each` with value and index of this thread's share of a picture's values.
template <typename T, typename Each>
__device__ inline void for_values(const edt_cuda_detect &a, int64_t image, const Each &each)
{
    const int64_t first = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    const int64_t step = (int64_t)gridDim.x * THREADS;
    if (a.max_candidates == 0) {
        const float *const values = a.anchor_scores + image * a.n_anchors;
        for (int64_t i = first; i < a.n_anchors; i += step) {
            each(values[i], (uint32_t)i);
        }
        return;
    }
    for (int l = 0; l < a.n_levels; ++l) {
        const int64_t offset = a.first_anchor[l] * a.num_classes;
        const int64_t n = a.first_anchor[l + 1] * a.num_classes - offset;
        const T *const values = (const T *)a.cls[l] + image * n;
        for (int64_t i = first; i < n; i += step) {
            each(to_float(values[i]), (uint32_t)(offset + i));
        }
    }
}

template <typename T>
__global__ void __launch_bounds__(THREADS) count_digits(edt_cuda_detect a, int pass)
{
    __shared__ uint32_t bins[BINS * COPIES];
    const int64_t image = blockIdx.y;
    const edt_cuda_select state = advance(a, image, pass);
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        a.selects[image * PASSES + pass] = state;
    }
    if (state.done != 0) {
        return;
    }
    for (int i = (int)threadIdx.x; i < BINS * COPIES; i += THREADS) {
        bins[i] = 0;
    }
    __syncthreads();
    const int shift = shift_of(pass);
    const uint32_t mask = (1U << bits_of(pass)) - 1U;
    const uint32_t copy = threadIdx.x % COPIES;
    for_values<T>(a, image, [&](float value, uint32_t index) {
        const uint64_t key = make_key(value, index);
        if (pass == 0 || key >> state.shift == state.prefix >> state.shift) {
            atomicAdd(&bins[((uint32_t)(key >> shift) & mask) * COPIES + copy], 1U);
        }
    });
    __syncthreads();
    uint32_t *const to = a.bins + (image * PASSES + pass) * BINS;
    for (int i = (int)threadIdx.x; i < BINS; i += THREADS) {
        uint32_t sum = 0;
        for (int j = 0; j < COPIES; ++j) {
            sum += bins[i * COPIES + j];
        }
        if (sum != 0) {
            atomicAdd(&to[i], sum);
        }
    }
}

// In no order: what follows ranks them.
template <typename T> __global__ void __launch_bounds__(THREADS) collect(edt_cuda_detect a)
{
    const int64_t image = blockIdx.y;
    const edt_cuda_select state = advance(a, image, PASSES);
    uint64_t *const to = a.collected + image * a.n_collect;
    for_values<T>(a, image, [&](float value, uint32_t index) {
        const uint64_t key = make_key(value, index);
        if (key >> state.shift >= state.prefix >> state.shift) {
            const uint32_t slot = atomicAdd(&a.n_collected[image], 1U);
            if (slot < a.n_collect) {
                to[slot] = key;
            }
        }
    });
}

// The first maximum of each anchor's logits; a warp per anchor.
template <typename T> __global__ void __launch_bounds__(THREADS) best_classes(edt_cuda_detect a)
{
    const int64_t image = blockIdx.y;
    const int lane = (int)(threadIdx.x % WARP);
    const int64_t step = (int64_t)gridDim.x * (THREADS / WARP);
    for (int64_t i = (int64_t)blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP;
         i < a.n_anchors; i += step) {
        int l = 0;
        while (i >= a.first_anchor[l + 1]) {
            ++l;
        }
        const int64_t n_level = a.first_anchor[l + 1] - a.first_anchor[l];
        const T *const row =
            (const T *)a.cls[l] + (image * n_level + i - a.first_anchor[l]) * a.num_classes;
        uint64_t best = 0;
        for (int64_t k = lane; k < a.num_classes; k += WARP) {
            best = max(best, make_key(to_float(row[k]), (uint32_t)k));
        }
        for (int lanes = WARP / 2; lanes > 0; lanes /= 2) {
            best = max(best, __shfl_xor_sync(0xffffffffU, best, lanes));
        }
        if (lane == 0) {
            a.anchor_scores[image * a.n_anchors + i] = score_of(key_value(best));
            a.anchor_classes[image * a.n_anchors + i] = (int32_t)key_index(best);
        }
    }
}

// As edt_box_decode.
template <typename T>
__device__ void decode(const edt_cuda_detect &a, int64_t image, int64_t anchor, float box[4])
{
    int l = 0;
    while (anchor >= a.first_anchor[l + 1]) {
        ++l;
    }
    const int64_t n_level = a.first_anchor[l + 1] - a.first_anchor[l];
    const T *const code =
        (const T *)a.box[l] + (image * n_level + anchor - a.first_anchor[l]) * 4;
    const float *const at = a.anchors + anchor * 4;
    for (int axis = 0; axis < 2; ++axis) {
        const float size = at[axis + 2] - at[axis];
        const float centre = (at[axis] + at[axis + 2]) / 2.0F;
        const float half = __fmul_rn(exact_exp(to_float(code[axis + 2])), size) / 2.0F;
        const float middle = __fadd_rn(__fmul_rn(to_float(code[axis]), size), centre);
        box[axis] = middle - half;
        box[axis + 2] = middle + half;
    }
}

// Each key is compared with all others by SLICES threads, so that a picture's few thousand keys
// keep a whole device busy.
enum { SLICES = 8, KEYS_PER_BLOCK = THREADS / SLICES };

// The place of this thread's key among n keys and how many of them are not 0. All threads of
// the block must call it; all that share a key get its counts.
__device__ inline void count_keys(const uint64_t *keys, int64_t n, uint64_t key,
                                  int *out_before, int *out_there)
{
    __shared__ uint64_t tile[THREADS];
    int before = 0;
    int there = 0;
    for (int64_t from = 0; from < n; from += THREADS) {
        tile[threadIdx.x] = from + threadIdx.x < n ? keys[from + threadIdx.x] : 0;
        __syncthreads();
        for (int j = (int)(threadIdx.x % SLICES); j < THREADS; j += SLICES) {
            before += tile[j] > key ? 1 : 0;
            there += tile[j] != 0 ? 1 : 0;
        }
        __syncthreads();
    }
    for (int lanes = SLICES / 2; lanes > 0; lanes /= 2) {
        before += __shfl_xor_sync(0xffffffffU, before, lanes);
        there += __shfl_xor_sync(0xffffffffU, there, lanes);
    }
    *out_before = before;
    *out_there = there;
}

// Ranks the collected keys and decodes the candidates into their places.
template <typename T> __global__ void __launch_bounds__(THREADS) place(edt_cuda_detect a)
{
    const int64_t image = blockIdx.y;
    const int64_t n = min((int64_t)a.n_collected[image], a.n_collect);
    const uint64_t *const keys = a.collected + image * a.n_collect;
    if ((int64_t)blockIdx.x * KEYS_PER_BLOCK >= n) {
        return;
    }
    const int64_t i = (int64_t)blockIdx.x * KEYS_PER_BLOCK + threadIdx.x / SLICES;
    const uint64_t key = i < n ? keys[i] : 0;
    int rank;
    int there;
    count_keys(keys, n, key, &rank, &there);
    if (threadIdx.x % SLICES != 0 || i >= n || rank >= a.n_take) {
        return;
    }
    const int64_t index = key_index(key);
    const int64_t to = image * a.n_take + rank;
    int64_t anchor = index;
    int32_t cls;
    float score = key_value(key);
    if (a.max_candidates == 0) {
        cls = a.anchor_classes[image * a.n_anchors + anchor];
    } else {
        anchor = index / a.num_classes;
        cls = (int32_t)(index - anchor * a.num_classes);
        score = score_of(score);
    }
    decode<T>(a, image, anchor, a.boxes + to * 4);
    a.scores[to] = score;
    a.classes[to] = cls;
    if (score > a.score_thresh) {
        atomicAdd(&a.group_size[image * a.n_groups + (a.global != 0 ? 0 : cls)], 1U);
    }
}

// As iou_v5 of model/nms.c: corners in any order, a box without area overlaps nothing.
__device__ inline float overlap(const float *p, const float *q)
{
    float area[2];
    float common[2];
    area[0] = area[1] = 1.0F;
    for (int axis = 0; axis < 2; ++axis) {
        const float p0 = p[axis] < p[axis + 2] ? p[axis] : p[axis + 2];
        const float p1 = p[axis] > p[axis + 2] ? p[axis] : p[axis + 2];
        const float q0 = q[axis] < q[axis + 2] ? q[axis] : q[axis + 2];
        const float q1 = q[axis] > q[axis + 2] ? q[axis] : q[axis + 2];
        const float end = p1 < q1 ? p1 : q1;
        const float span = end - (p0 > q0 ? p0 : q0);
        area[0] = axis == 0 ? p1 - p0 : __fmul_rn(area[0], p1 - p0);
        area[1] = axis == 0 ? q1 - q0 : __fmul_rn(area[1], q1 - q0);
        common[axis] = span > 0.0F ? span : 0.0F;
    }
    if (area[0] <= 0 || area[1] <= 0) {
        return 0.0F;
    }
    const float inter = __fmul_rn(common[0], common[1]);
    return inter / (__fadd_rn(area[0], area[1]) - inter);
}

// One group of one picture on one warp: model/nms.c's edt_nms_v5 with its heap split in two,
// the candidates not met yet, which come sorted, and a pool of those met and decayed.
struct warp_nms {
    const edt_cuda_detect &a;
    const float *scores, *boxes;
    float *kept_boxes;
    int32_t *pool, *pool_begin;
    float *pool_scores;
    int lane;
    int64_t n_kept;
    int n_pool;

    // Slot of the pool's best and its key.
    __device__ inline uint64_t best_of_pool(int *out_slot) const
    {
        uint64_t best = 0;
        int slot = 0;
        for (int i = lane; i < n_pool; i += WARP) {
            const uint64_t key = make_key(pool_scores[i], (uint32_t)pool[i]);
            if (key > best) {
                best = key;
                slot = i;
            }
        }
        uint64_t all = best;
        for (int lanes = WARP / 2; lanes > 0; lanes /= 2) {
            all = max(all, __shfl_xor_sync(0xffffffffU, all, lanes));
        }
        const unsigned holders = __ballot_sync(0xffffffffU, best == all ? 1 : 0);
        *out_slot = __shfl_sync(0xffffffffU, slot, __ffs((int)holders) - 1);
        return all;
    }

    // The score of a candidate after the boxes kept since `begin`, latest first; hard
    // suppression sets *out_dropped.
    __device__ inline float decay(int candidate, float score, int64_t begin,
                                  bool *out_dropped) const
    {
        const bool soft = a.sigma > 0;
        const float scale = soft ? -0.5F / a.sigma : 0.0F;
        *out_dropped = false;
        for (int64_t last = n_kept - 1; last >= begin; last -= WARP) {
            const int64_t j = last - lane;
            float iou = 0;
            if (j >= begin) {
                iou = overlap(boxes + (int64_t)candidate * 4, kept_boxes + j * 4);
            }
            if (!soft) {
                if (__any_sync(0xffffffffU, iou > a.iou_thresh ? 1 : 0)) {
                    *out_dropped = true;
                    return score;
                }
                continue;
            }
            const float weight =
                j >= begin ? exact_exp(__fmul_rn(__fmul_rn(scale, iou), iou)) : 1.0F;
            unsigned others = __ballot_sync(0xffffffffU, weight != 1.0F ? 1 : 0);
            while (others != 0) {
                score =
                    __fmul_rn(score, __shfl_sync(0xffffffffU, weight, __ffs((int)others) - 1));
                others &= others - 1;
            }
            if (score <= a.score_thresh) {
                return score;
            }
        }
        return score;
    }
};

__global__ void suppress(edt_cuda_detect a)
{
    const int64_t image = blockIdx.y;
    const int64_t group = blockIdx.x;
    const int lane = (int)threadIdx.x;
    const uint32_t *const sizes = a.group_size + image * a.n_groups;
    if (sizes[group] == 0) {
        return;
    }
    int64_t start = image * a.n_take; // of the group's part of the scratch
    int64_t before = 0;
    for (int64_t g = lane; g < group; g += WARP) {
        before += sizes[g];
    }
    start += edt::warp_sum(before);
    const int32_t *const classes = a.classes + image * a.n_take;
    warp_nms nms = {a,
                    a.scores + image * a.n_take,
                    a.boxes + image * a.n_take * 4,
                    a.kept_boxes + start * 4,
                    a.pool + start,
                    a.pool_begin + start,
                    a.pool_scores + start,
                    lane,
                    0,
                    0};
    int64_t chunk = -WARP; // of 32 candidates, whose members of the group not met yet:
    unsigned unmet = 0;
    while (nms.n_kept < a.max_output) {
        while (unmet == 0 && chunk + WARP < a.n_take) {
            chunk += WARP;
            const int64_t i = chunk + lane;
            const bool member = i < a.n_take && nms.scores[i] > a.score_thresh &&
                                (a.global != 0 || classes[i] == group);
            unmet = __ballot_sync(0xffffffffU, member ? 1 : 0);
        }
        uint64_t head = 0;
        int candidate = 0;
        if (unmet != 0) {
            candidate = (int)chunk + __ffs((int)unmet) - 1;
            head = make_key(nms.scores[candidate], (uint32_t)candidate);
        }
        int slot = 0;
        const uint64_t waiting = nms.n_pool > 0 ? nms.best_of_pool(&slot) : 0;
        if (head == 0 && waiting == 0) {
            break;
        }
        float score;
        int64_t begin = 0;
        if (waiting > head) {
            candidate = nms.pool[slot];
            score = nms.pool_scores[slot];
            begin = nms.pool_begin[slot];
            --nms.n_pool;
            __syncwarp();
            if (lane == 0) {
                nms.pool[slot] = nms.pool[nms.n_pool];
                nms.pool_scores[slot] = nms.pool_scores[nms.n_pool];
                nms.pool_begin[slot] = nms.pool_begin[nms.n_pool];
            }
            __syncwarp();
        } else {
            score = nms.scores[candidate];
            unmet &= unmet - 1;
        }
        bool dropped;
        const float decayed = nms.decay(candidate, score, begin, &dropped);
        const bool kept = !dropped && decayed == score;
        const bool waits = !kept && !dropped && decayed > a.score_thresh;
        if (lane == 0 && kept) {
            const int64_t to = start + nms.n_kept;
            a.kept[to] = candidate;
            a.kept_keys[to] = make_key(score, (uint32_t)(to - image * a.n_take));
        }
        if (lane < 4 && kept) {
            nms.kept_boxes[nms.n_kept * 4 + lane] = nms.boxes[(int64_t)candidate * 4 + lane];
        }
        if (lane == 0 && waits) {
            nms.pool[nms.n_pool] = candidate;
            nms.pool_scores[nms.n_pool] = decayed;
            nms.pool_begin[nms.n_pool] = (int32_t)nms.n_kept;
        }
        nms.n_kept += kept ? 1 : 0;
        nms.n_pool += waits ? 1 : 0;
        __syncwarp();
    }
}

__device__ inline float clip(float value, float limit)
{
    return value < 0 ? 0.0F : value > limit ? limit : value;
}

__device__ void write_row(const edt_cuda_detect &a, int64_t image, int64_t row,
                          const float *box, float score, int32_t label)
{
    float *const to = a.rows + (image * a.max_output + row) * 5;
    const float scale = a.image_scales[image];
    for (int i = 0; i < 4; ++i) {
        const float limit = i % 2 == 0 ? a.clip_h : a.clip_w;
        to[i] = (a.global != 0 ? clip(box[i], limit) : box[i]) * scale;
    }
    to[4] = score;
    a.labels[image * a.max_output + row] = label;
}

template <typename T>
__device__ void write_padding(const edt_cuda_detect &a, int64_t image, int64_t row)
{
    float box[4] = {0, 0, 0, 0};
    int32_t label = 0;
    if (a.global != 0 && a.max_candidates == 0) {
        decode<T>(a, image, 0, box);
        label = a.anchor_classes[image * a.n_anchors] + 1;
    } else if (a.global != 0) {
        for (int i = 0; i < 4; ++i) {
            box[i] = a.boxes[image * a.n_take * 4 + i];
        }
        label = a.classes[image * a.n_take] + 1;
    }
    write_row(a, image, row, box, 0, label);
}

// Ranks what suppression kept and writes rows, padding and their number.
template <typename T> __global__ void __launch_bounds__(THREADS) finish(edt_cuda_detect a)
{
    const int64_t image = blockIdx.y;
    const uint64_t *const keys = a.kept_keys + image * a.n_take;
    const int64_t i = (int64_t)blockIdx.x * KEYS_PER_BLOCK + threadIdx.x / SLICES;
    const uint64_t key = i < a.n_take ? keys[i] : 0;
    int rank;
    int n_kept;
    count_keys(keys, a.n_take, key, &rank, &n_kept);
    if (threadIdx.x % SLICES != 0) {
        return;
    }
    const int64_t max_output = a.max_output;
    // Candidates that were left out score at most as the last one here. They matter unless
    // all rows score more.
    const float last = a.scores[image * a.n_take + a.n_take - 1];
    const bool left_out = a.n_wanted > a.n_take && last > a.score_thresh;
    if (key != 0 && rank < max_output) {
        const int64_t candidate = a.kept[image * a.n_take + i];
        const float score = key_value(key);
        write_row(a, image, rank, a.boxes + (image * a.n_take + candidate) * 4, score,
                  a.classes[image * a.n_take + candidate] + 1);
        if (rank == max_output - 1) {
            a.n_valid[image] = left_out && !(score > last) ? -1 : (int32_t)max_output;
        }
    }
    if (i == 0 && n_kept < max_output) {
        a.n_valid[image] = left_out ? -1 : (int32_t)n_kept;
    }
    if (i >= n_kept && i < max_output) {
        write_padding<T>(a, image, i);
    }
}

template <typename T> cudaError_t run(const edt_cuda_detect &a, cudaStream_t stream)
{
    const unsigned n_images = (unsigned)a.n_images;
    const dim3 passes((unsigned)a.n_blocks, n_images);
    const dim3 block(THREADS);
    const int64_t n_last = a.n_take > a.max_output ? a.n_take : a.max_output;
    cudaError_t code = cudaSuccess;
    if (a.max_candidates == 0) {
        code = EDT_CUDA_LAUNCH(best_classes<T>, passes, block, 0, stream, a);
    }
    for (int pass = 0; code == cudaSuccess && pass < PASSES; ++pass) {
        code = EDT_CUDA_LAUNCH(count_digits<T>, passes, block, 0, stream, a, pass);
    }
    if (code == cudaSuccess) {
        code = EDT_CUDA_LAUNCH(collect<T>, passes, block, 0, stream, a);
    }
    if (code == cudaSuccess) {
        const dim3 grid((unsigned)((a.n_collect - 1) / KEYS_PER_BLOCK + 1), n_images);
        code = EDT_CUDA_LAUNCH(place<T>, grid, block, 0, stream, a);
    }
    if (code == cudaSuccess) {
        const dim3 grid((unsigned)a.n_groups, n_images);
        code = EDT_CUDA_LAUNCH(suppress, grid, dim3(WARP), 0, stream, a);
    }
    if (code == cudaSuccess) {
        const dim3 grid((unsigned)((n_last - 1) / KEYS_PER_BLOCK + 1), n_images);
        code = EDT_CUDA_LAUNCH(finish<T>, grid, block, 0, stream, a);
    }
    return code;
}

} // namespace

cudaError_t edt_cuda_detect_run(const edt_cuda_detect *detect, size_t zero_bytes,
                                cudaStream_t stream)
{
    const cudaError_t code = cudaMemsetAsync(detect->bins, 0, zero_bytes, stream);
    if (code != cudaSuccess) {
        return code;
    }
    return EDT_CUDA_REAL((edt_dtype)detect->real, T, return run<T>(*detect, stream));
}
