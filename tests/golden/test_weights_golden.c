// Every tensor of the object-based golden checkpoint: its key, its canonical name, its path and
// its values, and the optimizer slots under the names that restoring asks for.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/io/weights.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_model.h"

static const char VALUE[] = "/.ATTRIBUTES/VARIABLE_VALUE";
static const char MOVING[] = "MovingAverage/";

static edt_weights *open_golden(const char *name)
{
    edt_weights *weights = NULL;
    edt_error err = {0};
    const char *path = edt_test_path(edt_test_golden_dir(), "model/ckpt/%s", name);
    cr_assert_eq(edt_weights_open(path, &err, &weights), EDT_OK, "%s", err.text);
    return weights;
}

// The canonical name that belongs to a full_name of TensorFlow's.
static void canonical_of(const char *full_name, char out[256])
{
    (void)snprintf(out, 256, "%s", full_name);
    const size_t n = strlen(full_name);
    if (strncmp(full_name, MOVING, strlen(MOVING)) == 0) {
        const bool is_average = strcmp(full_name + n - 8, "/average") == 0;
        (void)snprintf(out, 256, "%.*s/%s", (int)(n - strlen(MOVING) - (is_average ? 8 : 9)),
                       full_name + strlen(MOVING),
                       is_average ? "ExponentialMovingAverage" : "KerasMomentum");
    }
}

typedef struct counts {
    edt_weights *weights;
    int n_rows, n_slots;
} counts;

static void check_key(void *user, int n_fields, char **field)
{
    counts *c = user;
    cr_assert_eq(n_fields, 2);
    const int i = edt_weights_find_key(c->weights, field[0]);
    cr_assert_geq(i, 0, "%s", field[0]);
    const edt_weights_item *item = edt_weights_get(c->weights, i);
    ++c->n_rows;
    if (strncmp(field[0], "optimizer/", 10) == 0) {
        const bool is_step = strcmp(field[1], "iter") == 0;
        cr_assert_eq(item->name != NULL, is_step, "%s", field[0]);
        return;
    }
    char name[256], path[512];
    canonical_of(field[1], name);
    cr_assert_str_eq(item->name, name);
    cr_assert_eq(edt_weights_find(c->weights, name), i, "%s", name);
    (void)snprintf(path, sizeof path, "%s", field[0]);
    char *slot = strstr(path, "/.OPTIMIZER_SLOT/");
    if (slot != NULL) {
        (void)strcpy(slot, strrchr(name, '/'));
        ++c->n_slots;
    } else {
        *strstr(path, VALUE) = '\0';
    }
    cr_assert_str_eq(item->object_path, path);
    cr_assert_eq(edt_weights_find_path(c->weights, path), i, "%s", path);
}

Test(weights_golden, object_based_keys_have_their_names_and_paths, .timeout = 60)
{
    const char *table =
        edt_test_path(edt_test_golden_dir(), "model/ckpt/efficientdet-lite0-tf2.keys.tsv");
    EDT_TEST_NEEDS_FILE(table);
    counts c = {.weights = open_golden("efficientdet-lite0-tf2")};
    cr_assert_eq(edt_weights_get_format(c.weights), EDT_WEIGHTS_TF_OBJECTS);
    cr_assert_gt(edt_test_read_tsv(table, 1, check_key, &c), 588);
    cr_assert_eq(c.n_slots, 2 * 84);
    // All but the graph itself are listed.
    cr_assert_eq(edt_weights_count(c.weights), c.n_rows + 1);
    // Ways that lead nowhere.
    cr_assert_eq(edt_weights_find_path(c.weights, "backbone/_stem/_conv_stem/kernel/Adam"), -1);
    cr_assert_eq(edt_weights_find_path(c.weights, "backbone/_stem/_conv_stem/gamma"), -1);
    cr_assert_eq(edt_weights_find_path(c.weights, "backbone/_stem"), -1);
    edt_weights_close(c.weights);
}

static void check_values(void *user, int n_fields, char **field)
{
    counts *c = user;
    cr_assert_eq(n_fields, 8);
    char name[256];
    (void)snprintf(name, sizeof name, "%s", field[0]);
    char *mark = strstr(name, " (slot momentum)");
    if (mark != NULL) {
        (void)strcpy(mark, "/KerasMomentum");
        ++c->n_slots;
    }
    int i = edt_weights_find(c->weights, name);
    if (i < 0) { // scalars of the optimizer
        char path[512];
        const char *formats[] = {"optimizer/%s%s", "optimizer/awg_optimizer/%s%s"};
        for (int k = 0; k < 2 && i < 0; ++k) {
            (void)snprintf(path, sizeof path, formats[k], name, VALUE);
            i = edt_weights_find_key(c->weights, path);
        }
    }
    cr_assert_geq(i, 0, "%s", name);
    const edt_weights_item *item = edt_weights_get(c->weights, i);
    cr_assert_str_eq(field[2], item->dtype == EDT_DTYPE_I64 ? "int64" : "float32");
    const int64_t n = edt_shape_count(&item->shape);
    cr_assert_eq(n, atoll(field[3]), "%s", name);
    cr_assert_eq(item->n_bytes, n * (int64_t)edt_dtype_bytes(item->dtype));
    void *data = malloc((size_t)item->n_bytes);
    edt_error err = {0};
    cr_assert_eq(edt_weights_read(c->weights, i, data, (size_t)item->n_bytes, &err), EDT_OK,
                 "%s", err.text);
    double sum = 0, abs_sum = 0, ends[2] = {0};
    for (int64_t k = 0; k < n; ++k) {
        const double x = item->dtype == EDT_DTYPE_I64 ? (double)((const int64_t *)data)[k]
                                                      : (double)((const float *)data)[k];
        sum += x;
        abs_sum += fabs(x);
        ends[k == 0 ? 0 : 1] = x;
        ends[1] = x;
    }
    free(data);
    cr_assert_leq(fabs(sum - atof(field[4])), 1e-11 * abs_sum, "%s: %s", name, field[4]);
    cr_assert_leq(fabs(abs_sum - atof(field[5])), 1e-11 * abs_sum, "%s: %s", name, field[5]);
    cr_assert_eq((float)ends[0], (float)atof(field[6]), "%s: %s", name, field[6]);
    cr_assert_eq((float)ends[1], (float)atof(field[7]), "%s: %s", name, field[7]);
    ++c->n_rows;
}

static void compare(const char *checkpoint, const char *values, int n_slots)
{
    const char *table = edt_test_path(edt_test_golden_dir(), "model/ckpt/%s", values);
    EDT_TEST_NEEDS_FILE(table);
    counts c = {.weights = open_golden(checkpoint)};
    cr_assert_gt(edt_test_read_tsv(table, 1, check_values, &c), 588);
    cr_assert_eq(c.n_slots, n_slots);
    edt_weights_close(c.weights);
}

Test(weights_golden, object_based_values, .timeout = 60)
{
    compare("efficientdet-lite0-tf2", "efficientdet-lite0-tf2.values.tsv", 84);
}

Test(weights_golden, name_based_values, .timeout = 60)
{
    compare("efficientdet-d0", "efficientdet-d0.values.tsv", 0);
}
