// Backbone scaling and construction. Variable names count layers of a kind inside a block in
// the order of creation, so blocks without expansion shift the suffixes of the others.
#include "model/efficientnet.h"

#include <stdio.h>
#include <string.h>

#include "model/scaling.h"

typedef struct stage_row {
    int kernel, repeats, c_in, c_out, expand, stride;
} stage_row;

static const stage_row stage_table[] = {
    {3, 1, 32, 16, 1, 1},  {3, 2, 16, 24, 6, 2},   {5, 2, 24, 40, 6, 2},   {3, 3, 40, 80, 6, 2},
    {5, 3, 80, 112, 6, 1}, {5, 4, 112, 192, 6, 2}, {3, 1, 192, 320, 6, 1},
};
enum { N_STAGES = sizeof stage_table / sizeof stage_table[0] };

edt_status edt_backbone_plan(const char *name, edt_error *err, edt_backbone *out_backbone)
{
    edt_backbone_scale scale;
    EDT_TRY(edt_scaling_backbone(name, err, &scale));
    edt_backbone plan = {.squeeze_excite = !scale.lite};
    snprintf(plan.name, sizeof plan.name, "%s", name);
    plan.stem_filters = scale.lite ? 32 : edt_round_filters(32, scale.width);
    for (int i_stage = 0; i_stage < N_STAGES; i_stage++) {
        const stage_row *stage = &stage_table[i_stage];
        const bool fixed = scale.lite && (i_stage == 0 || i_stage == N_STAGES - 1);
        const int repeats =
            fixed ? stage->repeats : (int)edt_round_repeats(stage->repeats, scale.depth);
        for (int i = 0; i < repeats; i++) {
            edt_mbconv *block = &plan.blocks[plan.n_blocks++];
            block->kernel = stage->kernel;
            block->expand = stage->expand;
            block->stride = i == 0 ? stage->stride : 1;
            block->c_out = edt_round_filters(stage->c_out, scale.width);
            block->c_in = i == 0 ? edt_round_filters(stage->c_in, scale.width) : block->c_out;
            block->skip = block->stride == 1 && block->c_in == block->c_out;
        }
    }
    // The reference switches stochastic depth off by the text "b0" in the name.
    const double last_survival = strstr(name, "b0") != NULL ? 1.0 : 0.8;
    int endpoint = 1;
    for (int i = 0; i < plan.n_blocks; i++) {
        edt_mbconv *block = &plan.blocks[i];
        block->survival = 1.0;
        if (block->skip) {
            block->survival = 1.0 - (1.0 - last_survival) * i / plan.n_blocks;
        }
        plan.n_drop_rows += block->survival < 1.0;
        if (i + 1 == plan.n_blocks || plan.blocks[i + 1].stride == 2) {
            block->endpoint = endpoint++;
        }
    }
    *out_backbone = plan;
    return EDT_OK;
}

// Suffix of the i-th layer of a kind: "", "_1", "_2", ...
static const char *numbered(edt_graph *graph, const char *base, int i)
{
    return i == 0 ? base : edt_graph_printf(graph, "%s_%d", base, i);
}

static edt_value_id build_block(edt_layers *layers, const edt_backbone *backbone, int i_block,
                                edt_value_id input)
{
    edt_graph *graph = layers->graph;
    const edt_mbconv *block = &backbone->blocks[i_block];
    const char *base = edt_graph_printf(graph, "%s/blocks_%d", backbone->name, i_block);
    const char *base_path = edt_graph_printf(graph, "backbone/_blocks/%d", i_block);
    const char *conv = edt_graph_printf(graph, "%s/conv2d", base);
    const char *bn = edt_graph_printf(graph, "%s/tpu_batch_normalization", base);
    int i_conv = 0;
    int i_bn = 0;
    edt_value_id t = input;
    if (block->expand != 1) {
        const int64_t c = block->c_in * block->expand;
        const edt_conv_spec spec = {
            .kernel = 1, .stride = 1, .c_out = c, .kernel_init = edt_init_he_fan_out(1, 1, c)};
        t = edt_layer_conv(layers, numbered(graph, conv, i_conv++),
                           edt_graph_printf(graph, "%s/_expand_conv", base_path), "", t, &spec);
        t = edt_layer_bn(layers, numbered(graph, bn, i_bn++),
                         edt_graph_printf(graph, "%s/_bn0", base_path), "", t, layers->act);
    }
    t = edt_layer_depthwise(layers, edt_graph_printf(graph, "%s/depthwise_conv2d", base),
                            edt_graph_printf(graph, "%s/_depthwise_conv", base_path), "", t,
                            block->kernel, block->stride,
                            edt_init_he_fan_out(block->kernel, block->kernel, 1));
    t = edt_layer_bn(layers, numbered(graph, bn, i_bn++),
                     edt_graph_printf(graph, "%s/_bn1", base_path), "", t, layers->act);
    if (backbone->squeeze_excite) {
        const int64_t reduced = block->c_in / 4;
        t = edt_layer_squeeze_excite(layers, edt_graph_printf(graph, "%s/se", base),
                                     edt_graph_printf(graph, "%s/_se", base_path), t,
                                     reduced < 1 ? 1 : reduced);
    }
    const edt_conv_spec project = {.kernel = 1,
                                   .stride = 1,
                                   .c_out = block->c_out,
                                   .kernel_init = edt_init_he_fan_out(1, 1, block->c_out)};
    t = edt_layer_conv(layers, numbered(graph, conv, i_conv++),
                       edt_graph_printf(graph, "%s/_project_conv", base_path), "", t, &project);
    t = edt_layer_bn(layers, numbered(graph, bn, i_bn++),
                     edt_graph_printf(graph, "%s/_bn2", base_path), "", t, EDT_ACT_NONE);
    if (block->skip) {
        t = edt_layer_drop_connect(layers, edt_graph_printf(graph, "%s/drop_connect", base), t,
                                   block->survival);
        t = edt_layer_add(layers, edt_graph_printf(graph, "%s/add", base), t, input);
    }
    return t;
}

void edt_backbone_build(edt_layers *layers, const edt_backbone *backbone, edt_value_id image,
                        edt_value_id out_endpoints[EDT_BACKBONE_LEVELS + 1])
{
    edt_graph *graph = layers->graph;
    out_endpoints[0] = image;
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
        x = build_block(layers, backbone, i, x);
        if (backbone->blocks[i].endpoint != 0) {
            out_endpoints[backbone->blocks[i].endpoint] = x;
        }
    }
}
