// Backbone scaling and construction. Variable names count layers of a kind inside a block in
// the order of creation, so blocks without expansion shift the suffixes of the others.
#include "model/efficientnet.h"

#include <stdio.h>
#include <string.h>

#include "model/scaling.h"

#define STAGE(r, k, s, e, i, o)                                                                \
    {                                                                                          \
        .repeats = r, .kernel = k, .stride = s, .expand = e, .c_in = i, .c_out = o,            \
        .se_ratio = 0.25, .skip = true                                                         \
    }
static const edt_block_args default_stages[] = {
    STAGE(1, 3, 1, 1, 32, 16),   STAGE(2, 3, 2, 6, 16, 24),  STAGE(2, 5, 2, 6, 24, 40),
    STAGE(3, 3, 2, 6, 40, 80),   STAGE(3, 5, 1, 6, 80, 112), STAGE(4, 5, 2, 6, 112, 192),
    STAGE(1, 3, 1, 6, 192, 320),
};

// The blocks of one stage after scaling.
static edt_status plan_stage(const edt_block_args *stage, const edt_backbone_scale *scale,
                             bool keep_repeats, edt_error *err, edt_backbone *plan)
{
    const int64_t repeats =
        keep_repeats ? stage->repeats : edt_round_repeats(stage->repeats, scale->depth);
    if (plan->n_blocks + repeats > EDT_BACKBONE_MAX_BLOCKS) {
        EDT_FAIL(err, EDT_ERR_USAGE, "backbone_config makes more than %d blocks with %s",
                 EDT_BACKBONE_MAX_BLOCKS, scale->name);
    }
    for (int64_t i = 0; i < repeats; i++) {
        edt_mbconv *block = &plan->blocks[plan->n_blocks++];
        const int64_t c_out = edt_round_filters((double)stage->c_out, scale->width);
        *block = (edt_mbconv){
            .kernel = stage->kernel,
            .stride = i == 0 ? stage->stride : 1,
            .expand = stage->expand,
            .c_in = i == 0 ? edt_round_filters((double)stage->c_in, scale->width) : c_out,
            .c_out = c_out,
            .fused = stage->fused,
            .without_depthwise = stage->without_depthwise,
            .survival = 1.0,
        };
        block->skip = stage->skip && block->stride == 1 && block->c_in == block->c_out;
        if (!scale->lite && stage->se_ratio > 0 && !stage->without_depthwise) {
            const int64_t squeezed = (int64_t)((double)block->c_in * stage->se_ratio);
            block->c_squeezed = squeezed < 1 ? 1 : squeezed;
        }
    }
    return EDT_OK;
}

// Survival probabilities and endpoints: what depends on a block's place among all.
static void plan_places(edt_backbone *plan)
{
    // The reference switches stochastic depth off by the text "b0" in the name.
    const double last_survival = strstr(plan->name, "b0") != NULL ? 1.0 : 0.8;
    for (int i = 0; i < plan->n_blocks; i++) {
        edt_mbconv *block = &plan->blocks[i];
        if (block->skip) {
            block->survival = 1.0 - (1.0 - last_survival) * i / plan->n_blocks;
        }
        plan->n_drop_rows += block->survival < 1.0;
        if (i + 1 == plan->n_blocks || plan->blocks[i + 1].stride == 2) {
            block->endpoint = ++plan->top_level;
        }
    }
}

edt_status edt_backbone_plan(const edt_hparams *hp, edt_error *err, edt_backbone *out_backbone)
{
    const edt_backbone_config *config = &hp->backbone_config;
    const int n_default = (int)(sizeof default_stages / sizeof default_stages[0]);
    const int n_stages = config->n > 0 ? config->n : n_default;
    const edt_block_args *stages = config->n > 0 ? config->blocks : default_stages;
    edt_backbone_scale scale;
    EDT_TRY(edt_scaling_backbone(hp->backbone_name, err, &scale));
    *out_backbone = (edt_backbone){0};
    (void)snprintf(out_backbone->name, sizeof out_backbone->name, "%s", scale.name);
    out_backbone->stem_filters =
        scale.lite ? stages[0].c_in : edt_round_filters((double)stages[0].c_in, scale.width);
    for (int i = 0; i < n_stages; i++) {
        EDT_TRY(plan_stage(&stages[i], &scale, scale.lite && (i == 0 || i + 1 == n_stages), err,
                           out_backbone));
    }
    plan_places(out_backbone);
    const int64_t wanted =
        hp->max_level < EDT_BACKBONE_LEVELS ? hp->max_level : EDT_BACKBONE_LEVELS;
    const int levels = out_backbone->top_level;
    if (stages[0].stride != 1 || levels < wanted || levels > EDT_BACKBONE_LEVELS) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "backbone_config makes %d levels%s; allowed: a first stage with stride 1 (the "
                 "stem has 2 already), then other stages of which %lld have stride 2",
                 levels, stages[0].stride != 1 ? ", the first of which has stride 2" : "",
                 (long long)(wanted - 1));
    }
    return EDT_OK;
}

// Suffix of the i-th layer of a kind: "", "_1", "_2", ...
static const char *numbered(edt_graph *graph, const char *base, int i)
{
    return i == 0 ? base : edt_graph_printf(graph, "%s_%d", base, i);
}

// A block under construction: names count layers of a kind.
typedef struct block_builder {
    edt_layers *layers;
    const char *name, *path;
    int n_convs, n_bns;
} block_builder;

static edt_value_id convolve(block_builder *b, const char *layer, edt_value_id x, int kernel,
                             int stride, int64_t c_out)
{
    edt_graph *graph = b->layers->graph;
    const edt_conv_spec spec = {.kernel = kernel,
                                .stride = stride,
                                .c_out = c_out,
                                .kernel_init = edt_init_he_fan_out(kernel, kernel, c_out)};
    const char *name = edt_graph_printf(graph, "%s/conv2d", b->name);
    return edt_layer_conv(b->layers, numbered(graph, name, b->n_convs++),
                          edt_graph_printf(graph, "%s/%s", b->path, layer), "", x, &spec);
}

static edt_value_id normalise(block_builder *b, const char *layer, edt_value_id x, edt_act act)
{
    edt_graph *graph = b->layers->graph;
    const char *name = edt_graph_printf(graph, "%s/tpu_batch_normalization", b->name);
    return edt_layer_bn(b->layers, numbered(graph, name, b->n_bns++),
                        edt_graph_printf(graph, "%s/%s", b->path, layer), "", x, act);
}

// Expansion and the convolution over space.
static edt_value_id build_features(block_builder *b, const edt_mbconv *block, edt_value_id x)
{
    edt_layers *layers = b->layers;
    const int64_t c = block->c_in * block->expand;
    if (block->fused) {
        x = convolve(b, "_fused_conv", x, block->kernel, block->stride, c);
        return normalise(b, "_bn1", x, layers->act);
    }
    if (block->expand != 1) {
        x = convolve(b, "_expand_conv", x, 1, 1, c);
        x = normalise(b, "_bn0", x, layers->act);
    }
    x = edt_layer_depthwise(
        layers, edt_graph_printf(layers->graph, "%s/depthwise_conv2d", b->name),
        edt_graph_printf(layers->graph, "%s/_depthwise_conv", b->path), "", x, block->kernel,
        block->stride, edt_init_he_fan_out(block->kernel, block->kernel, 1));
    return normalise(b, "_bn1", x, layers->act);
}

static edt_value_id build_block(edt_layers *layers, const edt_backbone *backbone, int i_block,
                                edt_value_id input)
{
    edt_graph *graph = layers->graph;
    const edt_mbconv *block = &backbone->blocks[i_block];
    block_builder b = {
        .layers = layers,
        .name = edt_graph_printf(graph, "%s/blocks_%d", backbone->name, i_block),
        .path = edt_graph_printf(graph, "backbone/_blocks/%d", i_block),
    };
    edt_value_id t = input;
    if (block->without_depthwise) {
        if (block->expand != 1) {
            t = convolve(&b, "_expand_conv", t, block->kernel, 1, block->c_in * block->expand);
            t = normalise(&b, "_bn0", t, layers->act);
        }
        t = convolve(&b, "_project_conv", t, 1, block->stride, block->c_out);
        t = normalise(&b, "_bn1", t, EDT_ACT_NONE);
    } else {
        t = build_features(&b, block, t);
        if (block->c_squeezed > 0) {
            t = edt_layer_squeeze_excite(layers, edt_graph_printf(graph, "%s/se", b.name),
                                         edt_graph_printf(graph, "%s/_se", b.path), t,
                                         block->c_squeezed);
        }
        t = convolve(&b, "_project_conv", t, 1, 1, block->c_out);
        t = normalise(&b, "_bn2", t, EDT_ACT_NONE);
    }
    if (block->skip) {
        t = edt_layer_drop_connect(layers, edt_graph_printf(graph, "%s/drop_connect", b.name),
                                   t, block->survival);
        t = edt_layer_add(layers, edt_graph_printf(graph, "%s/add", b.name), t, input);
    }
    return t;
}

void edt_backbone_build(edt_layers *layers, const edt_backbone *backbone, edt_value_id image,
                        edt_value_id out_endpoints[EDT_BACKBONE_LEVELS + 1])
{
    edt_graph *graph = layers->graph;
    out_endpoints[0] = image;
    for (int l = 1; l <= EDT_BACKBONE_LEVELS; l++) {
        out_endpoints[l] = EDT_NO_VALUE;
    }
    const edt_conv_spec stem = {.kernel = 3,
                                .stride = 2,
                                .c_out = backbone->stem_filters,
                                .kernel_init =
                                    edt_init_he_fan_out(3, 3, backbone->stem_filters)};
    edt_value_id x =
        edt_layer_conv(layers, edt_graph_printf(graph, "%s/stem/conv2d", backbone->name),
                       "backbone/_stem/_conv_stem", "", image, &stem);
    x = edt_layer_bn(layers,
                     edt_graph_printf(graph, "%s/stem/tpu_batch_normalization", backbone->name),
                     "backbone/_stem/_bn", "", x, layers->act);
    for (int i = 0; i < backbone->n_blocks; i++) {
        edt_graph_segment_begin(graph);
        x = build_block(layers, backbone, i, x);
        edt_graph_segment_end(graph);
        if (backbone->blocks[i].endpoint != 0) {
            out_endpoints[backbone->blocks[i].endpoint] = x;
        }
    }
}
