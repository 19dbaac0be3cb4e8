// See object_graph_read.h. Objects get the breadth-first shortest path from the root, as
// TensorFlow's writer gives it; the other ways to an object are followed on demand.
#include "model/io/object_graph_read.h"

#include <string.h>

#include "core/mem.h"
#include "model/io/object_graph.pb-c.h"
#include "model/io/weights_priv.h"

enum {
    MAX_DEPTH = 64, // of paths that are written out
    MAX_PATH_BYTES = 2048,
    BUDGET_BYTES = 64 << 20 // for the unpacked message, beside 4 times its size
};

// What optimizers call a slot, and the ending of its canonical name.
static const char *const SLOT_ENDINGS[][2] = {
    {"average", "ExponentialMovingAverage"},
    {"momentum", "KerasMomentum"},
    {"m", "Adam"},
    {"v", "Adam_1"},
};
enum { N_ENDINGS = sizeof SLOT_ENDINGS / sizeof SLOT_ENDINGS[0] };

typedef struct node {
    int parent;           // -1: the root, or not reached
    const char *via;      // name in the parent; NULL: not reached
    int i_value;          // -1: none
    int variable, ending; // of a slot, else -1
    int slots[N_ENDINGS]; // nodes, else -1
} node;

struct edt_object_reader {
    edt_arena arena;
    size_t budget;
    ProtobufCAllocator memory;
    Edt__Objects__Graph *graph;
    const char *where;
    int n_nodes;
    node *nodes;
    bool is_hub;
    int n_values;
    edt_object_value *values;
};

// Small messages unpack to many times their size; the budget keeps a made-up one from taking
// all memory.
static void *allocate(void *data, size_t n_bytes)
{
    edt_object_reader *reader = data;
    if (n_bytes > reader->budget) {
        return NULL;
    }
    reader->budget -= n_bytes;
    return edt_mem_alloc(EDT_MEM_TEXT, n_bytes);
}

static void release(void *data, void *block)
{
    (void)data;
    edt_mem_free(block);
}

static edt_status no_memory(const edt_object_reader *reader, edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory for the object graph", reader->where);
}

static const Edt__Objects__Object *object_of(const edt_object_reader *reader, int i_node)
{
    return reader->graph->nodes[i_node];
}

static bool is_node(const edt_object_reader *reader, int32_t id)
{
    return id >= 0 && id < reader->n_nodes;
}

static edt_status check_ids(const edt_object_reader *reader, edt_error *err)
{
    for (int i = 0; i < reader->n_nodes; ++i) {
        const Edt__Objects__Object *object = object_of(reader, i);
        for (size_t k = 0; k < object->n_children; ++k) {
            if (!is_node(reader, object->children[k]->node_id)) {
                EDT_FAIL(err, EDT_ERR_FORMAT,
                         "%s: the object graph refers to object %d of %d ('%s'): it is damaged",
                         reader->where, object->children[k]->node_id, reader->n_nodes,
                         object->children[k]->local_name);
            }
        }
        for (size_t k = 0; k < object->n_slot_variables; ++k) {
            const Edt__Objects__Slot *slot = object->slot_variables[k];
            if (!is_node(reader, slot->original_variable_node_id) ||
                !is_node(reader, slot->slot_variable_node_id)) {
                EDT_FAIL(err, EDT_ERR_FORMAT,
                         "%s: the optimizer slot '%s' belongs to objects %d and %d of %d: the "
                         "object graph is damaged",
                         reader->where, slot->slot_name, slot->original_variable_node_id,
                         slot->slot_variable_node_id, reader->n_nodes);
            }
        }
    }
    return EDT_OK;
}

static void link_slots(edt_object_reader *reader, int i_node)
{
    const Edt__Objects__Object *object = object_of(reader, i_node);
    for (size_t k = 0; k < object->n_slot_variables; ++k) {
        const Edt__Objects__Slot *slot = object->slot_variables[k];
        for (int e = 0; e < N_ENDINGS; ++e) {
            if (strcmp(slot->slot_name, SLOT_ENDINGS[e][0]) == 0 &&
                slot->original_variable_node_id != slot->slot_variable_node_id) {
                reader->nodes[slot->slot_variable_node_id].variable =
                    slot->original_variable_node_id;
                reader->nodes[slot->slot_variable_node_id].ending = e;
                reader->nodes[slot->original_variable_node_id].slots[e] =
                    slot->slot_variable_node_id;
            }
        }
    }
}

static edt_status walk_breadth_first(edt_object_reader *reader, edt_error *err)
{
    int *queue = edt_mem_calloc(EDT_MEM_TEXT, (size_t)reader->n_nodes, sizeof *queue);
    if (queue == NULL) {
        return no_memory(reader, err);
    }
    int n = 0;
    reader->nodes[0].via = "";
    queue[n++] = 0;
    for (int at = 0; at < n; ++at) {
        const Edt__Objects__Object *object = object_of(reader, queue[at]);
        for (size_t k = 0; k < object->n_children; ++k) {
            node *child = &reader->nodes[object->children[k]->node_id];
            if (child->via == NULL) {
                child->via = object->children[k]->local_name;
                child->parent = queue[at];
                queue[n++] = object->children[k]->node_id;
            }
        }
    }
    edt_mem_free(queue);
    return EDT_OK;
}

static int find_child(const edt_object_reader *reader, int i_node, const char *name, size_t n)
{
    const Edt__Objects__Object *object = object_of(reader, i_node);
    for (size_t k = 0; k < object->n_children; ++k) {
        const char *have = object->children[k]->local_name;
        if (strncmp(have, name, n) == 0 && have[n] == '\0') {
            return object->children[k]->node_id;
        }
    }
    return -1;
}

// '.' -> "..", '/' -> ".S", as path elements are written in keys. False when there is no room.
static bool append_escaped(char *out, size_t *at, const char *text)
{
    for (; *text != '\0'; ++text) {
        const bool is_special = *text == '.' || *text == '/';
        if (*at + 2 >= MAX_PATH_BYTES) {
            return false;
        }
        out[(*at)++] = *text == '/' ? '.' : *text;
        if (is_special) {
            out[(*at)++] = *text == '/' ? 'S' : '.';
        }
    }
    return true;
}

// Path of a node that is no slot into `out`; false: none that could be written.
static bool write_path(const edt_object_reader *reader, int i_node, char out[MAX_PATH_BYTES])
{
    int chain[MAX_DEPTH];
    int depth = 0;
    for (int i = i_node; i != 0; i = reader->nodes[i].parent) {
        if (reader->nodes[i].via == NULL || depth == MAX_DEPTH) {
            return false;
        }
        chain[depth++] = i;
    }
    size_t at = 0;
    while (depth > 0) {
        if (!append_escaped(out, &at, reader->nodes[chain[--depth]].via)) {
            return false;
        }
        if (depth > 0) {
            out[at++] = '/';
        }
    }
    out[at] = '\0';
    return at > 0;
}

static const char *after(const char *text, const char *start)
{
    const size_t n = strlen(start);
    return strncmp(text, start, n) == 0 ? text + n : NULL;
}

// Models trained on top of a published hub module keep the variables by their names in one
// dictionary and own the two predictors (EfficientDetNetTrainHub).
static const char *hub_name(edt_object_reader *reader, int i_node, const char *path)
{
    const node *n = &reader->nodes[i_node];
    const char *rest = NULL;
    if (n->parent > 0 && reader->nodes[n->parent].parent == 0 && n->via != NULL &&
        reader->nodes[n->parent].via != NULL &&
        strcmp(reader->nodes[n->parent].via, "base_model") == 0) {
        return edt_weights_canonical(&reader->arena, n->via);
    }
    if ((rest = after(path, "classes/")) != NULL) {
        return edt_arena_printf(&reader->arena, "class_net/class-predict/%s", rest);
    }
    if ((rest = after(path, "boxes/")) != NULL) {
        return edt_arena_printf(&reader->arena, "box_net/box-predict/%s", rest);
    }
    return NULL;
}

static bool is_step(const char *path)
{
    return strcmp(path, "optimizer/iter") == 0 || strcmp(path, "optimizer/_iterations") == 0;
}

// Canonical name of a variable; *out_name NULL: none. False when out of memory.
static bool variable_name(edt_object_reader *reader, int i_node,
                          const Edt__Objects__Value *value, const char *path,
                          const char **out_name)
{
    const bool is_optimizer = after(path, "optimizer/") != NULL;
    if (is_step(path)) {
        *out_name = "global_step";
    } else if (reader->is_hub && (*out_name = hub_name(reader, i_node, path)) != NULL) {
        return true;
    } else if (is_optimizer || value->full_name[0] == '\0') {
        *out_name = NULL;
    } else {
        *out_name = edt_weights_canonical(&reader->arena, value->full_name);
        return *out_name != NULL;
    }
    return true;
}

static const Edt__Objects__Value *value_of(const edt_object_reader *reader, int i_node)
{
    const Edt__Objects__Object *object = object_of(reader, i_node);
    for (size_t k = 0; k < object->n_attributes; ++k) {
        if (strcmp(object->attributes[k]->name, "VARIABLE_VALUE") == 0) {
            return object->attributes[k];
        }
    }
    return NULL;
}

static edt_status take_value(edt_object_reader *reader, int i_node, edt_error *err)
{
    node *own = &reader->nodes[i_node];
    const Edt__Objects__Value *value = value_of(reader, i_node);
    if (value == NULL || value->checkpoint_key[0] == '\0') {
        return EDT_OK;
    }
    const int base = own->variable >= 0 ? own->variable : i_node;
    const Edt__Objects__Value *base_value = value_of(reader, base);
    char path[MAX_PATH_BYTES];
    const bool has_path = write_path(reader, base, path);
    const char *name = NULL;
    edt_object_value out = {.key = value->checkpoint_key};
    bool ok = base_value == NULL ||
              variable_name(reader, base, base_value, has_path ? path : "", &name);
    if (ok && own->variable < 0) {
        out.name = name;
        out.path = has_path ? edt_arena_strdup(&reader->arena, path) : NULL;
        ok = !has_path || out.path != NULL;
    } else if (ok) {
        const char *ending = SLOT_ENDINGS[own->ending][1];
        out.name =
            name == NULL ? NULL : edt_arena_printf(&reader->arena, "%s/%s", name, ending);
        out.path = has_path ? edt_arena_printf(&reader->arena, "%s/%s", path, ending) : NULL;
        ok = (name == NULL || out.name != NULL) && (!has_path || out.path != NULL);
    }
    if (!ok) {
        return no_memory(reader, err);
    }
    own->i_value = reader->n_values;
    reader->values[reader->n_values++] = out;
    return EDT_OK;
}

static edt_status unpack(edt_object_reader *reader, edt_span message, edt_error *err)
{
    reader->budget = BUDGET_BYTES + 4 * message.n_bytes;
    reader->memory = (ProtobufCAllocator){allocate, release, reader};
    reader->graph = edt__objects__graph__unpack(&reader->memory, message.n_bytes, message.data);
    if (reader->graph == NULL || reader->graph->n_nodes == 0 ||
        reader->graph->n_nodes > INT32_MAX / 2) {
        EDT_FAIL(err, EDT_ERR_FORMAT,
                 "%s: the object graph (%zu bytes) is %s: the checkpoint is damaged or was "
                 "not written by TensorFlow",
                 reader->where, message.n_bytes, reader->graph == NULL ? "malformed" : "empty");
    }
    reader->n_nodes = (int)reader->graph->n_nodes;
    return check_ids(reader, err);
}

static edt_status build(edt_object_reader *reader, edt_error *err)
{
    const size_t n = (size_t)reader->n_nodes;
    reader->nodes = edt_mem_calloc(EDT_MEM_TEXT, n, sizeof *reader->nodes);
    reader->values = edt_mem_calloc(EDT_MEM_TEXT, n, sizeof *reader->values);
    if (reader->nodes == NULL || reader->values == NULL) {
        return no_memory(reader, err);
    }
    for (int i = 0; i < reader->n_nodes; ++i) {
        reader->nodes[i] = (node){.parent = -1, .i_value = -1, .variable = -1, .ending = -1};
        for (int e = 0; e < N_ENDINGS; ++e) {
            reader->nodes[i].slots[e] = -1;
        }
    }
    for (int i = 0; i < reader->n_nodes; ++i) {
        link_slots(reader, i);
    }
    EDT_TRY(walk_breadth_first(reader, err));
    reader->is_hub = find_child(reader, 0, "base_model", 10) >= 0 &&
                     find_child(reader, 0, "backbone", 8) < 0;
    for (int i = 0; i < reader->n_nodes; ++i) {
        EDT_TRY(take_value(reader, i, err));
    }
    return EDT_OK;
}

edt_status edt_object_reader_open(edt_span message, const char *where, edt_error *err,
                                  edt_object_reader **out_reader)
{
    edt_object_reader *reader = edt_mem_calloc(EDT_MEM_TEXT, 1, sizeof *reader);
    if (reader == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", where);
    }
    edt_arena_init(&reader->arena, EDT_MEM_TEXT, 0);
    reader->where = where;
    edt_status status = unpack(reader, message, err);
    if (status == EDT_OK) {
        status = build(reader, err);
    }
    if (status != EDT_OK) {
        edt_object_reader_close(reader);
        return status;
    }
    reader->where = NULL; // the caller's
    *out_reader = reader;
    return EDT_OK;
}

void edt_object_reader_close(edt_object_reader *reader)
{
    if (reader == NULL) {
        return;
    }
    if (reader->graph != NULL) {
        edt__objects__graph__free_unpacked(reader->graph, &reader->memory);
    }
    edt_mem_free(reader->nodes);
    edt_mem_free(reader->values);
    edt_arena_deinit(&reader->arena);
    edt_mem_free(reader);
}

int edt_object_reader_count(const edt_object_reader *reader)
{
    return reader->n_values;
}

const edt_object_value *edt_object_reader_get(const edt_object_reader *reader, int i_value)
{
    return &reader->values[i_value];
}

// The child that an escaped path element names.
static int follow(const edt_object_reader *reader, int i_node, const char *element, size_t n)
{
    char name[MAX_PATH_BYTES];
    size_t n_name = 0;
    for (size_t i = 0; i < n && n_name < sizeof name; ++i) {
        const bool is_escape = element[i] == '.' && i + 1 < n;
        i += is_escape ? 1 : 0;
        name[n_name++] = is_escape && element[i] == 'S' ? '/' : element[i];
    }
    return find_child(reader, i_node, name, n_name);
}

int edt_object_reader_find_path(const edt_object_reader *reader, const char *path)
{
    int at = 0;
    while (*path != '\0' && at >= 0) {
        const size_t n = strcspn(path, "/");
        if (n >= MAX_PATH_BYTES) {
            return -1;
        }
        int next = follow(reader, at, path, n);
        for (int e = 0; e < N_ENDINGS && next < 0 && path[n] == '\0'; ++e) {
            if (strlen(SLOT_ENDINGS[e][1]) == n && memcmp(path, SLOT_ENDINGS[e][1], n) == 0) {
                next = reader->nodes[at].slots[e];
            }
        }
        at = next;
        path += n + (path[n] == '/' ? 1 : 0);
    }
    return at < 0 ? -1 : reader->nodes[at].i_value;
}
