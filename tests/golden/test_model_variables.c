// Names, shapes, roles, initialisers and Keras paths of all variables against the
// specification's tables and the reference's own object-based checkpoint.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/test_dirs.h"
#include "tests/support/test_model.h"

static edt_model *infer_model(const char *name)
{
    edt_hparams hp;
    edt_test_model_hparams(name, 0, 0, &hp);
    const edt_model_options options = {.real = EDT_DTYPE_F32, .batch_size = 1};
    edt_model *model = edt_test_model(&hp, &options);
    edt_hparams_deinit(&hp);
    return model;
}

typedef struct check {
    const edt_graph *graph;
    int n_variables;
    int n_shapes_in_order; // of the table, among the graph's
} check;

static edt_shape parse_shape(const char *text)
{
    edt_shape shape = {0};
    for (const char *at = text; *at != '\0'; at++) {
        if (*at >= '0' && *at <= '9') {
            char *end = NULL;
            shape.dim[shape.n_dims++] = strtoll(at, &end, 10);
            at = end - 1;
        }
    }
    return shape;
}

// "zeros", "ones", "N(0,sqrt(2/9))", "TN(0,sqrt(1/64)/0.8796...)", "U(+-sqrt(6/585))",
// "-log(99)".
static void check_init(const edt_param *param, const char *text)
{
    double a = 0;
    double b = 1;
    const char *root = strstr(text, "sqrt(");
    if (root != NULL) {
        cr_assert_eq(sscanf(root, "sqrt(%lf/%lf)", &a, &b), 2, "%s", text);
    }
    const double scale = sqrt(a / b);
    if (strncmp(text, "zeros", 5) == 0 || strncmp(text, "ones", 4) == 0) {
        cr_expect_eq(param->init.kind, EDT_INIT_CONSTANT, "%s", param->name);
        cr_expect_eq(param->init.a, text[0] == 'o' ? 1.0 : 0.0, "%s", param->name);
    } else if (strncmp(text, "N(", 2) == 0) {
        cr_expect_eq(param->init.kind, EDT_INIT_NORMAL, "%s", param->name);
        cr_expect_float_eq(param->init.a, scale, 1e-12, "%s", param->name);
    } else if (strncmp(text, "TN(", 3) == 0) {
        cr_expect_eq(param->init.kind, EDT_INIT_TRUNCATED_NORMAL, "%s", param->name);
        cr_expect_float_eq(param->init.a, scale / 0.87962566103423978, 1e-12, "%s",
                           param->name);
    } else if (strncmp(text, "U(", 2) == 0) {
        cr_expect_eq(param->init.kind, EDT_INIT_UNIFORM, "%s", param->name);
        cr_expect_float_eq(param->init.a, scale, 1e-12, "%s", param->name);
    } else {
        cr_expect(strncmp(text, "-log(99)", 8) == 0, "%s: unknown initialiser %s", param->name,
                  text);
        cr_expect_float_eq(param->init.a, -log(99.0), 1e-12, "%s", param->name);
    }
}

static void check_row(void *user, int n_fields, char **fields)
{
    check *c = user;
    char *name = fields[0];
    if (strcmp(name, "global_step") == 0) {
        return;
    }
    name[strcspn(name, ":")] = '\0';
    c->n_variables++;
    const int i = edt_graph_find_param(c->graph, name);
    cr_expect_geq(i, 0, "variable %s is missing", name);
    if (i < 0) {
        return;
    }
    const edt_param *param = &c->graph->params[i];
    const edt_shape shape = parse_shape(fields[1]);
    cr_expect(edt_shape_equal(&shape, &param->shape), "shape of %s", name);
    if (n_fields < 4) {
        return;
    }
    cr_expect_eq(param->trainable, fields[2][0] == '1', "trainable of %s", name);
    const char *init = strstr(fields[3], "init=");
    cr_assert_not_null(init, "%s", fields[3]);
    check_init(param, init + 5);
    const char *path = strstr(fields[3], "tf2=");
    cr_assert_not_null(path, "%s", fields[3]);
    cr_expect_str_eq(param->object_path, path + 4, "path of %s", name);
}

Test(model_variables, d0_has_the_official_variables, .timeout = 30)
{
    const char *path = edt_test_path(edt_test_golden_dir(), "../spec/d0_variables.tsv");
    EDT_TEST_NEEDS_FILE(path);
    edt_model *model = infer_model("efficientdet-d0");
    check c = {.graph = model->graph};
    edt_test_read_tsv(path, 1, check_row, &c);
    cr_expect_eq(c.n_variables, 709);
    cr_expect_eq(model->graph->n_params, 709);
    edt_model_destroy(model);
}

Test(model_variables, lite0_has_the_official_variables, .timeout = 30)
{
    const char *path = edt_test_path(edt_test_golden_dir(), "../spec/lite0_variables.tsv");
    EDT_TEST_NEEDS_FILE(path);
    edt_model *model = infer_model("efficientdet-lite0");
    check c = {.graph = model->graph};
    edt_test_read_tsv(path, 0, check_row, &c);
    cr_expect_eq(c.n_variables, 588);
    cr_expect_eq(model->graph->n_params, 588);
    edt_model_destroy(model);
}

static void check_key(void *user, int n_fields, char **fields)
{
    check *c = user;
    char *end = strstr(fields[0], "/.ATTRIBUTES/VARIABLE_VALUE");
    if (n_fields < 2 || end == NULL) {
        return;
    }
    *end = '\0';
    const int i = edt_graph_find_param(c->graph, fields[1]);
    if (i < 0 || strstr(fields[0], "/.OPTIMIZER_SLOT/") != NULL) {
        return;
    }
    c->n_variables++;
    cr_expect_str_eq(c->graph->params[i].object_path, fields[0], "path of %s", fields[1]);
}

Test(model_variables, lite0_paths_are_those_of_a_keras_checkpoint, .timeout = 30)
{
    const char *path =
        edt_test_path(edt_test_golden_dir(), "model/ckpt/efficientdet-lite0-tf2.keys.tsv");
    EDT_TEST_NEEDS_FILE(path);
    edt_model *model = infer_model("efficientdet-lite0");
    check c = {.graph = model->graph};
    edt_test_read_tsv(path, 1, check_key, &c);
    cr_expect_eq(c.n_variables, 588, "%d", c.n_variables);
    edt_model_destroy(model);
}

Test(model_variables, training_graph_has_the_same_table, .timeout = 30)
{
    edt_hparams hp;
    edt_test_model_hparams("efficientdet-lite0", 0, 0, &hp);
    const edt_model_options infer = {.real = EDT_DTYPE_F32, .batch_size = 1};
    const edt_model_options train = {.mode = EDT_MODEL_TRAIN,
                                     .real = EDT_DTYPE_F32,
                                     .batch_size = 2,
                                     .u8_input = true,
                                     .drop_connect = true,
                                     .losses = true};
    edt_model *a = edt_test_model(&hp, &infer);
    edt_model *b = edt_test_model(&hp, &train);
    cr_assert_eq(a->graph->n_params, b->graph->n_params);
    for (int i = 0; i < a->graph->n_params; i++) {
        const edt_param *param = &b->graph->params[i];
        cr_expect_str_eq(a->graph->params[i].name, param->name);
        cr_expect(param->trainable == (param->grad != EDT_NO_VALUE), "gradient of %s",
                  param->name);
    }
    cr_expect_eq(b->n_drop_rows, 9, "%d", b->n_drop_rows);
    edt_model_destroy(a);
    edt_model_destroy(b);
    edt_hparams_deinit(&hp);
}
