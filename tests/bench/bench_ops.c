// Where a network's time goes on the cpu backend: D0 at 512x512, inference (batch 1, fused) and
// one training step without the optimizer (batch 2), op by op inside the running network, next
// to oneDNN's GEMM peak and memcpy measured in the same run. JSON lines; GFLOP/s for
// convolutions, GB/s of operands for everything else.
//
//   bench_ops [--threads=N] [--passes=N] [--mode=infer|train|both] [--shapes]
#include <dnnl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/backend.h"
#include "core/clock.h"
#include "core/hparams.h"
#include "core/mem.h"
#include "model/efficientdet.h"
#include "model/exec.h"
#include "model/fuse.h"
#include "model/params.h"
#include "model/scaling.h"

enum { MAX_GROUPS = 1024, NAME_BYTES = 160 };

typedef struct options {
    int threads, passes;
    bool infer, train, shapes;
} options;

typedef struct group {
    char name[NAME_BYTES];
    int n_nodes;
    double seconds, flops, bytes;
} group;

static void die(const char *what, const edt_error *err)
{
    fprintf(stderr, "bench_ops: %s: %s\n", what, err->text);
    exit(1);
}

static void print_ceilings(int threads)
{
    const dnnl_dim_t n = 1024;
    const size_t n_bytes = (size_t)(n * n) * sizeof(float);
    float *a = edt_mem_calloc(EDT_MEM_MISC, 1, n_bytes);
    float *b = edt_mem_calloc(EDT_MEM_MISC, 1, n_bytes);
    float *c = edt_mem_calloc(EDT_MEM_MISC, 1, n_bytes);
    double best = 1e9;
    for (int i = 0; i < 8; i++) {
        const double start = edt_clock_now_s();
        (void)dnnl_sgemm('N', 'N', n, n, n, 1.0f, a, n, b, n, 0.0f, c, n);
        best = fmin(best, edt_clock_now_s() - start);
    }
    printf("{\"what\":\"ceiling_sgemm_1024\",\"value\":%.1f,\"unit\":\"GFLOP/"
           "s\",\"threads\":%d}\n",
           2e-9 * (double)(n * n * n) / best, threads);
    edt_mem_free(a);
    edt_mem_free(b);
    edt_mem_free(c);
    const size_t large = (size_t)64 << 20;
    char *from = edt_mem_calloc(EDT_MEM_MISC, 1, large);
    char *to = edt_mem_calloc(EDT_MEM_MISC, 1, large);
    best = 1e9;
    for (int i = 0; i < 8; i++) {
        const double start = edt_clock_now_s();
        memcpy(to, from, large);
        __asm__ volatile("" : : "r"(to) : "memory");
        best = fmin(best, edt_clock_now_s() - start);
    }
    printf("{\"what\":\"ceiling_memcpy\",\"value\":%.1f,\"unit\":\"GB/s read+write\","
           "\"threads\":1}\n",
           2e-9 * (double)large / best);
    edt_mem_free(from);
    edt_mem_free(to);
}

static void describe(const edt_graph *graph, const edt_node *node, edt_op_desc *out_desc)
{
    *out_desc = (edt_op_desc){
        .kind = node->kind, .attrs = node->attrs, .n_in = node->n_in, .n_out = node->n_out};
    for (int i = 0; i < node->n_in; i++) {
        if (node->in[i] != EDT_NO_VALUE) {
            out_desc->in[i] = graph->values[node->in[i]].desc;
        }
    }
    for (int i = 0; i < node->n_out; i++) {
        if (node->out[i] != EDT_NO_VALUE) {
            out_desc->out[i] = graph->values[node->out[i]].desc;
        }
    }
}

static group *find_group(group *groups, int *n_groups, const char *name)
{
    for (int i = 0; i < *n_groups; i++) {
        if (strcmp(groups[i].name, name) == 0) {
            return &groups[i];
        }
    }
    if (*n_groups == MAX_GROUPS) {
        fprintf(stderr, "bench_ops: more than %d different ops\n", MAX_GROUPS);
        exit(1);
    }
    group *g = &groups[(*n_groups)++];
    *g = (group){0};
    (void)snprintf(g->name, sizeof(g->name), "%s", name);
    return g;
}

static void name_of(const edt_op_desc *desc, bool shapes, char out_name[NAME_BYTES])
{
    const char *kind = edt_op_get_info(desc->kind)->name;
    const edt_conv_attrs *conv = &desc->attrs.conv;
    if (!shapes) {
        (void)snprintf(out_name, NAME_BYTES, "%s%s", kind, conv->kh == 1 ? " 1x1" : "");
        return;
    }
    char in[EDT_SHAPE_TEXT_BYTES];
    char out[EDT_SHAPE_TEXT_BYTES];
    (void)snprintf(out_name, NAME_BYTES, "%s %s->%s k%d s%d", kind,
                   edt_shape_text(&desc->in[0].shape, in),
                   edt_shape_text(&desc->out[0].shape, out), conv->kh, conv->sh);
}

static int compare_groups(const void *a, const void *b)
{
    const double x = ((const group *)a)->seconds;
    const double y = ((const group *)b)->seconds;
    return x < y ? 1 : x > y ? -1 : 0;
}

static void print_groups(const char *mode, const options *o, const edt_graph *graph,
                         const edt_node *nodes, const bool *dead, const double *seconds)
{
    group *groups = edt_mem_calloc(EDT_MEM_MISC, MAX_GROUPS, sizeof(*groups));
    int n_groups = 0;
    double sum = 0;
    for (int i = 0; i < graph->n_nodes; i++) {
        if (dead[i]) {
            continue;
        }
        edt_op_desc desc;
        char name[NAME_BYTES];
        describe(graph, &nodes[i], &desc);
        name_of(&desc, o->shapes, name);
        group *g = find_group(groups, &n_groups, name);
        g->n_nodes++;
        g->seconds += seconds[i];
        sum += seconds[i];
        g->flops += 2 * (double)edt_op_conv_macs(&desc);
        for (int k = 0; k < desc.n_in; k++) {
            g->bytes += (double)edt_tensor_bytes(&desc.in[k]);
        }
        for (int k = 0; k < desc.n_out; k++) {
            g->bytes += (double)edt_tensor_bytes(&desc.out[k]);
        }
    }
    qsort(groups, (size_t)n_groups, sizeof(*groups), compare_groups);
    for (int i = 0; i < n_groups; i++) {
        const group *g = &groups[i];
        printf(
            "{\"what\":\"%s %s\",\"nodes\":%d,\"value\":%.3f,\"unit\":\"ms\",\"gflops\":%.1f,"
            "\"gbps\":%.1f,\"threads\":%d}\n",
            mode, g->name, g->n_nodes, 1e3 * g->seconds, 1e-9 * g->flops / g->seconds,
            1e-9 * g->bytes / g->seconds, o->threads);
    }
    printf("{\"what\":\"%s sum of the ops' "
           "best\",\"value\":%.1f,\"unit\":\"ms\",\"threads\":%d}\n",
           mode, 1e3 * sum, o->threads);
    edt_mem_free(groups);
}

// Inputs of the training graph that must make sense; the rest stays zero.
static void fill_inputs(const edt_model *model, edt_exec *exec)
{
    const edt_graph *graph = model->graph;
    const edt_value_id image = edt_graph_find_input(graph, "image");
    float *pixels = edt_exec_pointer(exec, image);
    const int64_t n = edt_shape_count(&graph->values[image].desc.shape);
    for (int64_t i = 0; i < n; i++) {
        pixels[i] = (float)((i * 2654435761u) % 1000) * 0.002f - 1.0f;
    }
    const edt_value_id cls = edt_graph_find_input(graph, "cls_targets");
    const edt_value_id norm = edt_graph_find_input(graph, "norm");
    if (cls != EDT_NO_VALUE) {
        int32_t *targets = edt_exec_pointer(exec, cls);
        const int64_t n_targets = edt_shape_count(&graph->values[cls].desc.shape);
        for (int64_t i = 0; i < n_targets; i++) {
            targets[i] = i % 700 == 0 ? (int32_t)(i % 90) : -1;
        }
        *(float *)edt_exec_pointer(exec, norm) = 50.0f;
    }
}

static void bench(const char *mode, const options *o, const edt_hparams *hp, bool train)
{
    edt_error err = {0};
    edt_backend *backend = NULL;
    edt_model *model = NULL;
    edt_params *params = NULL;
    edt_exec *exec = NULL;
    const edt_model_options mo = {
        .mode = train ? EDT_MODEL_TRAIN : EDT_MODEL_INFER,
        .real = EDT_DTYPE_F32,
        .batch_size = train ? 2 : 1,
        .losses = train,
    };
    if (edt_backend_cpu_create(o->threads, &err, &backend) != EDT_OK ||
        edt_model_create(hp, &mo, &err, &model) != EDT_OK ||
        edt_params_create(model->graph, backend, &err, &params) != EDT_OK ||
        edt_params_init_random(params, 1, &err) != EDT_OK ||
        (train && edt_params_add_arena(params, EDT_PARAMS_GRADS, &err) != EDT_OK) ||
        edt_exec_create(model->graph, params, &err, &exec) != EDT_OK) {
        die(mode, &err);
    }
    const edt_graph *graph = model->graph;
    fill_inputs(model, exec);
    edt_run_ctx ctx = {.params_version = 1};
    double best = 1e9;
    double total = 0;
    double *seconds = edt_mem_calloc(EDT_MEM_MISC, (size_t)graph->n_nodes, sizeof(*seconds));
    for (int i = 0; i < graph->n_nodes; i++) {
        seconds[i] = 1e9;
    }
    for (int i = -2; i < o->passes; i++) {
        ctx.params_version += train;
        edt_status status = edt_exec_enable_timing(exec, true, &err);
        const double start = edt_clock_now_s();
        status = status == EDT_OK ? edt_exec_run(exec, &ctx, &err) : status;
        if (status != EDT_OK) {
            die(mode, &err);
        }
        if (i >= 0) {
            best = fmin(best, edt_clock_now_s() - start);
            total += edt_clock_now_s() - start;
            for (int k = 0; k < graph->n_nodes; k++) {
                seconds[k] = fmin(seconds[k], edt_exec_node_seconds(exec, k));
            }
        }
    }
    edt_node *nodes = edt_mem_calloc(EDT_MEM_MISC, (size_t)graph->n_nodes, sizeof(*nodes));
    bool *dead = edt_mem_calloc(EDT_MEM_MISC, (size_t)graph->n_nodes, sizeof(*dead));
    int n_fused = 0;
    memcpy(nodes, graph->nodes, (size_t)graph->n_nodes * sizeof(*nodes));
    if (!train && edt_fuse_nodes(graph, backend, nodes, dead, &err, &n_fused) != EDT_OK) {
        die(mode, &err);
    }
    print_groups(mode, o, graph, nodes, dead, seconds);
    edt_mem_free(seconds);
    printf("{\"what\":\"%s network\",\"best\":%.1f,\"mean\":%.1f,\"unit\":\"ms\",\"batch\":%d,"
           "\"threads\":%d}\n",
           mode, 1e3 * best, 1e3 * total / o->passes, (int)mo.batch_size, o->threads);
    edt_mem_free(nodes);
    edt_mem_free(dead);
    edt_exec_destroy(exec);
    edt_params_destroy(params);
    edt_model_destroy(model);
    edt_backend_destroy(&backend);
}

int main(int argc, char **argv)
{
    options o = {.threads = (int)sysconf(_SC_NPROCESSORS_ONLN),
                 .passes = 5,
                 .infer = true,
                 .train = true};
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--threads=", 10) == 0) {
            o.threads = atoi(argv[i] + 10);
        } else if (strncmp(argv[i], "--passes=", 9) == 0) {
            o.passes = atoi(argv[i] + 9);
        } else if (strncmp(argv[i], "--mode=", 7) == 0) {
            o.infer = strcmp(argv[i] + 7, "train") != 0;
            o.train = strcmp(argv[i] + 7, "infer") != 0;
        } else if (strcmp(argv[i], "--shapes") == 0) {
            o.shapes = true;
        } else {
            fprintf(stderr, "usage: bench_ops [--threads=N] [--passes=N] "
                            "[--mode=infer|train|both] [--shapes]\n");
            return 2;
        }
    }
    edt_error err = {0};
    edt_hparams hp;
    if (edt_hparams_init(&hp, &err) != EDT_OK ||
        edt_scaling_apply(&hp, "efficientdet-d0", &err) != EDT_OK) {
        die("hparams", &err);
    }
    print_ceilings(o.threads);
    if (o.infer) {
        bench("infer", &o, &hp, false);
    }
    if (o.train) {
        bench("train", &o, &hp, true);
    }
    edt_hparams_deinit(&hp);
    return 0;
}
