// The fusion pass. It asks the backend about every candidate, so that shapes a backend has no
// fused kernel for keep their chain.
#include <string.h>

#include "model/fuse.h"

typedef struct fuser {
    const edt_graph *graph;
    const edt_backend *backend;
    edt_node *nodes;
    bool *dead;
    int *n_readers; // by value; a named output counts as one
    int *reader;    // by value: index of a node that reads it
} fuser;

// The only reader of node i's output 0 if it is of `kind` and reads it as operand `operand`
// (-1: any), else -1.
static int sole_reader(const fuser *f, int i, edt_op_kind kind, int operand)
{
    const edt_value_id value = f->nodes[i].out[0];
    if (value == EDT_NO_VALUE || f->n_readers[value] != 1 || f->reader[value] < 0) {
        return -1;
    }
    const int r = f->reader[value];
    if (f->nodes[r].kind != kind || (operand >= 0 && f->nodes[r].in[operand] != value)) {
        return -1;
    }
    return r;
}

// A node of `kind` among the readers of output 0 of node i, else -1.
static int some_reader(const fuser *f, int i, edt_op_kind kind)
{
    for (int r = i + 1; r < f->graph->n_nodes; r++) {
        if (!f->dead[r] && f->nodes[r].kind == kind &&
            f->nodes[r].in[0] == f->nodes[i].out[0]) {
            return r;
        }
    }
    return -1;
}

static bool supported(const fuser *f, const edt_node *node)
{
    edt_op_desc desc;
    edt_graph_describe_node(f->graph, node, &desc);
    edt_error ignored = {0};
    const edt_backend_table *table = f->backend->table;
    return table->supports(f->backend, &desc, &ignored) == EDT_OK &&
           (table->worthwhile == NULL || table->worthwhile(f->backend, &desc));
}

static void count_readers(fuser *f)
{
    memset(f->n_readers, 0, (size_t)f->graph->n_values * sizeof(int));
    for (int i = 0; i < f->graph->n_nodes; i++) {
        for (int j = 0; !f->dead[i] && j < f->nodes[i].n_in; j++) {
            f->n_readers[f->nodes[i].in[j]]++;
            f->reader[f->nodes[i].in[j]] = i;
        }
    }
    for (int i = 0; i < f->graph->n_outputs; i++) {
        f->n_readers[f->graph->outputs[i].value]++;
        f->reader[f->graph->outputs[i].value] = -1;
    }
}

// CONV2D_BN_ACT at i_conv and the DEPTHWISE_BN_ACT behind it.
static int chain_at(fuser *f, int i_conv)
{
    const edt_node *conv = &f->nodes[i_conv];
    const int i_depthwise = sole_reader(f, i_conv, EDT_OP_DEPTHWISE_BN_ACT, 0);
    if (i_depthwise < 0 || conv->n_in != 6) {
        return 0;
    }
    const edt_node *depthwise = &f->nodes[i_depthwise];
    if (conv->attrs.bn.act != depthwise->attrs.bn.act ||
        conv->attrs.bn.epsilon != depthwise->attrs.bn.epsilon) {
        return 0;
    }
    edt_node chain = *depthwise;
    chain.kind = EDT_OP_CONV2D_DEPTHWISE_BN_ACT;
    chain.attrs.first_conv = conv->attrs.conv;
    chain.n_in = 11;
    memcpy(chain.in, conv->in, 6 * sizeof chain.in[0]);
    memcpy(chain.in + 6, depthwise->in + 1, 5 * sizeof chain.in[0]);
    if (!supported(f, &chain)) {
        return 0;
    }
    f->dead[i_conv] = true;
    f->nodes[i_depthwise] = chain;
    return 1;
}

// The node that scales the channels of what node i reads and of which nobody else reads the
// result, else -1.
static int sole_scale(const fuser *f, int i)
{
    for (int j = i - 1; j >= 0; j--) {
        if (f->nodes[j].out[0] == f->nodes[i].in[0]) {
            const bool scales = !f->dead[j] && f->nodes[j].kind == EDT_OP_SCALE_CHANNELS;
            return scales && f->n_readers[f->nodes[j].out[0]] == 1 ? j : -1;
        }
    }
    return -1;
}

static int fuse_at(fuser *f, int i_conv)
{
    const edt_node *conv = &f->nodes[i_conv];
    const bool depthwise = conv->kind == EDT_OP_DEPTHWISE;
    const int i_bn = sole_reader(f, i_conv, EDT_OP_BN_INFER, 0);
    if (i_bn < 0) {
        return 0;
    }
    const edt_node *bn = &f->nodes[i_bn];
    edt_node fused = {
        .kind = depthwise ? EDT_OP_DEPTHWISE_BN_ACT : EDT_OP_CONV2D_BN_ACT,
        .attrs = {.conv = conv->attrs.conv, .bn = bn->attrs.bn},
        .n_in = 6,
        .n_out = 1,
        .in = {conv->in[0], conv->in[1], bn->in[1], bn->in[2], bn->in[3], bn->in[4]},
        .out = {bn->out[0]},
        .name = bn->name};
    fused.attrs.conv.has_bias = conv->n_in == 3;
    if (conv->n_in == 3) {
        fused.in[fused.n_in++] = conv->in[2];
    }
    if (!supported(f, &fused)) {
        return 0;
    }
    const int i_scale = depthwise ? -1 : sole_scale(f, i_conv);
    if (i_scale >= 0) {
        edt_node with_gate = fused;
        with_gate.attrs.conv.has_gate = true;
        with_gate.in[0] = f->nodes[i_scale].in[0];
        with_gate.in[with_gate.n_in++] = f->nodes[i_scale].in[1];
        if (supported(f, &with_gate)) {
            f->dead[i_scale] = true;
            fused = with_gate;
        }
    }
    const int i_add = depthwise ? -1 : sole_reader(f, i_bn, EDT_OP_ADD, -1);
    if (i_add >= 0) {
        const edt_node *add = &f->nodes[i_add];
        edt_node with_residual = fused;
        with_residual.attrs.conv.has_residual = true;
        with_residual.in[with_residual.n_in++] =
            add->in[0] == bn->out[0] ? add->in[1] : add->in[0];
        with_residual.out[0] = add->out[0];
        with_residual.name = add->name;
        if (supported(f, &with_residual)) {
            f->dead[i_conv] = true;
            f->dead[i_bn] = true;
            f->nodes[i_add] = with_residual;
            return 1;
        }
    }
    const int i_pool = depthwise ? some_reader(f, i_bn, EDT_OP_GLOBAL_AVG_POOL) : -1;
    if (i_pool >= 0) {
        edt_node with_pool = fused;
        with_pool.out[with_pool.n_out++] = f->nodes[i_pool].out[0];
        if (supported(f, &with_pool)) {
            f->dead[i_pool] = true;
            fused = with_pool;
        }
    }
    f->dead[i_conv] = true;
    f->nodes[i_bn] = fused;
    return 1;
}

// dy of a batch norm that is the sum of what comes back through a gate and through the pooling
// beside it: the batch norm's gradient makes it up itself.
static int fuse_gate_gradient_at(fuser *f, int i_bn)
{
    const edt_node *bn = &f->nodes[i_bn];
    const edt_value *values = f->graph->values;
    const int i_add = values[bn->in[0]].producer;
    if (bn->n_in != 6 || i_add < 0 || f->nodes[i_add].kind != EDT_OP_ADD ||
        f->n_readers[bn->in[0]] != 1) {
        return 0;
    }
    const edt_node *add = &f->nodes[i_add];
    for (int side = 0; side < 2; side++) {
        const int i_scale = values[add->in[side]].producer;
        const int i_pool = values[add->in[1 - side]].producer;
        if (i_scale < 0 || i_pool < 0 || f->n_readers[add->in[0]] != 1 ||
            f->n_readers[add->in[1]] != 1 ||
            f->nodes[i_scale].kind != EDT_OP_SCALE_CHANNELS_BWD ||
            f->nodes[i_pool].kind != EDT_OP_GLOBAL_AVG_POOL_BWD) {
            continue;
        }
        edt_node fused = *bn;
        fused.in[0] = f->nodes[i_scale].in[0];
        fused.in[6] = f->nodes[i_scale].in[2];
        fused.in[7] = f->nodes[i_pool].in[0];
        fused.n_in = 8;
        if (supported(f, &fused)) {
            f->dead[i_add] = true;
            f->dead[i_pool] = true;
            f->nodes[i_scale].out[0] = EDT_NO_VALUE;
            f->nodes[i_bn] = fused;
            return 1;
        }
    }
    return 0;
}

// Fuses what begins at node i. Forward chains stay whole in graphs with gradients, which read
// their values.
static int fuse_node(fuser *f, int i, bool backward)
{
    switch (f->nodes[i].kind) {
    case EDT_OP_CONV2D:
    case EDT_OP_DEPTHWISE: return backward ? 0 : fuse_at(f, i);
    case EDT_OP_BN_TRAIN_BWD: return fuse_gate_gradient_at(f, i);
    default: return 0;
    }
}

edt_status edt_fuse_nodes(const edt_graph *graph, const edt_backend *backend, edt_node *nodes,
                          bool *dead, edt_error *err, int *out_n_fused)
{
    const size_t n = (size_t)graph->n_values + 1;
    fuser f = {.graph = graph,
               .backend = backend,
               .nodes = nodes,
               .dead = dead,
               .n_readers = edt_mem_calloc(EDT_MEM_MISC, n, sizeof(int)),
               .reader = edt_mem_calloc(EDT_MEM_MISC, n, sizeof(int))};
    edt_status status = EDT_OK;
    if (f.n_readers == NULL || f.reader == NULL) {
        status =
            edt_error_set(err, EDT_ERR_NOMEM, "no memory to fuse %d nodes", graph->n_nodes);
    } else {
        int n_fused = 0;
        bool backward = false;
        count_readers(&f);
        for (int i = 0; i < graph->n_nodes; i++) {
            backward = backward || nodes[i].backward;
        }
        for (int i = 0; i < graph->n_nodes; i++) {
            n_fused += dead[i] ? 0 : fuse_node(&f, i, backward);
        }
        count_readers(&f);
        for (int i = 0; i < graph->n_nodes; i++) {
            if (!dead[i] && nodes[i].kind == EDT_OP_CONV2D_BN_ACT) {
                n_fused += chain_at(&f, i);
            }
        }
        *out_n_fused = n_fused;
    }
    edt_mem_free(f.n_readers);
    edt_mem_free(f.reader);
    return status;
}
