// Backends by name; see backend.h.
#include "backend/backend.h"

#include <stdio.h>
#include <string.h>

#include "core/plugin.h"

static const char without_gpu[] = "device cuda (--device=cpu runs without a GPU)";

edt_status edt_backend_cuda_plugin_open(edt_error *err, const edt_backend_plugin **out_plugin)
{
    const void *symbol = NULL;
    EDT_TRY_CTX(edt_plugin_open("libedt_cuda.so", EDT_BACKEND_CUDA_SYMBOL, err, &symbol), err,
                "%s", without_gpu);
    *out_plugin = symbol;
    return EDT_OK;
}

edt_status edt_backend_cuda_count_devices(edt_error *err, int *out_n_devices)
{
    const edt_backend_plugin *plugin = NULL;
    EDT_TRY(edt_backend_cuda_plugin_open(err, &plugin));
    EDT_TRY_CTX(plugin->count_devices(err, out_n_devices), err, "%s", without_gpu);
    return EDT_OK;
}

edt_status edt_backend_create(const char *name, const edt_backend_options *options,
                              edt_error *err, edt_backend **out_backend)
{
    if (options->n_threads < 0) {
        EDT_FAIL(err, EDT_ERR_USAGE, "%d threads: give 0 (all cores) or a positive number",
                 options->n_threads);
    }
    if (strcmp(name, "ref") == 0) {
        return edt_backend_ref_create(err, out_backend);
    }
    if (strcmp(name, "cpu") == 0) {
        return edt_backend_cpu_create(options->n_threads, err, out_backend);
    }
    if (strcmp(name, "cuda") == 0) {
        const edt_backend_plugin *plugin = NULL;
        int n_devices;
        EDT_TRY(edt_backend_cuda_count_devices(err, &n_devices));
        EDT_TRY(edt_backend_cuda_plugin_open(err, &plugin));
        return plugin->create(options, err, out_backend);
    }
    EDT_FAIL(err, EDT_ERR_USAGE, "backend '%s' is unknown; use ref, cpu or cuda", name);
}

edt_status edt_backend_measure_peak(edt_backend *backend, edt_error *err,
                                    edt_backend_peak *out_peak)
{
    if (backend->table->measure_peak == NULL) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED, "backend %s has no peak to measure",
                 backend->table->name);
    }
    return backend->table->measure_peak(backend, err, out_peak);
}

int edt_backend_sharers(const edt_backend *backend)
{
    return backend != NULL && backend->table->share != NULL && backend->n_threads > 1
               ? backend->n_threads
               : 1;
}

void edt_backend_share(edt_backend *backend, int max_threads, int64_t n,
                       edt_backend_share_fn *fn, void *ctx)
{
    int threads = edt_backend_sharers(backend);
    threads = max_threads > 0 && max_threads < threads ? max_threads : threads;
    threads = n < threads ? (int)n : threads;
    if (threads > 1) {
        backend->table->share(backend, threads, n, fn, ctx);
        return;
    }
    for (int64_t i = 0; i < n; ++i) {
        fn(ctx, 0, i);
    }
}

void edt_backend_describe(const edt_backend *backend, char *out_text, size_t n_bytes)
{
    if (backend->table->describe != NULL) {
        backend->table->describe(backend, out_text, n_bytes);
    } else {
        (void)snprintf(out_text, n_bytes, "%s", backend->table->name);
    }
}

void edt_backend_destroy(edt_backend **backend)
{
    if (*backend != NULL) {
        (*backend)->table->destroy(*backend);
        *backend = NULL;
    }
}
