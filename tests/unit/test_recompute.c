// Activations computed again in the backward pass: small detectors of many kinds must come to
// the very bytes of those that keep them, in losses, gradients and moving statistics, with less
// memory; and what is computed again is no more than what has to be.
#include <criterion/criterion.h>
#include <string.h>

#include "tests/support/tiny_model.h"

#ifdef __SANITIZE_THREAD__
#define SKIP_UNDER_TSAN() cr_skip_test("one thread only")
#else
#define SKIP_UNDER_TSAN() (void)0
#endif

#define FEW_BLOCKS                                                                             \
    "fpn_cell_repeats=1,backbone_config=r2_k3_s11_e1_i8_o8_se0.25*r2_k3_s22_e2_i8_o8*"         \
    "r2_k3_s22_e2_i8_o16*r2_k5_s22_e1_i16_o16_se0.5*r2_k3_s22_e2_i16_o16,"

// Two functions, of which the second one asks for recomputation beside.
#define VARIANT(name, pairs)                                                                   \
    static void name(edt_hparams *hp)                                                          \
    {                                                                                          \
        set(hp, pairs);                                                                        \
    }                                                                                          \
    static void name##_again(edt_hparams *hp)                                                  \
    {                                                                                          \
        set(hp, pairs ",grad_checkpoint=true");                                                \
    }

static void set(edt_hparams *hp, const char *pairs)
{
    edt_error err = {0};
    cr_assert_eq(edt_hparams_override(hp, pairs, &err), EDT_OK, "%s: %s", pairs, err.text);
}

VARIANT(usual, "survival_prob=0.6")
VARIANT(few_blocks, FEW_BLOCKS "survival_prob=0.6")
VARIANT(frozen_norm, FEW_BLOCKS "survival_prob=0.6,freeze_bn=true")
VARIANT(other_cells, FEW_BLOCKS "fpn_name=qufpn,act_type=srelu,conv_bn_act_pattern=true,"
                                "fpn_weight_method=channel_attn")
VARIANT(plain_convolutions, FEW_BLOCKS "separable_conv=false,conv_after_downsample=true,"
                                       "fpn_weight_method=sum,act_type=mish")
VARIANT(segmentation,
        FEW_BLOCKS "heads=segmentation,image_size=64,max_level=6,seg_num_classes=4")

typedef void change(edt_hparams *hp);

static edt_backend *open_backend(const char *name)
{
    edt_error err = {0};
    edt_backend *backend = NULL;
    cr_assert_eq(
        edt_backend_create(name, &(edt_backend_options){.n_threads = 1}, &err, &backend),
        EDT_OK, "%s", err.text);
    return backend;
}

static void expect_same_arena(const edt_tiny *a, const edt_tiny *b, edt_params_arena which)
{
    const size_t n_bytes = (size_t)a->params->n_elements * edt_dtype_bytes(a->params->real);
    cr_assert_eq(a->params->n_elements, b->params->n_elements);
    cr_expect_eq(memcmp(a->params->memory[which], b->params->memory[which], n_bytes), 0,
                 "arena %d differs", (int)which);
}

static int64_t activation_bytes(const edt_tiny *t)
{
    edt_error err = {0};
    edt_plan_summary summary;
    cr_assert_eq(edt_plan_summarize(t->model->graph, &err, &summary), EDT_OK, "%s", err.text);
    return summary.activation_bytes;
}

// Two runs: the second one starts from statistics that the first has moved.
static void expect_same(const char *backend, const edt_model_options *options, change *kept,
                        change *again)
{
    SKIP_UNDER_TSAN();
    edt_tiny a, b;
    edt_tiny_create_on(open_backend(backend), "efficientdet-d1", kept, options, &a);
    edt_tiny_create_on(open_backend(backend), "efficientdet-d1", again, options, &b);
    cr_assert(b.hp.grad_checkpoint && !a.hp.grad_checkpoint);
    cr_expect_lt(activation_bytes(&b), activation_bytes(&a));
    for (int i = 0; i < 2; i++) {
        const double losses[2] = {edt_tiny_total_loss(&a), edt_tiny_total_loss(&b)};
        // Losses that add up want memory that is cleared before.
        cr_expect(options->accumulate || losses[0] == losses[1], "loss of run %d", i);
        expect_same_arena(&a, &b, EDT_PARAMS_VALUES);
        expect_same_arena(&a, &b, EDT_PARAMS_GRADS);
    }
    edt_tiny_destroy(&a);
    edt_tiny_destroy(&b);
}

Test(recompute, gives_the_same_bytes_in_double, .timeout = 60)
{
    edt_model_options o = edt_tiny_options;
    expect_same("ref", &o, few_blocks, few_blocks_again);
    o.bn_ranks = 1;
    expect_same("ref", &o, few_blocks, few_blocks_again);
    o.accumulate = true;
    o.drop_connect = false;
    expect_same("ref", &o, few_blocks, few_blocks_again);
}

Test(recompute, gives_the_same_bytes_on_the_cpu, .timeout = 60)
{
    edt_model_options o = edt_tiny_options;
    o.real = EDT_DTYPE_F32;
    expect_same("cpu", &o, usual, usual_again);
    expect_same("cpu", &o, frozen_norm, frozen_norm_again);
    expect_same("cpu", &o, other_cells, other_cells_again);
    expect_same("cpu", &o, plain_convolutions, plain_convolutions_again);
    expect_same("cpu", &o, segmentation, segmentation_again);
    o.drop_connect = false;
    expect_same("cpu", &o, few_blocks, few_blocks_again);
    o.bn_ranks = 1;
    o.accumulate = true;
    expect_same("cpu", &o, few_blocks, few_blocks_again);
}

Test(recompute, gives_the_same_bytes_in_16_bits, .timeout = 60)
{
    edt_model_options o = edt_tiny_options;
    o.real = EDT_DTYPE_BF16;
    expect_same("cpu", &o, few_blocks, few_blocks_again);
    o.bn_ranks = 1;
    expect_same("cpu", &o, few_blocks, few_blocks_again);
}

static const edt_node *producer(const edt_graph *graph, edt_value_id value)
{
    const int i = graph->values[value].producer;
    return i < 0 ? NULL : &graph->nodes[i];
}

// No sums over ranks and nothing twice; moving statistics move once, at the end; a backward
// node reads what crosses the border of a segment, or what was computed again.
Test(recompute, takes_only_what_the_backward_pass_reads, .timeout = 60)
{
    edt_hparams hp;
    edt_test_model_hparams("efficientdet-d0", 128, 128, &hp);
    hp.grad_checkpoint = true;
    edt_model_options o = edt_tiny_options;
    o.real = EDT_DTYPE_F32;
    o.bn_ranks = 2;
    edt_model *model = edt_test_model(&hp, &o);
    const edt_graph *graph = model->graph;
    int n_again = 0;
    int n_moving = 0;
    for (int i = 0; i < graph->n_nodes; i++) {
        const edt_node *node = &graph->nodes[i];
        n_again += node->recomputed;
        cr_expect_not(node->recomputed && node->attrs.reduce_over_ranks, "%s", node->name);
        n_moving += node->kind == EDT_OP_BN_APPLY && node->attrs.bn.momentum < 1.0;
        for (int k = 0; node->recomputed && k < i; k++) {
            cr_expect_neq(strcmp(node->name, graph->nodes[k].name), 0, "%s twice", node->name);
        }
        for (int k = 0; k < node->n_in; k++) {
            const edt_value *value = &graph->values[node->in[k]];
            const edt_node *from = producer(graph, node->in[k]);
            cr_expect_lt(value->producer, i, "%s before %s", node->name, value->name);
            if (node->backward && from != NULL && from->segment != 0 &&
                value->desc.shape.n_dims == 4 && value->desc.shape.dim[1] > 1) {
                bool crosses = false;
                for (int r = 0; r < graph->n_nodes; r++) {
                    const edt_node *reader = &graph->nodes[r];
                    for (int j = 0; j < reader->n_in; j++) {
                        crosses =
                            crosses || (reader->in[j] == node->in[k] && !reader->backward &&
                                        reader->segment != from->segment);
                    }
                }
                cr_expect(crosses, "%s reads %s", node->name, value->name);
            }
        }
    }
    int n_norms = 0;
    for (int i = 0; i < graph->n_params; i++) {
        const size_t n = strlen(graph->params[i].name);
        n_norms += n > 12 && strcmp(graph->params[i].name + n - 12, "/moving_mean") == 0;
    }
    cr_expect_gt(n_again, 200);
    cr_expect_eq(n_moving, n_norms);
    edt_model_destroy(model);
    edt_hparams_deinit(&hp);
}

// What it is for, at the size that people train: most of the memory for less than another
// forward pass.
Test(recompute, saves_most_of_the_activations, .timeout = 60)
{
    edt_plan_summary plans[2];
    int64_t again = 0, forward = 0;
    for (int i = 0; i < 2; i++) {
        edt_hparams hp;
        edt_error err = {0};
        edt_test_model_hparams("efficientdet-d0", 0, 0, &hp);
        hp.grad_checkpoint = i == 1;
        edt_model_options o = edt_tiny_options;
        o.real = EDT_DTYPE_F32;
        edt_model *model = edt_test_model(&hp, &o);
        cr_assert_eq(edt_plan_summarize(model->graph, &err, &plans[i]), EDT_OK, "%s", err.text);
        for (int k = 0; i == 1 && k < model->graph->n_nodes; k++) {
            edt_op_desc desc;
            edt_graph_describe(model->graph, k, &desc);
            again += model->graph->nodes[k].recomputed ? edt_op_conv_macs(&desc) : 0;
            forward += model->graph->nodes[k].backward ? 0 : edt_op_conv_macs(&desc);
        }
        edt_model_destroy(model);
        edt_hparams_deinit(&hp);
    }
    cr_expect_lt(2 * plans[1].activation_bytes, plans[0].activation_bytes, "%lld of %lld",
                 (long long)plans[1].activation_bytes, (long long)plans[0].activation_bytes);
    cr_expect_eq(plans[1].conv_macs - plans[0].conv_macs, again);
    cr_expect(again > 0 && again < forward, "%lld of %lld", (long long)again,
              (long long)forward);
}
