// The layers that EfficientDet repeats, as functions that append nodes to a graph. `name` is
// the official variable prefix (spec/model.md 6.1, also the node's name), `path` the Keras
// object path of the layer (6.2); variable suffixes are added here. A layer that is applied at
// several levels with one set of variables tells its nodes apart by `at`, appended to node
// names ("" otherwise). Failures are recorded in the graph (edt_graph_status); the functions
// then return EDT_NO_VALUE.
#ifndef EDT_MODEL_LAYERS_H
#define EDT_MODEL_LAYERS_H

#include "model/graph.h"

// What all layers of one network share.
typedef struct edt_layers {
    edt_graph *graph;
    bool train;     // batch statistics, and what backward passes need is kept
    bool freeze_bn; // training with moving statistics, not updated
    bool biased_moving_variance;
    int bn_ranks; // 0: batch statistics of this rank; else synchronised over so many ranks
    edt_act act;
    edt_value_id drop_u; // draws of drop connect, [R,N]; EDT_NO_VALUE: off
    int next_drop_row;   // R after the network is complete
} edt_layers;

typedef struct edt_conv_spec {
    int kernel, stride;
    int64_t c_out;
    edt_init kernel_init, bias_init;
    bool bias;
} edt_conv_spec;

typedef struct edt_separable_spec { // depthwise 3x3, then pointwise
    int64_t c_out;
    edt_init depthwise_init, pointwise_init, bias_init;
    bool bias;
} edt_separable_spec;

// fan rules of the three initialiser families (spec/model.md 1.5, 2.2, 3.1).
edt_init edt_init_constant(double value);
edt_init edt_init_he_fan_out(int64_t kh, int64_t kw, int64_t shape3);
edt_init edt_init_glorot(int64_t kh, int64_t kw, int64_t shape2, int64_t shape3);
edt_init edt_init_scaled_fan_in(int64_t fan_in);
edt_init edt_init_normal(double std);

edt_value_id edt_layer_conv(edt_layers *layers, const char *name, const char *path,
                            const char *at, edt_value_id x, const edt_conv_spec *spec);
// Transposed convolution, SAME: y is `stride` times as large as x. Its kernel is [k,k,out,in]
// (spec/model.md 0).
edt_value_id edt_layer_conv_transpose(edt_layers *layers, const char *name, const char *path,
                                      edt_value_id x, const edt_conv_spec *spec);
edt_value_id edt_layer_depthwise(edt_layers *layers, const char *name, const char *path,
                                 const char *at, edt_value_id x, int kernel, int stride,
                                 edt_init init);
// Batch norm with the activation applied in the same node (srelu: in one of its own, see
// edt_layer_act). Synchronised over ranks it is two:
// one for the sums, which the executor's owner adds up over ranks, and one that applies them;
// the moving variance is then the biased one.
edt_value_id edt_layer_bn(edt_layers *layers, const char *name, const char *path,
                          const char *at, edt_value_id x, edt_act act);
// srelu has a trainable scalar for each time it is applied (spec/model.md 0.3). TensorFlow makes it
// where the activation is called, in the name scope of the calling layer, so that it is called
// "<name without its last part>/srelu[_i]/srelu_beta", i counting those of one scope. No Keras
// layer owns it: it has no object path, and only name-based checkpoints hold it.
edt_value_id edt_layer_act(edt_layers *layers, const char *name, edt_value_id x, edt_act act);
edt_value_id edt_layer_separable(edt_layers *layers, const char *name, const char *path,
                                 const char *at, edt_value_id x,
                                 const edt_separable_spec *spec);
edt_value_id edt_layer_add(edt_layers *layers, const char *name, edt_value_id a,
                           edt_value_id b);
// x * sigmoid(conv(act(conv(mean(x))))) ; `name` and `path` of the squeeze-excite layer itself.
edt_value_id edt_layer_squeeze_excite(edt_layers *layers, const char *name, const char *path,
                                      edt_value_id x, int64_t c_reduced);
// Identity when training without draws, in inference, or with survival 1.
edt_value_id edt_layer_drop_connect(edt_layers *layers, const char *name, edt_value_id x,
                                    double survival);

typedef struct edt_resample_spec {
    int64_t h, w, c_out; // target
    bool batch_norm;     // apply_bn_for_resampling
    bool conv_after_downsample;
} edt_resample_spec;
// spec/model.md 2.2. Fails with EDT_ERR_USAGE where only one axis shrinks.
edt_value_id edt_layer_resample(edt_layers *layers, const char *name, const char *path,
                                edt_value_id x, const edt_resample_spec *spec);

#endif
