// Flat parameter memory on a backend: values, gradients, optimizer slots and EMA shadows as
// parallel arenas over one name table.
#ifndef EDT_MODEL_PARAMS_H
#define EDT_MODEL_PARAMS_H

#include "backend/backend.h"
#include "model/graph.h"

typedef enum edt_params_arena {
    EDT_PARAMS_VALUES,
    EDT_PARAMS_GRADS,
    EDT_PARAMS_SLOT0, // momentum, or Adam's m
    EDT_PARAMS_SLOT1, // Adam's v
    EDT_PARAMS_EMA,   // shadows of trainables and moving statistics
    EDT_PARAMS_N_ARENAS
} edt_params_arena;

typedef struct edt_param_entry {
    const char *name; // owned by the params
    const char *object_path;
    edt_shape shape;
    edt_init init;
    bool trainable, decay;
    int64_t offset, n; // elements; offsets are multiples of 16 so that vectors stay aligned
} edt_param_entry;

typedef struct edt_params {
    edt_arena arena;
    edt_backend *backend; // borrowed
    edt_dtype real;       // of all arenas: the graph's wide type, f32 or f64
    int n_params;
    edt_param_entry *entries;          // same order and index as graph->params
    int64_t n_elements;                // of one arena, padding included (padding stays 0)
    void *memory[EDT_PARAMS_N_ARENAS]; // device; NULL: not allocated
    uint64_t version; // hand this to edt_run_ctx.params_version; bump on every change
} edt_params;

// Lays out and allocates VALUES (zeroed) for the graph's parameters. Other arenas:
// edt_params_add_arena. The table depends on the graph's parameters only, so graphs of one
// network built for other sizes or modes share one edt_params.
edt_status edt_params_create(const edt_graph *graph, edt_backend *backend, edt_error *err,
                             edt_params **out_params);
void edt_params_destroy(edt_params *params);
edt_status edt_params_add_arena(edt_params *params, edt_params_arena which,
                                edt_error *err); // zeroed

int edt_params_find(const edt_params *params, const char *name); // index or -1

// Host copies of one parameter, converted to and from `real`. n must equal the entry's count.
edt_status edt_params_set_f32(edt_params *params, edt_params_arena which, int i_param,
                              const float *values, int64_t n, edt_error *err);
edt_status edt_params_get_f32(const edt_params *params, edt_params_arena which, int i_param,
                              float *out_values, int64_t n, edt_error *err);
edt_status edt_params_set_f64(edt_params *params, edt_params_arena which, int i_param,
                              const double *values, int64_t n, edt_error *err);
edt_status edt_params_get_f64(const edt_params *params, edt_params_arena which, int i_param,
                              double *out_values, int64_t n, edt_error *err);

// Random initial values by each entry's `init`; element i of a parameter is a pure function of
// (seed, name, i), so it does not depend on order or on other parameters.
edt_status edt_params_init_random(edt_params *params, uint64_t seed, edt_error *err);

// Copies one arena over another (EMA := VALUES at start; VALUES := EMA for evaluation).
edt_status edt_params_copy_arena(edt_params *params, edt_params_arena to, edt_params_arena from,
                                 edt_error *err);

#endif
