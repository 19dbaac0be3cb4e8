// Whole-network outputs against the reference implementation: hashed and checkpoint weights,
// inference and training mode, on `ref` (in double where the files are float64) and on `cpu`.
// Tolerances: golden/model/README.md 3.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/golden_model.h"
#include "tests/support/test_dirs.h"

typedef struct tolerance {
    // Of outputs; 0: as features. Times the tensor's rms where that is above 1: the stored f32
    // logits (rms 3) of the deepest model are themselves 3.5e-4 away from the result in double.
    double logits, boxes;
    double features;  // times rms
    double rms_ratio; // rms of the differences of one tensor over its rms; 0: not checked
} tolerance;

typedef struct stored {
    const char *base; // name without suffix
    char suffix[16];  // "", "val", "mean", "std", "every64", "grid2"
    char name[96];
} stored;

static void split_name(const char *full, stored *out)
{
    snprintf(out->name, sizeof out->name, "%s", full);
    char *dot = strchr(out->name, '.');
    out->suffix[0] = '\0';
    if (dot != NULL) {
        snprintf(out->suffix, sizeof out->suffix, "%s", dot + 1);
        *dot = '\0';
    }
    out->base = out->name;
}

static double rms_of(const double *values, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += values[i] * values[i];
    }
    return sqrt(sum / (double)n);
}

typedef struct comparison {
    double largest, squares;
    int64_t n;
} comparison;

static void compare(comparison *c, double got, double want)
{
    const double d = fabs(got - want);
    c->largest = d > c->largest || isnan(d) ? d : c->largest;
    c->squares += d * d;
    c->n++;
}

static void compare_moments(comparison *c, const double *values, int64_t n,
                            const golden_tensor *tensor, bool want_std)
{
    const int64_t n_channels = tensor->shape.dim[0];
    const int64_t rows = n / n_channels;
    for (int64_t k = 0; k < n_channels; k++) {
        double sum = 0;
        double squares = 0;
        for (int64_t r = 0; r < rows; r++) {
            sum += values[r * n_channels + k];
        }
        const double mean = sum / (double)rows;
        for (int64_t r = 0; r < rows; r++) {
            const double d = values[r * n_channels + k] - mean;
            squares += d * d;
        }
        compare(c, want_std ? sqrt(squares / (double)rows) : mean,
                ((const float *)tensor->data)[k]);
    }
}

// values: the computed tensor of `shape`; false for forms that are not compared on their own.
static bool compare_form(const golden_file *file, const stored *name,
                         const golden_tensor *tensor, const double *values,
                         const edt_shape *shape, comparison *c)
{
    const float *want = tensor->data;
    const int64_t n = edt_shape_count(shape);
    const int64_t n_want = edt_shape_count(&tensor->shape);
    if (name->suffix[0] == '\0') {
        cr_assert_eq(n, n_want, "%s", tensor->name);
        for (int64_t i = 0; i < n; i++) {
            compare(c, values[i], want[i]);
        }
    } else if (strcmp(name->suffix, "val") == 0) {
        char idx_name[128];
        snprintf(idx_name, sizeof idx_name, "%s.idx", name->base);
        const golden_tensor *idx = golden_find(file, idx_name);
        for (int64_t i = 0; i < n_want; i++) {
            const int32_t at = ((const int32_t *)idx->data)[i];
            cr_assert(at >= 0 && at < n, "%s", tensor->name);
            compare(c, values[at], want[i]);
        }
    } else if (strcmp(name->suffix, "mean") == 0 || strcmp(name->suffix, "std") == 0) {
        compare_moments(c, values, n, tensor, name->suffix[0] == 's');
    } else if (strncmp(name->suffix, "every", 5) == 0) {
        const int64_t every = atoll(name->suffix + 5);
        const int64_t n_images = tensor->shape.dim[0];
        const int64_t n_rows = tensor->shape.dim[1];
        const int64_t width = tensor->shape.dim[2];
        for (int64_t i = 0; i < n_want; i++) {
            const int64_t row = i / width % n_rows * every;
            const int64_t image = i / width / n_rows;
            const int64_t at = image * (n / n_images) + row * width + i % width;
            cr_assert_lt(at, n, "%s", tensor->name);
            compare(c, values[at], want[i]);
        }
    } else if (strcmp(name->suffix, "grid2") == 0) {
        const int64_t *t = tensor->shape.dim;
        for (int64_t i = 0; i < n_want; i++) {
            const int64_t channel = i % t[3];
            const int64_t x = i / t[3] % t[2] * 2;
            const int64_t y = i / t[3] / t[2] % t[1] * 2;
            const int64_t b = i / t[3] / t[2] / t[1];
            const int64_t at =
                ((b * shape->dim[1] + y) * shape->dim[2] + x) * shape->dim[3] + channel;
            compare(c, values[at], want[i]);
        }
    } else {
        return false;
    }
    return true;
}

static void check_tensor(const golden_file *file, golden_net *net, const golden_tensor *tensor,
                         const tolerance *tol, int *n_checked)
{
    stored name;
    split_name(tensor->name, &name);
    const edt_value_id value = edt_graph_find_output(net->model->graph, name.base);
    if (value == EDT_NO_VALUE) {
        return;
    }
    int64_t n = 0;
    double *values = golden_net_read(net, value, &n);
    const edt_shape shape = edt_graph_shape(net->model->graph, value);
    comparison c = {0};
    if (compare_form(file, &name, tensor, values, &shape, &c)) {
        const double rms = rms_of(values, n);
        double limit = tol->features * rms;
        if (strncmp(name.base, "cls_", 4) == 0 && tol->logits > 0) {
            limit = tol->logits * fmax(rms, 1.0);
        } else if (strncmp(name.base, "box_", 4) == 0 && tol->boxes > 0) {
            limit = tol->boxes * fmax(rms, 1.0);
        }
        cr_expect(c.largest <= limit, "%s %s: difference %.3g, allowed %.3g (rms %.3g)",
                  golden_metadata(file, "model"), tensor->name, c.largest, limit, rms);
        const double ratio = sqrt(c.squares / (double)c.n) / rms;
        cr_expect(tol->rms_ratio == 0 || ratio <= tol->rms_ratio,
                  "%s %s: rms of the differences is %.3g of the rms, allowed %.3g",
                  golden_metadata(file, "model"), tensor->name, ratio, tol->rms_ratio);
        (*n_checked)++;
    }
    edt_mem_free(values);
}

// stat:<name>: moving statistics after the pass; `limit` times the largest change in the
// tensor, beside the rounding of the stored f32.
static void check_statistic(const golden_net *net, const golden_tensor *tensor,
                            const edt_params *before, double limit, int *n_checked)
{
    edt_error err = {0};
    const int i = edt_params_find(net->params, tensor->name + strlen("stat:"));
    cr_assert_geq(i, 0, "%s", tensor->name);
    const int64_t n = net->params->entries[i].n;
    double *now = edt_mem_alloc(EDT_MEM_MISC, (size_t)n * sizeof *now);
    double *old = edt_mem_alloc(EDT_MEM_MISC, (size_t)n * sizeof *old);
    cr_assert_eq(edt_params_get_f64(net->params, EDT_PARAMS_VALUES, i, now, n, &err), EDT_OK);
    cr_assert_eq(edt_params_get_f64(before, EDT_PARAMS_EMA, i, old, n, &err), EDT_OK);
    const float *want = tensor->data;
    double change = 0;
    for (int64_t k = 0; k < n; k++) {
        change = fmax(change, fabs(want[k] - old[k]));
    }
    for (int64_t k = 0; k < n; k++) {
        const double allowed = limit * change + 6e-8 * fabs((double)want[k]);
        cr_expect(fabs(now[k] - want[k]) <= allowed, "%s[%lld]: %.9g, expected %.9g +- %.3g",
                  tensor->name, (long long)k, now[k], (double)want[k], allowed);
    }
    (*n_checked)++;
    edt_mem_free(now);
    edt_mem_free(old);
}

typedef struct selection {
    const char *backend;
    edt_dtype real;
    const char *weights_kind, *bn;
    int n_files;
    const char *only_model, *only_size; // NULL: all
} selection;

static bool is_selected(const golden_file *file, const char *key, const char *only)
{
    return only == NULL || strcmp(golden_metadata(file, key), only) == 0;
}

static bool is_lite(const golden_file *file)
{
    return strstr(golden_metadata(file, "model"), "lite") != NULL;
}

static tolerance tolerance_of(const golden_file *file, const selection *s)
{
    const bool lite = is_lite(file);
    if (strcmp(s->bn, "batch") == 0 && s->real == EDT_DTYPE_F64) {
        return (tolerance){.features = 1e-5};
    }
    if (strcmp(s->bn, "batch") == 0) {
        return (tolerance){.features = lite ? 1e-1 : 1e-2, .rms_ratio = lite ? 2e-2 : 1e-3};
    }
    if (strcmp(s->weights_kind, "checkpoint") == 0) {
        return (tolerance){.logits = 1e-3, .boxes = 2e-4, .features = 1e-3};
    }
    const double part = lite ? 0.2 : 1.0;
    return (tolerance){.logits = 3e-4 * part, .boxes = 1e-4 * part, .features = 3e-4 * part};
}

static void check_file(const golden_file *file, void *user)
{
    selection *s = user;
    if (strcmp(golden_metadata(file, "weights_kind"), s->weights_kind) != 0 ||
        strcmp(golden_metadata(file, "bn"), s->bn) != 0 ||
        !is_selected(file, "model", s->only_model) ||
        !is_selected(file, "size_hw", s->only_size)) {
        return;
    }
    edt_hparams hp;
    golden_net_hparams(file, &hp);
    const bool train = strcmp(s->bn, "batch") == 0;
    const edt_model_options options = {.mode = train ? EDT_MODEL_TRAIN : EDT_MODEL_INFER,
                                       .real = s->real,
                                       .u8_input = s->real == EDT_DTYPE_F32,
                                       .keep_features = true};
    golden_net net;
    golden_net_create(file, &hp, &options, s->backend, &net);
    edt_error err = {0};
    if (train) { // the statistics before the pass, kept where averages would be
        cr_assert_eq(edt_params_add_arena(net.params, EDT_PARAMS_EMA, &err), EDT_OK);
        cr_assert_eq(edt_params_copy_arena(net.params, EDT_PARAMS_EMA, EDT_PARAMS_VALUES, &err),
                     EDT_OK);
    }
    golden_net_run(&net);
    const tolerance tol = tolerance_of(file, s);
    int n_checked = 0;
    for (int i = 0; i < golden_count(file); i++) {
        const golden_tensor *tensor = golden_at(file, i);
        if (strncmp(tensor->name, "stat:", 5) == 0) {
            const double limit = s->real == EDT_DTYPE_F64 ? 1e-5 : is_lite(file) ? 2e-2 : 1e-3;
            check_statistic(&net, tensor, net.params, limit, &n_checked);
        } else {
            check_tensor(file, &net, tensor, &tol, &n_checked);
        }
    }
    cr_expect_gt(n_checked, 10, "%d tensors compared", n_checked);
    s->n_files++;
    golden_net_destroy(&net);
}

static void check_all(selection s)
{
    EDT_TEST_NEEDS_DIR(edt_test_path(edt_test_golden_dir(), "model"));
    edt_error err = {0};
    edt_backend *backend = NULL;
    const edt_status status =
        edt_backend_create(s.backend, &(edt_backend_options){.n_threads = 1}, &err, &backend);
    if (status == EDT_ERR_UNSUPPORTED) {
        cr_skip_test("%s", err.text);
    }
    cr_assert_eq(status, EDT_OK, "%s", err.text);
    edt_backend_destroy(&backend);
    golden_for_each("forward", check_file, &s);
    cr_assert_gt(s.n_files, 0, "no file of this kind");
}

Test(forward_golden, hashed_weights_on_ref, .timeout = 600)
{
    check_all((selection){
        .backend = "ref", .real = EDT_DTYPE_F32, .weights_kind = "hashed", .bn = "moving"});
}

Test(forward_golden, training_mode_on_ref_in_double, .timeout = 600)
{
    check_all((selection){
        .backend = "ref", .real = EDT_DTYPE_F64, .weights_kind = "hashed", .bn = "batch"});
}

Test(forward_golden, hashed_weights_on_cpu, .timeout = 600)
{
    check_all((selection){
        .backend = "cpu", .real = EDT_DTYPE_F32, .weights_kind = "hashed", .bn = "moving"});
}

Test(forward_golden, training_mode_on_cpu, .timeout = 600)
{
    check_all((selection){
        .backend = "cpu", .real = EDT_DTYPE_F32, .weights_kind = "hashed", .bn = "batch"});
}

Test(forward_golden, checkpoint_weights_on_cpu, .timeout = 600)
{
    check_all((selection){
        .backend = "cpu", .real = EDT_DTYPE_F32, .weights_kind = "checkpoint", .bn = "moving"});
}

Test(forward_golden, checkpoint_weights_on_ref, .timeout = 600)
{
    check_all((selection){
        .backend = "ref", .real = EDT_DTYPE_F32, .weights_kind = "checkpoint", .bn = "moving"});
}

// On the emulated device, or a real one: tests/support/cuda_device.h. Small pictures: an
// emulated kernel takes a hundred times as long.
static const selection on_cuda = {.backend = "cuda",
                                  .real = EDT_DTYPE_F32,
                                  .weights_kind = "hashed",
                                  .bn = "moving",
                                  .only_model = "efficientdet-d0",
                                  .only_size = "[128, 128]"};

Test(forward_golden, hashed_weights_on_cuda, .timeout = 600)
{
    check_all(on_cuda);
}

Test(forward_golden, training_mode_on_cuda, .timeout = 600)
{
    selection s = on_cuda;
    s.bn = "batch";
    s.only_size = NULL;
    check_all(s);
}
