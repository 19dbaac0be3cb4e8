// Path names; see path.h.
#include "core/path.h"

#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool edt_path_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

bool edt_path_is_dir(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool edt_path_has_suffix(const char *path, const char *suffix)
{
    const size_t path_bytes = strlen(path);
    const size_t suffix_bytes = strlen(suffix);
    return path_bytes >= suffix_bytes &&
           memcmp(path + path_bytes - suffix_bytes, suffix, suffix_bytes) == 0;
}

static edt_status make_dir(const char *path, const char *wanted, edt_error *err)
{
    if (mkdir(path, 0777) == 0 || edt_path_is_dir(path)) {
        return EDT_OK;
    }
    const int code = errno;
    if (code == EEXIST) {
        EDT_FAIL(err, EDT_ERR_IO,
                 "cannot create directory '%s': '%s' is a file; remove it or choose another "
                 "directory",
                 wanted, path);
    }
    return edt_error_set_errno(
        err, EDT_ERR_IO, code,
        "cannot create directory '%s' (at '%s'); choose one that you may "
        "write to",
        wanted, path);
}

edt_status edt_path_mkdirs(const char *path, edt_error *err)
{
    if (path[0] == '\0') {
        EDT_FAIL(err, EDT_ERR_USAGE, "cannot create a directory with an empty name");
    }
    char *partial = edt_mem_strdup(EDT_MEM_TEXT, path);
    if (partial == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the path '%s'", path);
    }
    edt_status status = EDT_OK;
    for (char *p = partial + 1; status == EDT_OK && *p != '\0'; ++p) {
        if (*p == '/' && p[-1] != '/') {
            *p = '\0';
            status = make_dir(partial, path, err);
            *p = '/';
        }
    }
    if (status == EDT_OK) {
        status = make_dir(partial, path, err);
    }
    edt_mem_free(partial);
    return status;
}

// Length of `path` without trailing slashes, but for the root's.
static size_t trimmed_bytes(const char *path, size_t n_bytes)
{
    while (n_bytes > 1 && path[n_bytes - 1] == '/') {
        --n_bytes;
    }
    return n_bytes;
}

const char *edt_path_dirname(edt_arena *arena, const char *path)
{
    size_t end = trimmed_bytes(path, strlen(path));
    while (end > 0 && path[end - 1] != '/') {
        --end;
    }
    return end == 0 ? edt_arena_strdup(arena, ".")
                    : edt_arena_strndup(arena, path, trimmed_bytes(path, end));
}

const char *edt_path_basename(edt_arena *arena, const char *path)
{
    const size_t end = trimmed_bytes(path, strlen(path));
    if (end <= 1) {
        return edt_arena_strndup(arena, path, end);
    }
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/') {
        --begin;
    }
    return edt_arena_strndup(arena, path + begin, end - begin);
}

const char *edt_path_join(edt_arena *arena, const char *dir, const char *name)
{
    if (dir[0] == '\0' || name[0] == '/') {
        return edt_arena_strdup(arena, name);
    }
    const bool has_slash = dir[strlen(dir) - 1] == '/';
    return edt_arena_printf(arena, "%s%s%s", dir, has_slash ? "" : "/", name);
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static edt_status fail_no_match(const char *pattern, const char *patterns, edt_error *err)
{
    const char *part = strcmp(pattern, patterns) == 0 ? "" : " (part of a list)";
    EDT_FAIL(err, EDT_ERR_NOT_FOUND,
             "no files matched pattern '%s'%s; check the spelling, and quote patterns so that "
             "the shell leaves them alone",
             pattern, part);
}

// Adds the matches of one pattern to `matches`.
static edt_status glob_one(const char *pattern, const char *patterns, glob_t *matches,
                           bool *has_any, edt_error *err)
{
    const int append = *has_any ? GLOB_APPEND : 0;
    int code = glob(pattern, append | GLOB_NOSORT, NULL, matches);
    if (code == GLOB_NOMATCH && edt_path_exists(pattern)) {
        // A plain name that holds pattern characters.
        code = glob(pattern, append | GLOB_NOSORT | GLOB_NOCHECK, NULL, matches);
    }
    switch (code) {
    case 0: *has_any = true; return EDT_OK;
    case GLOB_NOMATCH: return fail_no_match(pattern, patterns, err);
    case GLOB_NOSPACE:
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the matches of '%s'", pattern);
    default: EDT_FAIL(err, EDT_ERR_IO, "cannot list the files that match '%s'", pattern);
    }
}

static edt_status copy_matches(const glob_t *matches, edt_arena *arena, edt_error *err,
                               edt_path_list *out_list)
{
    const char **paths = edt_arena_calloc(arena, matches->gl_pathc, sizeof *paths);
    if (paths == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %zu file names", matches->gl_pathc);
    }
    qsort(matches->gl_pathv, matches->gl_pathc, sizeof *matches->gl_pathv, compare_paths);
    int64_t n = 0;
    for (size_t i = 0; i < matches->gl_pathc; ++i) {
        const char *path = matches->gl_pathv[i];
        if (n > 0 && strcmp(paths[n - 1], path) == 0) {
            continue;
        }
        paths[n] = edt_arena_strdup(arena, path);
        if (paths[n] == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the file name '%s'", path);
        }
        ++n;
    }
    *out_list = (edt_path_list){.n = n, .path = paths};
    return EDT_OK;
}

edt_status edt_path_glob(const char *patterns, edt_arena *arena, edt_error *err,
                         edt_path_list *out_list)
{
    glob_t matches = {0};
    bool has_any = false;
    edt_status status = EDT_OK;
    for (const char *p = patterns; status == EDT_OK && *p != '\0';) {
        const size_t n_bytes = strcspn(p, ",");
        if (n_bytes > 0) {
            const char *pattern = edt_arena_strndup(arena, p, n_bytes);
            status = pattern == NULL ? edt_error_set(err, EDT_ERR_NOMEM,
                                                     "no memory for the pattern '%s'", patterns)
                                     : glob_one(pattern, patterns, &matches, &has_any, err);
        }
        p += n_bytes + (p[n_bytes] == ',');
    }
    if (status == EDT_OK && !has_any) {
        status = edt_error_set(err, EDT_ERR_USAGE,
                               "the file pattern '%s' is empty; give one or more patterns, "
                               "separated by commas",
                               patterns);
    }
    if (status == EDT_OK) {
        status = copy_matches(&matches, arena, err, out_list);
    }
    globfree(&matches);
    return status;
}

static edt_status add_path(edt_arena *arena, const char *path, const char ***paths, int64_t *n,
                           int64_t *capacity)
{
    if (*n == *capacity) {
        const int64_t grown_capacity = *capacity == 0 ? 16 : 2 * *capacity;
        const char **grown = edt_arena_calloc(arena, (size_t)grown_capacity, sizeof *grown);
        if (grown == NULL) {
            return EDT_ERR_NOMEM;
        }
        if (*n > 0) {
            memcpy(grown, *paths, (size_t)*n * sizeof *grown);
        }
        *paths = grown;
        *capacity = grown_capacity;
    }
    (*paths)[(*n)++] = path;
    return EDT_OK;
}

edt_status edt_path_list_dir(const char *dir, edt_arena *arena, edt_error *err,
                             edt_path_list *out_list)
{
    DIR *stream = opendir(dir);
    if (stream == NULL) {
        const int code = errno;
        return edt_error_set_errno(err, code == ENOENT ? EDT_ERR_NOT_FOUND : EDT_ERR_IO, code,
                                   "cannot list the directory '%s'", dir);
    }
    edt_status status = EDT_OK;
    const char **paths = NULL;
    int64_t n = 0, capacity = 0;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(stream);
        if (entry == NULL) {
            if (errno != 0) {
                status = edt_error_set_errno(err, EDT_ERR_IO, errno,
                                             "cannot list the directory '%s'", dir);
            }
            break;
        }
        const char *path = edt_path_join(arena, dir, entry->d_name);
        struct stat info;
        if (path != NULL && (stat(path, &info) != 0 || !S_ISREG(info.st_mode))) {
            continue;
        }
        if (path == NULL || add_path(arena, path, &paths, &n, &capacity) != EDT_OK) {
            status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for the files of '%s'", dir);
            break;
        }
    }
    (void)closedir(stream);
    if (status == EDT_OK) {
        if (n > 1) {
            qsort(paths, (size_t)n, sizeof *paths, compare_paths);
        }
        *out_list = (edt_path_list){.n = n, .path = paths};
    }
    return status;
}
