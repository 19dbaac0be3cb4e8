// See archive.h. The copy is made beside archive/ and renamed into place, so that a kill leaves
// the old archive or the new one, never half of one; after one between the two renames the old
// one stands in backup/ until the next call puts it back.
#include "train/archive.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "core/path.h"
#include "model/io/checkpoint.h"

static double read_objective(const char *path)
{
    double value = -INFINITY;
    FILE *file = fopen(path, "r");
    if (file != NULL) {
        if (fscanf(file, "%lf", &value) != 1) {
            value = -INFINITY;
        }
        (void)fclose(file);
    }
    return value;
}

static void remove_files(const char *dir, edt_arena *arena)
{
    edt_error ignored;
    edt_path_list files;
    if (edt_path_list_dir(dir, arena, &ignored, &files) == EDT_OK) {
        for (int64_t i = 0; i < files.n; ++i) {
            (void)unlink(files.path[i]);
        }
    }
    (void)rmdir(dir);
}

static edt_status copy_checkpoint(const char *prefix, const char *to_dir, edt_arena *arena,
                                  edt_error *err)
{
    EDT_TRY(edt_path_mkdirs(to_dir, err));
    edt_path_list files;
    const char *dir = edt_path_dirname(arena, prefix);
    const char *name = edt_path_basename(arena, prefix);
    const char *start = name != NULL ? edt_arena_printf(arena, "%s.", name) : NULL;
    if (dir == NULL || start == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to archive %s", prefix);
    }
    EDT_TRY(edt_path_list_dir(dir, arena, err, &files));
    int64_t n_copied = 0;
    for (int64_t i = 0; i < files.n; ++i) {
        const char *file_name = strrchr(files.path[i], '/');
        file_name = file_name != NULL ? file_name + 1 : files.path[i];
        if (strncmp(file_name, start, strlen(start)) != 0) {
            continue;
        }
        const char *to = edt_path_join(arena, to_dir, file_name);
        if (to == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to archive %s", prefix);
        }
        edt_mapped_file file;
        EDT_TRY(edt_mapped_file_open(files.path[i], err, &file));
        ++n_copied;
        const edt_status status = edt_file_write(to, file.span.data, file.span.n_bytes, err);
        edt_mapped_file_close(&file);
        EDT_TRY(status);
    }
    if (n_copied == 0) {
        EDT_FAIL(err, EDT_ERR_NOT_FOUND, "%s: no file of this checkpoint exists", prefix);
    }
    return edt_checkpoint_enter(to_dir, name, 0, err);
}

static edt_status archive(const char *model_dir, const char *prefix, double objective,
                          const char *eval_text, edt_arena *arena, edt_error *err)
{
    const char *best = edt_path_join(arena, model_dir, "best_objective.txt");
    const char *current = edt_path_join(arena, model_dir, "archive");
    const char *backup = edt_path_join(arena, model_dir, "backup");
    const char *fresh = edt_path_join(arena, model_dir, "archive.tmp");
    const char *text = edt_arena_printf(arena, "%.17g\n", objective);
    const char *words = edt_path_join(arena, model_dir, "archive.tmp/best_eval.txt");
    if (best == NULL || current == NULL || backup == NULL || fresh == NULL || text == NULL ||
        words == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to archive %s", prefix);
    }
    if (!edt_path_exists(current) && edt_path_exists(backup) && rename(backup, current) != 0) {
        return edt_error_set_errno(err, EDT_ERR_IO, errno, "cannot rename %s to %s", backup,
                                   current);
    }
    if (read_objective(best) > objective) {
        return EDT_OK;
    }
    remove_files(fresh, arena);
    EDT_TRY(copy_checkpoint(prefix, fresh, arena, err));
    if (eval_text != NULL) {
        EDT_TRY(edt_file_write(words, eval_text, strlen(eval_text), err));
    }
    remove_files(backup, arena);
    if (rename(current, backup) != 0 && errno != ENOENT) {
        return edt_error_set_errno(err, EDT_ERR_IO, errno, "cannot rename %s to %s", current,
                                   backup);
    }
    if (rename(fresh, current) != 0) {
        return edt_error_set_errno(err, EDT_ERR_IO, errno, "cannot rename %s to %s", fresh,
                                   current);
    }
    EDT_INFO("best AP so far %.5f: %s kept in %s", objective, prefix, current);
    return edt_file_write(best, text, strlen(text), err);
}

edt_status edt_archive_best(const char *model_dir, const char *prefix, double objective,
                            const char *eval_text, edt_error *err)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    const edt_status status = archive(model_dir, prefix, objective, eval_text, &arena, err);
    edt_arena_deinit(&arena);
    return status;
}
