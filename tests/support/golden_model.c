// See golden_model.h.
#include "tests/support/golden_model.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/io/tf_bundle.h"
#include "tests/support/golden_gen.h"
#include "tests/support/test_dirs.h"

#define OK(expr) cr_assert_eq((expr), EDT_OK, "%s", err.text)

typedef struct manifest_walk {
    const char *kind;
    void (*visit)(const golden_file *file, void *user);
    void *user;
    char previous[256];
} manifest_walk;

static void visit_row(void *user, int n_fields, char **fields)
{
    manifest_walk *walk = user;
    const size_t n_kind = strlen(walk->kind);
    const char *suffix = strrchr(fields[0], '.');
    if (n_fields < 2 || strncmp(fields[0], walk->kind, n_kind) != 0 ||
        fields[0][n_kind] != '/' || suffix == NULL || strcmp(suffix, ".safetensors") != 0 ||
        strcmp(fields[0], walk->previous) == 0) {
        return;
    }
    snprintf(walk->previous, sizeof walk->previous, "%s", fields[0]);
    const char *path = edt_test_path(edt_test_golden_dir(), "model/%s", fields[0]);
    if (!edt_test_exists(path)) {
        return;
    }
    golden_file *file = golden_open(path);
    if (golden_metadata(file, "model") != NULL) {
        walk->visit(file, walk->user);
    }
    golden_close(file);
}

void golden_for_each(const char *kind, void (*visit)(const golden_file *file, void *user),
                     void *user)
{
    manifest_walk walk = {.kind = kind, .visit = visit, .user = user};
    edt_test_read_tsv(edt_test_path(edt_test_golden_dir(), "model/manifest.tsv"), 1, visit_row,
                      &walk);
}

static const char *metadata(const golden_file *file, const char *key)
{
    const char *text = golden_metadata(file, key);
    cr_assert_not_null(text, "metadata '%s' is missing", key);
    return text;
}

void golden_net_hparams(const golden_file *file, edt_hparams *out_hp)
{
    long long h = 0;
    long long w = 0;
    cr_assert_eq(sscanf(metadata(file, "size_hw"), "[%lld, %lld]", &h, &w), 2);
    edt_test_model_hparams(metadata(file, "model"), h, w, out_hp);
}

// The picture's tensor, from this or another file (`other` must then be closed after use).
static const golden_tensor *find_picture(const golden_file *file, golden_file **out_other,
                                         const golden_tensor **out_valid_hw)
{
    char text[512];
    snprintf(text, sizeof text, "%s", metadata(file, "picture"));
    char *colon = strrchr(text, ':');
    cr_assert_not_null(colon, "picture '%s'", text);
    *colon = '\0';
    *out_other = golden_open(edt_test_path(edt_test_golden_dir(), "model/%s", text));
    const golden_tensor *picture = golden_find(*out_other, colon + 1);
    cr_assert_not_null(picture, "picture '%s:%s'", text, colon + 1);
    *out_valid_hw = golden_find(*out_other, "image_hw");
    return picture;
}

// Bytes of the whole batch and the valid part of each picture, as the network's u8 input wants
// them.
static uint8_t *load_pictures(const golden_file *file, const edt_hparams *hp, int64_t *out_n,
                              int32_t valid_hw[16])
{
    golden_file *other = NULL;
    const golden_tensor *hw = NULL;
    const golden_tensor *picture = find_picture(file, &other, &hw);
    const bool batch = picture->shape.n_dims == 4;
    const int64_t n = batch ? picture->shape.dim[0] : 1;
    const int64_t h = picture->shape.dim[batch ? 1 : 0];
    const int64_t w = picture->shape.dim[batch ? 2 : 1];
    cr_assert(n <= 8 && h <= hp->image_size.h && w <= hp->image_size.w);
    uint8_t *pixels =
        edt_mem_calloc(EDT_MEM_MISC, (size_t)(n * hp->image_size.h * hp->image_size.w * 3), 1);
    for (int64_t i = 0; i < n; i++) {
        valid_hw[2 * i] = (int32_t)h;
        valid_hw[2 * i + 1] = (int32_t)w;
        if (batch) {
            cr_assert_not_null(hw, "image_hw is missing");
            memcpy(valid_hw + 2 * i, (const int32_t *)hw->data + 2 * i, 2 * sizeof(int32_t));
        }
        for (int64_t y = 0; y < h; y++) {
            memcpy(pixels + ((i * hp->image_size.h + y) * hp->image_size.w) * 3,
                   (const uint8_t *)picture->data + (i * h + y) * w * 3, (size_t)w * 3);
        }
    }
    golden_close(other);
    *out_n = n;
    return pixels;
}

static void set_input(golden_net *net, const char *name, const void *data, size_t n_bytes)
{
    edt_error err = {0};
    const edt_value_id value = edt_graph_find_input(net->model->graph, name);
    OK(edt_exec_set_input(net->exec, value, data, n_bytes, &err));
}

// (u8 - mean) / std in f32 and zeros outside, handed over in the graph's type.
static void set_real_image(golden_net *net, const uint8_t *pixels, const int32_t *valid_hw)
{
    const int64_t n = net->options.batch_size;
    const int64_t h = net->hp.image_size.h;
    const int64_t w = net->hp.image_size.w;
    const size_t n_elements = (size_t)(n * h * w * 3);
    float *image = edt_mem_calloc(EDT_MEM_MISC, n_elements, sizeof *image);
    double *wide = edt_mem_calloc(EDT_MEM_MISC, n_elements, sizeof *wide);
    for (int64_t i = 0; i < n * h * w * 3; i++) {
        const int64_t c = i % 3;
        const int64_t x = i / 3 % w;
        const int64_t y = i / 3 / w % h;
        const int64_t b = i / 3 / w / h;
        if (y < valid_hw[2 * b] && x < valid_hw[2 * b + 1]) {
            const float mean = (float)net->hp.mean_rgb.v[net->hp.mean_rgb.n == 3 ? c : 0];
            const float std = (float)net->hp.stddev_rgb.v[net->hp.stddev_rgb.n == 3 ? c : 0];
            image[i] = ((float)pixels[i] - mean) / std;
        }
        wide[i] = image[i];
    }
    if (net->options.real == EDT_DTYPE_F64) {
        set_input(net, "image", wide, n_elements * sizeof *wide);
    } else {
        set_input(net, "image", image, n_elements * sizeof *image);
    }
    edt_mem_free(image);
    edt_mem_free(wide);
}

typedef struct exponent {
    char layer[160];
    int e;
} exponent;

typedef struct exponent_table {
    char model[64], size[32];
    int n;
    exponent rows[2048];
} exponent_table;

static void read_exponent(void *user, int n_fields, char **fields)
{
    exponent_table *table = user;
    if (n_fields == 4 && strcmp(fields[0], table->model) == 0 &&
        strcmp(fields[1], table->size) == 0) {
        cr_assert_lt(table->n, 2048);
        exponent *row = &table->rows[table->n++];
        snprintf(row->layer, sizeof row->layer, "%s", fields[2]);
        row->e = atoi(fields[3]);
    }
}

static int find_exponent(const exponent_table *table, const char *name)
{
    const size_t n_layer = (size_t)(strrchr(name, '/') - name);
    for (int i = 0; i < table->n; i++) {
        if (strncmp(table->rows[i].layer, name, n_layer) == 0 &&
            table->rows[i].layer[n_layer] == '\0') {
            return table->rows[i].e;
        }
    }
    return 0;
}

// Centre and half width of a hashed weight's uniform distribution.
static void hashed_range(const edt_param_entry *entry, double *out_a, double *out_b)
{
    const char *last = strrchr(entry->name, '/') + 1;
    const int64_t *s = entry->shape.dim;
    *out_a = 0;
    if (strcmp(last, "kernel") == 0) {
        *out_b = sqrt(3.0 * 2.0 / (double)(s[0] * s[1] * s[2]));
    } else if (strcmp(last, "depthwise_kernel") == 0) {
        *out_b = sqrt(3.0 * 2.0 / (double)(s[0] * s[1]));
    } else if (strcmp(last, "pointwise_kernel") == 0) {
        const bool predict = strncmp(entry->name, "box_net/box-predict/", 20) == 0;
        *out_b = sqrt(predict ? 3.0 * 0.05 / (double)s[2] : 3.0 / (double)s[2]);
    } else if (strcmp(last, "bias") == 0) {
        const bool predict = strncmp(entry->name, "class_net/class-predict/", 24) == 0;
        *out_a = predict ? -3 : 0;
        *out_b = predict ? 1 : 0.1;
    } else if (strcmp(last, "gamma") == 0 || strcmp(last, "moving_variance") == 0) {
        *out_a = 1;
        *out_b = 0.1;
    } else if (strcmp(last, "beta") == 0) {
        *out_b = 0.5;
    } else if (strcmp(last, "moving_mean") == 0) {
        *out_b = 0.1;
    } else {
        cr_assert(strncmp(last, "WSM", 3) == 0, "no rule for %s", entry->name);
        *out_a = 0.7;
        *out_b = 0.8;
    }
}

static void set_hashed(golden_net *net, const golden_file *file)
{
    edt_error err = {0};
    exponent_table *table = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *table);
    if (atoi(metadata(file, "use_exponents")) != 0) {
        snprintf(table->model, sizeof table->model, "%s", metadata(file, "model"));
        snprintf(table->size, sizeof table->size, "%lldx%lld", (long long)net->hp.image_size.h,
                 (long long)net->hp.image_size.w);
        edt_test_read_tsv(edt_test_path(edt_test_golden_dir(), "model/namehash_exponents.tsv"),
                          1, read_exponent, table);
    }
    const float gamma_beta_scale = (float)atof(metadata(file, "gamma_beta_scale"));
    for (int i = 0; i < net->params->n_params; i++) {
        const edt_param_entry *entry = &net->params->entries[i];
        char key[512];
        snprintf(key, sizeof key, "%s%s", metadata(file, "key_prefix"), entry->name);
        double a = 0;
        double b = 0;
        hashed_range(entry, &a, &b);
        float *values = edt_mem_alloc(EDT_MEM_MISC, (size_t)entry->n * sizeof *values);
        golden_gen(key, a, b, entry->n, values);
        const char *last = strrchr(entry->name, '/') + 1;
        float factor = 1;
        if (strcmp(last, "moving_mean") == 0) {
            factor = (float)ldexp(1.0, find_exponent(table, entry->name));
        } else if (strcmp(last, "moving_variance") == 0) {
            factor = (float)ldexp(1.0, 2 * find_exponent(table, entry->name));
        } else if (strcmp(last, "gamma") == 0 || strcmp(last, "beta") == 0) {
            factor = gamma_beta_scale;
        }
        for (int64_t k = 0; k < entry->n; k++) {
            values[k] *= factor;
        }
        OK(edt_params_set_f32(net->params, EDT_PARAMS_VALUES, i, values, entry->n, &err));
        edt_mem_free(values);
    }
    edt_mem_free(table);
}

// The prefix that a checkpoint directory's state file names.
static const char *checkpoint_prefix(const char *dir)
{
    FILE *state = fopen(edt_test_path(dir, "checkpoint"), "r");
    cr_assert_not_null(state, "%s/checkpoint", dir);
    char line[1024];
    char name[512] = "";
    while (fgets(line, sizeof line, state) != NULL) {
        if (sscanf(line, "model_checkpoint_path: \"%511[^\"]\"", name) == 1) {
            break;
        }
    }
    fclose(state);
    cr_assert_neq(name[0], '\0', "%s/checkpoint names no checkpoint", dir);
    const char *base = strrchr(name, '/');
    return edt_test_path(dir, "%s", base == NULL ? name : base + 1);
}

static void set_checkpoint(golden_net *net, const golden_file *file)
{
    edt_error err = {0};
    const char *dir =
        edt_test_path(edt_test_golden_dir(), "model/%s", metadata(file, "checkpoint"));
    edt_tf_bundle *bundle = NULL;
    OK(edt_tf_bundle_open(checkpoint_prefix(dir), &err, &bundle));
    const bool ema = atoi(metadata(file, "ema")) != 0;
    for (int i = 0; i < net->params->n_params; i++) {
        const edt_param_entry *entry = &net->params->entries[i];
        char key[512];
        snprintf(key, sizeof key, "%s%s", entry->name, ema ? "/ExponentialMovingAverage" : "");
        const int found = edt_tf_bundle_find(bundle, key);
        cr_assert_geq(found, 0, "%s", key);
        float *values = edt_mem_alloc(EDT_MEM_MISC, (size_t)entry->n * sizeof *values);
        OK(edt_tf_bundle_read(bundle, found, values, (size_t)entry->n * sizeof *values, &err));
        OK(edt_params_set_f32(net->params, EDT_PARAMS_VALUES, i, values, entry->n, &err));
        edt_mem_free(values);
    }
    edt_tf_bundle_close(bundle);
}

void golden_net_create(const golden_file *file, const edt_hparams *take_hp,
                       const edt_model_options *options, const char *backend_name,
                       golden_net *out_net)
{
    edt_error err = {0};
    golden_net *net = out_net;
    *net = (golden_net){.hp = *take_hp, .options = *options};
    int32_t valid_hw[16];
    uint8_t *pixels = load_pictures(file, &net->hp, &net->options.batch_size, valid_hw);
    net->model = edt_test_model(&net->hp, &net->options);
    OK(edt_backend_create(backend_name, &(edt_backend_options){.n_threads = 1}, &err,
                          &net->backend));
    OK(edt_params_create(net->model->graph, net->backend, &err, &net->params));
    if (net->options.mode == EDT_MODEL_TRAIN && net->options.losses) {
        OK(edt_params_add_arena(net->params, EDT_PARAMS_GRADS, &err));
    }
    if (strcmp(metadata(file, "weights_kind"), "hashed") == 0) {
        set_hashed(net, file);
    } else {
        cr_assert_str_eq(metadata(file, "weights_kind"), "checkpoint");
        set_checkpoint(net, file);
    }
    OK(edt_exec_create(net->model->graph, net->params, &err, &net->exec));
    if (net->options.u8_input) {
        set_input(net, "image_u8", pixels,
                  (size_t)(net->options.batch_size * net->hp.image_size.h *
                           net->hp.image_size.w * 3));
        set_input(net, "valid_hw", valid_hw,
                  (size_t)net->options.batch_size * 2 * sizeof(int32_t));
    } else {
        set_real_image(net, pixels, valid_hw);
    }
    edt_mem_free(pixels);
}

void golden_net_destroy(golden_net *net)
{
    edt_exec_destroy(net->exec);
    edt_params_destroy(net->params);
    edt_backend_destroy(&net->backend);
    edt_model_destroy(net->model);
    edt_hparams_deinit(&net->hp);
}

void golden_net_run(golden_net *net)
{
    edt_error err = {0};
    const edt_run_ctx ctx = {.params_version = net->params->version};
    OK(edt_exec_run(net->exec, &ctx, &err));
}

double *golden_net_read(golden_net *net, edt_value_id value, int64_t *out_n)
{
    edt_error err = {0};
    const edt_shape shape = edt_graph_shape(net->model->graph, value);
    const int64_t n = edt_shape_count(&shape);
    double *wide = edt_mem_alloc(EDT_MEM_MISC, (size_t)n * sizeof *wide);
    if (net->options.real == EDT_DTYPE_F64) {
        OK(edt_exec_get(net->exec, value, wide, (size_t)n * sizeof *wide, &err));
    } else {
        float *narrow = edt_mem_alloc(EDT_MEM_MISC, (size_t)n * sizeof *narrow);
        OK(edt_exec_get(net->exec, value, narrow, (size_t)n * sizeof *narrow, &err));
        for (int64_t i = 0; i < n; i++) {
            wide[i] = narrow[i];
        }
        edt_mem_free(narrow);
    }
    *out_n = n;
    return wide;
}

static const char *after_key(const char *json, const char *key, int i_occurrence)
{
    char quoted[128];
    snprintf(quoted, sizeof quoted, "\"%s\": ", key);
    const char *at = json;
    for (int i = 0; at != NULL; i++) {
        at = strstr(at, quoted);
        if (at != NULL) {
            at += strlen(quoted);
            if (i == i_occurrence) {
                return strncmp(at, "null", 4) == 0 ? NULL : at;
            }
        }
    }
    return NULL;
}

bool golden_json_number(const char *json, const char *key, int i_occurrence, double *out_number)
{
    const char *at = after_key(json, key, i_occurrence);
    if (at == NULL) {
        return false;
    }
    *out_number = strtod(at, NULL);
    return true;
}

bool golden_json_text(const char *json, const char *key, char *out_text, int n_text)
{
    const char *at = after_key(json, key, 0);
    if (at == NULL || *at != '"') {
        return false;
    }
    snprintf(out_text, (size_t)n_text, "%.*s", (int)strcspn(at + 1, "\""), at + 1);
    return true;
}
