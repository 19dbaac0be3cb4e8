// Path names: tests, joining, directories and patterns. Texts returned live in the arena given.
// Reading and writing whole files is next door (core/file.h, included here).
#ifndef EDT_CORE_PATH_H
#define EDT_CORE_PATH_H

#include <stdbool.h>
#include <stdint.h>

#include "core/arena.h"
#include "core/error.h"
#include "core/file.h"

bool edt_path_exists(const char *path);
bool edt_path_is_dir(const char *path);

// Creates the directory and its parents; an existing directory is fine. EDT_ERR_IO.
edt_status edt_path_mkdirs(const char *path, edt_error *err);

// "a/b" -> "a", "b" -> ".", "/b" -> "/". NULL when out of memory, as for the next two.
const char *edt_path_dirname(edt_arena *arena, const char *path);
// "a/b" -> "b", "a/" -> "a", "/" -> "/".
const char *edt_path_basename(edt_arena *arena, const char *path);
// "dir/name"; an absolute `name` stands alone, as does any name with an empty `dir`.
const char *edt_path_join(edt_arena *arena, const char *dir, const char *name);
// True when `path` ends with `suffix`.
bool edt_path_has_suffix(const char *path, const char *suffix);

typedef struct edt_path_list {
    int64_t n;
    const char *const *path; // in the arena, as is the text
} edt_path_list;

// Files that match comma-separated shell patterns (*, ?, [...]), sorted bytewise, each once. A
// name that exists as it stands also counts as a match for itself. EDT_ERR_NOT_FOUND names the
// pattern without a match, EDT_ERR_USAGE an empty text.
edt_status edt_path_glob(const char *patterns, edt_arena *arena, edt_error *err,
                         edt_path_list *out_list);

// The regular files of a directory (also through links), as "dir/name", sorted bytewise; nothing
// in a name is taken for a pattern. EDT_ERR_NOT_FOUND or EDT_ERR_IO when it cannot be read.
edt_status edt_path_list_dir(const char *dir, edt_arena *arena, edt_error *err,
                             edt_path_list *out_list);

#endif
