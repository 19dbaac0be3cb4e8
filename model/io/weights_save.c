// One list of tensors per file (what is called how and comes from which arena), then one writer
// per container, and the comparison of the result with the same list. See weights_save.h.
#include "model/io/weights_save.h"

#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "core/path.h"
#include "model/io/h5_write.h"
#include "model/io/object_graph.h"
#include "model/io/tf_bundle.h"

typedef struct tensor {
    const char *name; // canonical
    int i_param;
    edt_params_arena from;
    bool is_average;
} tensor;

typedef struct saver {
    const edt_params *params;
    const edt_weights_save_options *options;
    const char *path;
    edt_arena arena;
    int n_tensors;
    tensor *tensors;
    void *scratch; // one parameter
} saver;

static edt_status no_memory(const saver *s, edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", s->path);
}

static size_t tensor_bytes(const saver *s, const tensor *t)
{
    return (size_t)s->params->entries[t->i_param].n * edt_dtype_bytes(s->params->real);
}

static edt_status fetch(const saver *s, const tensor *t, void *out, edt_error *err)
{
    const int64_t n = s->params->entries[t->i_param].n;
    return s->params->real == EDT_DTYPE_F64
               ? edt_params_get_f64(s->params, t->from, t->i_param, out, n, err)
               : edt_params_get_f32(s->params, t->from, t->i_param, out, n, err);
}

static edt_status list_tensors(saver *s, edt_error *err)
{
    const edt_params *params = s->params;
    const edt_weights_save_options *o = s->options;
    const bool has_averages = params->memory[EDT_PARAMS_EMA] != NULL;
    if (o->averages == EDT_WEIGHTS_KEEP &&
        (!has_averages || o->format == EDT_WEIGHTS_KERAS_H5)) {
        EDT_FAIL(err, EDT_ERR_INVALID, "%s: averages cannot be kept: %s", s->path,
                 has_averages ? "Keras' HDF5 layout has no place for them" : "there are none");
    }
    const bool both = o->averages == EDT_WEIGHTS_KEEP ||
                      (o->averages == EDT_WEIGHTS_FOLD && o->format == EDT_WEIGHTS_TF_NAMES);
    const edt_params_arena average = has_averages ? EDT_PARAMS_EMA : EDT_PARAMS_VALUES;
    const edt_params_arena value =
        o->averages == EDT_WEIGHTS_FOLD ? average : EDT_PARAMS_VALUES;
    const bool is_keras =
        o->format == EDT_WEIGHTS_TF_OBJECTS || o->format == EDT_WEIGHTS_KERAS_H5;
    s->tensors = edt_arena_calloc(&s->arena, 2 * (size_t)params->n_params + 1, sizeof(tensor));
    if (s->tensors == NULL) {
        return no_memory(s, err);
    }
    size_t n_largest = 1;
    for (int i = 0; i < params->n_params; ++i) {
        if (params->entries[i].object_path == NULL && is_keras) {
            EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                     "%s: the reference's Keras model does not keep the variable '%s', so this "
                     "format has no place for it; write the model by names or as safetensors",
                     s->path, params->entries[i].name);
        }
        tensor t = {.name = params->entries[i].name, .i_param = i, .from = value};
        n_largest = tensor_bytes(s, &t) > n_largest ? tensor_bytes(s, &t) : n_largest;
        s->tensors[s->n_tensors++] = t;
        if (both) {
            t.name = edt_arena_printf(&s->arena, "%s/ExponentialMovingAverage", t.name);
            t.from = average;
            t.is_average = true;
            s->tensors[s->n_tensors++] = t;
        }
        if (t.name == NULL) {
            return no_memory(s, err);
        }
    }
    s->scratch = edt_mem_alloc(EDT_MEM_PARAM, n_largest);
    return s->scratch == NULL ? no_memory(s, err) : EDT_OK;
}

static edt_status add_tensor(const saver *s, edt_tf_bundle_writer *writer, const tensor *t,
                             const char *key, edt_error *err)
{
    const edt_tensor_desc desc = {s->params->real, s->params->entries[t->i_param].shape};
    EDT_TRY(fetch(s, t, s->scratch, err));
    return edt_tf_bundle_writer_add(writer, key, &desc, s->scratch, err);
}

static edt_status add_step(const saver *s, edt_tf_bundle_writer *writer, const char *key,
                           edt_error *err)
{
    const edt_tensor_desc desc = {.dtype = EDT_DTYPE_I64};
    return edt_tf_bundle_writer_add(writer, key, &desc, &s->options->global_step, err);
}

static edt_status add_by_name(saver *s, edt_tf_bundle_writer *writer, edt_error *err)
{
    for (int i = 0; i < s->n_tensors; ++i) {
        EDT_TRY(add_tensor(s, writer, &s->tensors[i], s->tensors[i].name, err));
    }
    return s->options->global_step < 0 ? EDT_OK : add_step(s, writer, "global_step", err);
}

// The fusion weights of a node stand a second time in its list "vars".
static edt_status add_fusion_alias(saver *s, edt_object_graph *graph, const char *path,
                                   int object, edt_error *err)
{
    const char *last = strrchr(path, '/');
    if (last == NULL || strncmp(last, "/WSM", 4) != 0 || (last[4] != '\0' && last[4] != '_')) {
        return EDT_OK;
    }
    const char *alias = edt_arena_printf(&s->arena, "%.*s/vars/%s", (int)(last - path), path,
                                         last[4] == '\0' ? "0" : last + 5);
    return alias == NULL ? no_memory(s, err)
                         : edt_object_graph_alias(graph, alias, object, err);
}

static edt_status add_object(saver *s, edt_tf_bundle_writer *writer, edt_object_graph *graph,
                             const tensor *t, int *object, edt_error *err)
{
    const edt_param_entry *entry = &s->params->entries[t->i_param];
    if (!t->is_average) {
        const char *key =
            edt_arena_printf(&s->arena, "%s" EDT_OBJECT_VALUE_SUFFIX, entry->object_path);
        if (key == NULL) {
            return no_memory(s, err);
        }
        EDT_TRY(edt_object_graph_add(graph, entry->object_path, entry->name, err, object));
        EDT_TRY(add_fusion_alias(s, graph, entry->object_path, *object, err));
        return add_tensor(s, writer, t, key, err);
    }
    const char *key = edt_arena_printf(
        &s->arena, "%s/.OPTIMIZER_SLOT/optimizer/average" EDT_OBJECT_VALUE_SUFFIX,
        entry->object_path);
    const char *full_name =
        edt_arena_printf(&s->arena, "MovingAverage/%s/average", entry->name);
    if (key == NULL || full_name == NULL) {
        return no_memory(s, err);
    }
    EDT_TRY(
        edt_object_graph_add_slot(graph, "optimizer", *object, "average", full_name, key, err));
    return add_tensor(s, writer, t, key, err);
}

static edt_status add_objects(saver *s, edt_tf_bundle_writer *writer, edt_error *err)
{
    edt_object_graph *graph = NULL;
    EDT_TRY(edt_object_graph_create(err, &graph));
    edt_status status = EDT_OK;
    int object = 0;
    for (int i = 0; i < s->n_tensors; ++i) { // an average follows its variable
        EDT_TRY_GOTO(add_object(s, writer, graph, &s->tensors[i], &object, err));
    }
    if (s->options->global_step >= 0) {
        EDT_TRY_GOTO(edt_object_graph_add(graph, "optimizer/iter", "iter", err, &object));
        EDT_TRY_GOTO(add_step(s, writer, "optimizer/iter" EDT_OBJECT_VALUE_SUFFIX, err));
    }
    edt_text message;
    EDT_TRY_GOTO(edt_object_graph_pack(graph, err, &message));
    const edt_shape scalar = {0};
    EDT_TRY_GOTO(
        edt_tf_bundle_writer_add_strings(writer, EDT_OBJECT_GRAPH_KEY, &scalar, &message, err));
fail:
    edt_object_graph_destroy(graph);
    return status;
}

static edt_status save_bundle(saver *s, edt_error *err)
{
    edt_tf_bundle_writer *writer = NULL;
    EDT_TRY(edt_tf_bundle_writer_create(s->path, err, &writer));
    edt_status status = s->options->format == EDT_WEIGHTS_TF_OBJECTS
                            ? add_objects(s, writer, err)
                            : add_by_name(s, writer, err);
    if (status == EDT_OK) {
        status = edt_tf_bundle_writer_commit(writer, err);
    }
    edt_tf_bundle_writer_destroy(writer);
    return status;
}

static edt_status save_safetensors(saver *s, edt_error *err)
{
    size_t n_bytes = 0;
    for (int i = 0; i < s->n_tensors; ++i) {
        n_bytes += tensor_bytes(s, &s->tensors[i]);
    }
    edt_safetensors_item *items =
        edt_arena_calloc(&s->arena, (size_t)s->n_tensors + 1, sizeof *items);
    uint8_t *data = edt_mem_alloc(EDT_MEM_PARAM, n_bytes);
    if (items == NULL || data == NULL) {
        edt_mem_free(data);
        return no_memory(s, err);
    }
    edt_status status = EDT_OK;
    size_t at = 0;
    for (int i = 0; i < s->n_tensors; ++i) {
        const tensor *t = &s->tensors[i];
        EDT_TRY_GOTO(fetch(s, t, data + at, err));
        items[i] = (edt_safetensors_item){
            .name = t->name,
            .desc = {s->params->real, s->params->entries[t->i_param].shape},
            .data = {data + at, tensor_bytes(s, t)}};
        at += tensor_bytes(s, t);
    }
    const bool has_step = s->options->global_step >= 0;
    items[s->n_tensors] = (edt_safetensors_item){
        .name = "global_step",
        .desc = {.dtype = EDT_DTYPE_I64},
        .data = {(const uint8_t *)&s->options->global_step, sizeof s->options->global_step}};
    status = edt_safetensors_write(s->path, items, s->n_tensors + has_step, s->options->meta,
                                   s->options->n_meta, err);
fail:
    edt_mem_free(data);
    return status;
}

static edt_status save(saver *s, edt_error *err)
{
    EDT_TRY(list_tensors(s, err));
    switch (s->options->format) {
    case EDT_WEIGHTS_TF_NAMES:
    case EDT_WEIGHTS_TF_OBJECTS: return save_bundle(s, err);
    case EDT_WEIGHTS_SAFETENSORS: return save_safetensors(s, err);
    case EDT_WEIGHTS_KERAS_H5: break;
    }
    return edt_h5_write(s->params, s->tensors[0].from, s->path, err);
}

static edt_status compare(const saver *s, edt_weights *weights, const tensor *t, void *stored,
                          edt_error *err)
{
    const edt_param_entry *entry = &s->params->entries[t->i_param];
    const int i = edt_weights_find(weights, t->name);
    if (i < 0) {
        EDT_FAIL(err, EDT_ERR_CORRUPT, "tensor '%s' is missing", t->name);
    }
    const edt_weights_item *item = edt_weights_get(weights, i);
    if (item->dtype != s->params->real || !edt_shape_equal(&item->shape, &entry->shape)) {
        char shape[EDT_SHAPE_TEXT_BYTES], wanted[EDT_SHAPE_TEXT_BYTES];
        EDT_FAIL(err, EDT_ERR_CORRUPT, "tensor '%s' is %s %s instead of %s %s", t->name,
                 edt_dtype_name(item->dtype), edt_shape_text(&item->shape, shape),
                 edt_dtype_name(s->params->real), edt_shape_text(&entry->shape, wanted));
    }
    EDT_TRY(edt_weights_read(weights, i, stored, tensor_bytes(s, t), err));
    EDT_TRY(fetch(s, t, s->scratch, err));
    if (memcmp(stored, s->scratch, tensor_bytes(s, t)) != 0) {
        EDT_FAIL(err, EDT_ERR_CORRUPT, "tensor '%s' has other values than the model", t->name);
    }
    return EDT_OK;
}

static edt_status compare_step(const saver *s, edt_weights *weights, edt_error *err)
{
    const int i = edt_weights_find(weights, "global_step");
    int64_t step = -1;
    if (i >= 0) {
        EDT_TRY(edt_weights_read(weights, i, &step, sizeof step, err));
    }
    if (step != s->options->global_step) {
        EDT_FAIL(err, EDT_ERR_CORRUPT, "global_step is %lld instead of %lld", (long long)step,
                 (long long)s->options->global_step);
    }
    return EDT_OK;
}

static edt_status verify(saver *s, edt_error *err, int *out_n_tensors)
{
    EDT_TRY(list_tensors(s, err));
    size_t n_largest = 1;
    for (int i = 0; i < s->n_tensors; ++i) {
        const size_t n = tensor_bytes(s, &s->tensors[i]);
        n_largest = n > n_largest ? n : n_largest;
    }
    edt_weights *weights = NULL;
    EDT_TRY(edt_weights_open(s->path, err, &weights));
    edt_status status = EDT_OK;
    void *stored = edt_mem_alloc(EDT_MEM_PARAM, n_largest);
    if (stored == NULL) {
        status = no_memory(s, err);
        goto fail;
    }
    for (int i = 0; i < s->n_tensors; ++i) {
        EDT_TRY_GOTO(compare(s, weights, &s->tensors[i], stored, err));
    }
    *out_n_tensors = s->n_tensors;
    if (s->options->format != EDT_WEIGHTS_KERAS_H5) {
        EDT_TRY_GOTO(compare_step(s, weights, err));
        *out_n_tensors += s->options->global_step >= 0;
    }
fail:
    edt_mem_free(stored);
    edt_weights_close(weights);
    return status;
}

static void init(saver *s, const edt_params *params, const char *path,
                 const edt_weights_save_options *options)
{
    *s = (saver){.params = params, .options = options, .path = path};
    edt_arena_init(&s->arena, EDT_MEM_TEXT, 0);
}

static void deinit(saver *s)
{
    edt_mem_free(s->scratch);
    edt_arena_deinit(&s->arena);
}

edt_status edt_weights_save(const edt_params *params, const char *path,
                            const edt_weights_save_options *options, edt_error *err)
{
    saver s;
    init(&s, params, path, options);
    const edt_status status = save(&s, err);
    deinit(&s);
    return status == EDT_OK ? EDT_OK
                            : edt_error_add_context(err, status, "writing weights to %s", path);
}

edt_status edt_weights_verify(const edt_params *params, const char *path,
                              const edt_weights_save_options *options, edt_error *err,
                              int *out_n_tensors)
{
    saver s;
    init(&s, params, path, options);
    const edt_status status = verify(&s, err, out_n_tensors);
    deinit(&s);
    return status == EDT_OK ? EDT_OK
                            : edt_error_add_context(
                                  err, status, "reading back what was written to %s", path);
}

static bool is_bundle(edt_weights_format format)
{
    return format == EDT_WEIGHTS_TF_NAMES || format == EDT_WEIGHTS_TF_OBJECTS;
}

edt_status edt_weights_exist(const char *path, edt_weights_format format, edt_error *err,
                             bool *out_exist)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    const char *file = is_bundle(format) ? edt_arena_printf(&arena, "%s.index", path) : path;
    const bool known = file != NULL;
    if (known) {
        *out_exist = edt_path_exists(file);
    }
    edt_arena_deinit(&arena);
    if (!known) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", path);
    }
    return EDT_OK;
}
