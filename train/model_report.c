// See model_report.h. Each report gathers first, then writes one of the two forms.
#include "train/model_report.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/json.h"
#include "model/count.h"
#include "model/efficientdet.h"
#include "model/exec.h"
#include "model/io/tensor_stats.h"
#include "model/stages.h"
#include "train/environment.h"

static edt_status print_json(edt_json_writer *w, edt_error *err)
{
    edt_text text;
    const edt_status status = edt_json_writer_finish(w, err, &text);
    if (status == EDT_OK) {
        printf("%.*s\n", (int)text.n_bytes, text.data);
    }
    edt_json_writer_deinit(w);
    return status;
}

static void put_counts(edt_json_writer *w, const char *name, int64_t parameters, int64_t macs,
                       int64_t profiled)
{
    edt_json_put_text(w, "name", name);
    edt_json_put_i64(w, "parameters", parameters);
    edt_json_put_i64(w, "flops", profiled / 2);
    edt_json_put_i64(w, "macs", macs);
}

static void put_shape(edt_json_writer *w, const edt_shape *shape)
{
    edt_json_key(w, "shape");
    edt_json_begin_array(w);
    for (int i = 0; i < shape->n_dims; ++i) {
        edt_json_i64(w, shape->dim[i]);
    }
    edt_json_end_array(w);
}

static edt_status build(const edt_hparams *hp, edt_error *err, edt_model **out_model)
{
    const edt_model_options options = {
        .mode = EDT_MODEL_INFER, .real = EDT_DTYPE_F32, .batch_size = 1};
    return edt_model_create(hp, &options, err, out_model);
}

static edt_status model_json(const edt_hparams *hp, const edt_model *model,
                             const edt_model_count *count, const edt_plan_summary *memory,
                             const edt_stage *stages, int n, edt_error *err)
{
    char size[64];
    (void)snprintf(size, sizeof size, "%" PRId64 "x%" PRId64, model->image_w, model->image_h);
    edt_json_writer w = {0};
    edt_json_begin_object(&w);
    put_counts(&w, hp->name, count->n_trainable, count->forward_macs, count->profiled);
    edt_json_put_text(&w, "image_size", size);
    edt_json_put_i64(&w, "variables", count->n_variables);
    edt_json_put_i64(&w, "moving_statistics", count->n_moving);
    edt_json_put_i64(&w, "anchors", model->n_anchors);
    edt_json_put_i64(&w, "variable_bytes", memory->param_bytes);
    edt_json_put_i64(&w, "activation_bytes", memory->activation_bytes);
    edt_json_key(&w, "stages");
    edt_json_begin_array(&w);
    for (int i = 0; i < n; ++i) {
        edt_json_begin_object(&w);
        put_counts(&w, stages[i].name, stages[i].n_trainable, stages[i].forward_macs,
                   stages[i].profiled);
        edt_json_end_object(&w);
    }
    edt_json_end_array(&w);
    edt_json_end_object(&w);
    return print_json(&w, err);
}

static double mib(int64_t bytes)
{
    return (double)bytes / (1 << 20);
}

static void model_text(const edt_hparams *hp, const edt_model *model,
                       const edt_model_count *count, const edt_plan_summary *memory,
                       const edt_stage *stages, int n)
{
    printf("%s, %" PRId64 "x%" PRId64 " pixels (WxH), %" PRId64 " classes, %" PRId64
           " anchors\n%d variables: %" PRId64 " trainable parameters, %" PRId64
           " moving statistics\n%" PRId64
           " multiply-accumulates of convolutions per image, %" PRId64
           " FLOPs as they are published\n",
           hp->name, model->image_w, model->image_h, model->num_classes, model->n_anchors,
           count->n_variables, count->n_trainable, count->n_moving, count->forward_macs,
           count->profiled / 2);
    printf("memory for one image: %.1f MiB of variables, %.1f MiB of activations (%.1f MiB "
           "without "
           "reuse)\n\n%-24s %9s %12s %16s %16s %7s\n",
           mib(memory->param_bytes), mib(memory->activation_bytes), mib(memory->naive_bytes),
           "part", "variables", "parameters", "MACs", "FLOPs", "share");
    for (int i = 0; i < n; ++i) {
        printf("%-24s %9d %12" PRId64 " %16" PRId64 " %16" PRId64 " %6.1f%%\n", stages[i].name,
               stages[i].n_variables, stages[i].n_trainable, stages[i].forward_macs,
               stages[i].profiled / 2,
               100.0 * (double)stages[i].profiled / (double)count->profiled);
    }
}

edt_status edt_report_model(const edt_hparams *hp, bool json, edt_error *err)
{
    edt_model *model = NULL;
    edt_stage stages[EDT_STAGES_MAX];
    edt_model_count count;
    int n;
    EDT_TRY(build(hp, err, &model));
    edt_count_graph(model->graph, &count);
    edt_plan_summary memory;
    edt_status status = edt_stages_count(hp, model->graph, err, stages, &n);
    if (status == EDT_OK) {
        status = edt_plan_summarize(model->graph, err, &memory);
    }
    if (status == EDT_OK && json) {
        status = model_json(hp, model, &count, &memory, stages, n, err);
    } else if (status == EDT_OK) {
        model_text(hp, model, &count, &memory, stages, n);
    }
    edt_model_destroy(model);
    return status;
}

edt_status edt_report_all_models(bool json, edt_error *err)
{
    edt_json_writer w = {0};
    edt_status status;
    edt_model_size size;
    edt_json_begin_array(&w);
    if (!json) {
        printf("| model | input | parameters | published | FLOPs | published | "
               "multiply-accumulates | anchors |\n|---|--:|--:|--:|--:|--:|--:|--:|\n");
    }
    for (int i = 0; (status = edt_model_size_of(i, err, &size)) == EDT_OK; ++i) {
        if (json) {
            edt_json_begin_object(&w);
            put_counts(&w, size.name, size.count.n_trainable, size.count.forward_macs,
                       size.count.profiled);
            edt_json_end_object(&w);
        } else {
            printf("| %s | %" PRId64 "x%" PRId64 " | %.2fM | %s | %.2fB | %s | %.2fB | %" PRId64
                   " |\n",
                   size.name, size.image_w, size.image_h, 1e-6 * (double)size.count.n_trainable,
                   size.published_parameters, 0.5e-9 * (double)size.count.profiled,
                   size.published_flops != NULL ? size.published_flops : "-",
                   1e-9 * (double)size.count.forward_macs, size.n_anchors);
        }
    }
    edt_json_end_array(&w);
    if (status == EDT_END && json) {
        return print_json(&w, err);
    }
    edt_json_writer_deinit(&w);
    return status == EDT_END ? EDT_OK : status;
}

edt_status edt_report_variables(const edt_hparams *hp, bool json, edt_error *err)
{
    edt_model *model = NULL;
    edt_json_writer w = {0};
    EDT_TRY(build(hp, err, &model));
    edt_json_begin_array(&w);
    for (int i = 0; i < model->graph->n_params; ++i) {
        const edt_param *param = &model->graph->params[i];
        char shape[EDT_SHAPE_TEXT_BYTES];
        if (json) {
            edt_json_begin_object(&w);
            edt_json_put_text(&w, "name", param->name);
            put_shape(&w, &param->shape);
            edt_json_put_bool(&w, "trainable", param->trainable);
            edt_json_put_text(&w, "object_path", param->object_path);
            edt_json_end_object(&w);
        } else {
            printf("%-80s %-18s %s\n", param->name, edt_shape_text(&param->shape, shape),
                   param->trainable ? "trainable" : "moving");
        }
    }
    edt_json_end_array(&w);
    edt_model_destroy(model);
    if (json) {
        return print_json(&w, err);
    }
    edt_json_writer_deinit(&w);
    return EDT_OK;
}

// A name from a file for a terminal, which nothing in it must steer.
static void print_name(const char *name)
{
    int n = 0;
    for (; name[n] != '\0'; ++n) {
        const bool steers = (unsigned char)name[n] < ' ' || name[n] == 0x7f;
        (void)putchar(steers ? '?' : name[n]);
    }
    (void)printf("%*s", n < 80 ? 80 - n : 0, "");
}

static edt_status put_tensor(edt_weights *weights, int i, edt_json_writer *w, bool json,
                             edt_error *err)
{
    const edt_weights_item *entry = edt_weights_get(weights, i);
    const char *type = entry->is_text ? "string" : edt_dtype_name(entry->dtype);
    edt_tensor_stats s = {.min = (double)NAN, .mean = (double)NAN, .max = (double)NAN};
    const edt_status status = edt_tensor_stats_read(weights, i, err, &s);
    if (status != EDT_OK && status != EDT_ERR_UNSUPPORTED) {
        return status;
    }
    if (json) {
        edt_json_begin_object(w);
        edt_json_put_text(w, "name", entry->key);
        edt_json_put_text(w, "dtype", type);
        put_shape(w, &entry->shape);
        edt_json_key(w, "min");
        edt_json_f64_or_null(w, s.min);
        edt_json_key(w, "mean");
        edt_json_f64_or_null(w, s.mean);
        edt_json_key(w, "max");
        edt_json_f64_or_null(w, s.max);
        edt_json_put_i64(w, "not_finite", s.n_not_finite);
        edt_json_end_object(w);
        return EDT_OK;
    }
    char shape[EDT_SHAPE_TEXT_BYTES];
    print_name(entry->key);
    printf(" %-6s %-18s", type, edt_shape_text(&entry->shape, shape));
    if (status == EDT_OK) {
        printf(" %13.6g %13.6g %13.6g", s.min, s.mean, s.max);
    }
    if (s.n_not_finite > 0) {
        printf("  %" PRId64 " not finite", s.n_not_finite);
    }
    printf("\n");
    return EDT_OK;
}

edt_status edt_report_checkpoint(const char *path, bool json, edt_error *err)
{
    edt_weights *weights = NULL;
    edt_json_writer w = {0};
    EDT_TRY(edt_weights_open(path, err, &weights));
    edt_status status = EDT_OK;
    edt_json_begin_array(&w);
    if (!json) {
        printf("%s: %s, %d tensors\n%-80s %-6s %-18s %13s %13s %13s\n",
               edt_weights_path(weights),
               edt_weights_format_name(edt_weights_get_format(weights)),
               edt_weights_count(weights), "name", "type", "shape", "min", "mean", "max");
    }
    for (int i = 0; status == EDT_OK && i < edt_weights_count(weights); ++i) {
        status = put_tensor(weights, i, &w, json, err);
    }
    edt_json_end_array(&w);
    edt_weights_close(weights);
    if (status == EDT_OK && json) {
        return print_json(&w, err);
    }
    edt_json_writer_deinit(&w);
    return status;
}

// Calls back for each line "name: value" of `lines`.
typedef void device_line_fn(void *ctx, const char *name, const char *value);
static void each_device_line(const char *lines, device_line_fn *call, void *ctx)
{
    char line[512];
    while (lines[0] != '\0') {
        const size_t n = strcspn(lines, "\n");
        (void)snprintf(line, sizeof line, "%.*s", (int)n, lines);
        lines += n + (lines[n] == '\n' ? 1 : 0);
        char *colon = strstr(line, ": ");
        if (colon != NULL) {
            *colon = '\0';
            call(ctx, line, colon + 2);
        }
    }
}

static void put_device_json(void *ctx, const char *name, const char *value)
{
    edt_json_begin_object(ctx);
    edt_json_put_text(ctx, "name", name);
    edt_json_put_text(ctx, "text", value);
    edt_json_end_object(ctx);
}

static void print_device(void *ctx, const char *name, const char *value)
{
    (void)ctx;
    printf("device   %-14s %s\n", name, value);
}

static edt_status environment_json(const edt_environment *e, edt_error *err)
{
    edt_json_writer w = {.indent = 1};
    edt_json_begin_object(&w);
    edt_json_put_text(&w, "version", e->version);
    edt_json_put_text(&w, "compiler", e->compiler);
    edt_json_put_text(&w, "processor", e->processor);
    edt_json_put_i64(&w, "cores", e->n_cores);
    edt_json_put_f64(&w, "memory_gib", e->memory_gib);
    edt_json_put_text(&w, "cpu_features", e->cpu_features);
    edt_json_key(&w, "libraries");
    edt_json_begin_array(&w);
    for (int i = 0; i < e->n_libraries; ++i) {
        edt_json_begin_object(&w);
        edt_json_put_text(&w, "name", e->libraries[i].name);
        edt_json_put_text(&w, "version", e->libraries[i].version);
        edt_json_put_text(&w, "purpose", e->libraries[i].purpose);
        edt_json_end_object(&w);
    }
    edt_json_end_array(&w);
    edt_json_key(&w, "backends");
    edt_json_begin_array(&w);
    for (int i = 0; i < EDT_ENVIRONMENT_BACKENDS; ++i) {
        edt_json_begin_object(&w);
        edt_json_put_text(&w, "name", e->backends[i].name);
        edt_json_put_bool(&w, "runs_here", e->backends[i].can_run);
        edt_json_put_text(&w, "text", e->backends[i].text);
        edt_json_end_object(&w);
    }
    edt_json_end_array(&w);
    edt_json_key(&w, "devices");
    edt_json_begin_array(&w);
    each_device_line(e->devices, put_device_json, &w);
    edt_json_end_array(&w);
    edt_json_end_object(&w);
    return print_json(&w, err);
}

edt_status edt_report_environment(bool json, edt_error *err)
{
    edt_environment e;
    edt_environment_read(&e);
    if (json) {
        return environment_json(&e, err);
    }
    printf("edt %s, built with %s\n%s, %d cores, %.1f GiB of memory\nfeatures: %s\n\n",
           e.version, e.compiler, e.processor, e.n_cores, e.memory_gib, e.cpu_features);
    for (int i = 0; i < e.n_libraries; ++i) {
        printf("library  %-14s %-10s %s\n", e.libraries[i].name, e.libraries[i].version,
               e.libraries[i].purpose);
    }
    printf("\n");
    for (int i = 0; i < EDT_ENVIRONMENT_BACKENDS; ++i) {
        printf("backend  %-14s %-10s %s\n", e.backends[i].name,
               e.backends[i].can_run ? "runs here" : "no", e.backends[i].text);
    }
    printf("\n");
    each_device_line(e.devices, print_device, NULL);
    return EDT_OK;
}
