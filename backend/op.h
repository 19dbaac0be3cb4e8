// The operations a network is made of. An op kind is declared once, in op_table.c: arity, shape
// inference, cost. Backends implement kinds; model/autodiff.c knows their gradients. All
// activations are N,H,W,C. "real" below is the type of activations, one of f32, f64, bf16 and f16
// throughout a graph; "wide" is edt_dtype_wide of it: f32, or f64 with f64.
#ifndef EDT_BACKEND_OP_H
#define EDT_BACKEND_OP_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"
#include "core/tensor.h"

enum { EDT_OP_MAX_IN = 16, EDT_OP_MAX_OUT = 16, EDT_FUSE_MAX_IN = 7 };

// Order of inputs -> outputs for each kind; [opt] may be absent: n_in / n_out smaller when it is at
// the end, else dtype EDT_DTYPE_NONE in the description and a NULL pointer in run (OPTIMIZER: slot1
// absent while ema is there).
//
// Types: activations and their gradients (x, y, dy, dx, a, b, s, ds, logits, box, dlogits, dbox) and
// the weights and biases of convolutions are real; everything else that is not marked u8, i32 or
// f64 is wide: norm parameters and statistics, fusion weights, draws, targets, normalisers, losses
// and the gradients of all variables. Sums are never kept in 16 bits.
//
// Forward
//   CAST             x -> y of type attrs.cast_dtype                    nearest, ties to even
//   NORMALIZE        u8 image[N,H,W,3], i32 valid_hw[N,2] -> real y      (x-mean)/std, 0 outside valid;
//                      computed in float whatever `real` is (the network input is a float32 value);
//                      norm_scale_range: then y * 2 / 255 - 1 everywhere, padding included
//   CONV2D           x, w[kh,kw,Ci,Co], [b[Co]] -> y                    SAME padding, zeros; n_in tells
//                      whether there is a bias
//   DEPTHWISE        x, w[kh,kw,C,1] -> y
//   BN_TRAIN         x, gamma, beta, mm*, mv* -> y, [mean[C], invstd[C]] batch statistics; * updated in place
//   BN_STATS         x, mm -> f64 sums[2C]: of x - mm, then of its square    synchronised batch norm,
//                      first half: sums add up over ranks; mm, equal on all ranks, is only an origin
//   BN_APPLY         x, f64 sums[2C], gamma, beta, mm*, mv* -> y, [mean], [invstd]   second half:
//                      BN_TRAIN with statistics from sums over bn.n_ranks times the rows of x
//   BN_INFER         x, gamma, beta, mm, mv -> y                        moving statistics
//   ACT              x -> y
//   GLOBAL_AVG_POOL  x -> y[N,1,1,C]
//   SCALE_CHANNELS   x, s[N,1,1,C] -> y = x * s
//   ADD              a, b -> y
//   DROP_CONNECT     x, u[R,N] -> y = x / p * floor(p + u[row][n])
//   MAX_POOL         x -> y, [u8 index of the first maximum: ky * kw + kx inside the whole window;
//                      cells in the padding are counted but never chosen]
//   RESIZE_NEAREST   x -> y
//   FUSE             x_0..x_{m-1}, [w_0..w_{m-1}] -> y                  all x of y's shape; w of shape [],
//                      [1] or, for the channel methods, [C]; none for EDT_FUSE_SUM
//   CONCAT           a, b -> y[N,H,W,Ca+Cb]                             along channels
//   BIAS             x, b[C] -> y = x + b                               b is real, as a convolution's
//   SRELU            x, b -> y, b of shape [] or [1]: with beta = b^4, x - ln(beta x + 1) / beta where
//                      x > 0, else 0                                    spec/model.md 0.3
// A transposed convolution (spec/model.md 3.2) is CONV2D_DATA among the forward nodes: its kernel
// [kh,kw,out,in] is that op's w.
// Losses (value and gradient in one pass; sums over the whole tensor, divided as train.md 4 states:
// n for FOCAL_LOSS, 4n for the box losses). T counts the anchors of all levels, order level, y, x, a.
//   FOCAL_LOSS       logits[N,h,w,A*K], i32 targets[N,T], norm[1], [scale] -> loss[1], [dlogits]
//   BOX_LOSS         box[N,h,w,A*4], targets[N,T,4], norm[1], [scale] -> loss[1], [dbox]
//   IOU_LOSS         box_l for each level, anchors[T,4], targets[N,T,4], norm[1], [scale]
//                       -> loss[1], [dbox_l for each level]
//   SEGMENTATION_LOSS logits[N,h,w,K], i32 mask[N,h,w], norm[1], [scale] -> loss[1], [dlogits]
//                      softmax cross-entropy of the pixels' classes over norm, their number (train.md 13);
//                      a pixel whose class is not in 0..K-1 adds nothing. K is the logits'
//   scale, there when loss.scaled is set: f32[2], of which the first multiplies the gradients (not
//   the loss); see OPTIMIZER
// Gradients. "accumulate" in the attributes: losses and parameter gradients (dw, db, dgamma, dbeta; of
// FUSE_BWD the dw_j) are added to what is there; otherwise, and for dx always, the output is overwritten.
// Any output of a gradient op may be absent (its pointer NULL, its desc still filled by
// edt_op_infer); so may dlogits and dbox of the losses.
// DROP_CONNECT is its own gradient: the same op with the same u, applied to dy.
//   CONV2D_DATA      dy, w -> dx
//   CONV2D_WEIGHT    x, dy -> dw, [db]
//   DEPTHWISE_DATA   dy, w -> dx
//   DEPTHWISE_WEIGHT x, dy -> dw
//   BN_TRAIN_BWD     dy, x, gamma, beta, mean, invstd, [s[N,1,1,C], dmean[N,1,1,C]] -> dx, dgamma, dbeta
//                      with s and dmean, dy * s + dmean / (H * W) in place of dy: what comes back through
//                      SCALE_CHANNELS by s and a GLOBAL_AVG_POOL beside it
//   BN_BWD_STATS     dy, x, gamma, beta, mean, invstd -> f64 sums[2C] of dz and of dz * xhat (dz: the
//                      gradient of the normalised value before the activation), [dgamma], [dbeta]
//   BN_BWD_APPLY     dy, x, gamma, beta, mean, invstd, f64 sums[2C] -> dx    sums over all ranks, divided
//                      by bn.n_ranks times the rows of x
//   BN_INFER_BWD     dy, x, gamma, beta, mm, mv -> dx, dgamma, dbeta
//   ACT_BWD          dy, x -> dx
//   GLOBAL_AVG_POOL_BWD dy[N,1,1,C] -> dx
//   SCALE_CHANNELS_BWD  dy, x, s -> dx, ds
//   MAX_POOL_BWD     dy, index -> dx
//   RESIZE_NEAREST_BWD  dy -> dx
//   FUSE_BWD         dy, x_0.., [w_0..] -> dx_0.., [dw_0..]
//   CONCAT_BWD       dy -> da, db     out_shape is that of a
//   BIAS_BWD         dy -> db[C]      of the rows of dy; dy itself is the gradient of x
//   SRELU_BWD        dy, x, b -> dx, db
// Detections: what model/postprocess.h makes of the outputs of the heads, in its modes per class
// and global with NonMaxSuppressionV5, for a whole batch. Computed in float whatever `real` is.
//   DETECT           cls_l[N,h,w,A*K] for each level, box_l[N,h,w,A*4] for each level, anchors[T,4],
//                      f32 image_scales[N] -> f32 rows[N,M,5] (ymin, xmin, ymax, xmax, score),
//                      i32 labels[N,M], i32 n_valid[N]
//                      n_valid -1: a backend that examines only so many candidates cannot vouch for
//                      this picture's rows
// Update
//   OPTIMIZER        params*, grads*, slot0*, [slot1*], [ema*], [f32 scale[2]*] -> stats[EDT_OPTIMIZER_STATS]
//                       flat arenas (1-d, equal sizes) described by attrs.optimizer.segments; * updated
//                       in place; what grads hold afterwards is unspecified. slot1: Adam only.
//                       scale: dynamic loss scaling (spec/train.md 10): {scale, good steps}; gradients
//                       are divided by the scale first, and the pair moves on by the rule stated there
//
// Losses, batch-norm statistics and the L2 / norm statistics are accumulated in double by every
// backend. Outputs never overlap inputs, but for output 0 over input alias_in (edt_op_info).
#define EDT_OP_LIST(X)                            \
    X(CAST, "cast")                               \
    X(NORMALIZE, "normalize")                     \
    X(CONV2D, "conv2d")                           \
    X(DEPTHWISE, "depthwise")                     \
    X(BN_TRAIN, "bn_train")                       \
    X(BN_STATS, "bn_stats")                       \
    X(BN_APPLY, "bn_apply")                       \
    X(BN_INFER, "bn_infer")                       \
    X(ACT, "act")                                 \
    X(GLOBAL_AVG_POOL, "global_avg_pool")         \
    X(SCALE_CHANNELS, "scale_channels")           \
    X(ADD, "add")                                 \
    X(DROP_CONNECT, "drop_connect")               \
    X(MAX_POOL, "max_pool")                       \
    X(RESIZE_NEAREST, "resize_nearest")           \
    X(FUSE, "fuse")                               \
    X(CONCAT, "concat")                           \
    X(BIAS, "bias")                               \
    X(SRELU, "srelu")                             \
    X(FOCAL_LOSS, "focal_loss")                   \
    X(BOX_LOSS, "box_loss")                       \
    X(IOU_LOSS, "iou_loss")                       \
    X(SEGMENTATION_LOSS, "segmentation_loss")     \
    X(CONV2D_DATA, "conv2d_data")                 \
    X(CONV2D_WEIGHT, "conv2d_weight")             \
    X(DEPTHWISE_DATA, "depthwise_data")           \
    X(DEPTHWISE_WEIGHT, "depthwise_weight")       \
    X(BN_TRAIN_BWD, "bn_train_bwd")               \
    X(BN_BWD_STATS, "bn_bwd_stats")               \
    X(BN_BWD_APPLY, "bn_bwd_apply")               \
    X(BN_INFER_BWD, "bn_infer_bwd")               \
    X(ACT_BWD, "act_bwd")                         \
    X(GLOBAL_AVG_POOL_BWD, "global_avg_pool_bwd") \
    X(SCALE_CHANNELS_BWD, "scale_channels_bwd")   \
    X(MAX_POOL_BWD, "max_pool_bwd")               \
    X(RESIZE_NEAREST_BWD, "resize_nearest_bwd")   \
    X(FUSE_BWD, "fuse_bwd")                       \
    X(CONCAT_BWD, "concat_bwd")                   \
    X(BIAS_BWD, "bias_bwd")                       \
    X(SRELU_BWD, "srelu_bwd")                     \
    X(OPTIMIZER, "optimizer")                     \
    X(CONV2D_BN_ACT, "conv2d_bn_act")             \
    X(DEPTHWISE_BN_ACT, "depthwise_bn_act")       \
    X(CONV2D_DEPTHWISE_BN_ACT, "conv2d_depthwise_bn_act") \
    X(DETECT, "detect")
// The *_BN_ACT are fused inference ops, made only by model/fuse.c where the backend supports them:
//   CONV2D_BN_ACT    x, w, gamma, beta, mm, mv, [b[Co]], [gate[N,1,1,Ci]], [residual]
//                      -> y = act(BN_INFER(CONV2D(x * gate))) (+ residual)
//   DEPTHWISE_BN_ACT x, w, gamma, beta, mm, mv -> y, [GLOBAL_AVG_POOL(y)]
//   CONV2D_DEPTHWISE_BN_ACT x, w, gamma, beta, mm, mv, w2, gamma2, beta2, mm2, mv2 -> y, [GLOBAL_AVG_POOL(y)]
//                    DEPTHWISE_BN_ACT(CONV2D_BN_ACT(x, w, ..), w2, ..): attrs.conv is the depthwise
//                    window, attrs.first_conv the dense one, attrs.bn goes for both
// (attrs.conv and attrs.bn are both used, see edt_op_attrs; attrs.conv.has_bias, has_gate and has_residual
// tell which optional inputs are there.)

typedef enum edt_op_kind {
#define EDT_OP_ENUM(name, text) EDT_OP_##name,
    EDT_OP_LIST(EDT_OP_ENUM)
#undef EDT_OP_ENUM
        EDT_OP_N_KINDS
} edt_op_kind;

typedef enum edt_act {
    EDT_ACT_NONE,
    EDT_ACT_SWISH,
    EDT_ACT_RELU6,
    EDT_ACT_RELU,
    EDT_ACT_HSWISH,
    EDT_ACT_MISH,
    EDT_ACT_SIGMOID,
    EDT_ACT_SRELU, // layers' name for op SRELU, which has an operand of its own: no op's `act`
} edt_act;

typedef enum edt_fuse_method {
    EDT_FUSE_SUM,
    EDT_FUSE_FASTATTN,         // spec/model.md 2.5
    EDT_FUSE_ATTN,
    EDT_FUSE_CHANNEL_FASTATTN,
    EDT_FUSE_CHANNEL_ATTN,
} edt_fuse_method;

typedef enum edt_iou_loss_kind { EDT_LOSS_IOU, EDT_LOSS_GIOU, EDT_LOSS_DIOU, EDT_LOSS_CIOU } edt_iou_loss_kind;

// Windowed ops: kernel and stride per axis. Padding is always SAME (spec/model.md 0.1), computed
// by edt_same_padding.
typedef struct edt_conv_attrs {
    int kh, kw, sh, sw;
    bool has_bias;
    bool has_gate, has_residual; // CONV2D_BN_ACT only
} edt_conv_attrs;

typedef struct edt_bn_attrs {
    double epsilon;  // 1e-3
    double momentum; // 0.99
    edt_act act;     // applied to the normalised value; the backward op recomputes it
    bool biased_moving_variance; // true with synchronised BN
    int n_ranks; // BN_APPLY, BN_BWD_APPLY: ranks whose rows the sums cover, at least 1
} edt_bn_attrs;

typedef struct edt_loss_attrs {
    double alpha, gamma, label_smoothing; // FOCAL_LOSS
    double delta;                         // BOX_LOSS
    double weight;         // BOX_LOSS, IOU_LOSS: multiplies gradients only (box_loss_weight,
                           // iou_loss_weight); losses are raw. FOCAL_LOSS does not read it
    int64_t num_classes;   // K
    int64_t anchors_per_cell; // A
    int64_t anchor_offset; // first anchor of this level in the flat target row
    bool scaled;           // the last input is the loss scale
    edt_iou_loss_kind iou_kind;
    bool misaligned_rows;  // IOU_LOSS: the reference's defect for batches over 1 (train.md 4.4)
    bool ciou_v_gradient;  // IOU_LOSS, CIoU: the whole gradient. False: v is a constant of the
                           // prediction (train.md 4.4, "as original"). The stored gradients of
                           // golden/model/losses are the whole ones
} edt_loss_attrs;

// DETECT. Thresholds as edt_nms_options of model/nms.h.
typedef struct edt_detect_attrs {
    bool global;              // one suppression over all classes, rows clipped; else per class
    int64_t num_classes;      // K
    int64_t anchors_per_cell; // A
    int64_t max_candidates;   // best logits of a picture; 0: the best class of each anchor
    int64_t max_output;       // M
    float iou_thresh;         // hard suppression
    float score_thresh;       // strict; -INFINITY: none
    float sigma;              // soft suppression; 0: hard
    float clip_h, clip_w;     // global: the network's picture
} edt_detect_attrs;

// One parameter inside the flat arenas.
typedef struct edt_param_segment {
    int64_t offset, n; // elements
    bool update;       // trainable and not frozen
    bool decay;        // member of the L2 term
    bool average;      // has an EMA shadow to update
} edt_param_segment;

typedef enum edt_optimizer_kind {
    EDT_OPTIMIZER_SGD_TF1, // acc = mu*acc + g; v -= lr*acc
    EDT_OPTIMIZER_SGD_TF2, // acc = mu*acc - lr*g; v += acc
    EDT_OPTIMIZER_ADAM,    // slot0 = m, slot1 = v
} edt_optimizer_kind;

// L2 (value over `decay` segments that update, or over all of them with l2_includes_frozen; the
// gradient is added to those that update), clipping per tensor (= segment that updates) then
// globally (train.md 5.1), update, EMA of every `average` segment: one call. When a gradient is not
// finite nothing is updated, averages included.
typedef struct edt_optimizer_attrs {
    edt_optimizer_kind kind;
    const edt_param_segment *segments; // borrowed; outlives the kernel
    int64_t n_segments;
    double momentum;  // SGD; beta1 of Adam
    double beta2, epsilon;
    double clip;      // <= 0: off
    double weight_decay;
    bool l2_includes_frozen; // tf1: value counts frozen segments too
} edt_optimizer_attrs;

enum {
    EDT_OPTIMIZER_STAT_L2,        // reg_l2_loss before the update
    EDT_OPTIMIZER_STAT_RAW_NORM,  // global gradient norm before clipping (L2 term included)
    EDT_OPTIMIZER_STAT_NORM,      // after clipping: the logged gradient_norm
    EDT_OPTIMIZER_STAT_FINITE,    // 1, or 0 when a gradient was NaN or infinite: nothing was updated
    EDT_OPTIMIZER_STATS
};

// Which members an op reads: conv (CONV2D*, DEPTHWISE*, MAX_POOL*), bn (BN*, *_BN_ACT), act (ACT*),
// fuse, drop, loss, optimizer, detect, normalize. Members are separate fields, not a union, because fused
// ops use several.
typedef struct edt_op_attrs {
    edt_conv_attrs conv;
    edt_conv_attrs first_conv; // CONV2D_DEPTHWISE_BN_ACT
    edt_bn_attrs bn;
    edt_act act; // ACT; FUSE and FUSE_BWD: applied to the fused value
    edt_fuse_method fuse_method;
    int fuse_n;  // number of x inputs
    double drop_survival;
    int drop_row;
    bool accumulate; // losses, parameter-gradient outputs
    edt_loss_attrs loss;
    edt_optimizer_attrs optimizer;
    edt_detect_attrs detect;
    float norm_mean[3], norm_std[3]; // NORMALIZE
    bool norm_scale_range;
    edt_dtype norm_dtype; // NORMALIZE: type of y (EDT_DTYPE_NONE means f32)
    edt_dtype cast_dtype; // CAST: type of y
    // Set by the network, carried out by the executor: the first output is summed over all ranks
    // before the next op runs (BN_STATS, BN_BWD_STATS).
    bool reduce_over_ranks;
    edt_shape out_shape; // ops whose output shape does not follow from the inputs: *_DATA, *_BWD of
                         // pooling and resizing (dx), RESIZE_NEAREST (y), CONCAT_BWD (da); *_WEIGHT (dw): may be left
                         // zero, checked against kernel and channels otherwise
} edt_op_attrs;

// An op with the shapes it will run on: what a backend prepares a kernel for.
typedef struct edt_op_desc {
    edt_op_kind kind;
    edt_op_attrs attrs;
    int n_in, n_out;
    edt_tensor_desc in[EDT_OP_MAX_IN];
    edt_tensor_desc out[EDT_OP_MAX_OUT];
} edt_op_desc;

// Static facts about a kind.
typedef struct edt_op_info {
    const char *name;
    int min_in, max_in, min_out, max_out;
    uint32_t inout_mask;   // inputs that the op updates in place (moving statistics, arenas)
    int alias_in;          // input whose memory output 0 may reuse, or -1
} edt_op_info;

const edt_op_info *edt_op_get_info(edt_op_kind kind);

// Output size of a SAME window along one axis: ceil(in / stride), in >= 1.
int64_t edt_same_out(int64_t in, int64_t stride);
// spec/model.md 0.1.
void edt_same_padding(int64_t in, int64_t k, int64_t stride, int64_t *out_before, int64_t *out_after);

// Checks inputs and attributes of `desc` (kind, attrs, n_in, in[], n_out are set) and fills out[].
// EDT_ERR_INVALID names the operand, its shape and what was expected.
edt_status edt_op_infer(edt_op_desc *desc, edt_error *err);

// The two ops that a CONV2D_DEPTHWISE_BN_ACT stands for, inferred; the mean, where asked for, is the
// second's. Its operands are those of the first, then those of the second but for x.
edt_status edt_op_chain_parts(const edt_op_desc *desc, edt_error *err, edt_op_desc *out_first,
                              edt_op_desc *out_second);

// Multiply-accumulates of convolutions and of their gradients (0 for everything else), for batch N
// as described; reads in[] and attrs only. Padded positions count, as in the published figures.
int64_t edt_op_conv_macs(const edt_op_desc *desc);

// Moves {scale, good steps} on after a step (spec/train.md 10): EDT_LOSS_SCALE_PERIOD finite steps in a
// row double the scale (unless that is infinite), one that is not finite halves it (not below 1);
// either starts the count again.
enum { EDT_LOSS_SCALE_PERIOD = 2000 };
void edt_loss_scale_step(bool finite, float scale[2]);

const char *edt_act_name(edt_act act);
// act_type of the hparams: swish, silu, swish_native, relu6, relu, hswish, mish, srelu.
edt_status edt_act_parse(const char *text, edt_error *err, edt_act *out_act);

#endif
