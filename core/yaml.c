// libyaml's event stream becomes a tree in an arena. libyaml's own document loader is not used:
// it keeps its nodes on its own heap and tells neither quotes nor limits.
#include "core/yaml.h"

#include <string.h>
#include <yaml.h>

#include "core/file.h"
#include "core/mem.h"

enum { MAX_DEPTH = 64, MAX_NODES = 1000000, MAX_FILE_BYTES = 16 << 20 };

typedef struct anchor {
    struct anchor *next;
    const char *name;
    const edt_yaml_node *node; // NULL while the anchored node is being read
    int n_nodes;
} anchor;

typedef struct builder {
    yaml_parser_t parser;
    edt_arena *arena;
    edt_error *err;
    anchor *anchors;
    int n_nodes; // aliases count as what they stand for
} builder;

typedef struct item {
    struct item *next;
    const edt_yaml_node *node;
} item;

static edt_status no_memory(builder *b)
{
    EDT_FAIL(b->err, EDT_ERR_NOMEM, "out of memory for YAML");
}

static edt_status next_event(builder *b, yaml_event_t *out_event)
{
    if (yaml_parser_parse(&b->parser, out_event)) {
        return EDT_OK;
    }
    const yaml_parser_t *p = &b->parser;
    if (p->error == YAML_MEMORY_ERROR) {
        return no_memory(b);
    }
    if (p->error == YAML_READER_ERROR) {
        EDT_FAIL(b->err, EDT_ERR_FORMAT, "YAML: byte %zu: %s", p->problem_offset, p->problem);
    }
    EDT_FAIL(b->err, EDT_ERR_FORMAT, "YAML: line %zu, column %zu: %s%s%s",
             p->problem_mark.line + 1, p->problem_mark.column + 1,
             p->context != NULL ? p->context : "", p->context != NULL ? ": " : "",
             p->problem != NULL ? p->problem : "syntax error");
}

static edt_status build(builder *b, yaml_event_t *event, int depth,
                        const edt_yaml_node **out_node);

// The children up to the end event: a map's keys and values alternate.
static edt_status build_children(builder *b, yaml_event_type_t end, int depth,
                                 edt_yaml_node *node)
{
    item *first = NULL, **tail = &first;
    int n = 0;
    for (;; ++n) {
        yaml_event_t event;
        EDT_TRY(next_event(b, &event));
        const yaml_event_type_t type = event.type;
        const edt_yaml_node *child = NULL;
        const edt_status status = type == end ? EDT_OK : build(b, &event, depth + 1, &child);
        yaml_event_delete(&event);
        if (status != EDT_OK) {
            return status;
        }
        if (type == end) {
            break;
        }
        *tail = edt_arena_calloc(b->arena, 1, sizeof **tail);
        if (*tail == NULL) {
            return no_memory(b);
        }
        (*tail)->node = child;
        tail = &(*tail)->next;
    }
    const bool is_map = node->kind == EDT_YAML_MAP;
    node->n = is_map ? n / 2 : n;
    node->values = edt_arena_calloc(b->arena, (size_t)node->n, sizeof *node->values);
    node->keys = edt_arena_calloc(b->arena, is_map ? (size_t)node->n : 0, sizeof *node->keys);
    if (node->values == NULL || node->keys == NULL) {
        return no_memory(b);
    }
    int i = 0;
    for (const item *it = first; it != NULL; it = it->next, ++i) {
        if (!is_map) {
            node->values[i] = it->node;
        } else if (i % 2 == 0) {
            node->keys[i / 2] = it->node;
        } else {
            node->values[i / 2] = it->node;
        }
    }
    return EDT_OK;
}

static edt_status find_alias(builder *b, const char *name, int line,
                             const edt_yaml_node **out_node)
{
    for (const anchor *a = b->anchors; a != NULL; a = a->next) {
        if (strcmp(a->name, name) == 0) {
            if (a->node == NULL) {
                EDT_FAIL(b->err, EDT_ERR_FORMAT, "YAML: line %d: '%s' contains itself", line,
                         name);
            }
            b->n_nodes =
                a->n_nodes < MAX_NODES - b->n_nodes ? b->n_nodes + a->n_nodes : MAX_NODES + 1;
            *out_node = a->node;
            return EDT_OK;
        }
    }
    EDT_FAIL(b->err, EDT_ERR_FORMAT, "YAML: line %d: alias of the unknown anchor '%s'", line,
             name);
}

static edt_status build(builder *b, yaml_event_t *event, int depth,
                        const edt_yaml_node **out_node)
{
    const int line = (int)event->start_mark.line + 1;
    ++b->n_nodes;
    if (event->type == YAML_ALIAS_EVENT) {
        EDT_TRY(find_alias(b, (const char *)event->data.alias.anchor, line, out_node));
    }
    if (depth > MAX_DEPTH || b->n_nodes > MAX_NODES) {
        EDT_FAIL(b->err, EDT_ERR_FORMAT, "YAML: line %d: %s; allowed: %d", line,
                 depth > MAX_DEPTH ? "nested too deeply" : "too many values",
                 depth > MAX_DEPTH ? MAX_DEPTH : MAX_NODES);
    }
    if (event->type == YAML_ALIAS_EVENT) {
        return EDT_OK;
    }
    edt_yaml_node *node = edt_arena_calloc(b->arena, 1, sizeof *node);
    if (node == NULL) {
        return no_memory(b);
    }
    node->line = line;
    const yaml_char_t *name = NULL, *tag = NULL;
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        name = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
        node->kind = EDT_YAML_SCALAR;
        node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && tag == NULL;
        if (memchr(event->data.scalar.value, 0, event->data.scalar.length) != NULL) {
            EDT_FAIL(b->err, EDT_ERR_FORMAT, "YAML: line %d: text contains a zero byte", line);
        }
        node->text = edt_arena_strndup(b->arena, (const char *)event->data.scalar.value,
                                       event->data.scalar.length);
        if (node->text == NULL) {
            return no_memory(b);
        }
        break;
    case YAML_SEQUENCE_START_EVENT:
        name = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
        node->kind = EDT_YAML_SEQUENCE;
        break;
    case YAML_MAPPING_START_EVENT:
        name = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
        node->kind = EDT_YAML_MAP;
        break;
    default: EDT_FAIL(b->err, EDT_ERR_FORMAT, "YAML: line %d: unexpected end", line);
    }
    if (tag != NULL && (node->tag = edt_arena_strdup(b->arena, (const char *)tag)) == NULL) {
        return no_memory(b);
    }
    anchor *a = NULL;
    if (name != NULL) {
        a = edt_arena_calloc(b->arena, 1, sizeof *a);
        if (a == NULL || (a->name = edt_arena_strdup(b->arena, (const char *)name)) == NULL) {
            return no_memory(b);
        }
        a->next = b->anchors;
        b->anchors = a;
    }
    const int n_before = b->n_nodes - 1;
    if (node->kind != EDT_YAML_SCALAR) {
        EDT_TRY(build_children(
            b, node->kind == EDT_YAML_MAP ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT,
            depth, node));
    }
    if (a != NULL) {
        a->node = node;
        a->n_nodes = b->n_nodes - n_before;
    }
    *out_node = node;
    return EDT_OK;
}

static edt_status build_document(builder *b, const edt_yaml_node **out_root)
{
    const edt_yaml_node *root = NULL;
    int n_documents = 0;
    for (;;) {
        yaml_event_t event;
        EDT_TRY(next_event(b, &event));
        const yaml_event_type_t type = event.type;
        const int line = (int)event.start_mark.line + 1;
        edt_status status = EDT_OK;
        if (type == YAML_DOCUMENT_START_EVENT && ++n_documents > 1) {
            status =
                edt_error_set(b->err, EDT_ERR_FORMAT,
                              "YAML: line %d: a second document begins; allowed: one", line);
        } else if (type == YAML_SCALAR_EVENT || type == YAML_SEQUENCE_START_EVENT ||
                   type == YAML_MAPPING_START_EVENT || type == YAML_ALIAS_EVENT) {
            status = build(b, &event, 0, &root);
        }
        yaml_event_delete(&event);
        if (status != EDT_OK) {
            return status;
        }
        if (type == YAML_STREAM_END_EVENT) {
            // "---" alone holds one empty plain scalar.
            const bool empty = root != NULL && root->kind == EDT_YAML_SCALAR && root->plain &&
                               root->text[0] == '\0';
            *out_root = empty ? NULL : root;
            return EDT_OK;
        }
    }
}

edt_status edt_yaml_parse(edt_span text, edt_arena *arena, edt_error *err,
                          const edt_yaml_node **out_root)
{
    builder b = {.arena = arena, .err = err};
    if (!yaml_parser_initialize(&b.parser)) {
        return no_memory(&b);
    }
    static const uint8_t nothing[1] = {0};
    yaml_parser_set_input_string(&b.parser, text.n_bytes > 0 ? text.data : nothing,
                                 text.n_bytes);
    const edt_status status = build_document(&b, out_root);
    yaml_parser_delete(&b.parser);
    return status;
}

edt_status edt_yaml_read_file(const char *path, edt_arena *arena, edt_error *err,
                              const edt_yaml_node **out_root)
{
    char *text = NULL;
    size_t n_bytes = 0;
    EDT_TRY(edt_file_read(path, MAX_FILE_BYTES, err, &text, &n_bytes));
    const edt_span span = {.data = (const uint8_t *)text, .n_bytes = n_bytes};
    edt_status status = edt_yaml_parse(span, arena, err, out_root);
    if (status != EDT_OK) {
        status = edt_error_add_context(err, status, "%s", path);
    }
    edt_mem_free(text);
    return status;
}

const edt_yaml_node *edt_yaml_get(const edt_yaml_node *map, const char *key)
{
    if (map != NULL && map->kind == EDT_YAML_MAP) {
        for (int i = map->n - 1; i >= 0; --i) {
            if (map->keys[i]->kind == EDT_YAML_SCALAR && strcmp(map->keys[i]->text, key) == 0) {
                return map->values[i];
            }
        }
    }
    return NULL;
}
