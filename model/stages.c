// Parts are told by names: variables and nodes of one part share their first one or two path
// elements, and the blocks of a backbone end a level where the plan says so.
#include "model/stages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/count.h"
#include "model/efficientdet.h"
#include "model/efficientnet.h"
#include "model/scaling.h"

// "efficientnet-b0/blocks_3/se/conv2d" -> "efficientnet-b0 P3".
static void name_part(const edt_backbone *backbone, const char *path, char out[static 48])
{
    const size_t n = strlen(backbone->name);
    const char *slash = strchr(path, '/');
    if (strncmp(path, backbone->name, n) == 0 && path[n] == '/') {
        if (strncmp(path + n, "/blocks_", 8) == 0) {
            const int block = atoi(path + n + 8);
            int level = 1;
            for (int i = 0; i < block && i < backbone->n_blocks; i++) {
                level += backbone->blocks[i].endpoint != 0;
            }
            (void)snprintf(out, 48, "%s P%d", backbone->name, level);
        } else {
            (void)snprintf(out, 48, "%s stem", backbone->name);
        }
    } else if (strncmp(path, "fpn_cells/", 10) == 0 && strchr(path + 10, '/') != NULL) {
        (void)snprintf(out, 48, "%.*s", (int)(strchr(path + 10, '/') - path), path);
    } else {
        (void)snprintf(out, 48, "%.*s", slash != NULL ? (int)(slash - path) : 47, path);
    }
}

static edt_status find(edt_stage *stages, int *n, const char *name, edt_error *err,
                       edt_stage **out_stage)
{
    for (int i = 0; i < *n; i++) {
        if (strcmp(stages[i].name, name) == 0) {
            *out_stage = &stages[i];
            return EDT_OK;
        }
    }
    if (*n == EDT_STAGES_MAX) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED, "the network has more than %d parts",
                 EDT_STAGES_MAX);
    }
    stages[*n] = (edt_stage){0};
    (void)snprintf(stages[*n].name, sizeof stages[*n].name, "%s", name);
    *out_stage = &stages[(*n)++];
    return EDT_OK;
}

edt_status edt_stages_count(const edt_hparams *hp, const edt_graph *graph, edt_error *err,
                            edt_stage out_stages[static EDT_STAGES_MAX], int *out_n)
{
    edt_backbone backbone;
    edt_stage *stage;
    char name[48];
    int n = 0;
    EDT_TRY(edt_backbone_plan(hp, err, &backbone));
    for (int i = 0; i < graph->n_nodes; i++) {
        edt_op_desc desc;
        edt_graph_describe(graph, i, &desc);
        const int64_t profiled =
            graph->nodes[i].backward ? 0 : edt_count_profiled_node(graph, i);
        if (profiled > 0) {
            name_part(&backbone, graph->nodes[i].name, name);
            EDT_TRY(find(out_stages, &n, name, err, &stage));
            stage->forward_macs += edt_op_conv_macs(&desc);
            stage->profiled += profiled;
        }
    }
    for (int i = 0; i < graph->n_params; i++) {
        const edt_param *param = &graph->params[i];
        name_part(&backbone, param->name, name);
        EDT_TRY(find(out_stages, &n, name, err, &stage));
        stage->n_variables++;
        *(param->trainable ? &stage->n_trainable : &stage->n_moving) +=
            edt_shape_count(&param->shape);
        stage->profiled += edt_count_profiled_variable(param);
    }
    *out_n = n;
    return EDT_OK;
}

edt_status edt_model_size_of(int i_model, edt_error *err, edt_model_size *out_size)
{
    const char *name = edt_scaling_model_name(i_model);
    if (name == NULL) {
        return EDT_END;
    }
    const edt_model_options options = {
        .mode = EDT_MODEL_INFER, .real = EDT_DTYPE_F32, .batch_size = 1};
    edt_hparams hp = {0};
    edt_model *model = NULL;
    edt_status status = EDT_OK;
    EDT_TRY_GOTO(edt_hparams_init(&hp, err));
    EDT_TRY_GOTO(edt_scaling_apply(&hp, name, err));
    EDT_TRY_GOTO(edt_model_create(&hp, &options, err, &model));
    *out_size = (edt_model_size){
        .name = name,
        .image_h = model->image_h,
        .image_w = model->image_w,
        .n_anchors = model->n_anchors,
    };
    edt_scaling_published(i_model, &out_size->published_parameters, &out_size->published_flops);
    edt_count_graph(model->graph, &out_size->count);
fail:
    edt_model_destroy(model);
    edt_hparams_deinit(&hp);
    return status;
}
