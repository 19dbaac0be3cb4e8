// Which checkpoint a directory means, and how many stay. See checkpoint.h.
#include "model/io/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "core/path.h"
#include "model/io/weights_priv.h"

static const char *with_suffix(edt_arena *arena, const char *prefix, const char *suffix)
{
    return edt_arena_printf(arena, "%s%s", prefix, suffix);
}

static edt_status has_index(const char *prefix, edt_arena *arena, edt_error *err, bool *out_has)
{
    const char *index = with_suffix(arena, prefix, ".index");
    if (index == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", prefix);
    }
    *out_has = edt_path_exists(index);
    return EDT_OK;
}

edt_status edt_checkpoint_latest(const char *dir, edt_arena *arena, edt_error *err,
                                 const char **out_prefix)
{
    edt_checkpoint_state state;
    EDT_TRY(edt_checkpoint_state_read(dir, arena, err, &state)); // EDT_END travels up
    // Where the path is that of another machine, or of the folder before it was moved, the file
    // lies beside the state file.
    const char *const names[] = {state.latest, edt_path_basename(arena, state.latest)};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i) {
        const char *prefix = names[i] == NULL ? NULL : edt_path_join(arena, dir, names[i]);
        if (prefix == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", dir);
        }
        bool exists = false;
        EDT_TRY(has_index(prefix, arena, err, &exists));
        if (exists) {
            *out_prefix = prefix;
            return EDT_OK;
        }
    }
    return EDT_END;
}

// "p.index", "p.data-00000-of-00001" and "p.meta" name the checkpoint "p".
static const char *strip_file_name(edt_arena *arena, const char *path)
{
    if (edt_path_has_suffix(path, ".index")) {
        return edt_arena_strndup(arena, path, strlen(path) - 6);
    }
    if (edt_path_has_suffix(path, ".meta")) {
        return edt_arena_strndup(arena, path, strlen(path) - 5);
    }
    const char *slash = strrchr(path, '/');
    const char *data = strstr(slash == NULL ? path : slash, ".data-");
    if (data != NULL) {
        return edt_arena_strndup(arena, path, (size_t)(data - path));
    }
    return path;
}

static edt_status resolve_dir(const char *dir, edt_arena *arena, edt_error *err,
                              const char **out_prefix)
{
    const edt_status status = edt_checkpoint_latest(dir, arena, err, out_prefix);
    if (status != EDT_END) {
        return status;
    }
    // A SavedModel keeps its variables as a bundle.
    const char *variables = edt_path_join(arena, dir, "variables/variables");
    bool exists = false;
    if (variables == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", dir);
    }
    EDT_TRY(has_index(variables, arena, err, &exists));
    if (exists) {
        *out_prefix = variables;
        return EDT_OK;
    }
    EDT_FAIL(
        err, EDT_ERR_NOT_FOUND,
        "%s: no checkpoint here: the directory has no file 'checkpoint', or the checkpoint "
        "it names has no .index file; name a checkpoint by its prefix, such as "
        "%s/model.ckpt-1000",
        dir, dir);
}

edt_status edt_checkpoint_resolve(const char *path, edt_arena *arena, edt_error *err,
                                  const char **out_prefix)
{
    bool exists = false;
    const edt_weights_kind kind = edt_weights_kind_of(path);
    if (kind == EDT_WEIGHTS_KIND_H5 || kind == EDT_WEIGHTS_KIND_SAFETENSORS) {
        *out_prefix = path;
        return EDT_OK;
    }
    EDT_TRY(has_index(path, arena, err, &exists));
    if (exists) {
        *out_prefix = path;
        return EDT_OK;
    }
    if (edt_path_is_dir(path)) {
        return resolve_dir(path, arena, err, out_prefix);
    }
    const char *prefix = strip_file_name(arena, path);
    if (prefix == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", path);
    }
    EDT_TRY(has_index(prefix, arena, err, &exists));
    if (!exists && kind == EDT_WEIGHTS_KIND_OTHER && prefix == path) {
        return edt_weights_refuse(path, err);
    }
    if (!exists && edt_path_exists(path)) {
        EDT_FAIL(err, EDT_ERR_NOT_FOUND, "%s: no such checkpoint: %s.index is not there", path,
                 prefix);
    }
    if (!exists) {
        EDT_FAIL(err, EDT_ERR_NOT_FOUND,
                 "%s: no such checkpoint: neither a file or directory of this name nor "
                 "%s.index is there",
                 path, prefix);
    }
    *out_prefix = prefix;
    return EDT_OK;
}

static void remove_file(const char *dir, const char *name, edt_arena *arena)
{
    const char *path = edt_path_join(arena, dir, name);
    if (path != NULL && unlink(path) != 0 && errno != ENOENT) {
        EDT_WARN("%s: cannot remove the old checkpoint: %s", path, strerror(errno));
    }
}

// Removes the files of a checkpoint, the .index first so that no half of it looks complete.
// What cannot be removed is left with a warning: the new checkpoint is safe.
static void remove_checkpoint(const char *dir, const char *name, edt_arena *arena)
{
    const char *index = with_suffix(arena, name, ".index");
    const char *meta = with_suffix(arena, name, ".meta");
    const char *data = with_suffix(arena, name, ".data-");
    DIR *listing = opendir(dir[0] == '\0' ? "." : dir);
    if (index != NULL && meta != NULL && data != NULL && listing != NULL) {
        remove_file(dir, index, arena);
        remove_file(dir, meta, arena);
        for (const struct dirent *file = readdir(listing); file != NULL;
             file = readdir(listing)) {
            if (strncmp(file->d_name, data, strlen(data)) == 0) {
                remove_file(dir, file->d_name, arena);
            }
        }
    }
    if (listing != NULL) {
        (void)closedir(listing);
    }
}

static edt_status enter(const char *dir, const char *name, int keep, const char *spared,
                        edt_arena *arena, edt_error *err)
{
    edt_checkpoint_state old = {0};
    const edt_status status = edt_checkpoint_state_read(dir, arena, err, &old);
    if (status != EDT_OK && status != EDT_END) {
        return status;
    }
    const char **kept = edt_arena_calloc(arena, (size_t)old.n + 1, sizeof *kept);
    const char **dropped = edt_arena_calloc(arena, (size_t)old.n + 1, sizeof *dropped);
    if (kept == NULL || dropped == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", dir);
    }
    int n = 0;
    for (int i = 0; i < old.n; ++i) {
        const char *prefix = edt_path_join(arena, dir, old.all[i]);
        if (prefix == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", dir);
        }
        bool exists = false;
        EDT_TRY(has_index(prefix, arena, err, &exists));
        if (exists && strcmp(old.all[i], name) != 0) {
            kept[n++] = old.all[i];
        }
    }
    kept[n++] = name;
    const int n_old = keep > 0 && n > keep ? n - keep : 0;
    int n_kept = 0, n_dropped = 0;
    for (int i = 0; i < n; ++i) {
        if (i >= n_old || (spared != NULL && strcmp(kept[i], spared) == 0)) {
            kept[n_kept++] = kept[i];
        } else {
            dropped[n_dropped++] = kept[i];
        }
    }
    const edt_checkpoint_state state = {.latest = name, .n = n_kept, .all = kept};
    EDT_TRY(edt_checkpoint_state_write(dir, &state, err));
    for (int i = 0; i < n_dropped; ++i) {
        if (strchr(dropped[i], '/') == NULL) {
            remove_checkpoint(dir, dropped[i], arena);
        }
    }
    return EDT_OK;
}

edt_status edt_checkpoint_enter_sparing(const char *dir, const char *name, int keep,
                                        const char *spared, edt_error *err)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    const edt_status status = enter(dir, name, keep, spared, &arena, err);
    edt_arena_deinit(&arena);
    return status;
}

edt_status edt_checkpoint_enter(const char *dir, const char *name, int keep, edt_error *err)
{
    return edt_checkpoint_enter_sparing(dir, name, keep, NULL, err);
}

int64_t edt_checkpoint_step(const char *prefix)
{
    size_t at = strlen(prefix);
    int64_t step = 0, unit = 1;
    int n_digits = 0;
    while (at > 0 && prefix[at - 1] >= '0' && prefix[at - 1] <= '9' && n_digits < 18) {
        step += unit * (prefix[--at] - '0');
        unit *= 10;
        ++n_digits;
    }
    return n_digits > 0 && at > 0 && prefix[at - 1] == '-' ? step : -1;
}
