// See h5_write.h. The order of Keras: a layer's trainable weights, then the others, each depth
// first in the order in which the reference's code creates attributes, own weights before those
// of children; object paths say where a variable hangs. The HDF5 library works in another
// process (h5_wire.h), from memory to memory, so that writing the file itself is ours as for
// any other.
#include "model/io/h5_write.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/helper.h"
#include "core/json.h"
#include "model/io/h5_wire.h"

enum {
    TIMEOUT_S = 600,
    MAX_DEPTH = 16,
    FIRST_NAMED = 1000, // ranks: numbers and fusion weights before what the table lists
    RESAMPLE_LAYERS = FIRST_NAMED + 1,
    FIRST_EXTRA_LEVEL = 6,
    DEFAULT_MAX_LEVEL = 7,
};

// Attributes of the reference's layers: siblings stand in the order of their creation.
static const char *const attributes[] = {
    // the model (resample_layers second, see RESAMPLE_LAYERS), nodes of the feature network
    "backbone",
    "resample_layers",
    "op_after_combine",
    "fpn_cells",
    "class_net",
    "box_net",
    "seg_head",
    "cells",
    "fnodes",
    // the backbone
    "_blocks",
    "_stem",
    "_conv_stem",
    "_bn",
    "_expand_conv",
    "_bn0",
    "_depthwise_conv",
    "_bn1",
    "_se",
    "_project_conv",
    "_bn2",
    "_se_reduce",
    "_se_expand",
    // heads
    "conv_ops",
    "bns",
    "classes",
    "boxes",
    "con2d_ts",
    "con2d_t_bns",
    "head_transpose",
    // layers of the library
    "conv2d",
    "conv_op",
    "bn",
    "kernel",
    "depthwise_kernel",
    "pointwise_kernel",
    "bias",
    "gamma",
    "beta",
    "moving_mean",
    "moving_variance",
};

typedef struct place {
    int i_param;
    bool is_late; // not trainable
    int n_layer;  // bytes of the layer's name
    int depth;
    int ranks[MAX_DEPTH]; // the first one is the layer's
} place;

typedef struct writer {
    const edt_params *params;
    edt_params_arena which;
    edt_arena arena;
    place *places; // in the file's order
    edt_h5_tensor *tensors;
    edt_json_writer layers;
} writer;

static edt_status no_memory(edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_NOMEM, "out of memory for an HDF5 file");
}

static int rank_of(const char *element, size_t n)
{
    if (n > 0 && element[0] >= '0' && element[0] <= '9') {
        return atoi(element);
    }
    if (n >= 3 && memcmp(element, "WSM", 3) == 0) {
        return n > 4 ? atoi(element + 4) : 0;
    }
    const int n_attributes = (int)(sizeof attributes / sizeof attributes[0]);
    for (int i = 0; i < n_attributes; ++i) {
        if (strlen(attributes[i]) == n && memcmp(attributes[i], element, n) == 0) {
            return FIRST_NAMED + i;
        }
    }
    return FIRST_NAMED + n_attributes;
}

// Variables that Keras does not know, those of srelu, have a name only: they end their layer.
static void place_by_name(const char *name, place *p)
{
    static const char *const layers[][2] = {{"segmentation_head", "seg_head"},
                                            {"fpn_cells", "fpn_cells"},
                                            {"class_net", "class_net"},
                                            {"box_net", "box_net"}};
    const char *attribute = "backbone";
    for (size_t i = 0; i < sizeof layers / sizeof layers[0]; ++i) {
        const size_t n = strlen(layers[i][0]);
        if (strncmp(name, layers[i][0], n) == 0 && name[n] == '/') {
            attribute = layers[i][1];
        }
    }
    int level = 0;
    if (sscanf(name, "resample_p%d/", &level) == 1) {
        p->ranks[p->depth++] = RESAMPLE_LAYERS;
        p->ranks[p->depth++] = level - FIRST_EXTRA_LEVEL;
    } else {
        p->ranks[p->depth++] = rank_of(attribute, strlen(attribute));
    }
    p->ranks[p->depth++] = INT_MAX;
}

static place place_of(const edt_params *params, int i_param)
{
    const edt_param_entry *entry = &params->entries[i_param];
    place p = {.i_param = i_param,
               .is_late = !entry->trainable,
               .n_layer = (int)strcspn(entry->name, "/")};
    const char *path = entry->object_path;
    if (path == NULL) {
        place_by_name(entry->name, &p);
        return p;
    }
    while (*path != '\0' && p.depth < MAX_DEPTH) {
        const size_t n = strcspn(path, "/");
        p.ranks[p.depth++] = rank_of(path, n);
        path += n + (path[n] == '/' ? 1 : 0);
    }
    return p;
}

static int compare_ranks(const place *a, const place *b, int first, int last)
{
    for (int i = first; i < last; ++i) {
        const int left = i < a->depth ? a->ranks[i] : -1,
                  right = i < b->depth ? b->ranks[i] : -1;
        if (left != right) {
            return left < right ? -1 : 1;
        }
    }
    return 0;
}

// How many elements of the path name the top-level layer: "resample_layers/1" is one, of the
// others the first element.
static int layer_depth(const place *p)
{
    return p->depth > 0 && p->ranks[0] == RESAMPLE_LAYERS ? 2 : 1;
}

static int compare_places(const void *left, const void *right)
{
    const place *a = left, *b = right;
    const int depth = layer_depth(a);
    int order = compare_ranks(a, b, 0, depth);
    if (order == 0 && a->is_late != b->is_late) {
        order = a->is_late ? 1 : -1;
    }
    if (order == 0) {
        order = compare_ranks(a, b, depth, MAX_DEPTH);
    }
    return order != 0 ? order : a->i_param < b->i_param ? -1 : 1;
}

// The top level of the pyramid, by the heads' batch norms ("class-0-bn-7").
static int max_level(const edt_params *params)
{
    int most = 0;
    for (int i = 0; i < params->n_params; ++i) {
        const char *name = params->entries[i].name;
        const char *level =
            strncmp(name, "class_net/", 10) == 0 || strncmp(name, "box_net/", 8) == 0
                ? strstr(name, "-bn-")
                : NULL;
        if (level != NULL && atoi(level + 4) > most) {
            most = atoi(level + 4);
        }
    }
    return most > 0 ? most : DEFAULT_MAX_LEVEL;
}

static void begin_layer(writer *w, const char *name)
{
    edt_json_begin_object(&w->layers);
    edt_json_put_text(&w->layers, "name", name);
    edt_json_key(&w->layers, "weights");
    edt_json_begin_array(&w->layers);
}

static void end_layer(writer *w)
{
    edt_json_end_array(&w->layers);
    edt_json_end_object(&w->layers);
}

static bool has_layer(const edt_params *params, const char *layer)
{
    const size_t n = strlen(layer);
    for (int i = 0; i < params->n_params; ++i) {
        const char *name = params->entries[i].name;
        if (strncmp(name, layer, n) == 0 && name[n] == '/') {
            return true;
        }
    }
    return false;
}

// Levels that pool only have a layer without weights.
static void put_empty_layers(writer *w)
{
    for (int level = FIRST_EXTRA_LEVEL; level <= max_level(w->params); ++level) {
        char name[32];
        (void)snprintf(name, sizeof name, "resample_p%d", level);
        if (!has_layer(w->params, name)) {
            begin_layer(w, name);
            end_layer(w);
        }
    }
}

// The lists of layers and weights, and what is written in their order.
static edt_status list_weights(writer *w, edt_error *err)
{
    const edt_params *params = w->params;
    const size_t n = (size_t)params->n_params;
    w->places = edt_arena_calloc(&w->arena, n + 1, sizeof *w->places);
    w->tensors = edt_arena_calloc(&w->arena, n + 1, sizeof *w->tensors);
    if (w->places == NULL || w->tensors == NULL) {
        return no_memory(err);
    }
    for (size_t i = 0; i < n; ++i) {
        w->places[i] = place_of(params, (int)i);
    }
    qsort(w->places, n, sizeof *w->places, compare_places);
    w->layers.compact = true;
    edt_json_begin_array(&w->layers);
    const char *open = NULL; // the layer whose list is being written
    int n_open = 0;
    bool has_empty = false;
    for (size_t i = 0; i < n; ++i) {
        const place *p = &w->places[i];
        const edt_param_entry *entry = &params->entries[p->i_param];
        if (open == NULL || n_open != p->n_layer ||
            memcmp(open, entry->name, (size_t)n_open) != 0) {
            if (open != NULL) {
                end_layer(w);
            }
            if (!has_empty && p->ranks[0] > RESAMPLE_LAYERS) {
                put_empty_layers(w);
                has_empty = true;
            }
            open = entry->name;
            n_open = p->n_layer;
            const char *layer = edt_arena_strndup(&w->arena, open, (size_t)n_open);
            if (layer == NULL) {
                return no_memory(err);
            }
            begin_layer(w, layer);
        }
        const char *key = edt_arena_printf(&w->arena, "%.*s/%s:0", n_open, open, entry->name);
        if (key == NULL) {
            return no_memory(err);
        }
        edt_json_text(&w->layers, key + n_open + 1);
        w->tensors[i] = (edt_h5_tensor){.name = key, .desc = {params->real, entry->shape}};
    }
    if (open != NULL) {
        end_layer(w);
    }
    if (!has_empty) {
        put_empty_layers(w);
    }
    edt_json_end_array(&w->layers);
    return EDT_OK;
}

static edt_status make_image(writer *w, int fd, edt_error *err)
{
    const edt_params *params = w->params;
    edt_text layers;
    EDT_TRY(edt_json_writer_finish(&w->layers, err, &layers));
    const edt_safetensors_meta meta[] = {
        {EDT_H5_LAYERS, layers.data},
        {EDT_H5_BACKEND, "tensorflow"},
        {EDT_H5_KERAS_VERSION, "2.15.0"}, // whose layout this is
    };
    edt_h5_wire wire = {.fd = -1};
    EDT_TRY(edt_h5_wire_create(fd, w->tensors, params->n_params, meta,
                               (int64_t)(sizeof meta / sizeof meta[0]), err, &wire));
    edt_status status = EDT_OK;
    for (int i = 0; status == EDT_OK && i < params->n_params; ++i) {
        const int i_param = w->places[i].i_param;
        const int64_t n = params->entries[i_param].n;
        void *data = w->tensors[i].data;
        status = params->real == EDT_DTYPE_F64
                     ? edt_params_get_f64(params, w->which, i_param, data, n, err)
                     : edt_params_get_f32(params, w->which, i_param, data, n, err);
    }
    edt_h5_wire_unmap(&wire);
    return status;
}

static edt_status run_helper(const int fds[2], edt_error *err)
{
    const edt_helper_call call = {
        .program = EDT_H5_PROGRAM,
        .n_args = 1,
        .args = {EDT_H5_WRITE},
        .n_fds = 2,
        .fds = {fds[0], fds[1]},
        .timeout_s = TIMEOUT_S,
    };
    bool died = false;
    edt_error why = {0};
    const edt_status status = edt_helper_run(&call, &why, &died);
    if (died) {
        EDT_FAIL(err, EDT_ERR_IO, "%s could not make the file (%s); is there enough memory?",
                 EDT_H5_PROGRAM, why.text);
    }
    return status == EDT_OK ? EDT_OK : edt_error_set(err, status, "%s", why.text);
}

edt_status edt_h5_write(const edt_params *params, edt_params_arena which, const char *path,
                        edt_error *err)
{
    int fds[2] = {-1, -1}; // the image, the file to be
    edt_h5_wire file = {.fd = -1};
    edt_status status = EDT_OK;
    writer w = {.params = params, .which = which};
    edt_arena_init(&w.arena, EDT_MEM_TEXT, 0);
    if (params->memory[which] == NULL) {
        status = edt_error_set(err, EDT_ERR_INVALID, "the parameters have no such values");
        goto fail;
    }
    EDT_TRY_GOTO(list_weights(&w, err));
    EDT_TRY_GOTO(edt_h5_wire_memory("edt_h5_image", err, &fds[0]));
    EDT_TRY_GOTO(edt_h5_wire_memory("edt_h5_file", err, &fds[1]));
    EDT_TRY_GOTO(make_image(&w, fds[0], err));
    EDT_TRY_GOTO(run_helper(fds, err));
    (void)close(fds[0]); // gives its memory back
    fds[0] = -1;
    EDT_TRY_GOTO(edt_h5_wire_map(fds[1], err, &file));
    EDT_TRY_GOTO(edt_file_write(path, file.data, file.n_bytes, err));
fail:
    edt_h5_wire_unmap(&file);
    for (int i = 0; i < 2; ++i) {
        if (fds[i] >= 0) {
            (void)close(fds[i]);
        }
    }
    edt_json_writer_deinit(&w.layers);
    edt_arena_deinit(&w.arena);
    return status == EDT_OK ? EDT_OK : edt_error_add_context(err, status, "writing %s", path);
}
