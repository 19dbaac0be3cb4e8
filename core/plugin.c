// See plugin.h. dlopen counts its users itself, so opening again costs a look-up.
#include "core/plugin.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// The folder of the running program, without a slash at the end.
static edt_status program_folder(edt_error *err, char out_folder[PATH_MAX])
{
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

static const char *given_folder(void)
{
    const char *given = getenv("EDT_PLUGIN_DIR");
    return given != NULL && given[0] != '\0' ? given : NULL;
}

// The folder to look in, without a slash at the end.
static edt_status plugin_folder(edt_error *err, char out_folder[PATH_MAX])
{
    const char *given = given_folder();
    if (given == NULL) {
        return program_folder(err, out_folder);
    }
    if (snprintf(out_folder, PATH_MAX, "%s", given) >= PATH_MAX) {
        EDT_FAIL(err, EDT_ERR_USAGE, "EDT_PLUGIN_DIR is longer than %d bytes", PATH_MAX - 1);
    }
    return EDT_OK;
}

edt_status edt_plugin_find(const char *file, edt_error *err,
                           char out_path[static EDT_PLUGIN_PATH_BYTES])
{
    char folder[PATH_MAX];
    EDT_TRY(plugin_folder(err, folder));
    (void)snprintf(out_path, EDT_PLUGIN_PATH_BYTES, "%s/%s", folder, file);
    if (access(out_path, F_OK) == 0) {
        return EDT_OK;
    }
    if (given_folder() != NULL) {
        EDT_TRY(program_folder(err, folder));
        (void)snprintf(out_path, EDT_PLUGIN_PATH_BYTES, "%s/%s", folder, file);
        if (access(out_path, F_OK) == 0) {
            return EDT_OK;
        }
    }
    char *parent = strrchr(folder, '/'); // NULL: the program lies in the root directory
    if (parent != NULL) {
        *parent = '\0';
        (void)snprintf(out_path, EDT_PLUGIN_PATH_BYTES, "%s/bin/%s", folder, file);
        if (access(out_path, F_OK) == 0) {
            return EDT_OK;
        }
    }
    EDT_TRY(program_folder(err, folder));
    EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
             "%s/%s is not there: this build has no such part (README, \"Build\")", folder,
             file);
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
