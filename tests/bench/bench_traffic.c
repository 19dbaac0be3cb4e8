// What a training step of the cuda backend moves and launches, by op: a model, nothing is
// measured and no GPU is needed. The training graph is walked node by node; each is charged the
// passes that our kernels make over memory (backend/cuda/kernels/*_kernels.h) and held against
// the memory and arithmetic rates of a device. Then what fusing ops further would save, and how
// much of the sums of gradients over ranks the backward pass hides. Markdown on stdout.
//
//   bench_traffic [--model=efficientdet-d0] [--size=512] [--batch=32]
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/cuda_conv_shapes.h"
#include "backend/cuda/cuda_rows.h"
#include "backend/cuda/depthwise_plan.h"
#include "core/hparams.h"
#include "core/mem.h"
#include "dist/bucket.h"
#include "model/efficientdet.h"
#include "model/scaling.h"

// NVIDIA's data sheet of the H100 SXM: memory, dense bf16 products, f32 without tensor cores,
// NVLink in one direction; and a 400 Gb/s network card per GPU.
static const double memory_rate = 3.35e12, bf16_rate = 989e12, f32_rate = 67e12,
                    nvlink_rate = 450e9, network_rate = 50e9;
static const edt_cuda_limits h100 = {
    .major = 9,
    .n_multiprocessors = 132,
    .threads_per_multiprocessor = 2048,
    .grid_x = INT32_MAX,
    .grid_y = 65535,
    .grid_z = 65535,
};
// As cuda_norm.c: batch norm of at most so many rows is one launch that reads memory once.
enum { WHOLE_NORM_ROWS = 512, GPUS_PER_MACHINE = 8 };
// Bytes of the update per variable: kernels/optimizer_kernels.h, SGD with averages.
static const double update_bytes = 36, cast_bytes = 6;

typedef struct cost {
    int64_t launches;
    double bytes, macs, seconds;
} cost;

static void die(const char *what, const edt_error *err)
{
    fprintf(stderr, "bench_traffic: %s: %s\n", what, err->text);
    exit(1);
}

static double bytes_of(const edt_tensor_desc *desc)
{
    return desc->dtype == EDT_DTYPE_NONE ? 0 : (double)edt_tensor_bytes(desc);
}

// Written and read again.
static double partial_bytes(const edt_op_desc *desc, bool by_image, int n_sums, int *out_parts)
{
    edt_error err = {0};
    edt_cuda_rows rows;
    const edt_cuda_rows_want want = edt_cuda_rows_of(&desc->in[0], by_image, true);
    if (edt_cuda_rows_plan(&h100, &want, &err, &rows) != EDT_OK) {
        die("rows", &err);
    }
    *out_parts = rows.parts;
    return rows.parts > 1 ? 2 * (double)edt_cuda_rows_sum_bytes(&rows, n_sums) : 0;
}

static double tap_bytes(const edt_op_desc *desc)
{
    edt_error err = {0};
    edt_cuda_taps taps;
    const edt_cuda_depthwise_window window =
        edt_cuda_depthwise_window_of(&desc->in[0].shape, &desc->in[1].shape, &desc->attrs.conv);
    if (edt_cuda_taps_plan(&window, (int)edt_dtype_bytes(desc->in[0].dtype),
                           h100.n_multiprocessors, &err, &taps) != EDT_OK) {
        die("taps", &err);
    }
    return 2 * (double)edt_cuda_taps_workspace(&window, &taps);
}

static int64_t rows_of(const edt_tensor_desc *x)
{
    return x->shape.dim[0] * x->shape.dim[1] * x->shape.dim[2];
}

static bool is_whole_norm(const edt_op_desc *desc)
{
    return rows_of(&desc->in[0]) <= WHOLE_NORM_ROWS;
}

static bool is_pointwise(const edt_op_desc *desc)
{
    const edt_conv_attrs *conv = &desc->attrs.conv;
    return conv->kh == 1 && conv->kw == 1 && conv->sh == 1 && conv->sw == 1;
}

// The library's convolutions want their weights packed, and do not add a bias.
static void charge_conv(const edt_op_desc *desc, cost *c)
{
    const edt_op_kind kind = desc->kind;
    const double x = bytes_of(&desc->in[0]);
    if (kind == EDT_OP_CONV2D_WEIGHT && desc->n_out > 1) { // bias: a pass over dy
        const edt_tensor_desc *dy = &desc->in[1];
        const int64_t channels = dy->shape.dim[3];
        const edt_cuda_column_sum sum =
            edt_cuda_column_sum_of(dy->dtype, rows_of(dy), channels, h100.n_multiprocessors);
        c->launches += 2;
        c->bytes += bytes_of(dy) + 16 * (double)(sum.n_parts * channels);
    }
    if (is_pointwise(desc)) {
        return;
    }
    c->launches += 1;
    c->bytes += 2 * bytes_of(kind == EDT_OP_CONV2D_WEIGHT ? &desc->out[0] : &desc->in[1]);
    if (kind == EDT_OP_CONV2D && desc->n_in > 2) {
        c->launches += 1;
        c->bytes += 2 * x;
    }
}

// Launches and bytes of a node: every operand once, and what else the kernels' headers tell.
static cost cost_of(const edt_op_desc *desc)
{
    cost c = {.launches = 1, .macs = (double)edt_op_conv_macs(desc)};
    for (int i = 0; i < desc->n_in; ++i) {
        c.bytes += bytes_of(&desc->in[i]);
    }
    for (int i = 0; i < desc->n_out; ++i) {
        c.bytes += bytes_of(&desc->out[i]);
    }
    int parts = 1;
    switch (desc->kind) {
    case EDT_OP_CONV2D:
    case EDT_OP_CONV2D_DATA:
    case EDT_OP_CONV2D_WEIGHT: charge_conv(desc, &c); break;
    case EDT_OP_DEPTHWISE_WEIGHT:
        c.launches = 2;
        c.bytes += tap_bytes(desc);
        break;
    case EDT_OP_BN_TRAIN:
    case EDT_OP_BN_TRAIN_BWD: // the input, or dy and x, a second time
        if (!is_whole_norm(desc)) {
            c.launches = 3;
            c.bytes += partial_bytes(desc, false, 2, &parts) + bytes_of(&desc->in[0]) +
                       (desc->kind == EDT_OP_BN_TRAIN_BWD ? bytes_of(&desc->in[1]) : 0);
        }
        break;
    case EDT_OP_GLOBAL_AVG_POOL:
    case EDT_OP_SCALE_CHANNELS_BWD:
        c.bytes += partial_bytes(desc, true, 1, &parts);
        c.launches = parts > 1 ? 2 : 1;
        break;
    case EDT_OP_FUSE_BWD: c.launches = desc->n_out > desc->attrs.fuse_n ? 2 : 1; break;
    case EDT_OP_FOCAL_LOSS:
    case EDT_OP_BOX_LOSS: { // of the targets of all levels only this one's
        const int64_t n = edt_shape_count(&desc->in[0].shape);
        c.launches = 2;
        c.bytes +=
            (double)(desc->kind == EDT_OP_FOCAL_LOSS ? n / desc->attrs.loss.num_classes : n) *
                4 -
            bytes_of(&desc->in[1]);
        break;
    }
    case EDT_OP_SEGMENTATION_LOSS:
    case EDT_OP_BIAS_BWD:
    case EDT_OP_SRELU_BWD:
    case EDT_OP_IOU_LOSS: c.launches = 2; break;
    default: break;
    }
    const double rate = desc->in[0].dtype == EDT_DTYPE_F32 ? f32_rate : bf16_rate;
    c.seconds = fmax(c.bytes / memory_rate, 2 * c.macs / rate);
    return c;
}

typedef struct network {
    edt_model *model;
    edt_op_desc *desc; // [n_nodes]
    cost *cost;        // [n_nodes]
    cost update;       // the optimizer and the 16-bit copy of the variables
    int64_t n_variables, n_trainable;
} network;

static void build(const edt_hparams *hp, edt_dtype real, int64_t batch, network *net)
{
    edt_error err = {0};
    const edt_model_options options = {
        .mode = EDT_MODEL_TRAIN,
        .real = real,
        .batch_size = batch,
        .u8_input = true,
        .drop_connect = true,
        .losses = true,
    };
    *net = (network){0};
    if (edt_model_create(hp, &options, &err, &net->model) != EDT_OK) {
        die("model", &err);
    }
    const edt_graph *graph = net->model->graph;
    net->desc = edt_mem_calloc(EDT_MEM_MISC, (size_t)graph->n_nodes, sizeof(*net->desc));
    net->cost = edt_mem_calloc(EDT_MEM_MISC, (size_t)graph->n_nodes, sizeof(*net->cost));
    if (net->desc == NULL || net->cost == NULL) {
        die("nodes", &(edt_error){.text = "no memory"});
    }
    for (int i = 0; i < graph->n_nodes; ++i) {
        edt_graph_describe(graph, i, &net->desc[i]);
        net->cost[i] = cost_of(&net->desc[i]);
    }
    for (int i = 0; i < graph->n_params; ++i) {
        const int64_t n = edt_shape_count(&graph->params[i].shape);
        net->n_variables += n;
        net->n_trainable += graph->params[i].trainable ? n : 0;
    }
    const bool low = real != EDT_DTYPE_F32;
    net->update.launches = low ? 4 : 3;
    net->update.bytes = (update_bytes + (low ? cast_bytes : 0)) * (double)net->n_variables;
    net->update.seconds = net->update.bytes / memory_rate;
}

static void destroy(network *net)
{
    edt_mem_free(net->desc);
    edt_mem_free(net->cost);
    edt_model_destroy(net->model);
}

static void add(cost *to, const cost *from)
{
    to->launches += from->launches;
    to->bytes += from->bytes;
    to->macs += from->macs;
    to->seconds += from->seconds;
}

// nets[0] is f32, nets[1] bf16: the same graph in two types.
static void print_row(const char *name, int n_nodes, const cost *f32, const cost *bf16,
                      int64_t batch, double total_bytes)
{
    const double n = (double)batch;
    printf("| %s | %d | %" PRId64 " | %.2f | %.1f | %.1f | %.1f%% | %.2f | %.2f |\n", name,
           n_nodes, bf16->launches, 2e-9 * bf16->macs / n, 1e-6 * f32->bytes / n,
           1e-6 * bf16->bytes / n, 100 * bf16->bytes / total_bytes, 1e6 * f32->seconds / n,
           1e6 * bf16->seconds / n);
}

static void print_ops(network *nets, int64_t batch)
{
    const int n_nodes = nets[0].model->graph->n_nodes;
    cost all[2] = {nets[0].update, nets[1].update};
    for (int t = 0; t < 2; ++t) {
        for (int i = 0; i < n_nodes; ++i) {
            add(&all[t], &nets[t].cost[i]);
        }
    }
    printf(
        "| op | nodes | launches per step | GFLOP | MB f32 | MB bf16 | share of bf16 | bound "
        "f32, us | bound bf16, us |\n|---|---|---|---|---|---|---|---|---|\n");
    for (int kind = 0; kind < EDT_OP_N_KINDS; ++kind) {
        for (int pointwise = 1; pointwise >= 0; --pointwise) {
            cost sum[2] = {0};
            int n = 0;
            const bool dense = kind == EDT_OP_CONV2D || kind == EDT_OP_CONV2D_DATA ||
                               kind == EDT_OP_CONV2D_WEIGHT;
            for (int i = 0; i < n_nodes; ++i) {
                if ((int)nets[0].desc[i].kind == kind &&
                    (dense && is_pointwise(&nets[0].desc[i])) == pointwise) {
                    add(&sum[0], &nets[0].cost[i]);
                    add(&sum[1], &nets[1].cost[i]);
                    ++n;
                }
            }
            char name[64];
            (void)snprintf(name, sizeof name, "%s%s", edt_op_get_info((edt_op_kind)kind)->name,
                           pointwise ? " 1x1" : "");
            if (n > 0) {
                print_row(name, n, &sum[0], &sum[1], batch, all[1].bytes);
            }
        }
    }
    print_row("update, cast", 1, &nets[0].update, &nets[1].update, batch, all[1].bytes);
    print_row("**all**", n_nodes + 1, &all[0], &all[1], batch, all[1].bytes);
}

// What a further fusion would save: reads and writes of values between two ops, each counted
// under one heading only.
enum {
    SAVE_STATISTICS,
    SAVE_NORMALISE,
    SAVE_RESIDUAL,
    SAVE_DROP,
    SAVE_SQUEEZE,
    SAVE_EXCITE,
    SAVE_RESAMPLE,
    SAVE_GRADIENT_SUM,
    SAVE_SQUEEZE_GRADIENT,
    SAVE_BACKWARD_SUMS,
    N_SAVINGS
};
static const char *const saving_names[N_SAVINGS] = {
    "batch statistics in the epilogue of the convolution before",
    "normalisation and activation while the next convolution loads its input",
    "residual sum inside batch norm or drop connect",
    "drop connect inside batch norm",
    "squeeze pooling inside batch norm",
    "channel scales while the next convolution loads its input",
    "resizing and pooling inside feature fusion",
    "sums of gradients inside the convolution that makes one of them",
    "the squeeze pooling's gradient inside the sum that takes it",
    "sums of batch norm's gradient in the epilogue of the convolution that makes dy",
};

typedef struct saving {
    int n;
    double bytes;
} saving;

static bool is_conv(edt_op_kind kind)
{
    return kind == EDT_OP_CONV2D || kind == EDT_OP_DEPTHWISE;
}

static bool is_conv_data(edt_op_kind kind)
{
    return kind == EDT_OP_CONV2D_DATA || kind == EDT_OP_DEPTHWISE_DATA;
}

static edt_op_kind producer_kind(const edt_graph *graph, edt_value_id value)
{
    const int producer = value == EDT_NO_VALUE ? -1 : graph->values[value].producer;
    return producer < 0 ? EDT_OP_N_KINDS : graph->nodes[producer].kind;
}

// Forward nodes that read the value, and whether they all are convolutions.
static int forward_readers(const edt_graph *graph, edt_value_id value, bool *out_convs)
{
    int n = 0;
    *out_convs = true;
    for (int i = 0; i < graph->n_nodes; ++i) {
        for (int k = 0; !graph->nodes[i].backward && k < graph->nodes[i].n_in; ++k) {
            if (graph->nodes[i].in[k] == value) {
                *out_convs = *out_convs && is_conv(graph->nodes[i].kind);
                ++n;
            }
        }
    }
    return n;
}

static void save(saving *savings, int which, double bytes)
{
    ++savings[which].n;
    savings[which].bytes += bytes;
}

static void find_savings(const network *net, int i, saving *savings)
{
    const edt_graph *graph = net->model->graph;
    const edt_node *node = &graph->nodes[i];
    const edt_op_desc *desc = &net->desc[i];
    const double x = bytes_of(&desc->in[0]);
    const double y = bytes_of(&desc->out[0]);
    const edt_op_kind before = producer_kind(graph, node->in[0]);
    bool convs;
    const int n_readers = forward_readers(graph, node->out[0], &convs);
    switch (node->kind) {
    case EDT_OP_BN_TRAIN:
        if (is_conv(before) && !is_whole_norm(desc)) {
            save(savings, SAVE_STATISTICS, x);
        }
        if (n_readers > 0 && convs) {
            save(savings, SAVE_NORMALISE, (is_whole_norm(desc) ? 1 : 2) * x);
        }
        break;
    case EDT_OP_ADD: {
        const edt_op_kind other = producer_kind(graph, node->in[1]);
        if (node->backward) {
            if (is_conv_data(before) || is_conv_data(other)) {
                save(savings, SAVE_GRADIENT_SUM, 2 * x);
            } else if (before == EDT_OP_GLOBAL_AVG_POOL_BWD ||
                       other == EDT_OP_GLOBAL_AVG_POOL_BWD) {
                save(savings, SAVE_SQUEEZE_GRADIENT, 2 * x);
            }
        } else if (before == EDT_OP_BN_TRAIN || before == EDT_OP_DROP_CONNECT ||
                   other == EDT_OP_BN_TRAIN || other == EDT_OP_DROP_CONNECT) {
            save(savings, SAVE_RESIDUAL, 2 * x);
        }
        break;
    }
    case EDT_OP_DROP_CONNECT:
        if (before == EDT_OP_BN_TRAIN) {
            save(savings, SAVE_DROP, 2 * x);
        }
        break;
    case EDT_OP_GLOBAL_AVG_POOL:
        if (before == EDT_OP_BN_TRAIN) {
            save(savings, SAVE_SQUEEZE, x);
        }
        break;
    case EDT_OP_SCALE_CHANNELS:
        if (n_readers > 0 && convs) {
            save(savings, SAVE_EXCITE, 2 * x);
        }
        break;
    case EDT_OP_RESIZE_NEAREST:
    case EDT_OP_MAX_POOL: save(savings, SAVE_RESAMPLE, 2 * y); break;
    case EDT_OP_BN_TRAIN_BWD:
        if (is_conv_data(before) && !is_whole_norm(desc)) {
            save(savings, SAVE_BACKWARD_SUMS, x);
        }
        break;
    default: break;
    }
}

static void print_savings(const network *net, int64_t batch)
{
    saving savings[N_SAVINGS] = {0};
    double all = net->update.bytes;
    for (int i = 0; i < net->model->graph->n_nodes; ++i) {
        find_savings(net, i, savings);
        all += net->cost[i].bytes;
    }
    printf("| fusion | places | MB bf16 saved | of all bytes |\n|---|---|---|---|\n");
    double saved = 0;
    for (int k = 0; k < N_SAVINGS; ++k) {
        saved += savings[k].bytes;
        printf("| %s | %d | %.1f | %.1f%% |\n", saving_names[k], savings[k].n,
               1e-6 * savings[k].bytes / (double)batch, 100 * savings[k].bytes / all);
    }
    printf("| **all** | | %.1f | %.1f%% |\n", 1e-6 * saved / (double)batch, 100 * saved / all);
}

// Seconds of the sum of n_bytes over all ranks: rings inside machines, then between machines
// over one card per GPU, each with its part. Latencies are not counted.
static double sum_seconds(double n_bytes, int n_machines)
{
    const double inside = (GPUS_PER_MACHINE - 1.0) / GPUS_PER_MACHINE;
    const double between = (n_machines - 1.0) / n_machines;
    return 2 * inside * n_bytes / nvlink_rate +
           2 * between * n_bytes / GPUS_PER_MACHINE / network_rate;
}

// Gradients as the trainer cuts them (dist/bucket.h), each bucket summed as soon as the last
// node that writes into it is through, one after another.
static void print_sums(const network *net, int64_t batch, int n_machines)
{
    const edt_graph *graph = net->model->graph;
    edt_error err = {0};
    edt_bucket_plan plan;
    edt_bucket_segment *segments =
        edt_mem_calloc(EDT_MEM_MISC, (size_t)graph->n_params, sizeof(*segments));
    double *ends = edt_mem_calloc(EDT_MEM_MISC, (size_t)graph->n_nodes, sizeof(*ends));
    if (segments == NULL || ends == NULL) {
        die("buckets", &(edt_error){.text = "no memory"});
    }
    double now = 0;
    for (int i = 0; i < graph->n_nodes; ++i) {
        now += net->cost[i].seconds;
        ends[i] = now;
    }
    int64_t n_segments = 0, offset = 0;
    for (int p = 0; p < graph->n_params; ++p) {
        const int64_t n = edt_shape_count(&graph->params[p].shape);
        if (graph->params[p].grad != EDT_NO_VALUE) {
            edt_bucket_segment *s = &segments[n_segments++];
            *s = (edt_bucket_segment){.offset = offset, .n = n, .ready_at = -1};
            for (int i = 0; i < graph->n_nodes; ++i) {
                for (int k = 0; k < graph->nodes[i].n_out; ++k) {
                    s->ready_at =
                        graph->nodes[i].out[k] == graph->params[p].grad ? i : s->ready_at;
                }
            }
        }
        // As they lie in their arena: moving statistics come last.
        offset += graph->params[p].trainable ? (n + 15) / 16 * 16 : 0;
    }
    if (edt_bucket_plan_init(segments, n_segments, EDT_BUCKET_DEVICE_BYTES / 4, &err, &plan) !=
        EDT_OK) {
        die("buckets", &err);
    }
    double end = 0;
    double busy = 0;
    for (int64_t b = 0; b < plan.n_buckets; ++b) {
        const edt_bucket_segment *bucket = &plan.buckets[b];
        const double seconds = sum_seconds(4 * (double)bucket->n, n_machines);
        const double ready = bucket->ready_at < 0 ? 0 : ends[bucket->ready_at];
        end = fmax(end, ready) + seconds;
        busy += seconds;
    }
    const double exposed = fmax(0, end - now);
    const double step = now + net->update.seconds;
    printf("| %d | %" PRId64 " | %" PRId64 " | %.0f | %.0f | %.2f%% | %.2f%% |\n",
           n_machines * GPUS_PER_MACHINE, batch, plan.n_buckets, 1e6 * busy, 1e6 * exposed,
           100 * step / (step + busy), 100 * step / (step + exposed));
    edt_bucket_plan_deinit(&plan);
    edt_mem_free(segments);
    edt_mem_free(ends);
}

int main(int argc, char **argv)
{
    const char *model = "efficientdet-d0";
    int64_t size = 512, batch = 32;
    for (int i = 1; i < argc; ++i) {
        if (strncmp(argv[i], "--model=", 8) == 0) {
            model = argv[i] + 8;
        } else if (strncmp(argv[i], "--size=", 7) == 0) {
            size = strtoll(argv[i] + 7, NULL, 10);
        } else if (strncmp(argv[i], "--batch=", 8) == 0) {
            batch = strtoll(argv[i] + 8, NULL, 10);
        } else {
            fprintf(stderr, "usage: bench_traffic [--model=NAME] [--size=N] [--batch=N]\n");
            return 2;
        }
    }
    edt_error err = {0};
    edt_hparams hp;
    if (edt_hparams_init(&hp, &err) != EDT_OK ||
        edt_scaling_apply(&hp, model, &err) != EDT_OK) {
        die("hparams", &err);
    }
    hp.image_size = (edt_hw){size, size};
    network nets[2];
    build(&hp, EDT_DTYPE_F32, batch, &nets[0]);
    build(&hp, EDT_DTYPE_BF16, batch, &nets[1]);
    printf("%s at %" PRId64 "x%" PRId64 ", batch %" PRId64 ": %" PRId64
           " variables, %.2f MB of "
           "gradients. GFLOP, MB and us are per image.\n\n",
           model, size, size, batch, nets[0].n_variables, 4e-6 * (double)nets[0].n_trainable);
    print_ops(nets, batch);
    printf("\n");
    print_savings(&nets[1], batch);
    printf("\n| GPUs | batch of each | buckets | sums, us | after the backward pass, us | "
           "efficiency without overlap | with |\n|---|---|---|---|---|---|---|\n");
    print_sums(&nets[1], batch, 1);
    print_sums(&nets[1], batch, 8);
    destroy(&nets[0]);
    destroy(&nets[1]);
    edt_hparams_deinit(&hp);
    return 0;
}
