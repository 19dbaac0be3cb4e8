// Shape of the backward graph, and its numbers: the gradients of whole small detectors in
// double against central differences of their loss.
#include <criterion/criterion.h>
#include <math.h>
#include <pthread.h>
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

// Stripes of all classes and of one that does not count.
static void fill_mask(tiny *t)
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
static void fill_targets(tiny *t)
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
        cr_assert_eq(edt_exec_set_input(t->exec, anchors, boxes,
                                        (size_t)t->model->n_anchors * 4 * sizeof *boxes, &err),
                     EDT_OK, "%s", err.text);
        edt_mem_free(boxes);
    }
}

static const edt_model_options tiny_options = {.mode = EDT_MODEL_TRAIN,
                                               .real = EDT_DTYPE_F64,
                                               .batch_size = 2,
                                               .drop_connect = true,
                                               .losses = true};

static void tiny_create(const char *model_name, void (*change)(edt_hparams *hp),
                        const edt_model_options *options, tiny *t)
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
    t->model = edt_test_model(&t->hp, options);
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
    fill_input(t, "seg_norm", 99, 99, 5);
    if (t->model->has_detection) {
        fill_targets(t);
    }
    if (t->model->has_segmentation) {
        fill_mask(t);
    }
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

// One element of every `stride`-th trainable variable, by differences over 2h.
static void check_gradients(tiny *t, int stride, double h)
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
    tiny_create("efficientdet-d0", plain_changes, &tiny_options, &t);
    cr_expect_gt(t.model->n_drop_rows, 0);
    check_gradients(&t, 17, 1e-5);
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
    tiny_create("efficientdet-lite0", other_changes, &tiny_options, &t);
    check_gradients(&t, 17, 1e-5);
    tiny_destroy(&t);
}

static void segmentation_changes(edt_hparams *hp)
{
    hp->act_type = "srelu";
    hp->image_size = (edt_hw){.h = 64, .w = 64};
    hp->max_level = 5;
    hp->heads.n = 2;
    hp->heads.v[1] = "segmentation";
}

Test(autodiff, srelu_detector_with_a_segmentation_head, .timeout = 120)
{
    SKIP_UNDER_TSAN();
    tiny t;
    tiny_create("efficientdet-d0", segmentation_changes, &tiny_options, &t);
    // From 20 on srelu bends within a few millionths, which differences cannot resolve.
    int n_srelu = 0;
    for (int i = 0; i < t.params->n_params; i++) {
        const edt_param_entry *entry = &t.params->entries[i];
        if (strstr(entry->name, "/srelu_beta") != NULL) {
            edt_error err = {0};
            const double value = 1.1;
            cr_expect(entry->trainable && entry->n == 1);
            cr_assert_eq(edt_params_set_f64(t.params, EDT_PARAMS_VALUES, i, &value, 1, &err),
                         EDT_OK);
            n_srelu++;
        }
    }
    // Stem; 16 blocks with 1 + 2 * 15 layers and as many squeezes; 2 cells of 6 nodes; 2 heads
    // of 2 layers at 4 levels; the segmentation head.
    cr_expect_eq(n_srelu, 1 + 31 + 16 + 8 + 12 + 2);
    check_gradients(&t, 37, 1e-6); // srelu bends
    tiny_destroy(&t);
}

// One arena as doubles; the caller frees it.
static double *read_arena(const tiny *t, edt_params_arena arena)
{
    edt_error err = {0};
    double *all = edt_mem_alloc(EDT_MEM_MISC, (size_t)t->params->n_elements * sizeof *all);
    memset(all, 0, (size_t)t->params->n_elements * sizeof *all);
    for (int i = 0; i < t->params->n_params; i++) {
        const edt_param_entry *entry = &t->params->entries[i];
        cr_assert_eq(
            edt_params_get_f64(t->params, arena, i, all + entry->offset, entry->n, &err),
            EDT_OK, "%s", err.text);
    }
    return all;
}

static bool is_moving_variance(const edt_param_entry *entry)
{
    return strstr(entry->name, "moving_variance") != NULL;
}

// Largest difference over the variables that are, or are not, moving variances, relative to the
// largest value.
static double difference(const tiny *t, const double *a, const double *b, bool variances)
{
    double largest = 0;
    double worst = 0;
    for (int i = 0; i < t->params->n_params; i++) {
        const edt_param_entry *entry = &t->params->entries[i];
        for (int64_t k = entry->offset; k < entry->offset + entry->n; k++) {
            if (is_moving_variance(entry) == variances) {
                largest = fmax(largest, fabs(a[k]));
                worst = fmax(worst, fabs(a[k] - b[k]));
            }
        }
    }
    return worst / largest;
}

Test(autodiff, synchronised_batch_norm_of_one_rank_is_batch_norm_but_for_the_moving_variance,
     .timeout = 60)
{
    SKIP_UNDER_TSAN();
    tiny plain;
    tiny sync;
    edt_model_options options = tiny_options;
    tiny_create("efficientdet-d0", plain_changes, &options, &plain);
    options.bn_ranks = 1;
    tiny_create("efficientdet-d0", plain_changes, &options, &sync);
    const double loss = total_loss(&plain);
    const double sync_loss = total_loss(&sync);
    cr_expect_float_eq(sync_loss, loss, 1e-12 * loss);
    double *grads[2] = {read_arena(&plain, EDT_PARAMS_GRADS),
                        read_arena(&sync, EDT_PARAMS_GRADS)};
    double *values[2] = {read_arena(&plain, EDT_PARAMS_VALUES),
                         read_arena(&sync, EDT_PARAMS_VALUES)};
    cr_expect_lt(difference(&plain, grads[0], grads[1], false), 1e-10);
    cr_expect_lt(difference(&plain, values[0], values[1], false), 1e-12, "moving means");
    // The stem's statistics are those of 2 * 33 * 35 rows: v = 0.99 + 0.01 * variance, biased.
    const int i_stem =
        edt_graph_find_param(plain.model->graph, "efficientnet-b0/stem/tpu_batch_normalization/"
                                                 "moving_variance");
    cr_assert_geq(i_stem, 0);
    const int64_t at = plain.params->entries[i_stem].offset;
    const double n = 2 * 33 * 35;
    cr_expect_float_eq(values[1][at] - 0.99, (values[0][at] - 0.99) * (n - 1) / n, 1e-12);
    cr_expect_gt(difference(&plain, values[0], values[1], true), 1e-6);
    for (int i = 0; i < 2; i++) {
        edt_mem_free(grads[i]);
        edt_mem_free(values[i]);
    }
    tiny_destroy(&plain);
    tiny_destroy(&sync);
}

// Two executors in two threads as two ranks; their memory is the host's.
typedef struct two_ranks {
    pthread_barrier_t barrier;
    double *out[2];
    int n_reduced[2];
} two_ranks;

typedef struct one_rank {
    two_ranks *both;
    int rank;
    tiny t;
    double loss;
} one_rank;

static edt_status add_over_ranks(void *user, const edt_exec_node_done *done, edt_error *err)
{
    (void)err;
    one_rank *r = user;
    two_ranks *both = r->both;
    if (!done->reduce_over_ranks) {
        return EDT_OK;
    }
    both->n_reduced[r->rank]++;
    both->out[r->rank] = done->out;
    (void)pthread_barrier_wait(&both->barrier);
    if (r->rank == 0) {
        for (int64_t i = 0; i < done->n; i++) {
            both->out[0][i] += both->out[1][i];
            both->out[1][i] = both->out[0][i];
        }
    }
    (void)pthread_barrier_wait(&both->barrier);
    return EDT_OK;
}

static void *run_rank(void *arg)
{
    one_rank *r = arg;
    r->loss = total_loss(&r->t);
    return NULL;
}

// Half `part` of an input of `whole`.
static void copy_input_half(tiny *whole, tiny *half, const char *name, int part)
{
    edt_error err = {0};
    const edt_value_id from = edt_graph_find_input(whole->model->graph, name);
    const edt_value_id to = edt_graph_find_input(half->model->graph, name);
    const size_t n_bytes = edt_tensor_bytes(&half->model->graph->values[to].desc);
    char *data = edt_mem_alloc(EDT_MEM_MISC, 2 * n_bytes);
    cr_assert_eq(edt_exec_get(whole->exec, from, data, 2 * n_bytes, &err), EDT_OK, "%s",
                 err.text);
    cr_assert_eq(
        edt_exec_set_input(half->exec, to, data + (size_t)part * n_bytes, n_bytes, &err),
        EDT_OK, "%s", err.text);
    edt_mem_free(data);
}

Test(autodiff, two_ranks_with_half_of_the_batch_each_are_one_with_all_of_it, .timeout = 60)
{
    SKIP_UNDER_TSAN();
    edt_model_options options = tiny_options;
    options.drop_connect = false;
    options.bn_ranks = 1;
    tiny whole;
    tiny_create("efficientdet-d0", plain_changes, &options, &whole);
    two_ranks both = {0};
    cr_assert_eq(pthread_barrier_init(&both.barrier, NULL, 2), 0);
    one_rank ranks[2];
    options.bn_ranks = 2;
    options.batch_size = 1;
    for (int r = 0; r < 2; r++) {
        ranks[r] = (one_rank){.both = &both, .rank = r};
        tiny_create("efficientdet-d0", plain_changes, &options, &ranks[r].t);
        static const char *const inputs[] = {"image", "cls_targets", "box_targets"};
        for (int i = 0; i < 3; i++) {
            copy_input_half(&whole, &ranks[r].t, inputs[i], r);
        }
        edt_exec_set_hook(ranks[r].t.exec, add_over_ranks, &ranks[r]);
    }
    const double loss = total_loss(&whole);
    pthread_t threads[2];
    for (int r = 0; r < 2; r++) {
        cr_assert_eq(pthread_create(&threads[r], NULL, run_rank, &ranks[r]), 0);
    }
    for (int r = 0; r < 2; r++) {
        cr_assert_eq(pthread_join(threads[r], NULL), 0);
    }
    cr_expect_float_eq(ranks[0].loss + ranks[1].loss, loss, 1e-11 * loss);
    cr_expect_gt(both.n_reduced[0], 100);
    cr_expect_eq(both.n_reduced[0], both.n_reduced[1]);
    double *want = read_arena(&whole, EDT_PARAMS_GRADS);
    double *parts[2] = {read_arena(&ranks[0].t, EDT_PARAMS_GRADS),
                        read_arena(&ranks[1].t, EDT_PARAMS_GRADS)};
    for (int64_t i = 0; i < whole.params->n_elements; i++) {
        parts[0][i] += parts[1][i];
    }
    cr_expect_lt(difference(&whole, want, parts[0], false), 1e-9, "gradients differ by %.3g",
                 difference(&whole, want, parts[0], false));
    double *values = read_arena(&whole, EDT_PARAMS_VALUES);
    for (int r = 0; r < 2; r++) {
        double *own = read_arena(&ranks[r].t, EDT_PARAMS_VALUES);
        cr_expect_lt(difference(&whole, values, own, false), 1e-11, "moving means");
        cr_expect_lt(difference(&whole, values, own, true), 1e-11, "moving variances");
        edt_mem_free(own);
        edt_mem_free(parts[r]);
        tiny_destroy(&ranks[r].t);
    }
    edt_mem_free(values);
    edt_mem_free(want);
    (void)pthread_barrier_destroy(&both.barrier);
    tiny_destroy(&whole);
}

// Activations and their gradients are 16 bits wide; what belongs to variables and sums is not.
Test(autodiff, gradients_of_variables_stay_wide_in_16_bits, .timeout = 30)
{
    edt_hparams hp;
    edt_test_model_hparams("efficientdet-d0", 128, 128, &hp);
    const edt_model_options options = {.mode = EDT_MODEL_TRAIN,
                                       .real = EDT_DTYPE_BF16,
                                       .batch_size = 1,
                                       .losses = true,
                                       .loss_scaled = true,
                                       .bn_ranks = 2};
    edt_model *model = edt_test_model(&hp, &options);
    const edt_graph *graph = model->graph;
    int n_sums[2] = {0};
    for (int i = 0; i < graph->n_nodes; i++) {
        const edt_node *node = &graph->nodes[i];
        if (node->out[0] == EDT_NO_VALUE) {
            continue;
        }
        const edt_value *out = &graph->values[node->out[0]];
        const bool sums = node->kind == EDT_OP_BN_STATS || node->kind == EDT_OP_BN_BWD_STATS;
        cr_expect_eq(node->attrs.reduce_over_ranks, sums, "%s", node->name);
        if (sums) {
            n_sums[node->backward]++;
            cr_expect_eq(out->desc.dtype, EDT_DTYPE_F64, "%s", node->name);
        } else if (out->role == EDT_VALUE_PARAM_GRAD || strstr(node->name, "_loss") != NULL) {
            cr_expect_eq(out->desc.dtype, EDT_DTYPE_F32, "%s", node->name);
        } else {
            cr_expect_eq(out->desc.dtype, EDT_DTYPE_BF16, "%s", node->name);
        }
    }
    cr_expect_gt(n_sums[0], 50);
    cr_expect_eq(n_sums[0], n_sums[1]);
    for (int i = 0; i < graph->n_params; i++) {
        if (graph->params[i].trainable) {
            cr_expect_eq(graph->values[graph->params[i].grad].desc.dtype, EDT_DTYPE_F32, "%s",
                         graph->params[i].name);
        }
    }
    edt_model_destroy(model);
    edt_hparams_deinit(&hp);
}
