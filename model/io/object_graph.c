// Builds and serialises the object graph. See object_graph.h. The message is written by hand:
// field numbers are those of TrackableObjectGraph.
#include "model/io/object_graph.h"

#include <string.h>

#include "core/arena.h"
#include "core/mem.h"
#include "model/io/tf_table_format.h"

typedef struct node {
    const char *full_name, *key;         // of its value; NULL: none
    int first_reference, last_reference; // -1: none
    int first_slot, last_slot;           // of an optimizer
    int number;                          // in the message
} node;

typedef struct reference {
    const char *name;
    int object, next;
} reference;

typedef struct slot {
    const char *name;
    int variable, object, next;
} slot;

struct edt_object_graph {
    edt_arena arena;
    int n_objects, cap_objects;
    node *objects;
    int n_references, cap_references;
    reference *references;
    int n_slots, cap_slots;
    slot *slots;
    edt_tf_bytes message;
};

static edt_status no_memory(edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_NOMEM, "object graph: out of memory");
}

// Room for one more element at the end of a list.
static edt_status reserve(void **list, int n, int *cap, size_t item_bytes, edt_error *err)
{
    if (n < *cap) {
        return EDT_OK;
    }
    const int grown_cap = *cap == 0 ? 256 : 2 * *cap;
    void *grown = edt_mem_realloc(EDT_MEM_TEXT, *list, (size_t)grown_cap * item_bytes);
    if (grown == NULL) {
        return no_memory(err);
    }
    *list = grown;
    *cap = grown_cap;
    return EDT_OK;
}

static edt_status new_object(edt_object_graph *graph, edt_error *err, int *out_object)
{
    void *list = graph->objects;
    EDT_TRY(reserve(&list, graph->n_objects, &graph->cap_objects, sizeof(node), err));
    graph->objects = list;
    graph->objects[graph->n_objects] = (node){.first_reference = -1,
                                              .last_reference = -1,
                                              .first_slot = -1,
                                              .last_slot = -1,
                                              .number = -1};
    *out_object = graph->n_objects++;
    return EDT_OK;
}

static edt_status refer(edt_object_graph *graph, int from, const char *name, size_t n_name,
                        int to, edt_error *err)
{
    void *list = graph->references;
    EDT_TRY(
        reserve(&list, graph->n_references, &graph->cap_references, sizeof(reference), err));
    graph->references = list;
    const char *copy = edt_arena_strndup(&graph->arena, name, n_name);
    if (copy == NULL) {
        return no_memory(err);
    }
    const int i = graph->n_references++;
    graph->references[i] = (reference){.name = copy, .object = to, .next = -1};
    node *owner = &graph->objects[from];
    if (owner->first_reference < 0) {
        owner->first_reference = i;
    } else {
        graph->references[owner->last_reference].next = i;
    }
    owner->last_reference = i;
    return EDT_OK;
}

edt_status edt_object_graph_create(edt_error *err, edt_object_graph **out_graph)
{
    edt_object_graph *graph = edt_mem_calloc(EDT_MEM_TEXT, 1, sizeof *graph);
    if (graph == NULL) {
        return no_memory(err);
    }
    edt_arena_init(&graph->arena, EDT_MEM_TEXT, 0);
    int root;
    edt_status status = EDT_OK;
    EDT_TRY_GOTO(new_object(graph, err, &root));
    EDT_TRY_GOTO(refer(graph, root, "root", 4, root, err));
    *out_graph = graph;
    return EDT_OK;
fail:
    edt_object_graph_destroy(graph);
    return status;
}

void edt_object_graph_destroy(edt_object_graph *graph)
{
    if (graph != NULL) {
        edt_arena_deinit(&graph->arena);
        edt_mem_free(graph->objects);
        edt_mem_free(graph->references);
        edt_mem_free(graph->slots);
        edt_tf_bytes_deinit(&graph->message);
        edt_mem_free(graph);
    }
}

static int find_child(const edt_object_graph *graph, int owner, const char *name, size_t n_name)
{
    for (int i = graph->objects[owner].first_reference; i >= 0; i = graph->references[i].next) {
        const char *have = graph->references[i].name;
        if (strlen(have) == n_name && memcmp(have, name, n_name) == 0) {
            return graph->references[i].object;
        }
    }
    return -1;
}

// Walks to the owner of the path's last element, making objects on the way.
static edt_status find_owner(edt_object_graph *graph, const char *path, edt_error *err,
                             int *out_owner, const char **out_last)
{
    int owner = 0;
    for (;;) {
        const size_t n = strcspn(path, "/");
        if (n == 0) {
            EDT_FAIL(err, EDT_ERR_INVALID, "object graph: a path has an empty element");
        }
        if (path[n] == '\0') {
            *out_owner = owner;
            *out_last = path;
            return EDT_OK;
        }
        int child = find_child(graph, owner, path, n);
        if (child < 0) {
            EDT_TRY(new_object(graph, err, &child));
            EDT_TRY(refer(graph, owner, path, n, child, err));
        }
        owner = child;
        path += n + 1;
    }
}

edt_status edt_object_graph_alias(edt_object_graph *graph, const char *path, int object,
                                  edt_error *err)
{
    int owner = 0;
    const char *last = NULL;
    EDT_TRY(find_owner(graph, path, err, &owner, &last));
    if (find_child(graph, owner, last, strlen(last)) >= 0) {
        EDT_FAIL(err, EDT_ERR_INVALID, "object graph: two objects at '%s'", path);
    }
    return refer(graph, owner, last, strlen(last), object, err);
}

static edt_status set_value(edt_object_graph *graph, int i, const char *full_name,
                            const char *key, edt_error *err)
{
    graph->objects[i].full_name = edt_arena_strdup(&graph->arena, full_name);
    graph->objects[i].key = key == NULL ? NULL : edt_arena_strdup(&graph->arena, key);
    if (graph->objects[i].full_name == NULL || graph->objects[i].key == NULL) {
        return no_memory(err);
    }
    return EDT_OK;
}

edt_status edt_object_graph_add(edt_object_graph *graph, const char *path,
                                const char *full_name, edt_error *err, int *out_object)
{
    int i;
    EDT_TRY(new_object(graph, err, &i));
    EDT_TRY(edt_object_graph_alias(graph, path, i, err));
    EDT_TRY(set_value(graph, i, full_name,
                      edt_arena_printf(&graph->arena, "%s" EDT_OBJECT_VALUE_SUFFIX, path),
                      err));
    *out_object = i;
    return EDT_OK;
}

edt_status edt_object_graph_add_slot(edt_object_graph *graph, const char *optimizer,
                                     int variable, const char *slot_name, const char *full_name,
                                     const char *key, edt_error *err)
{
    int owner = 0;
    const char *last = NULL;
    EDT_TRY(find_owner(graph, optimizer, err, &owner, &last));
    int i_optimizer = find_child(graph, owner, last, strlen(last));
    if (i_optimizer < 0) {
        EDT_TRY(new_object(graph, err, &i_optimizer));
        EDT_TRY(refer(graph, owner, last, strlen(last), i_optimizer, err));
    }
    int i_value;
    EDT_TRY(new_object(graph, err, &i_value));
    EDT_TRY(set_value(graph, i_value, full_name, key, err));
    void *list = graph->slots;
    EDT_TRY(reserve(&list, graph->n_slots, &graph->cap_slots, sizeof(slot), err));
    graph->slots = list;
    const char *name = edt_arena_strdup(&graph->arena, slot_name);
    if (name == NULL) {
        return no_memory(err);
    }
    const int i = graph->n_slots++;
    graph->slots[i] = (slot){.name = name, .variable = variable, .object = i_value, .next = -1};
    node *keeper = &graph->objects[i_optimizer];
    if (keeper->first_slot < 0) {
        keeper->first_slot = i;
    } else {
        graph->slots[keeper->last_slot].next = i;
    }
    keeper->last_slot = i;
    return EDT_OK;
}

// Numbers the objects; order[number] is the object.
static void number_objects(edt_object_graph *graph, int *order)
{
    int n = 0;
    graph->objects[0].number = 0;
    order[n++] = 0;
    for (int at = 0; at < n; ++at) {
        for (int i = graph->objects[order[at]].first_reference; i >= 0;
             i = graph->references[i].next) {
            node *child = &graph->objects[graph->references[i].object];
            if (child->number < 0) {
                child->number = n;
                order[n++] = graph->references[i].object;
            }
        }
    }
    for (int i = 0; i < graph->n_objects; ++i) {
        if (graph->objects[i].number < 0) { // only its variable leads to a slot's value
            graph->objects[i].number = n;
            order[n++] = i;
        }
    }
}

enum { WIRE_VARINT = 0, WIRE_BYTES = 2 };

static bool put_int(edt_tf_bytes *out, unsigned field, int value)
{
    return value == 0 || (edt_tf_bytes_append_varint(out, field << 3 | WIRE_VARINT) &&
                          edt_tf_bytes_append_varint(out, (uint64_t)value));
}

static bool put_bytes(edt_tf_bytes *out, unsigned field, const void *data, size_t n_bytes)
{
    return edt_tf_bytes_append_varint(out, field << 3 | WIRE_BYTES) &&
           edt_tf_bytes_append_varint(out, n_bytes) && edt_tf_bytes_append(out, data, n_bytes);
}

static bool put_text(edt_tf_bytes *out, unsigned field, const char *text)
{
    return text[0] == '\0' || put_bytes(out, field, text, strlen(text));
}

// One TrackableObject into `out`; `part` is scratch.
static bool pack_object(const edt_object_graph *graph, const node *o, edt_tf_bytes *part,
                        edt_tf_bytes *out)
{
    bool ok = true;
    for (int i = o->first_reference; ok && i >= 0; i = graph->references[i].next) {
        const reference *r = &graph->references[i];
        part->n_bytes = 0;
        ok = put_int(part, 1, graph->objects[r->object].number) && put_text(part, 2, r->name) &&
             put_bytes(out, 1, part->data, part->n_bytes);
    }
    if (ok && o->key != NULL) {
        part->n_bytes = 0;
        ok = put_text(part, 1, "VARIABLE_VALUE") && put_text(part, 2, o->full_name) &&
             put_text(part, 3, o->key) && put_bytes(out, 2, part->data, part->n_bytes);
    }
    for (int i = o->first_slot; ok && i >= 0; i = graph->slots[i].next) {
        const slot *s = &graph->slots[i];
        part->n_bytes = 0;
        ok = put_int(part, 1, graph->objects[s->variable].number) &&
             put_text(part, 2, s->name) && put_int(part, 3, graph->objects[s->object].number) &&
             put_bytes(out, 3, part->data, part->n_bytes);
    }
    // has_checkpoint_values: every object here leads to a value.
    static const uint8_t yes[] = {1 << 3 | WIRE_VARINT, 1};
    return ok && put_bytes(out, 5, yes, sizeof yes);
}

edt_status edt_object_graph_pack(edt_object_graph *graph, edt_error *err, edt_text *out_bytes)
{
    edt_tf_bytes part = {0}, one = {0};
    edt_tf_bytes *message = &graph->message;
    message->n_bytes = 0;
    int *order = edt_mem_alloc(EDT_MEM_TEXT, (size_t)graph->n_objects * sizeof *order);
    bool ok = order != NULL;
    if (ok) {
        for (int i = 0; i < graph->n_objects; ++i) {
            graph->objects[i].number = -1;
        }
        number_objects(graph, order);
    }
    for (int i = 0; ok && i < graph->n_objects; ++i) {
        one.n_bytes = 0;
        ok = pack_object(graph, &graph->objects[order[i]], &part, &one) &&
             put_bytes(message, 1, one.data, one.n_bytes);
    }
    edt_mem_free(order);
    edt_tf_bytes_deinit(&part);
    edt_tf_bytes_deinit(&one);
    if (!ok) {
        return no_memory(err);
    }
    *out_bytes = (edt_text){.data = (const char *)message->data, .n_bytes = message->n_bytes};
    return EDT_OK;
}
