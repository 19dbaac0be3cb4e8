// The executor: one parameter table under several graphs, averages, no allocation in a run, and
// words for what goes wrong.
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "model/exec.h"
#include "tests/support/test_model.h"

#define OK(expr) cr_assert_eq((expr), EDT_OK, "%s", err.text)

typedef struct setup {
    edt_hparams hp;
    edt_backend *backend;
    edt_params *params;
} setup;

static edt_model *lite0(const edt_hparams *hp, int64_t side, edt_model_mode mode)
{
    edt_hparams sized = *hp;
    sized.image_size = (edt_hw){.h = side, .w = side};
    const edt_model_options options = {.mode = mode,
                                       .real = EDT_DTYPE_F32,
                                       .batch_size = 1,
                                       .losses = mode == EDT_MODEL_TRAIN};
    return edt_test_model(&sized, &options);
}

static void setup_create(setup *s, edt_model *model)
{
    edt_error err = {0};
    OK(edt_backend_ref_create(&err, &s->backend));
    OK(edt_params_create(model->graph, s->backend, &err, &s->params));
    OK(edt_params_init_random(s->params, 1, &err));
}

static void setup_destroy(setup *s)
{
    edt_params_destroy(s->params);
    edt_backend_destroy(&s->backend);
    edt_hparams_deinit(&s->hp);
}

static float run_and_read(edt_exec *exec, const edt_model *model, edt_params *params)
{
    edt_error err = {0};
    float outputs[36];
    const edt_run_ctx ctx = {.params_version = params->version};
    OK(edt_exec_run(exec, &ctx, &err));
    OK(edt_exec_get(exec, edt_graph_find_output(model->graph, "box_7"), outputs, sizeof outputs,
                    &err));
    return outputs[7];
}

static void fill_image(edt_exec *exec, const edt_model *model)
{
    edt_error err = {0};
    const size_t n = (size_t)(model->image_h * model->image_w * 3);
    float *image = edt_mem_alloc(EDT_MEM_MISC, n * sizeof *image);
    for (size_t i = 0; i < n; i++) {
        image[i] = (float)(i % 17) / 8.0f - 1.0f;
    }
    OK(edt_exec_set_input(exec, edt_graph_find_input(model->graph, "image"), image,
                          n * sizeof *image, &err));
    edt_mem_free(image);
}

Test(exec, graphs_of_other_sizes_share_parameters, .timeout = 60)
{
    edt_error err = {0};
    setup s;
    edt_test_model_hparams("efficientdet-lite0", 0, 0, &s.hp);
    edt_model *train = lite0(&s.hp, 128, EDT_MODEL_TRAIN);
    edt_model *infer = lite0(&s.hp, 96, EDT_MODEL_INFER);
    setup_create(&s, train);
    OK(edt_params_add_arena(s.params, EDT_PARAMS_GRADS, &err));
    edt_exec *a = NULL;
    edt_exec *b = NULL;
    OK(edt_exec_create(train->graph, s.params, &err, &a));
    OK(edt_exec_create(infer->graph, s.params, &err, &b));
    fill_image(b, infer);
    const float before = run_and_read(b, infer, s.params);
    // A training pass moves the statistics that the other graph reads.
    fill_image(a, train);
    (void)run_and_read(a, train, s.params);
    const float after = run_and_read(b, infer, s.params);
    cr_expect(isfinite(before) && isfinite(after));
    cr_expect_neq(before, after);
    edt_exec_destroy(a);
    edt_exec_destroy(b);
    edt_model_destroy(train);
    edt_model_destroy(infer);
    setup_destroy(&s);
}

Test(exec, averages_replace_values_until_switched_back, .timeout = 60)
{
    edt_error err = {0};
    setup s;
    edt_test_model_hparams("efficientdet-lite0", 0, 0, &s.hp);
    edt_model *model = lite0(&s.hp, 96, EDT_MODEL_INFER);
    setup_create(&s, model);
    edt_exec *exec = NULL;
    OK(edt_exec_create(model->graph, s.params, &err, &exec));
    fill_image(exec, model);
    edt_exec_use_ema(exec, true);
    const edt_run_ctx ctx = {.params_version = s.params->version};
    cr_expect_neq(edt_exec_run(exec, &ctx, &err), EDT_OK, "there are no averages yet");
    OK(edt_params_add_arena(s.params, EDT_PARAMS_EMA, &err));
    OK(edt_params_copy_arena(s.params, EDT_PARAMS_EMA, EDT_PARAMS_VALUES, &err));
    const int bias = edt_params_find(s.params, "box_net/box-predict/bias");
    float values[36] = {0};
    values[7] = 100;
    OK(edt_params_set_f32(s.params, EDT_PARAMS_EMA, bias, values, 36, &err));
    const float averaged = run_and_read(exec, model, s.params);
    edt_exec_use_ema(exec, false);
    const float raw = run_and_read(exec, model, s.params);
    cr_expect_float_eq(averaged - raw, 100, 1e-3);
    edt_exec_destroy(exec);
    edt_model_destroy(model);
    setup_destroy(&s);
}

Test(exec, a_run_allocates_nothing, .timeout = 60)
{
    edt_error err = {0};
    setup s;
    edt_test_model_hparams("efficientdet-lite0", 0, 0, &s.hp);
    edt_model *model = lite0(&s.hp, 96, EDT_MODEL_TRAIN);
    setup_create(&s, model);
    OK(edt_params_add_arena(s.params, EDT_PARAMS_GRADS, &err));
    edt_exec *exec = NULL;
    OK(edt_exec_create(model->graph, s.params, &err, &exec));
    const int64_t before = edt_mem_get_total().n_total;
    const edt_run_ctx ctx = {.params_version = s.params->version};
    OK(edt_exec_run(exec, &ctx, &err));
    cr_expect_eq(edt_mem_get_total().n_total, before);
    OK(edt_exec_enable_timing(exec, true, &err));
    OK(edt_exec_run(exec, &ctx, &err));
    cr_expect_eq(edt_mem_get_total().n_total, before);
    double seconds = 0;
    for (int i = 0; i < model->graph->n_nodes; i++) {
        seconds += edt_exec_node_seconds(exec, i);
    }
    cr_expect_gt(seconds, 0);
    edt_exec_destroy(exec);
    edt_model_destroy(model);
    setup_destroy(&s);
}

Test(exec, foreign_parameters_are_refused_by_name, .timeout = 30)
{
    edt_error err = {0};
    setup s;
    edt_test_model_hparams("efficientdet-lite0", 0, 0, &s.hp);
    edt_model *model = lite0(&s.hp, 96, EDT_MODEL_INFER);
    s.hp.num_classes = 20;
    edt_model *other = lite0(&s.hp, 96, EDT_MODEL_INFER);
    setup_create(&s, model);
    edt_exec *exec = NULL;
    cr_expect_eq(edt_exec_create(other->graph, s.params, &err, &exec), EDT_ERR_MISMATCH);
    cr_expect_not_null(strstr(err.text, "class_net/class-predict/pointwise_kernel"), "%s",
                       err.text);
    cr_expect_null(exec);
    edt_model_destroy(model);
    edt_model_destroy(other);
    setup_destroy(&s);
}

typedef struct seen {
    int n_calls, last_node, n_reduced;
    const void *out; // of the last node
    int64_t n;
} seen;

static edt_status see(void *user, const edt_exec_node_done *done, edt_error *err)
{
    seen *s = user;
    cr_expect_gt(done->i_node, s->last_node);
    s->n_calls++;
    s->last_node = done->i_node;
    s->n_reduced += done->reduce_over_ranks;
    s->out = done->out;
    s->n = done->n;
    if (s->n_calls == 1000) {
        EDT_FAIL(err, EDT_ERR_DEVICE, "stopped");
    }
    return EDT_OK;
}

Test(exec, a_hook_sees_every_node_and_outputs_lie_where_they_are_placed, .timeout = 60)
{
    edt_error err = {0};
    setup s;
    edt_test_model_hparams("efficientdet-lite0", 0, 0, &s.hp);
    edt_model *model = lite0(&s.hp, 96, EDT_MODEL_INFER);
    setup_create(&s, model);
    edt_exec *exec = NULL;
    OK(edt_exec_create(model->graph, s.params, &err, &exec));
    fill_image(exec, model);
    const float plain = run_and_read(exec, model, s.params);

    const edt_value_id box = edt_graph_find_output(model->graph, "box_7");
    float placed[36] = {0};
    seen all = {.last_node = -1};
    edt_exec_place(exec, box, placed);
    edt_exec_set_hook(exec, see, &all);
    cr_expect_eq(run_and_read(exec, model, s.params), plain);
    cr_expect_eq(placed[7], plain);
    int n_nodes = 0;
    edt_op_desc desc;
    for (int i = 0; i < model->graph->n_nodes; i++) {
        n_nodes += edt_exec_describe(exec, i, &desc);
    }
    cr_expect_eq(all.n_calls, n_nodes);
    cr_expect_eq(all.out, placed, "the last node makes box_7");
    cr_expect_eq(all.n, 36);
    cr_expect_eq(all.n_reduced, 0);

    all = (seen){.n_calls = 999, .last_node = -1};
    const edt_run_ctx ctx = {.params_version = s.params->version};
    cr_expect_eq(edt_exec_run(exec, &ctx, &err), EDT_ERR_DEVICE);
    cr_expect_not_null(strstr(err.text, "after node"), "%s", err.text);
    cr_expect_eq(all.n_calls, 1000, "a failing hook ends the run");
    edt_exec_set_hook(exec, NULL, NULL);
    edt_exec_place(exec, box, NULL);
    cr_expect_eq(run_and_read(exec, model, s.params), plain);
    edt_exec_destroy(exec);
    edt_model_destroy(model);
    setup_destroy(&s);
}
