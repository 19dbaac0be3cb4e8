// See config_file.h. Tables are compared as text, line by line: they are written sorted and
// with one setting per line.
#include "train/config_file.h"

#include <string.h>

#include "core/log.h"
#include "core/path.h"
#include "core/strbuf.h"

enum { MAX_CONFIG_BYTES = 16 << 20 };

// The line of `yaml` with the key of `line` ("key:", with its indentation), or NULL.
static const char *find_key(const char *yaml, const char *line, size_t n_key)
{
    for (const char *at = yaml; at != NULL && *at != '\0';) {
        if (strncmp(at, line, n_key) == 0) {
            return at;
        }
        at = strchr(at, '\n');
        at = at != NULL ? at + 1 : NULL;
    }
    return NULL;
}

// Appends each "key: value" of `now` that `was` has otherwise, as "key: 1 (was 2)".
static void list_changes(const char *now, const char *was, edt_strbuf *out)
{
    for (const char *at = now; *at != '\0';) {
        const size_t n_line = strcspn(at, "\n");
        const size_t n_key = strcspn(at, ":\n") + 1;
        const char *old = n_key <= n_line ? find_key(was, at, n_key) : NULL;
        const size_t n_old = old != NULL ? strcspn(old, "\n") : 0;
        if (n_key <= n_line &&
            (old == NULL || n_old != n_line || memcmp(old, at, n_line) != 0)) {
            const size_t indent = strspn(at, " ");
            edt_strbuf_printf(out, "%s%.*s (was%.*s)", out->n_bytes > 0 ? ", " : "",
                              (int)(n_line - indent), at + indent,
                              old != NULL ? (int)(n_old - n_key) : 6,
                              old != NULL ? old + n_key : " unset");
        }
        at += n_line + (at[n_line] == '\n');
    }
}

const char *edt_config_file_changes(const char *now, const char *was, edt_arena *arena)
{
    edt_strbuf changes = {0};
    list_changes(now, was, &changes);
    const char *text = changes.failed
                           ? NULL
                           : edt_arena_strdup(arena, changes.n_bytes > 0 ? changes.text : "");
    edt_strbuf_deinit(&changes);
    return text;
}

static edt_status enter(const char *model_dir, const edt_hparams *hp, edt_arena *arena,
                        edt_error *err)
{
    const char *path = edt_path_join(arena, model_dir, "config.yaml");
    const char *now;
    EDT_TRY(edt_hparams_to_yaml(hp, arena, err, &now));
    if (path == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a file name");
    }
    if (!edt_path_exists(path)) {
        return edt_file_write(path, now, strlen(now), err);
    }
    char *was = NULL;
    size_t n_was = 0;
    EDT_TRY(edt_file_read(path, MAX_CONFIG_BYTES, err, &was, &n_was));
    if (strcmp(was, now) != 0) {
        const char *changes = edt_config_file_changes(now, was, arena);
        EDT_WARN(
            "the settings differ from those this model_dir was started with (%s): %s; going "
            "on with the new ones",
            path, changes != NULL && changes[0] != '\0' ? changes : "in their lists");
    }
    edt_mem_free(was);
    return EDT_OK;
}

edt_status edt_config_file_enter(const char *model_dir, const edt_hparams *hp, edt_error *err)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    const edt_status status = enter(model_dir, hp, &arena, err);
    edt_arena_deinit(&arena);
    return status;
}
