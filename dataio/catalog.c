// See catalog.h.
#include "dataio/catalog.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

// The part of a shard's name before "-SSSSS-of-", and the rest after "-SSSSS"; false for other
// names.
static bool split_name(const char *shard_path, edt_text *out_dir, edt_text *out_prefix,
                       const char **out_rest)
{
    const char *slash = strrchr(shard_path, '/');
    const char *name = slash != NULL ? slash + 1 : shard_path;
    const char *of = NULL;
    for (const char *at = name; (at = strstr(at, "-of-")) != NULL; ++at) {
        of = at;
    }
    if (of == NULL) {
        return false;
    }
    const char *digits = of;
    while (digits > name && digits[-1] >= '0' && digits[-1] <= '9') {
        --digits;
    }
    if (of - digits < 5 || digits == name || digits[-1] != '-') {
        return false;
    }
    *out_dir = (edt_text){shard_path, (size_t)(name - shard_path)};
    *out_prefix = (edt_text){name, (size_t)(digits - 1 - name)};
    *out_rest = of;
    return true;
}

const char *edt_catalog_path(edt_arena *arena, const char *shard_path)
{
    edt_text dir;
    edt_text prefix;
    const char *rest;
    if (!split_name(shard_path, &dir, &prefix, &rest)) {
        return NULL;
    }
    return edt_arena_printf(arena, "%.*s.edt/%.*s%s.catalog", (int)dir.n_bytes, dir.data,
                            (int)prefix.n_bytes, prefix.data, rest);
}

edt_status edt_catalog_build_if_complete(const char *shard_path, edt_error *err)
{
    (void)shard_path;
    (void)err;
    return EDT_OK;
}

edt_status edt_catalog_remove(const char *shard_path, edt_error *err)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    edt_status status = EDT_OK;
    const char *path = edt_catalog_path(&arena, shard_path);
    if (path != NULL && unlink(path) != 0 && errno != ENOENT && errno != ENOTDIR) {
        status = edt_error_set_errno(err, EDT_ERR_IO, errno,
                                     "cannot remove the outdated catalog '%s'", path);
    }
    edt_arena_deinit(&arena);
    return status;
}
