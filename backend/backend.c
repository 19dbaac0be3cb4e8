// Backends by name; see backend.h.
#include "backend/backend.h"

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
                 "this build has no CUDA backend; use --backend=cpu (or ref, the slow oracle)");
    }
    EDT_FAIL(err, EDT_ERR_USAGE, "backend '%s' is unknown; use ref, cpu or cuda", name);
}

void edt_backend_destroy(edt_backend **backend)
{
    if (*backend != NULL) {
        (*backend)->table->destroy(*backend);
        *backend = NULL;
    }
}
