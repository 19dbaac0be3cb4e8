// The two structured hyper-parameters: fpn_config, an explicit list of the nodes of a feature
// network cell, and backbone_config, the block table of a backbone as block strings or records
// (spec/model.md 1.6, 2.4).
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/hparams_priv.h"

// "line 12: hparam fpn_config, node 3 '...': "
static const char *where(const edt_hrow *row, const edt_hvalue *v, const char *item, int i,
                         char out[static 320])
{
    char line[32] = "";
    if (v->line > 0) {
        (void)snprintf(line, sizeof line, "line %d: ", v->line);
    }
    const bool text = v->kind == EDT_HV_TEXT;
    (void)snprintf(out, 320, "%shparam %s, %s %d%s%.200s%s", line, row->name, item, i,
                   text ? " '" : "", text ? v->text : "", text ? "'" : "");
    return out;
}

static const char *key_of(const edt_hvalue *map, int i)
{
    const char *key = edt_hvalue_as_text(&map->items[2 * i]);
    return key != NULL ? key : "";
}

static edt_status no_memory(edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_NOMEM, "out of memory for hparams");
}

static bool is_list(const edt_hvalue *v)
{
    return v->kind == EDT_HV_LIST || v->kind == EDT_HV_TUPLE;
}

static edt_status store_node(const edt_hrow *row, const edt_hvalue *v, int i, edt_error *err,
                             edt_fpn_node *out_node)
{
    char at[320];
    edt_fpn_node node = {.level = -1};
    for (int k = 0; v->kind == EDT_HV_MAP && k < v->n; ++k) {
        const char *key = key_of(v, k);
        const edt_hvalue *value = &v->items[2 * k + 1];
        if (strcmp(key, "feat_level") == 0 && value->kind == EDT_HV_INT && value->i >= 0 &&
            value->i < 64) {
            node.level = (int)value->i;
        } else if (strcmp(key, "inputs_offsets") == 0 && is_list(value)) {
            if (value->n < 1 || value->n > EDT_HPARAMS_MAX_FPN_INPUTS) {
                EDT_FAIL(err, EDT_ERR_USAGE, "%s has %d inputs_offsets; allowed: 1 to %d",
                         where(row, v, "node", i, at), value->n, EDT_HPARAMS_MAX_FPN_INPUTS);
            }
            for (int j = 0; j < value->n; ++j) {
                const edt_hvalue *id = &value->items[j];
                if (id->kind != EDT_HV_INT || id->i < 0 || id->i > 1000) {
                    EDT_FAIL(
                        err, EDT_ERR_USAGE,
                        "%s: inputs_offsets holds %.100s; allowed: ids of features, from 0",
                        where(row, v, "node", i, at), id->raw);
                }
                node.inputs[j] = (int)id->i;
            }
            node.n_inputs = value->n;
        } else if (strcmp(key, "weight_method") == 0) {
            EDT_FAIL(
                err, EDT_ERR_USAGE,
                "%s has a weight_method of its own, which the reference never reads; remove "
                "it and set fpn_config.weight_method for all nodes",
                where(row, v, "node", i, at));
        } else {
            EDT_FAIL(err, EDT_ERR_USAGE,
                     "%s: '%.100s: %.100s' is not allowed; allowed: feat_level, a level, and "
                     "inputs_offsets, a list of ids of features",
                     where(row, v, "node", i, at), key, value->raw);
        }
    }
    if (node.level < 0 || node.n_inputs == 0) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "%s is not a node; a map with feat_level and inputs_offsets is expected",
                 where(row, v, "node", i, at));
    }
    *out_node = node;
    return EDT_OK;
}

static edt_status store_nodes(edt_hparams *hp, const edt_hrow *row, const edt_hvalue *v,
                              edt_error *err, edt_fpn_config *config)
{
    if (v->kind == EDT_HV_NONE) {
        config->n = 0;
        config->nodes = NULL;
        return EDT_OK;
    }
    if (!is_list(v) || v->n < 1 || v->n > EDT_HPARAMS_MAX_FPN_NODES) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "hparam %s.nodes: %.200s is not allowed; allowed: a list of 1 to %d nodes",
                 row->name, v->raw, EDT_HPARAMS_MAX_FPN_NODES);
    }
    edt_fpn_node *nodes = edt_arena_calloc(&hp->arena, (size_t)v->n, sizeof *nodes);
    if (nodes == NULL) {
        return no_memory(err);
    }
    for (int i = 0; i < v->n; ++i) {
        EDT_TRY(store_node(row, &v->items[i], i, err, &nodes[i]));
    }
    config->n = v->n;
    config->nodes = nodes;
    return EDT_OK;
}

edt_status edt_hparams_store_fpn(edt_hparams *hp, const edt_hrow *row, const edt_hvalue *v,
                                 edt_error *err)
{
    if (v->kind == EDT_HV_NONE) {
        hp->fpn_config = (edt_fpn_config){0};
        return EDT_OK;
    }
    if (v->kind != EDT_HV_MAP) {
        return edt_hrow_refuse(row, v, err);
    }
    edt_fpn_config config = hp->fpn_config;
    for (int k = 0; k < v->n; ++k) {
        const char *key = key_of(v, k);
        const edt_hvalue *value = &v->items[2 * k + 1];
        if (strcmp(key, "nodes") == 0) {
            EDT_TRY(store_nodes(hp, row, value, err, &config));
        } else if (strcmp(key, "weight_method") == 0) {
            const char *text = value->kind == EDT_HV_NONE ? "" : edt_hvalue_as_text(value);
            if (text == NULL || (text[0] != '\0' && !edt_hrow_is_choice(row->choices, text))) {
                EDT_FAIL(err, EDT_ERR_USAGE,
                         "hparam %s.weight_method: %.200s is not allowed; allowed: %s, or None",
                         row->name, value->raw, row->choices);
            }
            config.weight_method = text[0] != '\0' ? edt_arena_strdup(&hp->arena, text) : NULL;
            if (text[0] != '\0' && config.weight_method == NULL) {
                return no_memory(err);
            }
        } else {
            EDT_FAIL(err, EDT_ERR_USAGE,
                     "hparam %s has no part '%.100s'; allowed: nodes, weight_method", row->name,
                     key);
        }
    }
    hp->fpn_config = config;
    return EDT_OK;
}

// The numbers of a block as they are told, before they are checked.
typedef enum block_part {
    REPEATS,
    KERNEL,
    STRIDE_H,
    STRIDE_W,
    EXPAND,
    C_IN,
    C_OUT,
    SE_RATIO,
    CONV_TYPE,
    FUSED,
    SUPER_PIXEL,
    NO_SKIP,
    CONDCONV,
    N_PARTS
} block_part;

// Letters of block strings, names of records, and what is allowed. Strides are two digits.
static const struct {
    const char *letter, *name;
    double lo, hi;
    bool required;
} block_parts[N_PARTS] = {
    [REPEATS] = {"r", "num_repeat", 1, 64, true},
    [KERNEL] = {"k", "kernel_size", 1, 11, true},
    [STRIDE_H] = {"s", "strides", 1, 2, true},
    [STRIDE_W] = {"", "", 1, 2, true},
    [EXPAND] = {"e", "expand_ratio", 1, 64, true},
    [C_IN] = {"i", "input_filters", 1, 65536, true},
    [C_OUT] = {"o", "output_filters", 1, 65536, true},
    [SE_RATIO] = {"se", "se_ratio", 0, 1, false},
    [CONV_TYPE] = {"c", "conv_type", 0, 1, false},
    [FUSED] = {"f", "fused_conv", 0, 1, false},
    [SUPER_PIXEL] = {"p", "super_pixel", 0, 2, false},
    [NO_SKIP] = {"noskip", "id_skip", 0, 1, false},
    [CONDCONV] = {"cc", "condconv", 0, 1, false},
};

typedef struct block_numbers {
    double v[N_PARTS];
    bool given[N_PARTS];
} block_numbers;

static edt_status check_block(const char *at, const block_numbers *b, edt_error *err,
                              edt_block_args *out_block)
{
    for (int i = 0; i < N_PARTS; ++i) {
        const char *name = block_parts[i].name[0] != '\0' ? block_parts[i].name : "strides";
        const char *letter = block_parts[i].letter[0] != '\0' ? block_parts[i].letter : "s";
        if (!b->given[i] && block_parts[i].required) {
            EDT_FAIL(err, EDT_ERR_USAGE, "%s lacks %s%s (%s)", at, letter,
                     letter[0] == 's' ? "<stride><stride>" : "<number>", name);
        }
        if (b->given[i] && (!(b->v[i] >= block_parts[i].lo && b->v[i] <= block_parts[i].hi) ||
                            (i != SE_RATIO && b->v[i] != floor(b->v[i])))) {
            EDT_FAIL(err, EDT_ERR_USAGE, "%s: %s is %g; allowed: %s%g to %g", at, name, b->v[i],
                     i == SE_RATIO ? "" : "an integer from ", block_parts[i].lo,
                     block_parts[i].hi);
        }
    }
    if (b->v[STRIDE_H] != b->v[STRIDE_W]) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "%s: strides differ per axis, but every level halves both axes; allowed: s11 "
                 "and s22",
                 at);
    }
    if (b->v[SUPER_PIXEL] != 0) {
        EDT_FAIL(
            err, EDT_ERR_USAGE,
            "%s: super_pixel (p%g) is not built in: it changes the level that each following "
            "stage belongs to, and no published model has it; use p0",
            at, b->v[SUPER_PIXEL]);
    }
    if (b->v[CONDCONV] != 0) {
        EDT_FAIL(
            err, EDT_ERR_USAGE,
            "%s: conditional convolutions (cc) are an error in the reference, too; remove cc",
            at);
    }
    if (b->v[CONV_TYPE] != 0 && b->v[KERNEL] != 3) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "%s: kernel_size is %g, but blocks without depthwise convolution (c1) always "
                 "expand with 3x3 kernels; write k3",
                 at, b->v[KERNEL]);
    }
    *out_block = (edt_block_args){
        .repeats = (int)b->v[REPEATS],
        .kernel = (int)b->v[KERNEL],
        .stride = (int)b->v[STRIDE_H],
        .expand = (int)b->v[EXPAND],
        .c_in = (int64_t)b->v[C_IN],
        .c_out = (int64_t)b->v[C_OUT],
        .se_ratio = b->v[SE_RATIO],
        .skip = b->v[NO_SKIP] == 0,
        .without_depthwise = b->v[CONV_TYPE] != 0,
        .fused = b->v[FUSED] != 0,
    };
    return EDT_OK;
}

// One piece between underscores: letters, then a number; or a word alone.
static bool take_piece(const char *piece, size_t n, block_numbers *b)
{
    char text[40];
    if (n == 0 || n >= sizeof text) {
        return false;
    }
    memcpy(text, piece, n);
    text[n] = '\0';
    size_t n_letters = 0;
    while (isalpha((unsigned char)text[n_letters])) {
        ++n_letters;
    }
    const char *number = text + n_letters;
    for (int i = 0; i < N_PARTS; ++i) {
        const bool word = i == NO_SKIP || i == CONDCONV;
        if (strlen(block_parts[i].letter) != n_letters || n_letters == 0 ||
            strncmp(block_parts[i].letter, text, n_letters) != 0) {
            continue;
        }
        if (b->given[i] || word != (number[0] == '\0')) {
            return false;
        }
        b->given[i] = true;
        if (word) {
            b->v[i] = 1;
            return true;
        }
        if (!isdigit((unsigned char)number[0]) ||
            number[strspn(number, i == SE_RATIO ? "0123456789.e-" : "0123456789")] != '\0') {
            return false;
        }
        if (i == STRIDE_H) {
            b->given[STRIDE_W] = true;
            b->v[STRIDE_H] = number[0] - '0';
            b->v[STRIDE_W] = number[1] - '0';
            return strlen(number) == 2;
        }
        char *end;
        b->v[i] = strtod(number, &end);
        return *end == '\0';
    }
    return false;
}

static edt_status block_of_text(const char *at, const char *text, edt_error *err,
                                edt_block_args *out_block)
{
    block_numbers b = {0};
    for (const char *p = text; p != NULL;) {
        const size_t n = strcspn(p, "_");
        if (!take_piece(p, n, &b)) {
            EDT_FAIL(
                err, EDT_ERR_USAGE,
                "%s: '%.*s' is not understood; allowed, each once and joined by _: r k e i o "
                "c f p and se with a number, s with two digits, noskip, cc",
                at, (int)(n < 60 ? n : 60), p);
        }
        p = p[n] == '_' ? p + n + 1 : NULL;
    }
    return check_block(at, &b, err, out_block);
}

static edt_status block_of_record(const char *at, const edt_hvalue *v, edt_error *err,
                                  edt_block_args *out_block)
{
    block_numbers b = {0};
    for (int k = 0; k < v->n; ++k) {
        const char *key = key_of(v, k);
        const edt_hvalue *value = &v->items[2 * k + 1];
        int i = 0;
        while (i < N_PARTS && (key[0] == '\0' || strcmp(block_parts[i].name, key) != 0)) {
            ++i;
        }
        const bool number = value->kind == EDT_HV_INT || value->kind == EDT_HV_FLOAT;
        const bool truth = value->kind == EDT_HV_BOOL && i >= FUSED;
        const bool none = value->kind == EDT_HV_NONE && i == SE_RATIO;
        const bool pair = i == STRIDE_H && is_list(value) && value->n == 2 &&
                          value->items[0].kind == EDT_HV_INT &&
                          value->items[1].kind == EDT_HV_INT;
        if (i == N_PARTS || (i == STRIDE_H ? !pair : !number && !truth && !none)) {
            EDT_FAIL(err, EDT_ERR_USAGE,
                     "%s: '%.100s: %.100s' is not allowed; allowed: kernel_size, num_repeat, "
                     "input_filters, output_filters, expand_ratio, strides ([1, 1] or [2, 2]), "
                     "id_skip, se_ratio, conv_type, fused_conv, super_pixel, condconv",
                     at, key, value->raw);
        }
        b.given[i] = true;
        b.v[i] = number ? value->f : truth ? (double)value->i : 0;
        if (i == NO_SKIP) {
            b.v[i] = 1 - b.v[i];
        } else if (pair) {
            b.given[STRIDE_W] = true;
            b.v[STRIDE_H] = value->items[0].f;
            b.v[STRIDE_W] = value->items[1].f;
        }
    }
    return check_block(at, &b, err, out_block);
}

edt_status edt_hparams_store_backbone(edt_hparams *hp, const edt_hrow *row, const edt_hvalue *v,
                                      edt_error *err)
{
    if (v->kind == EDT_HV_MAP) {
        if (v->n != 1 || strcmp(key_of(v, 0), "blocks") != 0) {
            EDT_FAIL(err, EDT_ERR_USAGE, "hparam %s has one part, 'blocks', not '%.100s'",
                     row->name, v->n > 0 ? key_of(v, 0) : "");
        }
        v = &v->items[1];
    }
    if (v->kind == EDT_HV_NONE) {
        hp->backbone_config = (edt_backbone_config){0};
        return EDT_OK;
    }
    const int n = is_list(v) ? v->n : 1;
    const edt_hvalue *items = is_list(v) ? v->items : v;
    if ((!is_list(v) && v->kind != EDT_HV_TEXT) || n < 1 || n > EDT_HPARAMS_MAX_BLOCKS) {
        return edt_hrow_refuse(row, v, err);
    }
    edt_block_args *blocks = edt_arena_calloc(&hp->arena, (size_t)n, sizeof *blocks);
    if (blocks == NULL) {
        return no_memory(err);
    }
    for (int i = 0; i < n; ++i) {
        char at[320];
        (void)where(row, &items[i], "block", i, at);
        if (items[i].kind == EDT_HV_TEXT) {
            EDT_TRY(block_of_text(at, items[i].text, err, &blocks[i]));
        } else if (items[i].kind == EDT_HV_MAP) {
            EDT_TRY(block_of_record(at, &items[i], err, &blocks[i]));
        } else {
            EDT_FAIL(err, EDT_ERR_USAGE,
                     "%s is neither a block string (r1_k3_s11_e1_i32_o16) nor a record", at);
        }
    }
    hp->backbone_config = (edt_backbone_config){.n = n, .blocks = blocks};
    return EDT_OK;
}

bool edt_fpn_config_copy(edt_arena *arena, edt_fpn_config *config)
{
    if (config->weight_method != NULL) {
        config->weight_method = edt_arena_strdup(arena, config->weight_method);
        if (config->weight_method == NULL) {
            return false;
        }
    }
    if (config->n > 0) {
        edt_fpn_node *nodes = edt_arena_calloc(arena, (size_t)config->n, sizeof *nodes);
        if (nodes == NULL) {
            return false;
        }
        memcpy(nodes, config->nodes, (size_t)config->n * sizeof *nodes);
        config->nodes = nodes;
    }
    return true;
}

bool edt_backbone_config_copy(edt_arena *arena, edt_backbone_config *config)
{
    if (config->n > 0) {
        edt_block_args *blocks = edt_arena_calloc(arena, (size_t)config->n, sizeof *blocks);
        if (blocks == NULL) {
            return false;
        }
        memcpy(blocks, config->blocks, (size_t)config->n * sizeof *blocks);
        config->blocks = blocks;
    }
    return true;
}

void edt_fpn_config_write(const edt_fpn_config *config, edt_strbuf *w)
{
    if (config->n == 0 && config->weight_method == NULL) {
        edt_strbuf_puts(w, "null");
        return;
    }
    edt_strbuf_puts(w, "\n    nodes:");
    edt_strbuf_puts(w, config->n == 0 ? " null" : "");
    for (int i = 0; i < config->n; ++i) {
        const edt_fpn_node *node = &config->nodes[i];
        edt_strbuf_printf(w, "\n    - {feat_level: %d, inputs_offsets: [", node->level);
        for (int j = 0; j < node->n_inputs; ++j) {
            edt_strbuf_printf(w, j > 0 ? ", %d" : "%d", node->inputs[j]);
        }
        edt_strbuf_puts(w, "]}");
    }
    edt_strbuf_printf(w, "\n    weight_method: %s",
                      config->weight_method != NULL ? config->weight_method : "null");
}

void edt_backbone_config_write(const edt_backbone_config *config, edt_strbuf *w)
{
    if (config->n == 0) {
        edt_strbuf_puts(w, "null");
        return;
    }
    edt_strbuf_puts(w, "\n    blocks:");
    for (int i = 0; i < config->n; ++i) {
        const edt_block_args *b = &config->blocks[i];
        edt_strbuf_printf(w, "\n    - r%d_k%d_s%d%d_e%d_i%lld_o%lld_c%d_f%d_p0", b->repeats,
                          b->kernel, b->stride, b->stride, b->expand, (long long)b->c_in,
                          (long long)b->c_out, b->without_depthwise, b->fused);
        if (b->se_ratio > 0) {
            char number[32];
            number[edt_format_f64(b->se_ratio, number)] = '\0';
            edt_strbuf_printf(w, "_se%s", number);
        }
        edt_strbuf_puts(w, b->skip ? "" : "_noskip");
    }
}

edt_status edt_fpn_config_check(const edt_hparams *hp, edt_error *err)
{
    const edt_fpn_config *config = &hp->fpn_config;
    if (config->n == 0) {
        if (config->weight_method != NULL) {
            EDT_FAIL(
                err, EDT_ERR_USAGE,
                "fpn_config has a weight_method but no nodes; for the built-in networks set "
                "fpn_weight_method");
        }
        return EDT_OK;
    }
    const int64_t n_levels = hp->max_level - hp->min_level + 1;
    int64_t found = 0;
    for (int i = 0; i < config->n; ++i) {
        const edt_fpn_node *node = &config->nodes[i];
        if (node->level < 1 || node->level > hp->max_level) {
            EDT_FAIL(err, EDT_ERR_USAGE,
                     "fpn_config, node %d: feat_level is %d; allowed: 1 to max_level, %lld", i,
                     node->level, (long long)hp->max_level);
        }
        for (int j = 0; j < node->n_inputs; ++j) {
            if (node->inputs[j] >= n_levels + i) {
                EDT_FAIL(
                    err, EDT_ERR_USAGE,
                    "fpn_config, node %d: feature %d does not exist yet; allowed: 0 to %lld, "
                    "%lld levels and one for each node before",
                    i, node->inputs[j], (long long)(n_levels + i - 1), (long long)n_levels);
            }
        }
        bool first = node->level >= hp->min_level;
        for (int k = 0; k < i; ++k) {
            first = first && config->nodes[k].level != node->level;
        }
        found += first;
    }
    if (found != n_levels) {
        EDT_FAIL(
            err, EDT_ERR_USAGE,
            "fpn_config has nodes at %lld of the %lld levels %lld to %lld; every level needs "
            "one, whose output is the cell's",
            (long long)found, (long long)n_levels, (long long)hp->min_level,
            (long long)hp->max_level);
    }
    return EDT_OK;
}
