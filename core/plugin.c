// See plugin.h. dlopen counts its users itself, so opening again costs a look-up.
#include "core/plugin.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// The folder to look in, without a slash at the end.
static edt_status plugin_folder(edt_error *err, char out_folder[PATH_MAX])
{
    const char *given = getenv("EDT_PLUGIN_DIR");
    if (given != NULL && given[0] != '\0') {
        if (snprintf(out_folder, PATH_MAX, "%s", given) >= PATH_MAX) {
            EDT_FAIL(err, EDT_ERR_USAGE, "EDT_PLUGIN_DIR is longer than %d bytes",
                     PATH_MAX - 1);
        }
        return EDT_OK;
    }
    const ssize_t n = readlink("/proc/self/exe", out_folder, PATH_MAX - 1);
    if (n <= 0) {
        EDT_FAIL(
            err, EDT_ERR_UNSUPPORTED,
            "cannot find the program's own folder; set EDT_PLUGIN_DIR to the one that holds "
            "its plug-ins");
    }
    out_folder[n] = '\0';
    *strrchr(out_folder, '/') = '\0';
    return EDT_OK;
}

edt_status edt_plugin_open(const char *file, const char *symbol, edt_error *err,
                           const void **out_symbol)
{
    char folder[PATH_MAX];
    char path[PATH_MAX + NAME_MAX + 2];
    EDT_TRY(plugin_folder(err, folder));
    (void)snprintf(path, sizeof path, "%s/%s", folder, file);
    if (access(path, F_OK) != 0) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "%s is not there: this build has no such part (README, \"Build\")", path);
    }
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED, "%s cannot be loaded: %s", path, dlerror());
    }
    const void *found = dlsym(library, symbol);
    if (found == NULL) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED, "%s has no '%s': it belongs to another version",
                 path, symbol);
    }
    *out_symbol = found;
    return EDT_OK;
}
