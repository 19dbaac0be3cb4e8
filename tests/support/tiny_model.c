// See tiny_model.h.
#include "tests/support/tiny_model.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/rng.h"

// Doubles into an input that is wide.
static void give(edt_tiny *t, edt_value_id value, int64_t n, const double *data)
{
    edt_error err = {0};
    const edt_dtype dtype = t->model->graph->values[value].desc.dtype;
    const size_t n_bytes = (size_t)n * edt_dtype_bytes(dtype);
    float *narrow = edt_mem_alloc(EDT_MEM_MISC, (size_t)n * sizeof *narrow);
    for (int64_t i = 0; i < n; i++) {
        narrow[i] = (float)data[i];
    }
    const void *from = dtype == EDT_DTYPE_F64 ? (const void *)data : narrow;
    cr_assert_eq(edt_exec_set_input(t->exec, value, from, n_bytes, &err), EDT_OK, "%s",
                 err.text);
    edt_mem_free(narrow);
}

static void fill_input(edt_tiny *t, const char *name, double low, double high, uint32_t stage)
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
    give(t, value, n, data);
    edt_mem_free(data);
}

// Stripes of all classes and of one that does not count.
static void fill_mask(edt_tiny *t)
{
    const edt_value_id mask = edt_graph_find_input(t->model->graph, "seg_mask");
    const int64_t n =
        t->model->mask_h * t->model->mask_w * edt_graph_shape(t->model->graph, mask).dim[0];
    int32_t *classes = edt_mem_alloc(EDT_MEM_MISC, (size_t)n * sizeof *classes);
    for (int64_t i = 0; i < n; i++) {
        classes[i] = (int32_t)(i / 5 % (t->model->mask_classes + 1));
    }
    edt_error err = {0};
    cr_assert_eq(edt_exec_set_input(t->exec, mask, classes, (size_t)n * sizeof *classes, &err),
                 EDT_OK, "%s", err.text);
    edt_mem_free(classes);
}

// Every seventh anchor belongs to a class; anchors are small boxes along the diagonal.
static void fill_targets(edt_tiny *t)
{
    const edt_value_id targets = edt_graph_find_input(t->model->graph, "cls_targets");
    const edt_shape shape = edt_graph_shape(t->model->graph, targets);
    const int64_t n = edt_shape_count(&shape);
    int32_t *classes = edt_mem_alloc(EDT_MEM_MISC, (size_t)n * sizeof *classes);
    for (int64_t i = 0; i < n; i++) {
        classes[i] = i % 7 == 0 ? (int32_t)(i / 7 % t->model->num_classes) : -1;
    }
    edt_error err = {0};
    const edt_graph *graph = t->model->graph;
    cr_assert_eq(
        edt_exec_set_input(t->exec, targets, classes, (size_t)n * sizeof *classes, &err),
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
        give(t, anchors, t->model->n_anchors * 4, boxes);
        edt_mem_free(boxes);
    }
}

const edt_model_options edt_tiny_options = {.mode = EDT_MODEL_TRAIN,
                                            .real = EDT_DTYPE_F64,
                                            .batch_size = 2,
                                            .drop_connect = true,
                                            .losses = true};

void edt_tiny_create(const char *model_name, void (*change)(edt_hparams *hp),
                     const edt_model_options *options, edt_tiny *t)
{
    edt_error err = {0};
    edt_backend *backend = NULL;
    cr_assert_eq(edt_backend_ref_create(&err, &backend), EDT_OK, "%s", err.text);
    edt_tiny_create_on(backend, model_name, change, options, t);
}

void edt_tiny_create_on(edt_backend *take_backend, const char *model_name,
                        void (*change)(edt_hparams *hp), const edt_model_options *options,
                        edt_tiny *t)
{
    edt_error err = {0};
    *t = (edt_tiny){.backend = take_backend};
    edt_test_model_hparams(model_name, 65, 70, &t->hp);
    t->hp.fpn_num_filters = 8;
    t->hp.fpn_cell_repeats = 2;
    t->hp.box_class_repeats = 2;
    t->hp.num_classes = 3;
    t->hp.num_scales = 1;
    t->hp.aspect_ratios.n = 2;
    change(&t->hp);
    t->model = edt_test_model(&t->hp, options);
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
    fill_input(t, "seg_norm", 99, 99, 5);
    if (t->model->has_detection) {
        fill_targets(t);
    }
    if (t->model->has_segmentation) {
        fill_mask(t);
    }
}

void edt_tiny_destroy(edt_tiny *t)
{
    edt_exec_destroy(t->exec);
    edt_params_destroy(t->params);
    edt_backend_destroy(&t->backend);
    edt_model_destroy(t->model);
    edt_hparams_deinit(&t->hp);
}

static double read_loss(edt_tiny *t, const char *name)
{
    edt_error err = {0};
    const edt_value_id value = edt_graph_find_output(t->model->graph, name);
    const bool wide = t->model->graph->values[value].desc.dtype == EDT_DTYPE_F64;
    double loss = NAN;
    float narrow = NAN;
    cr_assert_eq(edt_exec_get(t->exec, value, wide ? (void *)&loss : (void *)&narrow,
                              wide ? sizeof loss : sizeof narrow, &err),
                 EDT_OK, "%s", err.text);
    return wide ? loss : (double)narrow;
}

double edt_tiny_total_loss(edt_tiny *t)
{
    edt_error err = {0};
    const edt_run_ctx ctx = {.params_version = t->params->version};
    cr_assert_eq(edt_exec_run(t->exec, &ctx, &err), EDT_OK, "%s", err.text);
    double total = 0;
    if (t->model->has_segmentation) {
        total += read_loss(t, "seg_loss");
    }
    for (int l = t->model->min_level; t->model->has_detection && l <= t->model->max_level;
         l++) {
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

void edt_tiny_check_gradients(edt_tiny *t, int first, int stride, double h)
{
    edt_error err = {0};
    (void)edt_tiny_total_loss(t);
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
    for (int i = first; i < t->params->n_params; i += stride) {
        const edt_param_entry *entry = &t->params->entries[i];
        if (!entry->trainable) {
            continue;
        }
        cr_assert_eq(
            edt_params_get_f64(t->params, EDT_PARAMS_VALUES, i, values, entry->n, &err),
            EDT_OK);
        const double at = values[entry->n / 2];
        double loss[2];
        for (int side = 0; side < 2; side++) {
            values[entry->n / 2] = at + (side == 0 ? h : -h);
            cr_assert_eq(
                edt_params_set_f64(t->params, EDT_PARAMS_VALUES, i, values, entry->n, &err),
                EDT_OK);
            loss[side] = edt_tiny_total_loss(t);
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
