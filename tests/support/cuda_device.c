// See cuda_device.h.
#include "tests/support/cuda_device.h"

#include <stdlib.h>

#include "tests/support/test_dirs.h"

edt_backend *edt_test_cuda_backend(void)
{
    const edt_backend_options options = {.deterministic = true};
    const edt_backend_plugin *plugin = NULL;
    edt_error err = {0};
    edt_backend *backend = NULL;
    const char *folder = getenv("EDT_PLUGIN_DIR");
    const char *file = edt_test_path(folder == NULL ? "." : folder, "libedt_cuda.so");
    EDT_TEST_NEEDS_FILE(file);
    // A plug-in that was built must load.
    cr_assert_eq(edt_backend_cuda_plugin_open(&err, &plugin), EDT_OK, "%s", err.text);
    const edt_status status = plugin->create(&options, &err, &backend);
    if (status == EDT_ERR_UNSUPPORTED) {
        cr_skip_test("%s", err.text);
    }
    cr_assert_eq(status, EDT_OK, "%s", err.text);
    return backend;
}
