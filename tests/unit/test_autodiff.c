// Shape of the backward graph, and its numbers: the gradients of whole small detectors in
// double against central differences of their loss.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/rng.h"
#include "model/autodiff.h"
#include "model/exec.h"
#include "tests/support/test_model.h"

static int n_backward(const edt_graph *graph, const char *prefix)
{
    int n = 0;
    for (int i = 0; i < graph->n_nodes; i++) {
        n += graph->nodes[i].backward &&
             strncmp(graph->nodes[i].name, prefix, strlen(prefix)) == 0;
    }
    return n;
}

// A minute of arithmetic on one thread: nothing that ThreadSanitizer could find.
#ifdef __SANITIZE_THREAD__
#define SKIP_UNDER_TSAN() cr_skip_test("one thread only")
#else
#define SKIP_UNDER_TSAN() (void)0
#endif

Test(autodiff, frozen_parts_get_no_backward_nodes, .timeout = 30)
{
    edt_hparams hp;
    edt_test_model_hparams("efficientdet-d0", 128, 128, &hp);
    edt_model_options options = {
        .mode = EDT_MODEL_TRAIN, .real = EDT_DTYPE_F32, .batch_size = 1, .losses = true};
    edt_model *full = edt_test_model(&hp, &options);
    bool wants[1024];
    for (int i = 0; i < full->graph->n_params; i++) {
        wants[i] = strstr(full->graph->params[i].name, "_net/") != NULL;
    }
    options.wants_grad = wants;
    edt_model *heads = edt_test_model(&hp, &options);
    cr_expect_gt(n_backward(full->graph, "d:efficientnet"), 100);
    cr_expect_eq(n_backward(heads->graph, "d:efficientnet"), 0);
    cr_expect_eq(n_backward(heads->graph, "d:fpn_cells"), 0);
    cr_expect_eq(n_backward(heads->graph, "d:sum"), 0);
    cr_expect_gt(n_backward(heads->graph, "d:class_net"), 10);
    for (int i = 0; i < heads->graph->n_params; i++) {
        const edt_param *param = &heads->graph->params[i];
        cr_expect_eq(param->grad != EDT_NO_VALUE, param->trainable && wants[i], "%s",
                     param->name);
    }
    edt_model_destroy(full);
    edt_model_destroy(heads);
    edt_hparams_deinit(&hp);
}

// Writers of one parameter's gradient that overwrite (*out_first) and that add (returned).
static int count_writers(const edt_graph *graph, const char *name, int *out_first)
{
    const edt_value_id grad = graph->params[edt_graph_find_param(graph, name)].grad;
    int n_adding = 0;
    *out_first = 0;
    for (int i = 0; i < graph->n_nodes; i++) {
        for (int j = 0; j < graph->nodes[i].n_out; j++) {
            if (graph->nodes[i].out[j] == grad) {
                n_adding += graph->nodes[i].attrs.accumulate;
                *out_first += !graph->nodes[i].attrs.accumulate;
            }
        }
    }
    return n_adding;
}

Test(autodiff, the_first_writer_of_a_shared_variable_overwrites, .timeout = 30)
{
    edt_hparams hp;
    edt_test_model_hparams("efficientdet-d0", 128, 128, &hp);
    edt_model_options options = {
        .mode = EDT_MODEL_TRAIN, .real = EDT_DTYPE_F32, .batch_size = 1, .losses = true};
    int n_first = 0;
    edt_model *model = edt_test_model(&hp, &options);
    cr_expect_eq(count_writers(model->graph, "box_net/box-1/bias", &n_first), 4);
    cr_expect_eq(n_first, 1);
    edt_model_destroy(model);
    options.accumulate = true;
    model = edt_test_model(&hp, &options);
    cr_expect_eq(count_writers(model->graph, "box_net/box-1/bias", &n_first), 5);
    cr_expect_eq(n_first, 0);
    cr_expect_eq(count_writers(model->graph, "efficientnet-b0/stem/conv2d/kernel", &n_first),
                 1);
    edt_model_destroy(model);
    edt_hparams_deinit(&hp);
}

Test(autodiff, batch_norm_without_its_statistics_has_no_gradient, .timeout = 30)
{
    edt_error err = {0};
    edt_graph *graph = NULL;
    cr_assert_eq(edt_graph_create(EDT_DTYPE_F64, &err, &graph), EDT_OK);
    const edt_init init = {.kind = EDT_INIT_CONSTANT};
    const edt_value_id in[5] = {
        edt_graph_input(graph, "x", EDT_DTYPE_F64, edt_shape_4(1, 4, 4, 2)),
        edt_graph_param(graph, "gamma", "p", edt_shape_1(2), init, true),
        edt_graph_param(graph, "beta", "p", edt_shape_1(2), init, true),
        edt_graph_param(graph, "mean", "p", edt_shape_1(2), init, false),
        edt_graph_param(graph, "variance", "p", edt_shape_1(2), init, false),
    };
    const edt_op_attrs attrs = {.bn = {.epsilon = 1e-3, .momentum = 0.99}};
    const edt_value_id y = edt_graph_op(graph, "bn", EDT_OP_BN_TRAIN, &attrs, 5, in, 1);
    const edt_value_id dy =
        edt_graph_input(graph, "dy", EDT_DTYPE_F64, edt_shape_4(1, 4, 4, 2));
    cr_assert_eq(edt_graph_status(graph, &err), EDT_OK, "%s", err.text);
    const edt_grad_seed seed = {.value = y, .grad = dy};
    cr_expect_eq(edt_autodiff(graph, 1, &seed, NULL, false, &err), EDT_ERR_INTERNAL);
    cr_expect_not_null(strstr(err.text, "three outputs"), "%s", err.text);
    edt_graph_destroy(graph);
}

// A detector small enough for finite differences, on `ref` in double.
typedef struct tiny {
    edt_hparams hp;
    edt_model *model;
    edt_backend *backend;
    edt_params *params;
    edt_exec *exec;
} tiny;

static void fill_input(tiny *t, const char *name, double low, double high, uint32_t stage)
{
    const edt_value_id value = edt_graph_find_input(t->model->graph, name);
    if (value == EDT_NO_VALUE) {
        return;
    }
    const edt_shape shape = edt_graph_shape(t->model->graph, value);
    const int64_t n = edt_shape_count(&shape);
    double *data = edt_mem_alloc(EDT_MEM_MISC, (size_t)n * sizeof *data);
    edt_rng rng;
    edt_rng_init(&rng, 3, 0, 0, stage);
    for (int64_t i = 0; i < n; i++) {
        data[i] = edt_rng_uniform_range(&rng, low, high);
    }
    edt_error err = {0};
    cr_assert_eq(edt_exec_set_input(t->exec, value, data, (size_t)n * sizeof *data, &err),
                 EDT_OK, "%s", err.text);
    edt_mem_free(data);
}

// Every seventh anchor belongs to a class; anchors are small boxes along the diagonal.
static void fill_targets(tiny *t)
{
    const int64_t n = 2 * t->model->n_anchors;
    int32_t *classes = edt_mem_alloc(EDT_MEM_MISC, (size_t)n * sizeof *classes);
    for (int64_t i = 0; i < n; i++) {
        classes[i] = i % 7 == 0 ? (int32_t)(i / 7 % t->model->num_classes) : -1;
    }
    edt_error err = {0};
    const edt_graph *graph = t->model->graph;
    cr_assert_eq(edt_exec_set_input(t->exec, edt_graph_find_input(graph, "cls_targets"),
                                    classes, (size_t)n * sizeof *classes, &err),
                 EDT_OK, "%s", err.text);
    edt_mem_free(classes);
    const edt_value_id anchors = edt_graph_find_input(graph, "anchors");
    if (anchors != EDT_NO_VALUE) {
        double *boxes =
            edt_mem_alloc(EDT_MEM_MISC, (size_t)t->model->n_anchors * 4 * sizeof *boxes);
        for (int64_t i = 0; i < t->model->n_anchors; i++) {
            const double at = (double)(i % 50);
            const double side = 8.0 + (double)(i % 5);
            const double box[4] = {at, at, at + side, at + side + 2};
            memcpy(boxes + 4 * i, box, sizeof box);
        }
        cr_assert_eq(edt_exec_set_input(t->exec, anchors, boxes,
                                        (size_t)t->model->n_anchors * 4 * sizeof *boxes, &err),
                     EDT_OK, "%s", err.text);
        edt_mem_free(boxes);
    }
}

static void tiny_create(const char *model_name, void (*change)(edt_hparams *hp), tiny *t)
{
    edt_error err = {0};
    *t = (tiny){0};
    edt_test_model_hparams(model_name, 65, 70, &t->hp);
    t->hp.fpn_num_filters = 8;
    t->hp.fpn_cell_repeats = 2;
    t->hp.box_class_repeats = 2;
    t->hp.num_classes = 3;
    t->hp.num_scales = 1;
    t->hp.aspect_ratios.n = 2;
    change(&t->hp);
    const edt_model_options options = {.mode = EDT_MODEL_TRAIN,
                                       .real = EDT_DTYPE_F64,
                                       .batch_size = 2,
                                       .drop_connect = true,
                                       .losses = true};
    t->model = edt_test_model(&t->hp, &options);
    cr_assert_eq(edt_backend_ref_create(&err, &t->backend), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_params_create(t->model->graph, t->backend, &err, &t->params), EDT_OK, "%s",
                 err.text);
    cr_assert_eq(edt_params_add_arena(t->params, EDT_PARAMS_GRADS, &err), EDT_OK);
    cr_assert_eq(edt_params_init_random(t->params, 5, &err), EDT_OK);
    cr_assert_eq(edt_exec_create(t->model->graph, t->params, &err, &t->exec), EDT_OK, "%s",
                 err.text);
    fill_input(t, "image", -2, 2, 1);
    fill_input(t, "drop_u", 0, 1, 2);
    fill_input(t, "box_targets", -0.2, 0.2, 3);
    fill_input(t, "norm", 9, 9, 4);
    fill_targets(t);
}

static void tiny_destroy(tiny *t)
{
    edt_exec_destroy(t->exec);
    edt_params_destroy(t->params);
    edt_backend_destroy(&t->backend);
    edt_model_destroy(t->model);
    edt_hparams_deinit(&t->hp);
}

static double read_loss(tiny *t, const char *name)
{
    edt_error err = {0};
    double loss = NAN;
    cr_assert_eq(edt_exec_get(t->exec, edt_graph_find_output(t->model->graph, name), &loss,
                              sizeof loss, &err),
                 EDT_OK, "%s", err.text);
    return loss;
}

static double total_loss(tiny *t)
{
    edt_error err = {0};
    const edt_run_ctx ctx = {.params_version = t->params->version};
    cr_assert_eq(edt_exec_run(t->exec, &ctx, &err), EDT_OK, "%s", err.text);
    double total = 0;
    for (int l = t->model->min_level; l <= t->model->max_level; l++) {
        char name[32];
        snprintf(name, sizeof name, "cls_loss_%d", l);
        total += read_loss(t, name);
        snprintf(name, sizeof name, "box_loss_%d", l);
        total += t->hp.box_loss_weight * read_loss(t, name);
    }
    if (t->hp.iou_loss_type != NULL) {
        total += t->hp.iou_loss_weight * read_loss(t, "iou_loss");
    }
    return total;
}

// One element of every `stride`-th trainable variable.
static void check_gradients(tiny *t, int stride)
{
    edt_error err = {0};
    (void)total_loss(t);
    double *analytic =
        edt_mem_calloc(EDT_MEM_MISC, (size_t)t->params->n_params, sizeof(double));
    double *values =
        edt_mem_alloc(EDT_MEM_MISC, (size_t)t->params->n_elements * sizeof(double));
    double largest = 0;
    for (int i = 0; i < t->params->n_params; i++) {
        const int64_t n = t->params->entries[i].n;
        cr_assert_eq(edt_params_get_f64(t->params, EDT_PARAMS_GRADS, i, values, n, &err),
                     EDT_OK);
        analytic[i] = values[n / 2];
        largest = fmax(largest, fabs(analytic[i]));
    }
    int n_checked = 0;
    for (int i = 0; i < t->params->n_params; i += stride) {
        const edt_param_entry *entry = &t->params->entries[i];
        if (!entry->trainable) {
            continue;
        }
        cr_assert_eq(
            edt_params_get_f64(t->params, EDT_PARAMS_VALUES, i, values, entry->n, &err),
            EDT_OK);
        const double at = values[entry->n / 2];
        const double h = 1e-5;
        double loss[2];
        for (int side = 0; side < 2; side++) {
            values[entry->n / 2] = at + (side == 0 ? h : -h);
            cr_assert_eq(
                edt_params_set_f64(t->params, EDT_PARAMS_VALUES, i, values, entry->n, &err),
                EDT_OK);
            loss[side] = total_loss(t);
        }
        values[entry->n / 2] = at;
        cr_assert_eq(
            edt_params_set_f64(t->params, EDT_PARAMS_VALUES, i, values, entry->n, &err),
            EDT_OK);
        const double numeric = (loss[0] - loss[1]) / (2 * h);
        cr_expect_float_eq(numeric, analytic[i], 1e-6 * largest + 1e-5 * fabs(analytic[i]),
                           "%s: %.9g by differences, %.9g by the graph", entry->name, numeric,
                           analytic[i]);
        n_checked++;
    }
    cr_expect_gt(n_checked, 10);
    edt_mem_free(analytic);
    edt_mem_free(values);
}

static void plain_changes(edt_hparams *hp)
{
    hp->survival_prob = 0.7;
    hp->fpn_weight_method = NULL;
}

Test(autodiff, swish_detector_with_fast_attention_and_drops, .timeout = 120)
{
    SKIP_UNDER_TSAN();
    tiny t;
    tiny_create("efficientdet-d0", plain_changes, &t);
    cr_expect_gt(t.model->n_drop_rows, 0);
    check_gradients(&t, 17);
    tiny_destroy(&t);
}

static void other_changes(edt_hparams *hp)
{
    hp->act_type = "swish"; // relu6 has corners that differences may straddle
    hp->conv_after_downsample = true;
    hp->conv_bn_act_pattern = true;
    hp->iou_loss_type = "giou";
    hp->label_smoothing = 0.1;
    hp->freeze_bn = true;
}

Test(autodiff, sum_fusion_with_iou_loss_and_frozen_statistics, .timeout = 120)
{
    SKIP_UNDER_TSAN();
    tiny t;
    tiny_create("efficientdet-lite0", other_changes, &t);
    check_gradients(&t, 17);
    tiny_destroy(&t);
}
