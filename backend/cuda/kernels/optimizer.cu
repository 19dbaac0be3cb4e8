// See optimizer_kernels.h. Every formula in double, one rounding per stored value: the update
// is bound by memory all the same.
#include "backend/cuda/kernels/optimizer_kernels.h"

#include "backend/cuda/kernels/device.cuh"

namespace
{

using edt::load;
using edt::packet;

enum { THREADS = 256, DECIDE_THREADS = 1024, FEW_PIECES = 8 };

// Calls `each` with every element's index for the pieces' threads: four at a time where the
// piece is aligned to packets.
template <typename Packets, typename Element>
__device__ inline void walk(const edt_cuda_piece &piece, const Packets &packets,
                            const Element &element)
{
    constexpr int N = packet<float>::size;
    const int n_packed = piece.offset % N == 0 ? piece.n / N * N : 0;
    for (int i = (int)threadIdx.x * N; i < n_packed; i += THREADS * N) {
        packets(piece.offset + i);
    }
    for (int i = n_packed + (int)threadIdx.x; i < piece.n; i += THREADS) {
        element(piece.offset + i);
    }
}

__global__ void __launch_bounds__(THREADS) norms(edt_cuda_optimizer a)
{
    const edt_cuda_piece piece = a.pieces[blockIdx.x];
    const edt_cuda_segment segment = a.segments[piece.segment];
    const bool counts = segment.decay && (segment.update || a.l2_includes_frozen != 0);
    const double decay = segment.decay ? a.weight_decay : 0.0;
    const float scale = a.scale == NULL ? 1.0F : a.scale[0];
    double sum_v = 0;
    double sum_g = 0;
    const auto add = [&](float v, float raw) {
        const double g = (double)(raw / scale) + decay * (double)v;
        sum_v += (double)v * (double)v;
        sum_g += g * g;
    };
    if (segment.update || counts) {
        walk(
            piece,
            [&](int64_t i) {
                const packet<float> v = load(a.params + i);
                const packet<float> g = load(a.grads + i);
#pragma unroll
                for (int j = 0; j < packet<float>::size; ++j) {
                    add(v.at[j], g.at[j]);
                }
            },
            [&](int64_t i) { add(a.params[i], a.grads[i]); });
    }
    sum_v = edt::block_sum<THREADS>(sum_v);
    sum_g = edt::block_sum<THREADS>(sum_g);
    if (threadIdx.x == 0) {
        a.sum_v[blockIdx.x] = counts ? sum_v : 0.0;
        a.sum_g[blockIdx.x] = segment.update ? sum_g : 0.0;
    }
}

// spec/train.md 10. {scale, good steps}
__device__ inline void move_scale(float *scale, bool finite)
{
    const float doubled = scale[0] * 2.0F;
    const float good = finite ? scale[1] + 1.0F : 0.0F;
    if (!finite) {
        scale[0] = fmaxf(scale[0] / 2.0F, 1.0F);
    } else if (good >= (float)EDT_LOSS_SCALE_PERIOD && isfinite(doubled)) {
        scale[0] = doubled;
    }
    scale[1] = good >= (float)EDT_LOSS_SCALE_PERIOD ? 0.0F : good;
}

// A thread per segment of few pieces, which nearly all are, a warp for each of the others.
__global__ void __launch_bounds__(DECIDE_THREADS) decide(edt_cuda_optimizer a)
{
    const int lane = (int)(threadIdx.x % 32);
    const bool clip = a.clip > 0;
    double raw_square = 0;
    double square = 0; // after the clipping per tensor
    double l2 = 0;
    const auto take = [&](int64_t s, double of_tensor, double values) {
        const double factor = clip ? a.clip / fmax(sqrt(of_tensor), a.clip) : 1.0;
        a.factors[s] = factor;
        raw_square += of_tensor;
        square += of_tensor * factor * factor;
        l2 += 0.5 * values;
    };
    for (int64_t s = threadIdx.x; s < a.n_segments; s += DECIDE_THREADS) {
        const edt_cuda_segment segment = a.segments[s];
        if (segment.n_pieces <= FEW_PIECES) {
            double of_tensor = 0;
            double values = 0;
            for (int64_t i = 0; i < segment.n_pieces; ++i) {
                of_tensor += a.sum_g[segment.first_piece + i];
                values += a.sum_v[segment.first_piece + i];
            }
            take(s, of_tensor, values);
        }
    }
    for (int64_t s = threadIdx.x / 32; s < a.n_segments; s += DECIDE_THREADS / 32) {
        const edt_cuda_segment segment = a.segments[s];
        if (segment.n_pieces > FEW_PIECES) {
            double of_tensor = 0;
            double values = 0;
            for (int64_t i = lane; i < segment.n_pieces; i += 32) {
                of_tensor += a.sum_g[segment.first_piece + i];
                values += a.sum_v[segment.first_piece + i];
            }
            of_tensor = edt::warp_sum(of_tensor);
            values = edt::warp_sum(values);
            if (lane == 0) {
                take(s, of_tensor, values);
            }
        }
    }
    raw_square = edt::block_sum<DECIDE_THREADS>(raw_square);
    square = edt::block_sum<DECIDE_THREADS>(square);
    l2 = edt::block_sum<DECIDE_THREADS>(l2);
    if (threadIdx.x != 0) {
        return;
    }
    const double norm = sqrt(square);
    const double global_factor = clip ? a.clip * fmin(1.0 / norm, 1.0 / a.clip) : 1.0;
    const bool finite = isfinite(raw_square);
    a.stats[EDT_OPTIMIZER_STAT_L2] = (float)(a.weight_decay * l2);
    a.stats[EDT_OPTIMIZER_STAT_RAW_NORM] = (float)sqrt(raw_square);
    a.stats[EDT_OPTIMIZER_STAT_NORM] = finite ? (float)(norm * global_factor) : NAN;
    a.stats[EDT_OPTIMIZER_STAT_FINITE] = finite ? 1.0F : 0.0F;
    const edt_cuda_control control = *a.control;
    const double t = (double)control.adam_t;
    edt_cuda_step step;
    step.global_factor = global_factor;
    step.lr = control.learning_rate;
    if (a.kind == EDT_OPTIMIZER_ADAM) {
        step.lr *= sqrt(1.0 - pow(a.beta2, t)) / (1.0 - pow(a.momentum, t));
    }
    step.ema_keep = 1.0 - control.ema_decay;
    step.scale = a.scale == NULL ? 1.0F : a.scale[0];
    step.finite = finite ? 1 : 0;
    *a.step = step;
    if (a.scale != NULL) {
        move_scale(a.scale, finite);
    }
}

// Constants of one piece's update.
struct rule {
    double momentum, beta2, epsilon, decay, factor, lr, ema_keep;
    float scale;
    bool update, average;
};

template <edt_optimizer_kind KIND>
__device__ inline void update_element(const rule &r, float raw, float &v, float &slot0,
                                      float &slot1, float &ema)
{
    if (r.update) {
        const double g = ((double)(raw / r.scale) + r.decay * (double)v) * r.factor;
        if (KIND == EDT_OPTIMIZER_SGD_TF1) {
            slot0 = (float)(r.momentum * (double)slot0 + g);
            v = (float)((double)v - r.lr * (double)slot0);
        } else if (KIND == EDT_OPTIMIZER_SGD_TF2) {
            slot0 = (float)(r.momentum * (double)slot0 - r.lr * g);
            v = (float)((double)v + (double)slot0);
        } else {
            slot0 = (float)(r.momentum * (double)slot0 + (1.0 - r.momentum) * g);
            slot1 = (float)(r.beta2 * (double)slot1 + (1.0 - r.beta2) * g * g);
            v = (float)((double)v - r.lr * (double)slot0 / (sqrt((double)slot1) + r.epsilon));
        }
    }
    if (r.average) {
        ema = (float)((double)ema - ((double)ema - (double)v) * r.ema_keep);
    }
}

template <edt_optimizer_kind KIND>
__global__ void __launch_bounds__(THREADS) update(edt_cuda_optimizer a)
{
    constexpr int N = packet<float>::size;
    constexpr bool ADAM = KIND == EDT_OPTIMIZER_ADAM;
    const edt_cuda_step step = *a.step;
    if (step.finite == 0) {
        return;
    }
    const edt_cuda_piece piece = a.pieces[blockIdx.x];
    const edt_cuda_segment segment = a.segments[piece.segment];
    rule r;
    r.momentum = a.momentum;
    r.beta2 = a.beta2;
    r.epsilon = a.epsilon;
    r.decay = segment.decay ? a.weight_decay : 0.0;
    r.factor = a.factors[piece.segment] * step.global_factor;
    r.lr = step.lr;
    r.ema_keep = step.ema_keep;
    r.scale = step.scale;
    r.update = segment.update;
    r.average = segment.average && a.ema != NULL;
    if (!r.update && !r.average) {
        return;
    }
    walk(
        piece,
        [&](int64_t i) {
            packet<float> v = load(a.params + i);
            packet<float> g = {};
            packet<float> slot0 = {};
            packet<float> slot1 = {};
            packet<float> ema = {};
            if (r.update) {
                g = load(a.grads + i);
                slot0 = load(a.slot0 + i);
                if (ADAM) {
                    slot1 = load(a.slot1 + i);
                }
            }
            if (r.average) {
                ema = load(a.ema + i);
            }
#pragma unroll
            for (int j = 0; j < N; ++j) {
                update_element<KIND>(r, g.at[j], v.at[j], slot0.at[j], slot1.at[j], ema.at[j]);
            }
            if (r.update) {
                edt::store(a.params + i, v);
                edt::store(a.slot0 + i, slot0);
                if (ADAM) {
                    edt::store(a.slot1 + i, slot1);
                }
            }
            if (r.average) {
                edt::store(a.ema + i, ema);
            }
        },
        [&](int64_t i) {
            float unused = 0;
            update_element<KIND>(r, a.grads[i], a.params[i], a.slot0[i],
                                 ADAM ? a.slot1[i] : unused, r.average ? a.ema[i] : unused);
        });
}

} // namespace

cudaError_t edt_cuda_optimizer_run(const edt_cuda_optimizer *optimizer, cudaStream_t stream)
{
    const dim3 pieces((unsigned)optimizer->n_pieces);
    cudaError_t code = cudaSuccess;
    if (optimizer->n_pieces > 0) {
        code = EDT_CUDA_LAUNCH(norms, pieces, dim3(THREADS), 0, stream, *optimizer);
    }
    if (code == cudaSuccess) {
        code = EDT_CUDA_LAUNCH(decide, dim3(1), dim3(DECIDE_THREADS), 0, stream, *optimizer);
    }
    if (code != cudaSuccess || optimizer->n_pieces == 0) {
        return code;
    }
    switch (optimizer->kind) {
    case EDT_OPTIMIZER_SGD_TF1:
        return EDT_CUDA_LAUNCH(update<EDT_OPTIMIZER_SGD_TF1>, pieces, dim3(THREADS), 0, stream,
                               *optimizer);
    case EDT_OPTIMIZER_SGD_TF2:
        return EDT_CUDA_LAUNCH(update<EDT_OPTIMIZER_SGD_TF2>, pieces, dim3(THREADS), 0, stream,
                               *optimizer);
    case EDT_OPTIMIZER_ADAM:
        return EDT_CUDA_LAUNCH(update<EDT_OPTIMIZER_ADAM>, pieces, dim3(THREADS), 0, stream,
                               *optimizer);
    }
    return cudaErrorInvalidValue;
}
