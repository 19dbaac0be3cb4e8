// A small read-only tree of a YAML file or text (libyaml), for configurations and label maps.
// Aliases share their anchor's node; merge keys (<<) are not expanded.
#ifndef EDT_CORE_YAML_H
#define EDT_CORE_YAML_H

#include <stdbool.h>

#include "core/arena.h"
#include "core/error.h"
#include "core/span.h"

typedef enum edt_yaml_kind {
    EDT_YAML_SCALAR,
    EDT_YAML_SEQUENCE,
    EDT_YAML_MAP,
} edt_yaml_kind;

typedef struct edt_yaml_node {
    edt_yaml_kind kind;
    int line;         // from 1
    bool plain;       // a scalar without quotes and without an explicit tag: its type is open
    const char *tag;  // an explicit tag such as "tag:yaml.org,2002:python/tuple", else NULL
    const char *text; // scalars: null-terminated, without embedded zeros
    int n;            // items, or pairs of a map
    const struct edt_yaml_node **keys;   // maps: [n]
    const struct edt_yaml_node **values; // maps and sequences: [n]
} edt_yaml_node;

// The first document, NULL for an empty one. The tree lives in `arena` and does not refer to
// `text`. EDT_ERR_FORMAT names line and column. More than one document, self-reference and
// trees that are nested too deeply or grow too large through aliases are refused.
edt_status edt_yaml_parse(edt_span text, edt_arena *arena, edt_error *err,
                          const edt_yaml_node **out_root);
// As edt_yaml_parse for a file (at most 8 MiB); errors begin with the path.
edt_status edt_yaml_read_file(const char *path, edt_arena *arena, edt_error *err,
                              const edt_yaml_node **out_root);

// The value of a scalar key, or NULL (also when `map` is NULL or no map). The last one wins.
const edt_yaml_node *edt_yaml_get(const edt_yaml_node *map, const char *key);

#endif
