// See segmentation_head.h. A transposed convolution doubles the map, which is then joined with
// the next finer level.
#include "model/segmentation_head.h"

#include <inttypes.h>
#include <stdio.h>

enum { KERNEL = 3, FACTOR = 2 };

// The multiples of `step` around a side, as text; one where the side is small or a multiple.
static const char *multiples(int64_t side, int64_t step, char *text, size_t n_bytes)
{
    const int64_t below = side / step * step;
    if (below < step || below == side) {
        (void)snprintf(text, n_bytes, "%" PRId64, below < step ? step : side);
    } else {
        (void)snprintf(text, n_bytes, "%" PRId64 " or %" PRId64, below, below + step);
    }
    return text;
}

edt_status edt_segmentation_head_check(const edt_hparams *hp, const edt_pyramid_sizes *sizes,
                                       edt_error *err)
{
    for (int l = sizes->min_level; l < sizes->max_level; l++) {
        if (sizes->h[l] == FACTOR * sizes->h[l + 1] &&
            sizes->w[l] == FACTOR * sizes->w[l + 1]) {
            continue;
        }
        const int64_t step = (int64_t)1 << sizes->max_level;
        char heights[64];
        char widths[64];
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "heads=segmentation with image_size %" PRId64 "x%" PRId64
                 " (WxH) and max_level %d: level %d is %" PRId64 "x%" PRId64
                 ", not twice level %d of %" PRId64 "x%" PRId64
                 "; use a width of %s and a height of %s",
                 hp->image_size.w, hp->image_size.h, sizes->max_level, l, sizes->w[l],
                 sizes->h[l], l + 1, sizes->w[l + 1], sizes->h[l + 1],
                 multiples(hp->image_size.w, step, widths, sizeof widths),
                 multiples(hp->image_size.h, step, heights, sizeof heights));
    }
    return EDT_OK;
}

static edt_value_id enlarge(edt_layers *layers, edt_value_id x, int i, const char *path,
                            int64_t c_out, bool bias)
{
    edt_graph *graph = layers->graph;
    const int64_t c_in = edt_graph_shape(graph, x).dim[3];
    const edt_conv_spec spec = {.kernel = KERNEL,
                                .stride = FACTOR,
                                .c_out = c_out,
                                .kernel_init = edt_init_glorot(KERNEL, KERNEL, c_out, c_in),
                                .bias = bias};
    const char *base = "segmentation_head/conv2d_transpose";
    return edt_layer_conv_transpose(
        layers, i == 0 ? base : edt_graph_printf(graph, "%s_%d", base, i), path, x, &spec);
}

edt_value_id edt_segmentation_head_build(edt_layers *layers, const edt_hparams *hp,
                                         const edt_value_id features[EDT_MAX_LEVEL + 1])
{
    edt_graph *graph = layers->graph;
    edt_value_id x = features[hp->max_level];
    int i = 0;
    for (int64_t l = hp->max_level - 1; l >= hp->min_level; l--, i++) {
        x = enlarge(layers, x, i, edt_graph_printf(graph, "seg_head/con2d_ts/%d", i),
                    hp->fpn_num_filters, false);
        x = edt_layer_bn(layers, edt_graph_printf(graph, "segmentation_head/bn_%d", i),
                         edt_graph_printf(graph, "seg_head/con2d_t_bns/%d", i), "", x,
                         layers->act);
        const edt_value_id in[2] = {x, features[l]};
        x = edt_graph_op(graph, edt_graph_printf(graph, "segmentation_head/concat_%d", i),
                         EDT_OP_CONCAT, NULL, 2, in, 1);
    }
    return enlarge(layers, x, i, "seg_head/head_transpose", hp->seg_num_classes, true);
}
