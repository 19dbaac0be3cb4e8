// The graph builder: shared parameters, sticky errors.
#include <criterion/criterion.h>
#include <string.h>

#include "model/graph.h"

static edt_graph *new_graph(void)
{
    edt_error err = {0};
    edt_graph *graph = NULL;
    cr_assert_eq(edt_graph_create(EDT_DTYPE_F64, &err, &graph), EDT_OK, "%s", err.text);
    return graph;
}

Test(graph, a_parameter_asked_for_twice_is_one, .timeout = 30)
{
    edt_graph *graph = new_graph();
    const edt_init init = {.kind = EDT_INIT_CONSTANT};
    const edt_value_id a = edt_graph_param(graph, "a/kernel", "p", edt_shape_1(3), init, true);
    const edt_value_id b = edt_graph_param(graph, "a/kernel", "p", edt_shape_1(3), init, true);
    cr_expect_eq(a, b);
    cr_expect_eq(graph->n_params, 1);
    cr_expect(graph->params[0].decay, "kernels belong to the L2 term");
    (void)edt_graph_param(graph, "a/bias", "p", edt_shape_1(3), init, true);
    cr_expect_not(graph->params[1].decay);
    (void)edt_graph_param(graph, "a/kernel", "p", edt_shape_1(4), init, true);
    edt_error err = {0};
    cr_expect_eq(edt_graph_status(graph, &err), EDT_ERR_MISMATCH);
    cr_expect_not_null(strstr(err.text, "a/kernel"), "%s", err.text);
    edt_graph_destroy(graph);
}

Test(graph, the_first_error_stays_and_names_its_node, .timeout = 30)
{
    edt_graph *graph = new_graph();
    const edt_value_id x = edt_graph_input(graph, "x", EDT_DTYPE_F64, edt_shape_4(1, 4, 4, 2));
    const edt_value_id z = edt_graph_input(graph, "z", EDT_DTYPE_F64, edt_shape_4(1, 4, 4, 3));
    const edt_value_id in[2] = {x, z};
    const edt_value_id sum = edt_graph_op(graph, "wrong sum", EDT_OP_ADD, NULL, 2, in, 1);
    cr_expect_eq(sum, EDT_NO_VALUE);
    (void)edt_graph_op(graph, "later", EDT_OP_ACT, NULL, 1, &sum, 1);
    edt_graph_output(graph, "y", sum);
    edt_error err = {0};
    cr_expect_eq(edt_graph_status(graph, &err), EDT_ERR_INVALID);
    cr_expect_not_null(strstr(err.text, "wrong sum"), "%s", err.text);
    cr_expect_eq(graph->n_nodes, 0);
    cr_expect_eq(graph->n_outputs, 0);
    edt_graph_destroy(graph);
}

Test(graph, names_find_inputs_and_outputs, .timeout = 30)
{
    edt_graph *graph = new_graph();
    const edt_value_id x = edt_graph_input(graph, "x", EDT_DTYPE_F64, edt_shape_4(1, 4, 4, 2));
    const edt_op_attrs attrs = {.act = EDT_ACT_SWISH};
    const edt_value_id y = edt_graph_op(graph, "act", EDT_OP_ACT, &attrs, 1, &x, 1);
    edt_graph_output(graph, "y", y);
    cr_expect_eq(edt_graph_find_input(graph, "x"), x);
    cr_expect_eq(edt_graph_find_input(graph, "act"), EDT_NO_VALUE);
    cr_expect_eq(edt_graph_find_output(graph, "y"), y);
    cr_expect_eq(edt_graph_find_output(graph, "x"), EDT_NO_VALUE);
    for (int i = 1; i < EDT_OP_MAX_OUT; ++i) {
        cr_expect_eq(graph->nodes[0].out[i], EDT_NO_VALUE);
    }
    edt_op_desc desc;
    edt_graph_describe(graph, 0, &desc);
    cr_expect_eq(desc.kind, EDT_OP_ACT);
    cr_expect_eq(desc.out[0].shape.dim[3], 2);
    edt_graph_destroy(graph);
}

Test(graph, variables_of_16_bit_networks_stay_wide, .timeout = 30)
{
    edt_error err = {0};
    edt_graph *graph = NULL;
    cr_assert_eq(edt_graph_create(EDT_DTYPE_BF16, &err, &graph), EDT_OK, "%s", err.text);
    cr_expect_eq(graph->wide, EDT_DTYPE_F32);
    const edt_init init = {.kind = EDT_INIT_CONSTANT};
    const edt_value_id gamma = edt_graph_param(graph, "gamma", "p", edt_shape_1(3), init, true);
    const edt_value_id kernel =
        edt_graph_weight(graph, "kernel", "p", edt_shape_4(1, 1, 2, 3), init, true);
    cr_expect_eq(graph->values[gamma].desc.dtype, EDT_DTYPE_F32);
    cr_expect_eq(graph->values[kernel].desc.dtype, EDT_DTYPE_BF16);
    const edt_value_id grad = edt_graph_param_grad(graph, graph->values[kernel].i_param);
    cr_expect_eq(graph->values[grad].desc.dtype, EDT_DTYPE_F32);
    // A gradient is never written by an op that makes it in 16 bits.
    const edt_value_id x = edt_graph_input(graph, "x", EDT_DTYPE_BF16, edt_shape_4(1, 1, 1, 6));
    edt_value_id out = grad;
    cr_expect_eq(edt_graph_op_into(graph, "act", EDT_OP_ACT, NULL, 1, &x, 1, &out), -1);
    cr_expect_eq(edt_graph_status(graph, &err), EDT_ERR_INTERNAL);
    cr_expect_not_null(strstr(err.text, "another type"), "%s", err.text);
    edt_graph_destroy(graph);
}

Test(graph, a_variable_has_one_type, .timeout = 30)
{
    edt_error err = {0};
    edt_graph *graph = NULL;
    cr_assert_eq(edt_graph_create(EDT_DTYPE_F16, &err, &graph), EDT_OK, "%s", err.text);
    const edt_init init = {.kind = EDT_INIT_CONSTANT};
    (void)edt_graph_weight(graph, "w", "p", edt_shape_1(3), init, true);
    (void)edt_graph_param(graph, "w", "p", edt_shape_1(3), init, true);
    cr_expect_eq(edt_graph_status(graph, &err), EDT_ERR_INTERNAL);
    edt_graph_destroy(graph);
}
