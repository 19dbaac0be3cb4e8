// Compares two trainings that should be one computation in two ways (ranks, devices,
// precisions): the momentum after the first step, which is that step's gradient, and the mean
// loss.
//
//     compare_runs MODEL_DIR_A MODEL_DIR_B [GRADIENT_TOLERANCE [LOSS_TOLERANCE]]
//
// Reads model.ckpt-1 and metrics.jsonl of both (train --save_checkpoints_steps=1
// --log_steps=1). The gradients may differ by GRADIENT_TOLERANCE (1e-2) of the global norm of
// A's, the mean losses by LOSS_TOLERANCE (1e-2) of A's. Prints the figures as one JSON line;
// exit code 1 beyond them.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/path.h"
#include "model/io/tf_bundle.h"

static edt_status read_floats(const edt_tf_bundle *bundle, int i, edt_error *err, float **out,
                              int64_t *out_n)
{
    const edt_tf_entry *entry = edt_tf_bundle_entry(bundle, i);
    const int64_t n = edt_shape_count(&entry->shape);
    float *values = edt_mem_calloc(EDT_MEM_MISC, (size_t)n + 1, sizeof *values);
    if (values == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for '%s'", entry->name);
    }
    const edt_status status =
        edt_tf_bundle_read(bundle, i, values, (size_t)n * sizeof *values, err);
    if (status != EDT_OK) {
        edt_mem_free(values);
        return status;
    }
    *out = values;
    *out_n = n;
    return EDT_OK;
}

// Adds one slot's squares to the sums.
static edt_status add_slot(const edt_tf_bundle *a, const edt_tf_bundle *b, int i,
                           edt_error *err, double *norm2, double *difference2)
{
    const char *name = edt_tf_bundle_entry(a, i)->name;
    const int j = edt_tf_bundle_find(b, name);
    if (j < 0) {
        EDT_FAIL(err, EDT_ERR_MISMATCH, "'%s' is not in %s", name, edt_tf_bundle_prefix(b));
    }
    float *x = NULL, *y = NULL;
    int64_t n = 0, m = 0;
    edt_status status = read_floats(a, i, err, &x, &n);
    if (status == EDT_OK) {
        status = read_floats(b, j, err, &y, &m);
    }
    if (status == EDT_OK && n != m) {
        status = edt_error_set(err, EDT_ERR_MISMATCH, "'%s' has other sizes", name);
    }
    for (int64_t k = 0; status == EDT_OK && k < n; ++k) {
        const double d = (double)y[k] - (double)x[k];
        *norm2 += (double)x[k] * (double)x[k];
        *difference2 += d * d;
    }
    edt_mem_free(x);
    edt_mem_free(y);
    return status;
}

// |gradient of B - gradient of A| / |gradient of A|, over all variables.
static edt_status compare_gradients(const char *dir_a, const char *dir_b, edt_error *err,
                                    double *out_ratio)
{
    char path[4096];
    edt_tf_bundle *a = NULL, *b = NULL;
    double norm2 = 0.0, difference2 = 0.0;
    int n_slots = 0;
    (void)snprintf(path, sizeof path, "%s/model.ckpt-1", dir_a);
    edt_status status = edt_tf_bundle_open(path, err, &a);
    if (status == EDT_OK) {
        (void)snprintf(path, sizeof path, "%s/model.ckpt-1", dir_b);
        status = edt_tf_bundle_open(path, err, &b);
    }
    for (int i = 0; status == EDT_OK && i < edt_tf_bundle_count(a); ++i) {
        const char *name = edt_tf_bundle_entry(a, i)->name;
        const char *slot = strrchr(name, '/');
        if (slot != NULL && strcmp(slot, "/Momentum") == 0) {
            n_slots++;
            status = add_slot(a, b, i, err, &norm2, &difference2);
        }
    }
    edt_tf_bundle_close(a);
    edt_tf_bundle_close(b);
    EDT_TRY(status);
    if (n_slots == 0 || !(norm2 > 0.0)) {
        EDT_FAIL(err, EDT_ERR_MISMATCH, "%s/model.ckpt-1 has %d momentum slots, all zero",
                 dir_a, n_slots);
    }
    *out_ratio = sqrt(difference2 / norm2);
    return EDT_OK;
}

static edt_status mean_loss(const char *dir, edt_error *err, double *out_mean, int *out_steps)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/metrics.jsonl", dir);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        EDT_FAIL(err, EDT_ERR_NOT_FOUND, "%s cannot be opened", path);
    }
    char *line = NULL;
    size_t capacity = 0;
    double sum = 0.0;
    int n = 0;
    edt_status status = EDT_OK;
    for (ssize_t length; status == EDT_OK && (length = getline(&line, &capacity, file)) > 0;) {
        edt_arena arena = {0};
        const edt_json_node *root = NULL;
        status = edt_json_parse((edt_span){(const uint8_t *)line, (size_t)length}, &arena, err,
                                &root);
        const edt_json_node *loss = status == EDT_OK ? edt_json_get(root, "loss") : NULL;
        if (loss != NULL && loss->kind == EDT_JSON_KIND_NUMBER) {
            sum += loss->number;
            n++;
        }
        edt_arena_deinit(&arena);
    }
    free(line); // getline's
    (void)fclose(file);
    EDT_TRY(status);
    if (n == 0) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "%s holds no finite loss", path);
    }
    *out_mean = sum / n;
    *out_steps = n;
    return EDT_OK;
}

int main(int argc, char **argv)
{
    if (argc < 3 || argc > 5) {
        (void)fprintf(stderr, "usage: compare_runs MODEL_DIR_A MODEL_DIR_B "
                              "[GRADIENT_TOLERANCE [LOSS_TOLERANCE]]\n");
        return 2;
    }
    const double gradient_tolerance = argc > 3 ? strtod(argv[3], NULL) : 1e-2;
    const double loss_tolerance = argc > 4 ? strtod(argv[4], NULL) : 1e-2;
    edt_error err = {0};
    double gradient = 0.0, loss_a = 0.0, loss_b = 0.0;
    int steps_a = 0, steps_b = 0;
    edt_status status = compare_gradients(argv[1], argv[2], &err, &gradient);
    if (status == EDT_OK) {
        status = mean_loss(argv[1], &err, &loss_a, &steps_a);
    }
    if (status == EDT_OK) {
        status = mean_loss(argv[2], &err, &loss_b, &steps_b);
    }
    if (status != EDT_OK) {
        (void)fprintf(stderr, "compare_runs: %s\n", err.text);
        return 1;
    }
    const double loss = fabs(loss_b - loss_a) / fabs(loss_a);
    (void)printf("{\"what\":\"compare_runs\",\"gradient_difference\":%.3g,"
                 "\"gradient_tolerance\":%g,\"mean_loss\":[%.6g,%.6g],"
                 "\"loss_difference\":%.3g,\"loss_tolerance\":%g,\"steps\":[%d,%d]}\n",
                 gradient, gradient_tolerance, loss_a, loss_b, loss, loss_tolerance, steps_a,
                 steps_b);
    return gradient <= gradient_tolerance && loss <= loss_tolerance && steps_a == steps_b ? 0
                                                                                          : 1;
}
