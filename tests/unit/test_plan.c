// The memory plan of a real training graph: values that live at the same time never share
// bytes, except where an op may work in place.
#include <criterion/criterion.h>

#include "model/exec.h"
#include "model/plan.h"
#include "tests/support/test_model.h"

static edt_model *lite0(edt_model_mode mode, const bool *wants)
{
    edt_hparams hp;
    edt_test_model_hparams("efficientdet-lite0", 128, 160, &hp);
    const edt_model_options options = {.mode = mode,
                                       .real = EDT_DTYPE_F32,
                                       .batch_size = 2,
                                       .drop_connect = true,
                                       .losses = true,
                                       .wants_grad = wants};
    edt_model *model = edt_test_model(&hp, &options);
    edt_hparams_deinit(&hp);
    return model;
}

typedef struct life {
    int first, last;
} life;

static life life_of(const edt_graph *graph, const bool *dead, edt_value_id value)
{
    life l = {.first = graph->values[value].producer, .last = graph->values[value].producer};
    for (int i = 0; i < graph->n_nodes; i++) {
        for (int j = 0; !dead[i] && j < graph->nodes[i].n_in; j++) {
            if (graph->nodes[i].in[j] == value) {
                l.last = i;
            }
        }
    }
    for (int i = 0; i < graph->n_outputs; i++) {
        if (graph->outputs[i].value == value) {
            l.last = graph->n_nodes;
        }
    }
    return l;
}

// b is made in place of a: by the node that reads a last, where the op allows it.
static bool in_place(const edt_graph *graph, life a, edt_value_id b_value)
{
    const edt_node *node = &graph->nodes[graph->values[b_value].producer];
    return a.last == graph->values[b_value].producer && node->out[0] == b_value &&
           edt_op_get_info(node->kind)->alias_in >= 0;
}

static void check_plan(const edt_graph *graph)
{
    edt_error err = {0};
    bool *dead = edt_mem_calloc(EDT_MEM_MISC, (size_t)graph->n_nodes, sizeof *dead);
    life *lives = edt_mem_calloc(EDT_MEM_MISC, (size_t)graph->n_values, sizeof *lives);
    edt_plan plan;
    cr_assert_eq(edt_plan_mark_dead(graph, graph->nodes, dead, &err), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_plan_create(graph, graph->nodes, dead, &err, &plan), EDT_OK, "%s",
                 err.text);
    int n_in_place = 0;
    for (int b = 0; b < graph->n_values; b++) {
        if (plan.offset[b] < 0) {
            continue;
        }
        lives[b] = life_of(graph, dead, b);
        const int64_t b_end =
            plan.offset[b] + (int64_t)edt_tensor_bytes(&graph->values[b].desc);
        cr_assert_leq(b_end, plan.block_bytes);
        for (int a = 0; a < b; a++) {
            const bool together = plan.offset[a] >= 0 && lives[a].first <= lives[b].last &&
                                  lives[b].first <= lives[a].last;
            if (!together ||
                plan.offset[a] + (int64_t)edt_tensor_bytes(&graph->values[a].desc) <=
                    plan.offset[b] ||
                b_end <= plan.offset[a]) {
                continue;
            }
            n_in_place++;
            cr_assert(in_place(graph, lives[a], b) && plan.offset[a] == plan.offset[b],
                      "'%s' and '%s' overlap", graph->values[a].name, graph->values[b].name);
        }
    }
    cr_expect_gt(n_in_place, 0);
    cr_expect_lt(plan.block_bytes, plan.naive_bytes);
    edt_plan_deinit(&plan);
    edt_mem_free(lives);
    edt_mem_free(dead);
}

Test(plan, training_values_that_live_together_do_not_overlap, .timeout = 60)
{
    edt_model *model = lite0(EDT_MODEL_TRAIN, NULL);
    check_plan(model->graph);
    edt_model_destroy(model);
}

Test(plan, inference_needs_a_fraction_of_the_naive_memory, .timeout = 60)
{
    edt_model *model = lite0(EDT_MODEL_INFER, NULL);
    check_plan(model->graph);
    edt_error err = {0};
    edt_plan_summary summary;
    cr_assert_eq(edt_plan_summarize(model->graph, &err, &summary), EDT_OK, "%s", err.text);
    cr_expect_lt(summary.activation_bytes * 4, summary.naive_bytes, "%lld of %lld",
                 (long long)summary.activation_bytes, (long long)summary.naive_bytes);
    cr_expect_eq(summary.param_bytes, (3243470 + 47136) * 4);
    edt_model_destroy(model);
}

// 410 billion multiply-accumulates; only places are computed here.
Test(plan, the_largest_model_fits_a_small_machine, .timeout = 60)
{
    edt_hparams hp;
    edt_test_model_hparams("efficientdet-d7x", 0, 0, &hp);
    const edt_model_options options = {
        .mode = EDT_MODEL_INFER, .real = EDT_DTYPE_F32, .batch_size = 1};
    edt_model *model = edt_test_model(&hp, &options);
    edt_error err = {0};
    edt_plan_summary summary;
    cr_assert_eq(edt_plan_summarize(model->graph, &err, &summary), EDT_OK, "%s", err.text);
    const double gib = 1 << 30;
    cr_expect_lt((double)(summary.activation_bytes + summary.param_bytes + summary.input_bytes),
                 1.0 * gib, "%.2f GiB of activations", (double)summary.activation_bytes / gib);
    edt_model_destroy(model);
    edt_hparams_deinit(&hp);
}

Test(plan, nodes_that_nobody_needs_are_dead, .timeout = 30)
{
    edt_model *model = lite0(EDT_MODEL_INFER, NULL);
    edt_graph *graph = model->graph;
    const edt_op_attrs attrs = {.act = EDT_ACT_SWISH};
    const edt_value_id read = edt_graph_find_output(graph, "cls_3");
    const int extra = graph->n_nodes;
    const edt_value_id unread = edt_graph_op(graph, "unread", EDT_OP_ACT, &attrs, 1, &read, 1);
    (void)edt_graph_op(graph, "unread too", EDT_OP_ACT, &attrs, 1, &unread, 1);
    bool *dead = edt_mem_calloc(EDT_MEM_MISC, (size_t)graph->n_nodes, sizeof *dead);
    edt_error err = {0};
    cr_assert_eq(edt_plan_mark_dead(graph, graph->nodes, dead, &err), EDT_OK);
    for (int i = 0; i < graph->n_nodes; i++) {
        cr_expect_eq(dead[i], i >= extra, "%s", graph->nodes[i].name);
    }
    edt_mem_free(dead);
    edt_model_destroy(model);
}
