// Where a network's time goes: node times gathered by op, and by op and shape. "lost" is the
// time beyond what the ceilings allow: the larger of multiply-adds at the matrix product's rate
// and operand bytes at the memory's.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/json.h"
#include "train/bench_priv.h"

enum { NAME_BYTES = 192 };

typedef struct group {
    char name[32], shapes[NAME_BYTES];
    int64_t n_nodes;
    double seconds, macs, bytes, lost_seconds;
    double all_seconds, cpu_seconds; // of all runs
} group;

typedef struct groups {
    int n;
    group *v; // as many as the graph has nodes
    double seconds;
} groups;

edt_status edt_bench_nodes_init(edt_bench_nodes *nodes, const edt_graph *graph, edt_exec *exec,
                                edt_error *err)
{
    *nodes = (edt_bench_nodes){.graph = graph, .exec = exec};
    const size_t n = (size_t)graph->n_nodes;
    nodes->seconds = edt_mem_calloc(EDT_MEM_MISC, 3 * n, sizeof(double));
    if (nodes->seconds == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the times of %d nodes", graph->n_nodes);
    }
    nodes->all_seconds = nodes->seconds + n;
    nodes->cpu_seconds = nodes->seconds + 2 * n;
    return edt_exec_enable_timing(exec, true, err);
}

void edt_bench_nodes_deinit(edt_bench_nodes *nodes)
{
    edt_mem_free(nodes->seconds);
    *nodes = (edt_bench_nodes){0};
}

double edt_bench_nodes_update(edt_bench_nodes *nodes)
{
    double sum = 0.0;
    for (int i = 0; i < nodes->graph->n_nodes; ++i) {
        const double seconds = edt_exec_node_seconds(nodes->exec, i);
        if (nodes->n_runs == 0 || seconds < nodes->seconds[i]) {
            nodes->seconds[i] = seconds;
        }
        sum += seconds;
        nodes->all_seconds[i] += seconds;
        nodes->cpu_seconds[i] += edt_exec_node_cpu_seconds(nodes->exec, i);
    }
    ++nodes->n_runs;
    edt_exec_reset_timing(nodes->exec);
    return sum;
}

double edt_bench_nodes_sum(const edt_bench_nodes *nodes, bool backward)
{
    double sum = 0.0;
    for (int i = 0; i < nodes->graph->n_nodes; ++i) {
        sum += nodes->graph->nodes[i].backward == backward ? nodes->seconds[i] : 0.0;
    }
    return sum;
}

static bool knows_busy(const edt_bench *b)
{
    const char *policy = getenv("OMP_WAIT_POLICY");
    return b->backend->table->streams == NULL && policy != NULL &&
           strcasecmp(policy, "passive") == 0;
}

static double busy_percent(const edt_bench *b, double cpu_seconds, double seconds)
{
    return seconds > 0.0 ? 100.0 * cpu_seconds / (seconds * b->n_threads) : 0.0;
}

bool edt_bench_nodes_busy(const edt_bench *b, const edt_bench_nodes *nodes, double *out_percent)
{
    double seconds = 0.0, cpu_seconds = 0.0;
    for (int i = 0; i < nodes->graph->n_nodes; ++i) {
        seconds += nodes->all_seconds[i];
        cpu_seconds += nodes->cpu_seconds[i];
    }
    *out_percent = busy_percent(b, cpu_seconds, seconds);
    return knows_busy(b);
}

double edt_bench_exec_macs(const edt_graph *graph, const edt_exec *exec)
{
    double macs = 0.0;
    edt_op_desc desc;
    for (int i = 0; i < graph->n_nodes; ++i) {
        macs += edt_exec_describe(exec, i, &desc) ? (double)edt_op_conv_macs(&desc) : 0.0;
    }
    return macs;
}

static double operand_bytes(const edt_op_desc *desc)
{
    double bytes = 0.0;
    for (int i = 0; i < desc->n_in; ++i) {
        bytes += (double)edt_tensor_bytes(&desc->in[i]);
    }
    for (int i = 0; i < desc->n_out; ++i) {
        bytes += (double)edt_tensor_bytes(&desc->out[i]);
    }
    return bytes;
}

static bool is_dense(edt_op_kind kind)
{
    return kind == EDT_OP_CONV2D || kind == EDT_OP_CONV2D_DATA ||
           kind == EDT_OP_CONV2D_WEIGHT || kind == EDT_OP_CONV2D_BN_ACT;
}

static void name_group(const edt_op_desc *desc, bool shapes, group *out)
{
    const edt_conv_attrs *conv = &desc->attrs.conv;
    char kernel[48] = "", in[EDT_SHAPE_TEXT_BYTES], to[EDT_SHAPE_TEXT_BYTES];
    (void)snprintf(out->name, sizeof out->name, "%s%s", edt_op_get_info(desc->kind)->name,
                   is_dense(desc->kind) && conv->kh == 1 && conv->kw == 1 ? " 1x1" : "");
    out->shapes[0] = '\0';
    if (shapes) {
        if (conv->kh > 0) {
            (void)snprintf(kernel, sizeof kernel, " %dx%d/%d", conv->kh, conv->kw, conv->sh);
        }
        (void)snprintf(out->shapes, sizeof out->shapes, "%s -> %s%s",
                       edt_shape_text(&desc->in[0].shape, in),
                       edt_shape_text(&desc->out[0].shape, to), kernel);
    }
}

static group *find(groups *all, const group *key)
{
    for (int i = 0; i < all->n; ++i) {
        if (strcmp(all->v[i].name, key->name) == 0 &&
            strcmp(all->v[i].shapes, key->shapes) == 0) {
            return &all->v[i];
        }
    }
    all->v[all->n] = *key;
    return &all->v[all->n++];
}

static int by_seconds(const void *a, const void *b)
{
    const double x = ((const group *)a)->seconds, y = ((const group *)b)->seconds;
    return x < y ? 1 : x > y ? -1 : 0;
}

static void gather(const edt_bench *b, const edt_bench_nodes *nodes, bool shapes, groups *out)
{
    edt_op_desc desc;
    for (int i = 0; i < nodes->graph->n_nodes; ++i) {
        if (!edt_exec_describe(nodes->exec, i, &desc)) {
            continue;
        }
        group key = {.n_nodes = 0};
        name_group(&desc, shapes, &key);
        group *g = find(out, &key);
        const double seconds = nodes->seconds[i];
        const double macs = (double)edt_op_conv_macs(&desc), bytes = operand_bytes(&desc);
        ++g->n_nodes;
        g->seconds += seconds;
        g->all_seconds += nodes->all_seconds[i];
        g->cpu_seconds += nodes->cpu_seconds[i];
        g->macs += macs;
        g->bytes += bytes;
        if (b->has_peak) {
            const double least = fmax(2e-9 * macs / edt_bench_peak_gflops(b),
                                      1e-9 * bytes / b->peak.gbytes_per_s);
            g->lost_seconds += fmax(seconds - least, 0.0);
        }
        out->seconds += seconds;
    }
    qsort(out->v, (size_t)out->n, sizeof *out->v, by_seconds);
}

static edt_status put_json(const edt_bench *b, const groups *all, const group *g,
                           edt_error *err)
{
    edt_json_writer w = {0};
    edt_json_begin_object(&w);
    edt_json_put_text(&w, "what", g->shapes[0] != '\0' ? "op" : "op kind");
    edt_json_put_text(&w, "op", g->name);
    if (g->shapes[0] != '\0') {
        edt_json_put_text(&w, "shapes", g->shapes);
    }
    edt_json_put_i64(&w, "nodes", g->n_nodes);
    edt_json_put_f64(&w, "value", 1e3 * g->seconds);
    edt_json_put_text(&w, "unit", "ms");
    edt_json_put_i64(&w, "threads", b->n_threads);
    edt_json_put_f64(&w, "share_percent", 100.0 * g->seconds / all->seconds);
    edt_json_put_f64(&w, "gflops", 2e-9 * g->macs / g->seconds);
    edt_json_put_f64(&w, "gbytes_per_s", 1e-9 * g->bytes / g->seconds);
    if (b->has_peak) {
        edt_json_put_f64(&w, "lost_ms", 1e3 * g->lost_seconds);
    }
    if (knows_busy(b)) {
        edt_json_put_f64(&w, "busy_percent", busy_percent(b, g->cpu_seconds, g->all_seconds));
    }
    edt_json_end_object(&w);
    edt_text text;
    const edt_status status = edt_json_writer_finish(&w, err, &text);
    if (status == EDT_OK) {
        printf("%.*s\n", (int)text.n_bytes, text.data);
    }
    edt_json_writer_deinit(&w);
    return status;
}

static void put_row(const edt_bench *b, const groups *all, const group *g)
{
    char rate[16] = "-", lost[16] = "-", busy[16] = "-";
    if (g->macs > 0.0) {
        (void)snprintf(rate, sizeof rate, "%.1f", 2e-9 * g->macs / g->seconds);
    }
    if (b->has_peak) {
        (void)snprintf(lost, sizeof lost, "%.3f", 1e3 * g->lost_seconds);
    }
    if (knows_busy(b)) {
        (void)snprintf(busy, sizeof busy, "%.1f%%",
                       busy_percent(b, g->cpu_seconds, g->all_seconds));
    }
    printf("%-22s %5" PRId64 " %9.3f %6.1f%% %8s %8.1f %9s %7s  %s\n", g->name, g->n_nodes,
           1e3 * g->seconds, 100.0 * g->seconds / all->seconds, rate,
           1e-9 * g->bytes / g->seconds, lost, busy, g->shapes);
}

static edt_status put_table(const edt_bench *b, const groups *all, bool shapes, edt_error *err)
{
    if (!b->options->json) {
        printf("\n%-22s %5s %9s %7s %8s %8s %9s %7s  %s\n", "op", "nodes", "ms", "share",
               "GFLOP/s", "GB/s", "lost ms", "busy",
               shapes ? "first input -> first output, kernel/stride" : "");
    }
    for (int i = 0; i < all->n; ++i) {
        if (all->v[i].seconds <= 0.0) {
            continue;
        }
        if (b->options->json) {
            EDT_TRY(put_json(b, all, &all->v[i], err));
        } else {
            put_row(b, all, &all->v[i]);
        }
    }
    return EDT_OK;
}

edt_status edt_bench_put_ops(const edt_bench *b, const edt_bench_nodes *nodes, edt_error *err)
{
    const size_t n = (size_t)nodes->graph->n_nodes;
    edt_status status = EDT_OK;
    group *memory = edt_mem_calloc(EDT_MEM_MISC, n, sizeof *memory);
    if (memory == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a table of %zu ops", n);
    }
    for (int shapes = 0; status == EDT_OK && shapes < 2; ++shapes) {
        groups all = {.v = memory};
        gather(b, nodes, shapes != 0, &all);
        status = put_table(b, &all, shapes != 0, err);
    }
    edt_mem_free(memory);
    return status;
}
