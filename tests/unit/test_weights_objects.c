// Object-based checkpoints as other trainers write them: names that Keras numbered otherwise,
// the hub trainer's layout, both layouts of optimizers, graphs that do not fit their index.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "model/io/object_graph.h"
#include "model/io/restore.h"
#include "tests/support/test_bundle.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_model.h"

static const float VALUES[32] = {3, 1, 4, 1, 5};
static const int64_t STEP = 41;

typedef struct writer {
    edt_object_graph *graph;
    edt_arena arena;
    int n;
    edt_test_tensor tensors[32];
} writer;

static writer begin(void)
{
    writer w = {0};
    edt_error err = {0};
    cr_assert_eq(edt_object_graph_create(&err, &w.graph), EDT_OK);
    edt_arena_init(&w.arena, EDT_MEM_TEXT, 0);
    return w;
}

static void put(writer *w, const char *key, edt_tensor_desc desc, const void *data)
{
    w->tensors[w->n++] = (edt_test_tensor){.name = key, .desc = desc, .data = data};
}

static int add(writer *w, const char *path, const char *name, int64_t n)
{
    edt_error err = {0};
    int object = -1;
    cr_assert_eq(edt_object_graph_add(w->graph, path, name, &err, &object), EDT_OK, "%s",
                 err.text);
    char *key = edt_arena_printf(&w->arena, "%s%s", path, EDT_OBJECT_VALUE_SUFFIX);
    for (char *p = strchr(key, '|'); p != NULL; p = strchr(p, '|')) {
        *p = '/';
    }
    put(w, key, (edt_tensor_desc){EDT_DTYPE_F32, edt_shape_1(n)}, VALUES);
    return object;
}

static void add_slot(writer *w, const char *optimizer, int variable, const char *slot,
                     int64_t n)
{
    edt_error err = {0};
    const char *key = edt_arena_printf(&w->arena, "slot_%d_%s", variable, slot);
    cr_assert_eq(
        edt_object_graph_add_slot(w->graph, optimizer, variable, slot, "any", key, &err),
        EDT_OK, "%s", err.text);
    put(w, key, (edt_tensor_desc){EDT_DTYPE_F32, edt_shape_1(n)}, VALUES);
}

static edt_status finish(writer *w, const char *dir, edt_error *err, edt_weights **out_weights)
{
    char prefix[512];
    (void)snprintf(prefix, sizeof prefix, "%s/ckpt-1", dir);
    edt_text graph;
    cr_assert_eq(edt_object_graph_pack(w->graph, err, &graph), EDT_OK, "%s", err->text);
    // Names of single objects that hold slashes are written with bars.
    char *bytes = edt_arena_strndup(&w->arena, graph.data, graph.n_bytes);
    for (size_t i = 0; i < graph.n_bytes; ++i) {
        bytes[i] = bytes[i] == '|' ? '/' : bytes[i];
    }
    w->tensors[w->n++] =
        (edt_test_tensor){.name = EDT_OBJECT_GRAPH_KEY, .text = {bytes, graph.n_bytes}};
    edt_test_bundle_write(prefix, &(edt_test_bundle_options){0}, w->tensors, w->n);
    edt_object_graph_destroy(w->graph);
    edt_arena_deinit(&w->arena);
    return edt_weights_open(prefix, err, out_weights);
}

static void expect_name(const edt_weights *weights, const char *name, const char *key)
{
    const int i = edt_weights_find(weights, name);
    cr_assert_geq(i, 0, "%s", name);
    cr_expect_str_eq(edt_weights_get(weights, i)->key, key);
}

Test(weights_objects, slots_of_both_optimizer_layouts_have_canonical_names, .timeout = 30)
{
    static const char *const optimizers[] = {"optimizer", "optimizer/awg_optimizer"};
    for (int k = 0; k < 2; ++k) {
        const char *dir = edt_test_temp_dir();
        writer w = begin();
        const int bias = add(&w, "box_net/boxes/bias", "box_net/box-predict/bias", 4);
        add_slot(&w, optimizers[k], bias, "momentum", 4);
        add_slot(&w, optimizers[k], bias, "m", 4);
        add_slot(&w, optimizers[k], bias, "v", 4);
        add_slot(&w, optimizers[k], bias, "unheard_of", 4);
        add_slot(&w, "optimizer", bias, "average", 4);
        edt_error err = {0};
        int object;
        cr_assert_eq(edt_object_graph_add(w.graph, "optimizer/iter", "iter", &err, &object),
                     EDT_OK);
        put(&w, "optimizer/iter/.ATTRIBUTES/VARIABLE_VALUE",
            (edt_tensor_desc){.dtype = EDT_DTYPE_I64}, &STEP);
        edt_weights *weights = NULL;
        cr_assert_eq(finish(&w, dir, &err, &weights), EDT_OK, "%s", err.text);
        expect_name(weights, "box_net/box-predict/bias",
                    "box_net/boxes/bias/.ATTRIBUTES/VARIABLE_VALUE");
        char key[64];
        static const char *const rows[][2] = {{"momentum", "KerasMomentum"},
                                              {"m", "Adam"},
                                              {"v", "Adam_1"},
                                              {"average", "ExponentialMovingAverage"}};
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
            char name[128];
            (void)snprintf(key, sizeof key, "slot_%d_%s", bias, rows[i][0]);
            (void)snprintf(name, sizeof name, "box_net/box-predict/bias/%s", rows[i][1]);
            expect_name(weights, name, key);
            (void)snprintf(name, sizeof name, "box_net/boxes/bias/%s", rows[i][1]);
            cr_expect_eq(edt_weights_find_path(weights, name),
                         edt_weights_find_key(weights, key));
        }
        (void)snprintf(key, sizeof key, "slot_%d_unheard_of", bias);
        cr_expect_geq(edt_weights_find_key(weights, key), 0);
        expect_name(weights, "global_step", "optimizer/iter/.ATTRIBUTES/VARIABLE_VALUE");
        edt_weights_close(weights);
        edt_test_remove_tree(dir);
    }
}

Test(weights_objects, hub_trainers_variables_have_their_names, .timeout = 30)
{
    const char *dir = edt_test_temp_dir();
    writer w = begin();
    (void)add(&w, "base_model/efficientnet-b0|stem|conv2d|kernel:0", "other/name", 4);
    (void)add(&w, "base_model/fpn_cells|cell_0|fnode0|WSM:0", "", 1);
    (void)add(&w, "classes/bias", "class-predict/bias", 4);
    (void)add(&w, "boxes/pointwise_kernel", "separable_conv2d_1/pointwise_kernel", 4);
    edt_weights *weights = NULL;
    edt_error err = {0};
    cr_assert_eq(finish(&w, dir, &err, &weights), EDT_OK, "%s", err.text);
    expect_name(weights, "efficientnet-b0/stem/conv2d/kernel",
                "base_model/efficientnet-b0/stem/conv2d/kernel:0/.ATTRIBUTES/VARIABLE_VALUE");
    expect_name(weights, "fpn_cells/cell_0/fnode0/WSM",
                "base_model/fpn_cells/cell_0/fnode0/WSM:0/.ATTRIBUTES/VARIABLE_VALUE");
    static const char path[] = "base_model/efficientnet-b0.Sstem.Sconv2d.Skernel:0";
    cr_expect_str_eq(edt_weights_get(weights, edt_weights_find_path(weights, path))->name,
                     "efficientnet-b0/stem/conv2d/kernel");
    expect_name(weights, "class_net/class-predict/bias",
                "classes/bias/.ATTRIBUTES/VARIABLE_VALUE");
    expect_name(weights, "box_net/box-predict/pointwise_kernel",
                "boxes/pointwise_kernel/.ATTRIBUTES/VARIABLE_VALUE");
    edt_weights_close(weights);
    edt_test_remove_tree(dir);
}

// In the process that wrote this one other layers had been built before, and one name is gone.
Test(weights_objects, numbered_and_missing_names_are_restored_by_path, .timeout = 60)
{
    edt_hparams hp;
    edt_error err = {0};
    edt_test_model_hparams("efficientdet-lite0", 128, 128, &hp);
    edt_model *model =
        edt_test_model(&hp, &(edt_model_options){.real = EDT_DTYPE_F32, .batch_size = 1});
    edt_backend *backend = NULL;
    edt_params *params = NULL;
    cr_assert_eq(edt_backend_ref_create(&err, &backend), EDT_OK);
    cr_assert_eq(edt_params_create(model->graph, backend, &err, &params), EDT_OK);
    const char *dir = edt_test_temp_dir();
    writer w = begin();
    (void)add(&w, "backbone/_stem/_bn/gamma",
              "efficientnet-lite0/stem_2/tpu_batch_normalization/gamma", 32);
    (void)add(&w, "backbone/_stem/_bn/beta", "", 32);
    // Its name is another variable's, its path says which one it is.
    (void)add(&w, "backbone/_stem/_bn/moving_mean",
              "efficientnet-lite0/stem/tpu_batch_normalization/moving_variance", 32);
    edt_weights *weights = NULL;
    cr_assert_eq(finish(&w, dir, &err, &weights), EDT_OK, "%s", err.text);
    edt_weights_close(weights);
    edt_restore_report report = {0};
    cr_assert_eq(edt_restore(params, edt_test_path(dir, "ckpt-1"),
                             &(edt_restore_options){.skip_mismatch = true}, &err, &report),
                 EDT_OK, "%s", err.text);
    static const char *const names[] = {"gamma", "beta", "moving_mean"};
    for (int k = 0; k < 3; ++k) {
        char name[128];
        (void)snprintf(name, sizeof name, "efficientnet-lite0/stem/tpu_batch_normalization/%s",
                       names[k]);
        const int i = edt_params_find(params, name);
        float got[32];
        cr_assert_geq(i, 0, "%s", name);
        cr_expect_eq(report.rows[i].outcome, EDT_RESTORE_LOADED, "%s", name);
        cr_assert_eq(edt_params_get_f32(params, EDT_PARAMS_VALUES, i, got, 32, &err), EDT_OK);
        cr_expect_eq(memcmp(got, VALUES, sizeof got), 0, "%s", name);
    }
    edt_restore_report_deinit(&report);
    edt_test_remove_tree(dir);
    edt_params_destroy(params);
    edt_backend_destroy(&backend);
    edt_model_destroy(model);
    edt_hparams_deinit(&hp);
}

Test(weights_objects, graphs_that_do_not_hold_together_are_refused, .timeout = 30)
{
    static const struct {
        const char *bytes;
        size_t n;
        const char *word;
    } bad[] = {
        {"", 0, "empty"},
        {"\x0a\x7f", 2, "malformed"},
        {"\x0a\x05\x0a\x03\x08\x07\x12", 7, "malformed"},
        {"\x0a\x07\x0a\x05\x08\x07\x12\x01x", 9, "refers to object 7 of 1"},
        {"\x0a\x09\x1a\x07\x08\x01\x12\x01m\x18\x02", 11,
         "'m' belongs to objects 1 and 2 of 1"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
        const char *dir = edt_test_temp_dir();
        char prefix[512];
        (void)snprintf(prefix, sizeof prefix, "%s/ckpt-1", dir);
        const edt_test_tensor graph = {.name = EDT_OBJECT_GRAPH_KEY,
                                       .text = {bad[i].bytes, bad[i].n}};
        edt_test_bundle_write(prefix, &(edt_test_bundle_options){0}, &graph, 1);
        edt_weights *weights = NULL;
        edt_error err = {0};
        cr_expect_eq(edt_weights_open(prefix, &err, &weights), EDT_ERR_FORMAT, "%zu", i);
        cr_expect_not_null(strstr(err.text, bad[i].word), "%s", err.text);
        cr_expect_not_null(strstr(err.text, prefix), "%s", err.text);
        edt_test_remove_tree(dir);
    }
}
