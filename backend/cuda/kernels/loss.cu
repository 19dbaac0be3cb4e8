// See loss_kernels.h. The focal loss is computed in float, term by term as in
// spec/train.md 4.2, and so is the loss over pixels; the box losses, which few anchors have, in
// double.
#include "backend/cuda/kernels/loss_kernels.h"

#include "backend/cuda/kernels/device.cuh"

namespace
{

using edt::from_float;
using edt::load;
using edt::packet;
using edt::to_float;

enum { THREADS = EDT_CUDA_LOSS_THREADS, TARGET_IGNORED = -2 };

__device__ inline float scale_of(const float *scale)
{
    return scale == NULL ? 1.0F : scale[0];
}

// The block's part of the sum.
__device__ inline void put_partial(double *partials, double sum)
{
    sum = edt::block_sum<THREADS>(sum);
    if (threadIdx.x == 0) {
        partials[blockIdx.x] = sum;
    }
}

// One block: loss = sum of the partials / (factor * norm), added to what is there on request.
__global__ void add_partials(const double *__restrict__ partials, int n, double factor,
                             const float *__restrict__ norm, int accumulate,
                             float *__restrict__ loss)
{
    double sum = 0;
    for (int i = (int)threadIdx.x; i < n; i += THREADS) {
        sum += partials[i];
    }
    sum = edt::block_sum<THREADS>(sum);
    if (threadIdx.x == 0) {
        const float value = (float)(sum / (factor * (double)*norm));
        *loss = accumulate != 0 ? *loss + value : value;
    }
}

cudaError_t finish(const double *partials, const edt_cuda_loss_settings &attrs, double factor,
                   const float *norm, float *loss, cudaStream_t stream)
{
    return EDT_CUDA_LAUNCH(add_partials, dim3(1), dim3(THREADS), 0, stream, partials,
                           attrs.n_blocks, factor, norm, (int)attrs.accumulate, loss);
}

struct focal_settings {
    float alpha, gamma, label_smoothing;
};

// FAST as in device.cuh; log(1 + e) is a polynomial where 1 + e would lose digits of e.
template <bool FAST>
__device__ inline float focal_element(const focal_settings &f, float x, bool positive,
                                      float *out_slope)
{
    const float e = FAST ? __expf(-fabsf(x)) : expf(-fabsf(x));
    const float l = !FAST       ? log1pf(e)
                    : e < 0.02F ? e * (1.0F - e * (0.5F - e * (1.0F / 3.0F - e * 0.25F)))
                                : __logf(1.0F + e);
    const float softplus = fmaxf(x, 0.0F) + l;
    // Of p and 1 - p.
    const float larger = FAST ? __fdividef(1.0F, 1.0F + e) : 1.0F / (1.0F + e);
    const float p = x >= 0.0F ? larger : e * larger;
    const float s = (positive ? 1.0F - f.label_smoothing : 0.0F) + 0.5F * f.label_smoothing;
    const float ce = softplus - x * s;
    if (positive) {
        const float power = -f.gamma * softplus;
        const float mod = f.alpha * (FAST ? __expf(power) : expf(power));
        *out_slope = mod * ((p - s) - f.gamma * p * ce);
        return mod * ce;
    }
    const float q = x >= 0.0F ? e * larger : larger; // 1 - p without cancellation
    const float power = -f.gamma * (fmaxf(-x, 0.0F) + l);
    const float mod = (1.0F - f.alpha) * (FAST ? __expf(power) : expf(power));
    *out_slope = mod * ((p - s) + f.gamma * q * ce);
    return mod * ce;
}

// Blocks take tiles of logits; within a tile 32-bit arithmetic finds row and class.
template <typename T>
__global__ void __launch_bounds__(THREADS) focal_tiles(edt_cuda_level_loss a)
{
    constexpr int N = packet<T>::size;
    const unsigned n_classes = (unsigned)a.attrs.num_classes;
    const unsigned n_level = (unsigned)a.n_level;
    const focal_settings f = {(float)a.attrs.alpha, (float)a.attrs.gamma,
                              (float)a.attrs.label_smoothing};
    const T *const logits = (const T *)a.x;
    const int32_t *const targets = (const int32_t *)a.targets + a.attrs.anchor_offset;
    T *const gradient = (T *)a.gradient;
    const double inverse = (double)scale_of(a.scale) / (double)*a.norm;
    const float factor = (float)inverse;
    const int64_t n = a.n_rows * n_classes;
    double sum = 0;
    for (int64_t tile = (int64_t)blockIdx.x * EDT_CUDA_FOCAL_TILE; tile < n;
         tile += (int64_t)gridDim.x * EDT_CUDA_FOCAL_TILE) {
        const int64_t first_row = tile / n_classes;
        const unsigned first_class = (unsigned)(tile - first_row * n_classes);
        const int64_t first_image = first_row / n_level;
        const unsigned first_anchor = (unsigned)(first_row - first_image * n_level);
        for (unsigned at = threadIdx.x * N; at < EDT_CUDA_FOCAL_TILE && tile + at < n;
             at += THREADS * N) {
            const unsigned from_class = first_class + at;
            unsigned rows_on = from_class / n_classes;
            unsigned k = from_class - rows_on * n_classes;
            unsigned anchor = first_anchor + rows_on;
            int64_t image = first_image;
            if (anchor >= n_level) {
                const unsigned images_on = anchor / n_level;
                anchor -= images_on * n_level;
                image += images_on;
            }
            const int n_here = (int)min((int64_t)N, n - (tile + at));
            int32_t target = targets[image * a.n_total + anchor];
            packet<T> x = {};
            bool loaded = false;
            float part = 0;
            packet<T> slopes;
#pragma unroll
            for (int i = 0; i < N; ++i) {
                float slope = 0;
                if (i < n_here && target != TARGET_IGNORED) {
                    if (!loaded) {
                        if (n_here == N) {
                            x = load(logits + tile + at);
                        } else {
#pragma unroll
                            for (int j = 0; j < N; ++j) {
                                x.at[j] =
                                    j < n_here ? logits[tile + at + j] : from_float<T>(0.0F);
                            }
                        }
                        loaded = true;
                    }
                    part += focal_element<sizeof(T) == 2>(f, to_float(x.at[i]),
                                                          (int32_t)k == target, &slope);
                }
                slopes.at[i] = from_float<T>(slope * factor);
                if (++k == n_classes && i + 1 < n_here) {
                    k = 0;
                    if (++anchor == n_level) {
                        anchor = 0;
                        ++image;
                    }
                    target = targets[image * a.n_total + anchor];
                }
            }
            sum += (double)part;
            if (gradient != NULL) {
                if (n_here == N) {
                    edt::store(gradient + tile + at, slopes);
                } else {
#pragma unroll
                    for (int i = 0; i < N; ++i) {
                        if (i < n_here) {
                            gradient[tile + at + i] = slopes.at[i];
                        }
                    }
                }
            }
        }
    }
    put_partial(a.partials, sum);
}

// The four numbers of a box.
template <typename T> struct alignas(4 * sizeof(T)) quad {
    T at[4];
};

template <typename T> __global__ void __launch_bounds__(THREADS) box_rows(edt_cuda_level_loss a)
{
    const quad<T> *const box = (const quad<T> *)a.x;
    const quad<float> *const targets = (const quad<float> *)a.targets + a.attrs.anchor_offset;
    quad<T> *const gradient = (quad<T> *)a.gradient;
    const double factor = a.attrs.weight * (double)scale_of(a.scale) / (4 * (double)*a.norm);
    const double delta = a.attrs.delta;
    double sum = 0;
    for (int64_t row = (int64_t)blockIdx.x * THREADS + threadIdx.x; row < a.n_rows;
         row += (int64_t)gridDim.x * THREADS) {
        const quad<float> target = targets[row / a.n_level * a.n_total + row % a.n_level];
        quad<T> slopes;
        quad<T> x = {};
        if (target.at[0] != 0 || target.at[1] != 0 || target.at[2] != 0 || target.at[3] != 0) {
            x = box[row];
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            double slope = 0;
            if (target.at[i] != 0) {
                const double e = (double)to_float(x.at[i]) - (double)target.at[i];
                if (fabs(e) <= delta) {
                    sum += 0.5 * e * e;
                    slope = e;
                } else {
                    sum += delta * fabs(e) - 0.5 * delta * delta;
                    slope = copysign(delta, e);
                }
            }
            slopes.at[i] = from_float<T>((float)(slope * factor));
        }
        if (gradient != NULL) {
            gradient[row] = slopes;
        }
    }
    put_partial(a.partials, sum);
}

__device__ inline double div0(double a, double b)
{
    return b == 0 ? 0 : a / b;
}

// A scalar with its gradient over the four predicted corners (forward mode).
struct dual {
    double v, d[4];
};

__device__ inline dual constant(double v)
{
    return dual{v, {0, 0, 0, 0}};
}

__device__ inline dual add(dual a, dual b, double scale) // a + scale * b
{
    a.v += scale * b.v;
    for (int i = 0; i < 4; ++i) {
        a.d[i] += scale * b.d[i];
    }
    return a;
}

__device__ inline dual mul(dual a, dual b)
{
    dual y;
    y.v = a.v * b.v;
    for (int i = 0; i < 4; ++i) {
        y.d[i] = a.d[i] * b.v + a.v * b.d[i];
    }
    return y;
}

__device__ inline dual quotient(dual a, dual b) // 0 with gradient 0 where b is 0
{
    dual y;
    y.v = div0(a.v, b.v);
    for (int i = 0; i < 4; ++i) {
        y.d[i] = div0(a.d[i] - y.v * b.d[i], b.v);
    }
    return y;
}

// At a tie the gradient goes to the first operand, as in the reference.
__device__ inline dual larger(dual a, dual b)
{
    return a.v >= b.v ? a : b;
}

__device__ inline dual smaller(dual a, dual b)
{
    return a.v <= b.v ? a : b;
}

__device__ inline dual span(dual low, dual high)
{
    return larger(constant(0), add(high, low, -1));
}

__device__ inline dual arc_tangent(dual a)
{
    dual y;
    y.v = atan(a.v);
    for (int i = 0; i < 4; ++i) {
        y.d[i] = a.d[i] / (1 + a.v * a.v);
    }
    return y;
}

// Loss of two boxes and its gradient over the corners of the first.
__device__ double pair_loss(edt_iou_loss_kind kind, bool v_gradient, const double pred[4],
                            const double target[4], double out_grad[4])
{
    for (int i = 0; i < 4; ++i) {
        out_grad[i] = 0;
    }
    if (!(target[2] > target[0] && target[3] > target[1])) {
        return 0;
    }
    dual p[4];
    dual inner[4];
    dual outer[4];
    for (int i = 0; i < 4; ++i) {
        p[i] = constant(pred[i]);
        p[i].d[i] = 1;
        const dual t = constant(target[i]);
        inner[i] = i < 2 ? larger(p[i], t) : smaller(p[i], t);
        outer[i] = i < 2 ? smaller(p[i], t) : larger(p[i], t);
    }
    const dual height = span(p[0], p[2]);
    const dual width = span(p[1], p[3]);
    const double target_height = target[2] - target[0];
    const double target_width = target[3] - target[1];
    const dual common = mul(span(inner[0], inner[2]), span(inner[1], inner[3]));
    const dual joint =
        add(add(mul(height, width), constant(target_height * target_width), 1), common, -1);
    const dual iou = quotient(common, joint);
    const dual outer_height = span(outer[0], outer[2]);
    const dual outer_width = span(outer[1], outer[3]);
    dual quality = iou;
    if (kind == EDT_LOSS_GIOU) {
        const dual hull = mul(outer_height, outer_width);
        quality = add(iou, quotient(add(hull, joint, -1), hull), -1);
    } else if (kind == EDT_LOSS_DIOU || kind == EDT_LOSS_CIOU) {
        dual distance = constant(0);
        for (int i = 0; i < 2; ++i) {
            const dual centre = add(p[i], p[i + 2], 1);
            const dual twice = add(centre, constant(target[i] + target[i + 2]), -1);
            distance = add(distance, mul(twice, twice), 0.25);
        }
        const dual diagonal =
            add(mul(outer_height, outer_height), mul(outer_width, outer_width), 1);
        quality = add(iou, quotient(distance, diagonal), -1);
    }
    if (kind == EDT_LOSS_CIOU) {
        const double pi = 3.14159265358979323846;
        const dual angle = add(arc_tangent(quotient(width, height)),
                               constant(atan(div0(target_width, target_height))), -1);
        dual v = mul(mul(angle, angle), constant(4 / (pi * pi)));
        if (!v_gradient) { // alpha still has one, through iou
            v = constant(v.v);
        }
        const dual alpha = quotient(v, add(add(constant(1), iou, -1), v, 1));
        quality = add(quality, mul(alpha, v), -1);
    }
    for (int i = 0; i < 4; ++i) {
        out_grad[i] = -quality.d[i];
    }
    return 1 - quality.v;
}

// Corners of a code ty,tx,th,tw at an anchor (spec/model.md 4.3).
__device__ inline void decode(const double code[4], const quad<float> &anchor,
                              double out_corners[4])
{
    for (int axis = 0; axis < 2; ++axis) {
        const double low = (double)anchor.at[axis];
        const double high = (double)anchor.at[axis + 2];
        const double centre = code[axis] * (high - low) + (low + high) / 2;
        const double half = exp(code[axis + 2]) * (high - low) / 2;
        out_corners[axis] = centre - half;
        out_corners[axis + 2] = centre + half;
    }
}

// Loss of one row and its gradient over the predicted code.
__device__ double row_loss(const edt_cuda_loss_settings &loss, const double code[4],
                           const quad<float> &target_code, const quad<float> &anchor,
                           double out_grad[4])
{
    double wanted[4];
    double pred[4];
    double target[4];
    double corner_grad[4];
    for (int i = 0; i < 4; ++i) {
        wanted[i] = (double)target_code.at[i];
    }
    decode(code, anchor, pred);
    decode(wanted, anchor, target);
    for (int i = 0; i < 4; ++i) {
        out_grad[i] = 0;
        if (wanted[i] == 0) { // the mask of the codes is laid over the corners
            pred[i] = 0;
            target[i] = 0;
        }
    }
    const double value = pair_loss((edt_iou_loss_kind)loss.iou_kind, loss.ciou_v_gradient != 0,
                                   pred, target, corner_grad);
    for (int axis = 0; axis < 2; ++axis) {
        const double size = (double)anchor.at[axis + 2] - (double)anchor.at[axis];
        const double low = wanted[axis] == 0 ? 0 : corner_grad[axis];
        const double high = wanted[axis + 2] == 0 ? 0 : corner_grad[axis + 2];
        out_grad[axis] = (low + high) * size;
        if (low != high) { // exp may be infinite on rows that do not count
            out_grad[axis + 2] = (high - low) * exp(code[axis + 2]) * size / 2;
        }
    }
    return value;
}

template <typename T> __global__ void __launch_bounds__(THREADS) iou_rows(edt_cuda_iou_loss a)
{
    const quad<float> *const anchors = (const quad<float> *)a.anchors;
    const quad<float> *const targets = (const quad<float> *)a.targets;
    const int64_t n_total = a.first_anchor[a.n_levels];
    const double factor = a.attrs.weight * (double)scale_of(a.scale) / (4 * (double)*a.norm);
    double sum = 0;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < a.first_row[a.n_levels];
         i += (int64_t)gridDim.x * THREADS) {
        int level = 0;
        while (i >= a.first_row[level + 1]) {
            ++level;
        }
        const int64_t n_level = a.first_anchor[level + 1] - a.first_anchor[level];
        const int64_t row = i - a.first_row[level];
        const int64_t i_anchor = a.first_anchor[level] + row % n_level;
        const quad<float> target = targets[row / n_level * n_total + i_anchor];
        double slope[4] = {0, 0, 0, 0};
        if (target.at[0] != 0 || target.at[1] != 0 || target.at[2] != 0 || target.at[3] != 0) {
            const quad<T> x = ((const quad<T> *)a.box[level])[row];
            double code[4];
            for (int j = 0; j < 4; ++j) {
                code[j] = (double)to_float(x.at[j]);
            }
            const int64_t i_used = a.attrs.misaligned_rows != 0 ? i % n_total : i_anchor;
            sum += row_loss(a.attrs, code, target, anchors[i_used], slope);
        }
        quad<T> *const gradient = (quad<T> *)a.gradient[level];
        if (gradient != NULL) {
            quad<T> slopes;
            for (int j = 0; j < 4; ++j) {
                slopes.at[j] = from_float<T>((float)(slope[j] * factor));
            }
            gradient[row] = slopes;
        }
    }
    put_partial(a.partials, sum);
}

// A thread has the logits of a pixel to itself: a segmentation head has few classes.
template <typename T>
__global__ void __launch_bounds__(THREADS) softmax_rows(edt_cuda_level_loss a)
{
    const int64_t n_classes = a.attrs.num_classes;
    const int32_t *const mask = (const int32_t *)a.targets;
    const double inverse = (double)scale_of(a.scale) / (double)*a.norm;
    const float factor = (float)inverse;
    double sum = 0;
    for (int64_t row = (int64_t)blockIdx.x * THREADS + threadIdx.x; row < a.n_rows;
         row += (int64_t)gridDim.x * THREADS) {
        const T *const x = (const T *)a.x + row * n_classes;
        T *const gradient = a.gradient == NULL ? NULL : (T *)a.gradient + row * n_classes;
        const int32_t k = mask[row];
        const bool counts = k >= 0 && k < n_classes;
        float largest = -INFINITY;
        float total = 0;
        for (int64_t j = 0; counts && j < n_classes; ++j) {
            largest = fmaxf(largest, to_float(x[j]));
        }
        for (int64_t j = 0; counts && j < n_classes; ++j) {
            total += expf(to_float(x[j]) - largest);
        }
        if (counts) {
            sum += (double)(logf(total) - (to_float(x[k]) - largest));
        }
        for (int64_t j = 0; gradient != NULL && j < n_classes; ++j) {
            const float p = counts ? expf(to_float(x[j]) - largest) / total : 0.0F;
            gradient[j] = from_float<T>((p - (counts && j == k ? 1.0F : 0.0F)) * factor);
        }
    }
    put_partial(a.partials, sum);
}

} // namespace

cudaError_t edt_cuda_focal_loss(edt_dtype real, const edt_cuda_level_loss *loss,
                                cudaStream_t stream)
{
    const cudaError_t code = EDT_CUDA_REAL(
        real, T,
        return EDT_CUDA_LAUNCH(focal_tiles<T>, dim3((unsigned)loss->attrs.n_blocks),
                               dim3(THREADS), 0, stream, *loss));
    return code != cudaSuccess ? code
                               : finish(loss->partials, loss->attrs, 1, loss->norm,
                                        loss->loss, stream);
}

cudaError_t edt_cuda_box_loss(edt_dtype real, const edt_cuda_level_loss *loss,
                              cudaStream_t stream)
{
    const cudaError_t code =
        EDT_CUDA_REAL(real, T,
                      return EDT_CUDA_LAUNCH(box_rows<T>, dim3((unsigned)loss->attrs.n_blocks),
                                             dim3(THREADS), 0, stream, *loss));
    return code != cudaSuccess ? code
                               : finish(loss->partials, loss->attrs, 4, loss->norm,
                                        loss->loss, stream);
}

cudaError_t edt_cuda_iou_loss_run(edt_dtype real, const edt_cuda_iou_loss *loss,
                                  cudaStream_t stream)
{
    const cudaError_t code =
        EDT_CUDA_REAL(real, T,
                      return EDT_CUDA_LAUNCH(iou_rows<T>, dim3((unsigned)loss->attrs.n_blocks),
                                             dim3(THREADS), 0, stream, *loss));
    return code != cudaSuccess ? code
                               : finish(loss->partials, loss->attrs, 4, loss->norm,
                                        loss->loss, stream);
}

cudaError_t edt_cuda_segmentation_loss(edt_dtype real, const edt_cuda_level_loss *loss,
                                       cudaStream_t stream)
{
    const cudaError_t code = EDT_CUDA_REAL(
        real, T,
        return EDT_CUDA_LAUNCH(softmax_rows<T>, dim3((unsigned)loss->attrs.n_blocks),
                               dim3(THREADS), 0, stream, *loss));
    return code != cudaSuccess ? code
                               : finish(loss->partials, loss->attrs, 1, loss->norm,
                                        loss->loss, stream);
}
