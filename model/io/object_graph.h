// The graph of objects that makes a TensorFlow bundle an object-based one
// (_CHECKPOINTABLE_OBJECT_GRAPH, spec/model.md 6.2 and 7.4), built from the paths of the
// variables.
#ifndef EDT_MODEL_IO_OBJECT_GRAPH_H
#define EDT_MODEL_IO_OBJECT_GRAPH_H

#include "core/error.h"
#include "core/span.h"

#define EDT_OBJECT_GRAPH_KEY "_CHECKPOINTABLE_OBJECT_GRAPH"
// What follows an object's path in the key of its value.
#define EDT_OBJECT_VALUE_SUFFIX "/.ATTRIBUTES/VARIABLE_VALUE"

typedef struct edt_object_graph edt_object_graph;

// A root that refers to itself as "root", as TensorFlow's Checkpoint(root) has it.
edt_status edt_object_graph_create(edt_error *err, edt_object_graph **out_graph);
void edt_object_graph_destroy(edt_object_graph *graph); // NULL is fine

// A variable at "a/b/c" with objects on the way to it as needed. Its value has the key
// "a/b/c/.ATTRIBUTES/VARIABLE_VALUE". EDT_ERR_INVALID where the path is taken or empty.
edt_status edt_object_graph_add(edt_object_graph *graph, const char *path,
                                const char *full_name, edt_error *err, int *out_object);
// A second path to an object.
edt_status edt_object_graph_alias(edt_object_graph *graph, const char *path, int object,
                                  edt_error *err);
// A value that the optimizer at path `optimizer` keeps for a variable.
edt_status edt_object_graph_add_slot(edt_object_graph *graph, const char *optimizer,
                                     int variable, const char *slot_name, const char *full_name,
                                     const char *key, edt_error *err);
// The serialised message; objects are numbered breadth first, slots last. The bytes belong to
// the graph.
edt_status edt_object_graph_pack(edt_object_graph *graph, edt_error *err, edt_text *out_bytes);

#endif
