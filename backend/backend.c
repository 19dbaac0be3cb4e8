// Backends by name; see backend.h.
#include "backend/backend.h"

#include <stdio.h>
#include <string.h>

edt_status edt_backend_create(const char *name, int n_threads, edt_error *err,
                              edt_backend **out_backend)
{
    if (n_threads < 0) {
        EDT_FAIL(err, EDT_ERR_USAGE, "%d threads: give 0 (all cores) or a positive number",
                 n_threads);
    }
    if (strcmp(name, "ref") == 0) {
        return edt_backend_ref_create(err, out_backend);
    }
    if (strcmp(name, "cpu") == 0) {
        return edt_backend_cpu_create(n_threads, err, out_backend);
    }
    if (strcmp(name, "cuda") == 0) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "this build has no CUDA backend; use --device=cpu (or ref, the slow oracle)");
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
