// The flat arenas: layout, host access, random start.
#include "model/params.h"

#include <string.h>

#include "model/init.h"

// Parameters start at multiples of this many elements: 64 bytes of f32.
enum { ALIGN_ELEMENTS = 16 };

static const char *const arena_names[EDT_PARAMS_N_ARENAS] = {"values", "gradients", "slot 0",
                                                             "slot 1", "averages"};

// Trainable variables lie side by side and the moving statistics behind them: gradients are
// summed over ranks in few long pieces (dist/bucket.h).
static void lay_out(edt_params *params)
{
    int64_t offset = 0;
    for (int trainable = 1; trainable >= 0; trainable--) {
        for (int i = 0; i < params->n_params; i++) {
            edt_param_entry *entry = &params->entries[i];
            if (entry->trainable == (trainable == 1)) {
                entry->offset = offset;
                offset += (entry->n + ALIGN_ELEMENTS - 1) / ALIGN_ELEMENTS * ALIGN_ELEMENTS;
            }
        }
    }
    params->n_elements = offset;
}

static edt_status copy_table(const edt_graph *graph, edt_params *params, edt_error *err)
{
    params->entries =
        edt_arena_calloc(&params->arena, (size_t)graph->n_params + 1, sizeof *params->entries);
    if (params->entries == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a table of %d variables", graph->n_params);
    }
    for (int i = 0; i < graph->n_params; i++) {
        const edt_param *from = &graph->params[i];
        edt_param_entry *to = &params->entries[i];
        to->name = edt_arena_strdup(&params->arena, from->name);
        if (from->object_path != NULL) {
            to->object_path = edt_arena_strdup(&params->arena, from->object_path);
        }
        if (to->name == NULL || (from->object_path != NULL && to->object_path == NULL)) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the names of %d variables",
                     graph->n_params);
        }
        to->shape = from->shape;
        to->init = from->init;
        to->trainable = from->trainable;
        to->decay = from->decay;
        to->n = edt_shape_count(&from->shape);
    }
    params->n_params = graph->n_params;
    lay_out(params);
    return EDT_OK;
}

edt_status edt_params_create(const edt_graph *graph, edt_backend *backend, edt_error *err,
                             edt_params **out_params)
{
    edt_params *params = edt_mem_calloc(EDT_MEM_PARAM, 1, sizeof *params);
    if (params == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for parameters");
    }
    edt_arena_init(&params->arena, EDT_MEM_PARAM, 0);
    params->backend = backend;
    params->real = graph->wide;
    params->version = 1;
    edt_status status = copy_table(graph, params, err);
    if (status == EDT_OK) {
        status = edt_params_add_arena(params, EDT_PARAMS_VALUES, err);
    }
    if (status != EDT_OK) {
        edt_params_destroy(params);
        return status;
    }
    *out_params = params;
    return EDT_OK;
}

void edt_params_destroy(edt_params *params)
{
    if (params == NULL) {
        return;
    }
    for (int i = 0; i < EDT_PARAMS_N_ARENAS; i++) {
        params->backend->table->free(params->backend, params->memory[i]);
    }
    edt_arena_deinit(&params->arena);
    edt_mem_free(params);
}

edt_status edt_params_add_arena(edt_params *params, edt_params_arena which, edt_error *err)
{
    if (params->memory[which] != NULL) {
        return EDT_OK;
    }
    edt_backend *backend = params->backend;
    const size_t n_bytes = (size_t)params->n_elements * edt_dtype_bytes(params->real);
    void *block = NULL;
    EDT_TRY_CTX(backend->table->alloc(backend, EDT_MEM_PARAM, n_bytes, err, &block), err,
                "parameter %s (%zu bytes)", arena_names[which], n_bytes);
    const edt_status status = backend->table->zero(backend, block, n_bytes, err);
    if (status != EDT_OK) {
        backend->table->free(backend, block);
        return status;
    }
    params->memory[which] = block;
    return EDT_OK;
}

int edt_params_find(const edt_params *params, const char *name)
{
    for (int i = 0; i < params->n_params; i++) {
        if (strcmp(params->entries[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

static edt_status locate(const edt_params *params, edt_params_arena which, int i_param,
                         int64_t n, edt_error *err, void **out_device)
{
    if (i_param < 0 || i_param >= params->n_params) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "parameter %d of %d", i_param, params->n_params);
    }
    const edt_param_entry *entry = &params->entries[i_param];
    if (n != entry->n) {
        EDT_FAIL(err, EDT_ERR_MISMATCH, "variable '%s' has %lld elements, %lld were given",
                 entry->name, (long long)entry->n, (long long)n);
    }
    if (params->memory[which] == NULL) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "variable '%s': there is no memory for parameter %s",
                 entry->name, arena_names[which]);
    }
    *out_device =
        (char *)params->memory[which] + (size_t)entry->offset * edt_dtype_bytes(params->real);
    return EDT_OK;
}

// Host values of type `host` (f32 or f64) <-> the arena, converting where the types differ.
static edt_status set_real(edt_params *params, edt_params_arena which, int i_param,
                           edt_dtype host, const void *values, int64_t n, edt_error *err)
{
    void *device = NULL;
    EDT_TRY(locate(params, which, i_param, n, err, &device));
    edt_backend *backend = params->backend;
    const size_t n_bytes = (size_t)n * edt_dtype_bytes(params->real);
    params->version++;
    if (host == params->real) {
        return backend->table->upload(backend, device, values, n_bytes, err);
    }
    void *converted = edt_mem_alloc(EDT_MEM_MISC, n_bytes);
    if (converted == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to convert %lld values", (long long)n);
    }
    for (int64_t i = 0; i < n; i++) {
        if (host == EDT_DTYPE_F32) {
            ((double *)converted)[i] = (double)((const float *)values)[i];
        } else {
            ((float *)converted)[i] = (float)((const double *)values)[i];
        }
    }
    edt_status status = backend->table->upload(backend, device, converted, n_bytes, err);
    if (status == EDT_OK) {
        status = backend->table->synchronize(backend, err);
    }
    edt_mem_free(converted);
    return status;
}

static edt_status get_real(const edt_params *params, edt_params_arena which, int i_param,
                           edt_dtype host, void *out_values, int64_t n, edt_error *err)
{
    void *device = NULL;
    EDT_TRY(locate(params, which, i_param, n, err, &device));
    edt_backend *backend = params->backend;
    const size_t n_bytes = (size_t)n * edt_dtype_bytes(params->real);
    if (host == params->real) {
        return backend->table->download(backend, out_values, device, n_bytes, err);
    }
    void *stored = edt_mem_alloc(EDT_MEM_MISC, n_bytes);
    if (stored == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to convert %lld values", (long long)n);
    }
    const edt_status status = backend->table->download(backend, stored, device, n_bytes, err);
    for (int64_t i = 0; status == EDT_OK && i < n; i++) {
        if (host == EDT_DTYPE_F32) {
            ((float *)out_values)[i] = (float)((const double *)stored)[i];
        } else {
            ((double *)out_values)[i] = (double)((const float *)stored)[i];
        }
    }
    edt_mem_free(stored);
    return status;
}

edt_status edt_params_set_f32(edt_params *params, edt_params_arena which, int i_param,
                              const float *values, int64_t n, edt_error *err)
{
    return set_real(params, which, i_param, EDT_DTYPE_F32, values, n, err);
}

edt_status edt_params_get_f32(const edt_params *params, edt_params_arena which, int i_param,
                              float *out_values, int64_t n, edt_error *err)
{
    return get_real(params, which, i_param, EDT_DTYPE_F32, out_values, n, err);
}

edt_status edt_params_set_f64(edt_params *params, edt_params_arena which, int i_param,
                              const double *values, int64_t n, edt_error *err)
{
    return set_real(params, which, i_param, EDT_DTYPE_F64, values, n, err);
}

edt_status edt_params_get_f64(const edt_params *params, edt_params_arena which, int i_param,
                              double *out_values, int64_t n, edt_error *err)
{
    return get_real(params, which, i_param, EDT_DTYPE_F64, out_values, n, err);
}

edt_status edt_params_init_random(edt_params *params, uint64_t seed, edt_error *err)
{
    int64_t n_largest = 0;
    for (int i = 0; i < params->n_params; i++) {
        n_largest = params->entries[i].n > n_largest ? params->entries[i].n : n_largest;
    }
    double *values = edt_mem_alloc(EDT_MEM_MISC, (size_t)n_largest * sizeof *values);
    if (values == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %lld initial values", (long long)n_largest);
    }
    edt_status status = EDT_OK;
    for (int i = 0; i < params->n_params && status == EDT_OK; i++) {
        const edt_param_entry *entry = &params->entries[i];
        edt_init_fill(&entry->init, seed, entry->name, entry->n, values);
        status = edt_params_set_f64(params, EDT_PARAMS_VALUES, i, values, entry->n, err);
    }
    edt_mem_free(values);
    return status;
}

edt_status edt_params_copy_arena(edt_params *params, edt_params_arena to, edt_params_arena from,
                                 edt_error *err)
{
    if (params->memory[to] == NULL || params->memory[from] == NULL) {
        EDT_FAIL(err, EDT_ERR_INTERNAL,
                 "copying parameter %s to %s: one of them does not exist", arena_names[from],
                 arena_names[to]);
    }
    edt_backend *backend = params->backend;
    const size_t n_bytes = (size_t)params->n_elements * edt_dtype_bytes(params->real);
    void *host = edt_mem_alloc(EDT_MEM_MISC, n_bytes);
    if (host == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to copy %zu bytes of parameters", n_bytes);
    }
    edt_status status =
        backend->table->download(backend, host, params->memory[from], n_bytes, err);
    if (status == EDT_OK) {
        status = backend->table->upload(backend, params->memory[to], host, n_bytes, err);
    }
    if (status == EDT_OK) {
        status = backend->table->synchronize(backend, err);
    }
    params->version++;
    edt_mem_free(host);
    return status;
}
