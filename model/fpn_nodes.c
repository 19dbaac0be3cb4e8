// Node lists of BiFPN and QuFPN. Both are written as operations on the lists of features that
// each level has so far; every node's output joins the list of its level.
#include "model/fpn_nodes.h"

#include <string.h>

enum { MAX_LEVEL = 15, MAX_IDS = 8 };

typedef struct builder {
    int min_level, max_level, next_id;
    int n_ids[MAX_LEVEL + 1];
    int ids[MAX_LEVEL + 1][MAX_IDS]; // features of a level, oldest first
    edt_fpn_plan *plan;
} builder;

static int first_of(const builder *b, int level)
{
    return b->ids[level][0];
}

static int last_of(const builder *b, int level)
{
    return b->ids[level][b->n_ids[level] - 1];
}

static void push(builder *b, int level, int id)
{
    b->ids[level][b->n_ids[level]++] = id;
}

static void add_node(builder *b, int level, int n_inputs, const int *inputs)
{
    edt_fpn_node *node = &b->plan->nodes[b->plan->n++];
    *node = (edt_fpn_node){.level = level, .n_inputs = n_inputs};
    memcpy(node->inputs, inputs, (size_t)n_inputs * sizeof *inputs);
    push(b, level, b->next_id++);
}

static void join(builder *b, int level, int x, int y)
{
    add_node(b, level, 2, (const int[]){x, y});
}

// All features of a level and the newest of the one below.
static void join_all(builder *b, int level)
{
    int inputs[EDT_HPARAMS_MAX_FPN_INPUTS];
    const int n = b->n_ids[level];
    memcpy(inputs, b->ids[level], (size_t)n * sizeof *inputs);
    inputs[n] = last_of(b, level - 1);
    add_node(b, level, n + 1, inputs);
}

static void top_down(builder *b)
{
    for (int l = b->max_level - 1; l >= b->min_level; l--) {
        join(b, l, last_of(b, l), last_of(b, l + 1));
    }
}

static void build_bifpn(builder *b)
{
    top_down(b);
    for (int l = b->min_level + 1; l <= b->max_level; l++) {
        join_all(b, l);
    }
}

// Two paths in opposite order, each down and up, joined at the end. A level that a path does
// not pass has its newest feature a second time, so that the lists of all levels stay equally
// long.
static void build_qufpn(builder *b)
{
    const int low = b->min_level;
    const int high = b->max_level;
    top_down(b);
    push(b, high, last_of(b, high));
    for (int l = low + 1; l < high; l++) {
        join_all(b, l);
    }
    join(b, high, first_of(b, high), last_of(b, high - 1));
    push(b, low, last_of(b, low));

    for (int l = low + 1; l <= high; l++) {
        join(b, l, first_of(b, l), l == low + 1 ? first_of(b, l - 1) : last_of(b, l - 1));
    }
    push(b, low, last_of(b, low));
    for (int l = high - 1; l > low; l--) {
        add_node(b, l, 3, (const int[]){first_of(b, l), last_of(b, l), last_of(b, l + 1)});
    }
    join(b, low, first_of(b, low), last_of(b, low + 1));
    push(b, high, last_of(b, high));

    for (int l = high; l >= low; l--) {
        join(b, l, b->ids[l][2], b->ids[l][4]);
    }
}

static edt_status parse_method(const char *text, edt_error *err, edt_fuse_method *out_method)
{
    static const char *const names[] = {
        [EDT_FUSE_SUM] = "sum",
        [EDT_FUSE_FASTATTN] = "fastattn",
        [EDT_FUSE_ATTN] = "attn",
        [EDT_FUSE_CHANNEL_FASTATTN] = "channel_fastattn",
        [EDT_FUSE_CHANNEL_ATTN] = "channel_attn",
    };
    if (text == NULL) {
        *out_method = EDT_FUSE_FASTATTN;
        return EDT_OK;
    }
    for (int i = 0; i <= EDT_FUSE_CHANNEL_ATTN; i++) {
        if (strcmp(names[i], text) == 0) {
            *out_method = (edt_fuse_method)i;
            return EDT_OK;
        }
    }
    EDT_FAIL(err, EDT_ERR_USAGE,
             "fpn_weight_method '%s' is unknown; use fastattn, attn, sum, channel_fastattn or "
             "channel_attn",
             text);
}

edt_status edt_fpn_plan_create(const edt_hparams *hp, edt_error *err, edt_fpn_plan *out_plan)
{
    const edt_fpn_config *config = &hp->fpn_config;
    const char *method = config->weight_method;
    EDT_TRY(edt_fpn_config_check(hp, err));
    EDT_TRY(
        parse_method(method != NULL ? method : hp->fpn_weight_method, err, &out_plan->method));
    out_plan->n = config->n;
    if (config->n > 0) {
        memcpy(out_plan->nodes, config->nodes, (size_t)config->n * sizeof *config->nodes);
        return EDT_OK;
    }
    builder b = {
        .min_level = (int)hp->min_level, .max_level = (int)hp->max_level, .plan = out_plan};
    for (int l = b.min_level; l <= b.max_level; l++) {
        push(&b, l, b.next_id++);
    }
    const char *name = hp->fpn_name;
    if (name == NULL || strcmp(name, "bifpn") == 0 || strcmp(name, "bifpn_dyn") == 0) {
        build_bifpn(&b);
    } else if (strcmp(name, "qufpn") == 0 && b.max_level > b.min_level) {
        build_qufpn(&b);
    } else {
        EDT_FAIL(err, EDT_ERR_USAGE, "fpn_name '%s' is unknown; use bifpn, bifpn_dyn or qufpn",
                 name);
    }
    return EDT_OK;
}
