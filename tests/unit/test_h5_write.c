// Files for Keras, looked at with the HDF5 library: what stands where, in which order, and that
// nothing but the weights decides the bytes.
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "core/file.h"
#include "core/mem.h"
#include "core/path.h"
#include "model/io/h5_write.h"
#include "model/io/weights.h"
#include "tests/support/h5_files.h"
#include "tests/support/test_dirs.h"

static edt_error err;

typedef struct variable {
    const char *name, *object_path;
    int64_t n; // 0: a scalar
    bool trainable;
} variable;

typedef struct fixture {
    edt_graph *graph;
    edt_backend *backend;
    edt_params *params;
} fixture;

static fixture make(edt_dtype real, const variable *variables, int n)
{
    fixture f = {0};
    cr_assert_eq(edt_backend_ref_create(&err, &f.backend), EDT_OK);
    cr_assert_eq(edt_graph_create(real, &err, &f.graph), EDT_OK);
    for (int i = 0; i < n; ++i) {
        const edt_shape shape =
            variables[i].n > 0 ? edt_shape_1(variables[i].n) : (edt_shape){0};
        (void)edt_graph_param(f.graph, variables[i].name, variables[i].object_path, shape,
                              (edt_init){.kind = EDT_INIT_NORMAL, .a = 1},
                              variables[i].trainable);
    }
    cr_assert_eq(edt_params_create(f.graph, f.backend, &err, &f.params), EDT_OK, "%s",
                 err.text);
    cr_assert_eq(edt_params_init_random(f.params, 3, &err), EDT_OK);
    return f;
}

static void destroy(fixture *f)
{
    edt_params_destroy(f->params);
    edt_graph_destroy(f->graph);
    edt_backend_destroy(&f->backend);
}

// Fixed texts of one attribute, joined by blanks.
static void read_names(hid_t object, const char *attribute, size_t cap, char *out)
{
    out[0] = '\0';
    const hid_t a = H5Aopen(object, attribute, H5P_DEFAULT);
    cr_assert_geq(a, 0, "%s", attribute);
    const hid_t type = H5Aget_type(a), space = H5Aget_space(a);
    const size_t n = (size_t)H5Sget_simple_extent_npoints(space);
    if (n == 0) {
        cr_assert_gt(H5Tequal(type, H5T_IEEE_F64LE), 0);
    } else {
        const size_t width = H5Tget_size(type);
        char *texts = calloc(n, width);
        cr_assert_eq(H5Tget_class(type), H5T_STRING);
        cr_assert_geq(H5Aread(a, type, texts), 0);
        for (size_t i = 0; i < n; ++i) {
            const size_t used = strlen(out);
            (void)snprintf(out + used, cap - used, "%s%.*s", i > 0 ? " " : "", (int)width,
                           texts + i * width);
        }
        free(texts);
    }
    (void)H5Sclose(space);
    (void)H5Tclose(type);
    (void)H5Aclose(a);
}

static void expect_names(hid_t file, const char *group, const char *attribute,
                         const char *wanted)
{
    char names[4096];
    const hid_t object = H5Gopen2(file, group, H5P_DEFAULT);
    cr_assert_geq(object, 0, "%s", group);
    read_names(object, attribute, sizeof names, names);
    cr_expect_str_eq(names, wanted);
    (void)H5Gclose(object);
}

Test(h5_write, layers_and_weights_stand_in_keras_order, .timeout = 30)
{
    // In no order: as a graph might create them.
    static const variable variables[] = {
        {"box_net/box-0-bn-8/gamma", "box_net/bns/0/5/gamma", 2, true},
        {"box_net/box-0-bn-8/moving_mean", "box_net/bns/0/5/moving_mean", 2, false},
        {"box_net/box-predict/bias", "box_net/boxes/bias", 2, true},
        {"box_net/box-10/bias", "box_net/conv_ops/10/bias", 2, true},
        {"box_net/box-10/depthwise_kernel", "box_net/conv_ops/10/depthwise_kernel", 2, true},
        {"box_net/box-10/pointwise_kernel", "box_net/conv_ops/10/pointwise_kernel", 2, true},
        {"box_net/box-9/bias", "box_net/conv_ops/9/bias", 2, true},
        {"b0/stem/conv2d/kernel", "backbone/_stem/_conv_stem/kernel", 3, true},
        {"b0/stem/tpu_batch_normalization/beta", "backbone/_stem/_bn/beta", 3, true},
        {"b0/blocks_0/tpu_batch_normalization/moving_variance",
         "backbone/_blocks/0/_bn1/moving_variance", 3, false},
        {"b0/blocks_0/tpu_batch_normalization/moving_mean",
         "backbone/_blocks/0/_bn1/moving_mean", 3, false},
        {"b0/blocks_0/se/conv2d/kernel", "backbone/_blocks/0/_se/_se_reduce/kernel", 3, true},
        {"b0/blocks_0/conv2d/kernel", "backbone/_blocks/0/_project_conv/kernel", 3, true},
        {"b0/blocks_0/depthwise_conv2d/depthwise_kernel",
         "backbone/_blocks/0/_depthwise_conv/depthwise_kernel", 3, true},
        {"b0/blocks_0/srelu/srelu_beta", NULL, 0, true},
        {"fpn_cells/cell_0/fnode0/op_after_combine5/bn/gamma",
         "fpn_cells/cells/0/fnodes/0/op_after_combine/bn/gamma", 2, true},
        {"fpn_cells/cell_0/fnode0/resample_0_2_6/conv2d/bias",
         "fpn_cells/cells/0/fnodes/0/resample_layers/0/conv2d/bias", 2, true},
        {"fpn_cells/cell_0/fnode0/WSM_1", "fpn_cells/cells/0/fnodes/0/WSM_1", 0, true},
        {"fpn_cells/cell_0/fnode0/WSM", "fpn_cells/cells/0/fnodes/0/WSM", 0, true},
        {"resample_p6/bn/gamma", "resample_layers/0/bn/gamma", 2, true},
        {"resample_p6/conv2d/kernel", "resample_layers/0/conv2d/kernel", 2, true},
    };
    const int n = (int)(sizeof variables / sizeof variables[0]);
    const char *dir = edt_test_temp_dir(), *path = edt_test_path(dir, "a.h5");
    fixture f = make(EDT_DTYPE_F32, variables, n);
    cr_assert_eq(edt_h5_write(f.params, EDT_PARAMS_VALUES, path, &err), EDT_OK, "%s", err.text);
    const hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    cr_assert_geq(file, 0);
    expect_names(file, "/", "layer_names",
                 "b0 resample_p6 resample_p7 resample_p8 fpn_cells box_net");
    expect_names(file, "/", "backend", "tensorflow");
    expect_names(file, "/", "keras_version", "2.15.0");
    expect_names(file, "resample_p6", "weight_names",
                 "resample_p6/conv2d/kernel:0 resample_p6/bn/gamma:0");
    expect_names(file, "resample_p7", "weight_names", "");
    expect_names(file, "top_level_model_weights", "weight_names", "");
    expect_names(
        file, "b0", "weight_names",
        "b0/blocks_0/depthwise_conv2d/depthwise_kernel:0 b0/blocks_0/se/conv2d/kernel:0 "
        "b0/blocks_0/conv2d/kernel:0 b0/stem/conv2d/kernel:0 "
        "b0/stem/tpu_batch_normalization/beta:0 b0/blocks_0/srelu/srelu_beta:0 "
        "b0/blocks_0/tpu_batch_normalization/moving_mean:0 "
        "b0/blocks_0/tpu_batch_normalization/moving_variance:0");
    expect_names(file, "fpn_cells", "weight_names",
                 "fpn_cells/cell_0/fnode0/WSM:0 fpn_cells/cell_0/fnode0/WSM_1:0 "
                 "fpn_cells/cell_0/fnode0/resample_0_2_6/conv2d/bias:0 "
                 "fpn_cells/cell_0/fnode0/op_after_combine5/bn/gamma:0");
    expect_names(file, "box_net", "weight_names",
                 "box_net/box-9/bias:0 box_net/box-10/depthwise_kernel:0 "
                 "box_net/box-10/pointwise_kernel:0 box_net/box-10/bias:0 "
                 "box_net/box-0-bn-8/gamma:0 box_net/box-predict/bias:0 "
                 "box_net/box-0-bn-8/moving_mean:0");
    // The layer's name twice, a scalar as such, and no time.
    const hid_t set = H5Dopen2(file, "/fpn_cells/fpn_cells/cell_0/fnode0/WSM:0", H5P_DEFAULT);
    cr_assert_geq(set, 0);
    const hid_t space = H5Dget_space(set);
    cr_expect_eq(H5Sget_simple_extent_type(space), H5S_SCALAR);
    H5O_info_t info;
    cr_assert_geq(H5Oget_info(set, &info), 0);
    cr_expect(info.mtime == 0 && info.ctime == 0);
    (void)H5Sclose(space);
    (void)H5Dclose(set);
    (void)H5Fclose(file);
    destroy(&f);
    edt_test_remove_tree(dir);
}

static void expect_equal(const fixture *f, edt_params_arena which, const char *path)
{
    edt_weights *weights = NULL;
    cr_assert_eq(edt_weights_open(path, &err, &weights), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_weights_count(weights), f->params->n_params);
    for (int i = 0; i < f->params->n_params; ++i) {
        const edt_param_entry *entry = &f->params->entries[i];
        const int at = edt_weights_find(weights, entry->name);
        cr_assert_geq(at, 0, "%s", entry->name);
        const edt_weights_item *item = edt_weights_get(weights, at);
        cr_assert_eq(item->dtype, f->params->real);
        cr_assert(edt_shape_equal(&item->shape, &entry->shape));
        double stored[64], wanted[64];
        cr_assert_eq(edt_weights_read(weights, at, stored, (size_t)item->n_bytes, &err),
                     EDT_OK);
        if (f->params->real == EDT_DTYPE_F64) {
            (void)edt_params_get_f64(f->params, which, i, wanted, entry->n, &err);
        } else {
            (void)edt_params_get_f32(f->params, which, i, (float *)wanted, entry->n, &err);
        }
        cr_assert_eq(memcmp(stored, wanted, (size_t)item->n_bytes), 0, "%s", entry->name);
    }
    edt_weights_close(weights);
}

Test(h5_write, values_and_averages_come_back_and_equal_weights_are_equal_bytes, .timeout = 30)
{
    static const variable variables[] = {
        {"b0/stem/conv2d/kernel", "backbone/_stem/_conv_stem/kernel", 50, true},
        {"b0/stem/bn/moving_mean", "backbone/_stem/_bn/moving_mean", 7, false},
        {"fpn_cells/cell_0/fnode0/WSM", "fpn_cells/cells/0/fnodes/0/WSM", 0, true}};
    const char *dir = edt_test_temp_dir(), *path = edt_test_path(dir, "a.h5");
    const char *second = edt_test_path(dir, "b.h5");
    for (int wide = 0; wide < 2; ++wide) {
        fixture f = make(wide ? EDT_DTYPE_F64 : EDT_DTYPE_F32, variables, 3);
        cr_assert_eq(edt_h5_write(f.params, EDT_PARAMS_EMA, path, &err), EDT_ERR_INVALID);
        cr_assert_eq(edt_params_add_arena(f.params, EDT_PARAMS_EMA, &err), EDT_OK);
        cr_assert_eq(edt_h5_write(f.params, EDT_PARAMS_VALUES, path, &err), EDT_OK, "%s",
                     err.text);
        expect_equal(&f, EDT_PARAMS_VALUES, path);
        cr_assert_eq(edt_h5_write(f.params, EDT_PARAMS_VALUES, second, &err), EDT_OK);
        char *a, *b;
        size_t n_a, n_b;
        cr_assert_eq(edt_file_read(path, 1 << 20, &err, &a, &n_a), EDT_OK);
        cr_assert_eq(edt_file_read(second, 1 << 20, &err, &b, &n_b), EDT_OK);
        cr_assert(n_a == n_b && memcmp(a, b, n_a) == 0);
        edt_mem_free(a);
        edt_mem_free(b);
        cr_assert_eq(edt_h5_write(f.params, EDT_PARAMS_EMA, path, &err), EDT_OK); // zeros
        expect_equal(&f, EDT_PARAMS_EMA, path);
        destroy(&f);
    }
    edt_test_remove_tree(dir);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

Test(h5_write, lists_longer_than_an_attribute_are_split_evenly, .timeout = 30)
{
    enum { N = 1030, WIDTH = 130 }; // with ":0", as long as they may get
    static variable variables[N];
    static char names[N][WIDTH - 1];
    for (int i = 0; i < N; ++i) {
        (void)snprintf(names[i], sizeof names[i], "b0/%0*d", WIDTH - 5, i);
        variables[i] = (variable){names[i], "backbone/_blocks/0/x", 1, true};
    }
    const char *dir = edt_test_temp_dir(), *path = edt_test_path(dir, "a.h5");
    fixture f = make(EDT_DTYPE_F32, variables, N);
    cr_assert_eq(edt_h5_write(f.params, EDT_PARAMS_VALUES, path, &err), EDT_OK, "%s", err.text);
    const hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    const hid_t group = H5Gopen2(file, "b0", H5P_DEFAULT);
    cr_assert_eq(H5Aexists(group, "weight_names"), 0);
    // 1030 names of 130 bytes need three parts of at most 64512 bytes: 344, 343, 343.
    static const hssize_t counts[] = {344, 343, 343};
    for (int i = 0; i < 4; ++i) {
        char part[32];
        (void)snprintf(part, sizeof part, "weight_names%d", i);
        cr_assert_eq(H5Aexists(group, part) > 0, i < 3);
        if (i < 3) {
            const hid_t a = H5Aopen(group, part, H5P_DEFAULT), space = H5Aget_space(a);
            cr_expect_eq(H5Sget_simple_extent_npoints(space), counts[i]);
            (void)H5Sclose(space);
            (void)H5Aclose(a);
        }
    }
    (void)H5Gclose(group);
    (void)H5Fclose(file);
    expect_equal(&f, EDT_PARAMS_VALUES, path);
    destroy(&f);
    edt_test_remove_tree(dir);
}

static int64_t count_files(const char *dir)
{
    edt_arena arena;
    edt_path_list list;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    cr_assert_eq(edt_path_list_dir(dir, &arena, &err, &list), EDT_OK);
    const int64_t n = list.n;
    edt_arena_deinit(&arena);
    return n;
}

Test(h5_write, a_file_that_cannot_be_written_leaves_nothing_behind, .timeout = 30)
{
    static const variable variables[] = {
        {"b0/stem/conv2d/kernel", "backbone/_stem/_conv_stem/kernel", 50, true}};
    const char *dir = edt_test_temp_dir(), *path = edt_test_path(dir, "a.h5");
    fixture f = make(EDT_DTYPE_F32, variables, 1);
    const char *nowhere = edt_test_path(dir, "none/a.h5");
    cr_assert_neq(edt_h5_write(f.params, EDT_PARAMS_VALUES, nowhere, &err), EDT_OK);
    cr_expect_not_null(strstr(err.text, nowhere), "%s", err.text);
    cr_assert_neq(edt_h5_write(f.params, EDT_PARAMS_VALUES, dir, &err), EDT_OK);
    cr_expect_not_null(strstr(err.text, dir), "%s", err.text);
    cr_assert_eq(count_files(dir), 0);
    // No place for so much: as a full disk or a quota says it.
    cr_assert_eq(edt_file_write(path, "old", 3, &err), EDT_OK);
    const struct rlimit small = {1000, 1000};
    cr_assert_neq(signal(SIGXFSZ, SIG_IGN), SIG_ERR);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    cr_assert_neq(edt_h5_write(f.params, EDT_PARAMS_VALUES, path, &err), EDT_OK);
    cr_expect_not_null(strstr(err.text, path), "%s", err.text);
    cr_assert_eq(count_files(dir), 1);
    char *text;
    size_t n;
    cr_assert_eq(edt_file_read(path, 100, &err, &text, &n), EDT_OK);
    cr_assert_eq(n, 3);
    edt_mem_free(text);
    destroy(&f);
    edt_test_remove_tree(dir);
}
