// Object-based TensorFlow bundles as lists of weights: what an entry of the index is, says the
// object graph that is stored beside it.
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "model/io/object_graph_read.h"
#include "model/io/weights_priv.h"

static const char GRAPH_KEY[] = "_CHECKPOINTABLE_OBJECT_GRAPH";

typedef struct objects {
    edt_tf_bundle *bundle;
    edt_object_reader *reader;
    int *item_of; // value of the graph -> item, -1: not in the index
} objects;

static edt_status read_item(edt_weights *weights, int i_item, void *out, edt_error *err)
{
    const objects *o = weights->state;
    return edt_tf_bundle_read(o->bundle, i_item, out, (size_t)weights->items[i_item].n_bytes,
                              err);
}

static void close_objects(void *state)
{
    objects *o = state;
    edt_mem_free(o->item_of);
    edt_object_reader_close(o->reader);
    edt_tf_bundle_close(o->bundle);
    edt_mem_free(o);
}

static int find_path(const edt_weights *weights, const char *object_path)
{
    const objects *o = weights->state;
    const int i = edt_object_reader_find_path(o->reader, object_path);
    return i < 0 ? -1 : o->item_of[i];
}

static edt_status read_text(edt_weights *weights, const char *key, edt_arena *arena,
                            edt_error *err, const char **out_text)
{
    const objects *o = weights->state;
    return edt_weights_bundle_text(o->bundle, key, arena, err, out_text);
}

static const edt_weights_ops OPS = {
    .read = read_item, .close = close_objects, .find_path = find_path, .read_text = read_text};

static edt_status read_graph(objects *o, edt_error *err)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    const edt_text *texts = NULL;
    int64_t n = 0;
    edt_status status = edt_tf_bundle_read_strings(
        o->bundle, edt_tf_bundle_find(o->bundle, GRAPH_KEY), &arena, err, &texts, &n);
    if (status == EDT_OK && n != 1) {
        status = edt_error_set(err, EDT_ERR_FORMAT,
                               "%s: '%s' holds %lld texts instead of one object graph",
                               edt_tf_bundle_prefix(o->bundle), GRAPH_KEY, (long long)n);
    }
    if (status == EDT_OK) {
        const edt_span message = {(const uint8_t *)texts[0].data, texts[0].n_bytes};
        status =
            edt_object_reader_open(message, edt_tf_bundle_prefix(o->bundle), err, &o->reader);
    }
    edt_arena_deinit(&arena);
    return status;
}

// Which value of the graph each entry is. An entry that several objects share is the first
// one's; its other names lead to it all the same, through their paths.
static edt_status link_values(objects *o, edt_error *err, int **out_value_of)
{
    const int n_values = edt_object_reader_count(o->reader);
    const int n_entries = edt_tf_bundle_count(o->bundle);
    int *value_of = edt_mem_calloc(EDT_MEM_TEXT, (size_t)n_entries + 1, sizeof *value_of);
    o->item_of = edt_mem_calloc(EDT_MEM_TEXT, (size_t)n_values + 1, sizeof *o->item_of);
    if (value_of == NULL || o->item_of == NULL) {
        edt_mem_free(value_of);
        EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", edt_tf_bundle_prefix(o->bundle));
    }
    for (int i = 0; i < n_entries; ++i) {
        value_of[i] = -1;
    }
    for (int i = 0; i < n_values; ++i) {
        o->item_of[i] = edt_tf_bundle_find(o->bundle, edt_object_reader_get(o->reader, i)->key);
        if (o->item_of[i] >= 0 && value_of[o->item_of[i]] < 0) {
            value_of[o->item_of[i]] = i;
        }
    }
    *out_value_of = value_of;
    return EDT_OK;
}

static edt_status push_entries(edt_weights *weights, edt_error *err)
{
    objects *o = weights->state;
    int *value_of = NULL;
    EDT_TRY(link_values(o, err, &value_of));
    edt_status status = EDT_OK;
    for (int i = 0; i < edt_tf_bundle_count(o->bundle) && status == EDT_OK; ++i) {
        edt_weights_item item;
        edt_weights_describe(edt_tf_bundle_entry(o->bundle, i), &item);
        if (value_of[i] >= 0) {
            const edt_object_value *value = edt_object_reader_get(o->reader, value_of[i]);
            item.name = value->name;
            item.object_path = value->path;
        }
        status = edt_weights_push(weights, &item, err);
    }
    edt_mem_free(value_of);
    return status;
}

edt_status edt_weights_open_objects(edt_tf_bundle *bundle, edt_error *err,
                                    edt_weights **out_weights)
{
    const char *prefix = edt_tf_bundle_prefix(bundle);
    edt_weights *weights = NULL;
    objects *o = edt_mem_calloc(EDT_MEM_TEXT, 1, sizeof *o);
    edt_status status =
        o == NULL ? edt_error_set(err, EDT_ERR_NOMEM, "%s: out of memory", prefix)
                  : edt_weights_create(prefix, EDT_WEIGHTS_TF_OBJECTS, &OPS, err, &weights);
    if (status != EDT_OK) {
        edt_mem_free(o);
        edt_tf_bundle_close(bundle);
        return status;
    }
    o->bundle = bundle;
    weights->state = o;
    EDT_TRY_GOTO(read_graph(o, err));
    EDT_TRY_GOTO(push_entries(weights, err));
    EDT_TRY_GOTO(edt_weights_seal(weights, err));
    *out_weights = weights;
    return EDT_OK;
fail:
    edt_weights_close(weights);
    return status;
}
