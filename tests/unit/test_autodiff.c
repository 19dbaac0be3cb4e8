// Shape of the backward graph, and its numbers: the gradients of whole small detectors in
// double against central differences of their loss.
#include <criterion/criterion.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "model/autodiff.h"
#include "model/exec.h"
#include "tests/support/tiny_model.h"

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

static void plain_changes(edt_hparams *hp)
{
    hp->survival_prob = 0.7;
    hp->fpn_weight_method = NULL;
}

Test(autodiff, swish_detector_with_fast_attention_and_drops, .timeout = 120)
{
    SKIP_UNDER_TSAN();
    edt_tiny t;
    edt_tiny_create("efficientdet-d0", plain_changes, &edt_tiny_options, &t);
    cr_expect_gt(t.model->n_drop_rows, 0);
    edt_tiny_check_gradients(&t, 0, 17, 1e-5);
    edt_tiny_destroy(&t);
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
    edt_tiny t;
    edt_tiny_create("efficientdet-lite0", other_changes, &edt_tiny_options, &t);
    edt_tiny_check_gradients(&t, 0, 17, 1e-5);
    edt_tiny_destroy(&t);
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
    edt_tiny t;
    edt_tiny_create("efficientdet-d0", segmentation_changes, &edt_tiny_options, &t);
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
    edt_tiny_check_gradients(&t, 0, 37, 1e-6); // srelu bends
    edt_tiny_destroy(&t);
}

// One arena as doubles; the caller frees it.
static double *read_arena(const edt_tiny *t, edt_params_arena arena)
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
static double difference(const edt_tiny *t, const double *a, const double *b, bool variances)
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
    edt_tiny plain;
    edt_tiny sync;
    edt_model_options options = edt_tiny_options;
    edt_tiny_create("efficientdet-d0", plain_changes, &options, &plain);
    options.bn_ranks = 1;
    edt_tiny_create("efficientdet-d0", plain_changes, &options, &sync);
    const double loss = edt_tiny_total_loss(&plain);
    const double sync_loss = edt_tiny_total_loss(&sync);
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
    edt_tiny_destroy(&plain);
    edt_tiny_destroy(&sync);
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
    edt_tiny t;
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
    r->loss = edt_tiny_total_loss(&r->t);
    return NULL;
}

// Half `part` of an input of `whole`.
static void copy_input_half(edt_tiny *whole, edt_tiny *half, const char *name, int part)
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
    edt_model_options options = edt_tiny_options;
    options.drop_connect = false;
    options.bn_ranks = 1;
    edt_tiny whole;
    edt_tiny_create("efficientdet-d0", plain_changes, &options, &whole);
    two_ranks both = {0};
    cr_assert_eq(pthread_barrier_init(&both.barrier, NULL, 2), 0);
    one_rank ranks[2];
    options.bn_ranks = 2;
    options.batch_size = 1;
    for (int r = 0; r < 2; r++) {
        ranks[r] = (one_rank){.both = &both, .rank = r};
        edt_tiny_create("efficientdet-d0", plain_changes, &options, &ranks[r].t);
        static const char *const inputs[] = {"image", "cls_targets", "box_targets"};
        for (int i = 0; i < 3; i++) {
            copy_input_half(&whole, &ranks[r].t, inputs[i], r);
        }
        edt_exec_set_hook(ranks[r].t.exec, add_over_ranks, &ranks[r]);
    }
    const double loss = edt_tiny_total_loss(&whole);
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
        edt_tiny_destroy(&ranks[r].t);
    }
    edt_mem_free(values);
    edt_mem_free(want);
    (void)pthread_barrier_destroy(&both.barrier);
    edt_tiny_destroy(&whole);
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
