// The segmentation head: its variables, sizes, refusals, and the values that the reference's
// own test of the whole model expects (spec/eval_infer_export.md 5.3).
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/exec.h"
#include "model/params.h"
#include "tests/support/test_model.h"

static void head_hparams(int64_t side, bool detection, edt_hparams *out_hp)
{
    edt_test_model_hparams("efficientdet-d0", side, side, out_hp);
    out_hp->heads.n = detection ? 2 : 1;
    out_hp->heads.v[detection ? 1 : 0] = "segmentation";
}

static const edt_model_options infer = {.real = EDT_DTYPE_F32, .batch_size = 1};

Test(segmentation_head, variables_have_the_official_names_paths_and_shapes, .timeout = 30)
{
    edt_hparams hp;
    head_hparams(128, false, &hp);
    edt_model *model = edt_test_model(&hp, &infer);
    const edt_graph *graph = model->graph;
    static const struct {
        const char *name, *path;
        int64_t dim[4];
        double init;
    } expected[] = {
        {"segmentation_head/conv2d_transpose/kernel",
         "seg_head/con2d_ts/0/kernel",
         {3, 3, 64, 64},
         6.0 / (9 * 128)},
        {"segmentation_head/conv2d_transpose_3/kernel",
         "seg_head/con2d_ts/3/kernel",
         {3, 3, 64, 128},
         6.0 / (9 * 192)},
        {"segmentation_head/conv2d_transpose_4/kernel",
         "seg_head/head_transpose/kernel",
         {3, 3, 3, 128},
         6.0 / (9 * 131)},
    };
    for (int i = 0; i < 3; i++) {
        const int at = edt_graph_find_param(graph, expected[i].name);
        cr_assert_geq(at, 0, "%s", expected[i].name);
        const edt_param *param = &graph->params[at];
        const int64_t *d = expected[i].dim;
        const edt_shape want = edt_shape_4(d[0], d[1], d[2], d[3]);
        cr_expect_str_eq(param->object_path, expected[i].path);
        cr_expect(edt_shape_equal(&param->shape, &want), "%s", expected[i].name);
        cr_expect(param->decay && param->init.kind == EDT_INIT_UNIFORM);
        cr_expect_float_eq(param->init.a, sqrt(expected[i].init), 1e-12);
    }
    const int bias = edt_graph_find_param(graph, "segmentation_head/conv2d_transpose_4/bias");
    cr_assert_geq(bias, 0);
    cr_expect_str_eq(graph->params[bias].object_path, "seg_head/head_transpose/bias");
    const int gamma = edt_graph_find_param(graph, "segmentation_head/bn_3/gamma");
    cr_assert_geq(gamma, 0);
    cr_expect_str_eq(graph->params[gamma].object_path, "seg_head/con2d_t_bns/3/gamma");
    cr_expect_lt(edt_graph_find_param(graph, "segmentation_head/conv2d_transpose/bias"), 0);

    // Nothing of the other heads, and nothing that counts anchors.
    cr_expect_lt(edt_graph_find_param(graph, "class_net/class-predict/bias"), 0);
    cr_expect_eq(edt_graph_find_output(graph, "cls_3"), EDT_NO_VALUE);
    cr_expect_eq(model->n_anchors, 0);
    const edt_value_id output = edt_graph_find_output(graph, "segmentation");
    const edt_shape got = edt_graph_shape(graph, output);
    const edt_shape want = edt_shape_4(1, 32, 32, 3);
    cr_expect(edt_shape_equal(&got, &want));
    cr_expect(model->mask_h == 32 && model->mask_w == 32 && model->mask_classes == 3);
    edt_model_destroy(model);
    edt_hparams_deinit(&hp);
}

Test(segmentation_head, srelu_variables_are_named_in_the_scope_that_calls, .timeout = 30)
{
    edt_hparams hp;
    head_hparams(128, true, &hp);
    hp.act_type = "srelu";
    edt_model *model = edt_test_model(&hp, &infer);
    static const char *const names[] = {
        "efficientnet-b0/stem/srelu/srelu_beta",
        "efficientnet-b0/blocks_0/srelu/srelu_beta",
        "efficientnet-b0/blocks_0/se/srelu/srelu_beta",
        "efficientnet-b0/blocks_1/srelu_1/srelu_beta",
        "fpn_cells/cell_2/fnode7/op_after_combine12/srelu/srelu_beta",
        "class_net/srelu/srelu_beta",
        "class_net/srelu_14/srelu_beta",
        "box_net/srelu_14/srelu_beta",
        "segmentation_head/srelu_3/srelu_beta",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const int at = edt_graph_find_param(model->graph, names[i]);
        cr_assert_geq(at, 0, "%s", names[i]);
        const edt_param *param = &model->graph->params[at];
        cr_expect(param->trainable && !param->decay && param->object_path == NULL &&
                  param->shape.n_dims == 0 && param->init.kind == EDT_INIT_CONSTANT &&
                  param->init.a == 20.0);
    }
    cr_expect_lt(edt_graph_find_param(model->graph, "class_net/srelu_15/srelu_beta"), 0);
    edt_model_destroy(model);
    edt_hparams_deinit(&hp);
}

Test(segmentation_head, sizes_that_do_not_double_are_refused_with_what_would_fit, .timeout = 30)
{
    edt_hparams hp;
    head_hparams(0, true, &hp);
    hp.image_size = (edt_hw){.h = 512, .w = 320};
    edt_error err = {0};
    edt_model *model = NULL;
    cr_expect_eq(edt_model_create(&hp, &infer, &err, &model), EDT_ERR_USAGE);
    cr_expect_not_null(strstr(err.text, "width of 256 or 384 and a height of 512"), "%s",
                       err.text);
    hp.image_size = (edt_hw){.h = 120, .w = 900};
    cr_expect_eq(edt_model_create(&hp, &infer, &err, &model), EDT_ERR_USAGE);
    cr_expect_not_null(strstr(err.text, "width of 896 or 1024 and a height of 128"), "%s",
                       err.text);
    hp.heads.n = 0;
    cr_expect_eq(edt_model_create(&hp, &infer, &err, &model), EDT_ERR_USAGE);
    cr_expect_not_null(strstr(err.text, "heads"), "%s", err.text);
    edt_hparams_deinit(&hp);
}

static void set_all(edt_exec *exec, const edt_graph *graph, const char *name, double value)
{
    const edt_value_id input = edt_graph_find_input(graph, name);
    cr_assert_neq(input, EDT_NO_VALUE, "%s", name);
    const edt_tensor_desc *desc = &graph->values[input].desc;
    const int64_t n = edt_shape_count(&desc->shape);
    float *data = edt_mem_alloc(EDT_MEM_MISC, (size_t)n * sizeof *data);
    for (int64_t i = 0; i < n; i++) {
        if (desc->dtype == EDT_DTYPE_I32) {
            const int32_t integer = (int32_t)value;
            memcpy(&data[i], &integer, sizeof integer);
        } else {
            data[i] = (float)value;
        }
    }
    edt_error err = {0};
    cr_assert_eq(edt_exec_set_input(exec, input, data, (size_t)n * sizeof *data, &err), EDT_OK,
                 "%s", err.text);
    edt_mem_free(data);
}

static double read_scalar(edt_exec *exec, const edt_graph *graph, const char *name)
{
    edt_error err = {0};
    float value = NAN;
    cr_assert_eq(
        edt_exec_get(exec, edt_graph_find_output(graph, name), &value, sizeof value, &err),
        EDT_OK, "%s", err.text);
    return (double)value;
}

// All targets 1 (so class 0 of ours), a mean of 10 positives and one picture: n = 11.
Test(segmentation_head, losses_of_the_whole_model_are_those_the_reference_expects,
     .timeout = 60)
{
    edt_hparams hp;
    edt_error err = {0};
    edt_backend *backend = NULL;
    edt_params *params = NULL;
    edt_exec *exec = NULL;
    head_hparams(512, true, &hp);
    edt_model_options options = infer;
    options.losses = true;
    edt_model *model = edt_test_model(&hp, &options);
    const edt_graph *graph = model->graph;
    cr_assert_eq(edt_backend_cpu_create(2, &err, &backend), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_params_create(graph, backend, &err, &params), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_params_init_random(params, 1, &err), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_exec_create(graph, params, &err, &exec), EDT_OK, "%s", err.text);
    set_all(exec, graph, "image", 1);
    set_all(exec, graph, "cls_targets", 0);
    set_all(exec, graph, "box_targets", 1);
    set_all(exec, graph, "norm", 11);
    set_all(exec, graph, "seg_mask", 1);
    set_all(exec, graph, "seg_norm", 128 * 128);
    // With our initial values; then in closed form, with predictions that do not depend on
    // features.
    for (int closed = 0; closed < 2; closed++) {
        static const char *const kernels[] = {"class_net/class-predict/pointwise_kernel",
                                              "box_net/box-predict/pointwise_kernel",
                                              "segmentation_head/conv2d_transpose_4/kernel"};
        for (int i = 0; closed == 1 && i < 3; i++) {
            const int at = edt_params_find(params, kernels[i]);
            const int64_t n = params->entries[at].n;
            double *zeros = edt_mem_calloc(EDT_MEM_MISC, (size_t)n, sizeof *zeros);
            cr_assert_eq(edt_params_set_f64(params, EDT_PARAMS_VALUES, at, zeros, n, &err),
                         EDT_OK, "%s", err.text);
            edt_mem_free(zeros);
        }
        const edt_run_ctx ctx = {.params_version = params->version};
        cr_assert_eq(edt_exec_run(exec, &ctx, &err), EDT_OK, "%s", err.text);
        double cls = 0;
        double box = 0;
        for (int l = 3; l <= 7; l++) {
            char name[32];
            (void)snprintf(name, sizeof name, "cls_loss_%d", l);
            cls += read_scalar(exec, graph, name);
            (void)snprintf(name, sizeof name, "box_loss_%d", l);
            box += read_scalar(exec, graph, name);
        }
        const double seg = read_scalar(exec, graph, "seg_loss");
        cr_log_info("cls %.6f box %.6f seg %.7f", cls, box, seg);
        if (closed == 1) {
            cr_expect_float_eq(cls, 5065.467146, 2e-3, "%.9g", cls);
            cr_expect_float_eq(box, 424.08, 5e-4, "%.9g", box);
            cr_expect_float_eq(seg, 1.0986123, 1e-6, "%.9g", seg);
        } else { // the tolerance of the reference's own test
            cr_expect_float_eq(cls, 5065.4375, 506, "%.9g", cls);
            cr_expect_float_eq(box, 424, 42, "%.9g", box);
            cr_expect_float_eq(seg, 1.0981, 0.11, "%.9g", seg);
        }
    }
    edt_exec_destroy(exec);
    edt_params_destroy(params);
    edt_backend_destroy(&backend);
    edt_model_destroy(model);
    edt_hparams_deinit(&hp);
}
