// Checkpoints as files in a directory: the `checkpoint` state file, the latest one, retention
// (spec/model.md 7.1). A checkpoint is named by its prefix, "dir/model.ckpt-700".
#ifndef EDT_MODEL_IO_CHECKPOINT_H
#define EDT_MODEL_IO_CHECKPOINT_H

#include "core/arena.h"
#include "core/error.h"

enum { EDT_CHECKPOINT_KEEP = 5 }; // what the reference keeps

// Contents of a directory's state file: prefixes as they stand there (relative to the directory
// or absolute), oldest first. All text in the arena given when it was read.
typedef struct edt_checkpoint_state {
    const char *latest; // model_checkpoint_path
    int n;
    const char *const *all; // all_model_checkpoint_paths
} edt_checkpoint_state;

// EDT_END when the directory has no state file; EDT_ERR_FORMAT with the line for a malformed
// one.
edt_status edt_checkpoint_state_read(const char *dir, edt_arena *arena, edt_error *err,
                                     edt_checkpoint_state *out_state);
// Replaces the state file atomically.
edt_status edt_checkpoint_state_write(const char *dir, const edt_checkpoint_state *state,
                                      edt_error *err);

// Prefix of the latest checkpoint: the state file's, if its .index exists; where only the
// directory of that differs (it was moved, or written on another machine), the one of that name
// in `dir`. EDT_END when there is none (there is no search of the directory).
edt_status edt_checkpoint_latest(const char *dir, edt_arena *arena, edt_error *err,
                                 const char **out_prefix);

// What a user names as a checkpoint -> prefix, or file of weights: an HDF5 or safetensors file
// stands for itself; a directory means its latest checkpoint (a SavedModel: its variables), the
// name of one of its files its prefix, anything else is the prefix. EDT_ERR_NOT_FOUND says what
// was looked for, EDT_ERR_FORMAT what a file is instead.
edt_status edt_checkpoint_resolve(const char *path, edt_arena *arena, edt_error *err,
                                  const char **out_prefix);

// Enters a checkpoint just written ("model.ckpt-700", without directory) as the latest; then
// removes the files of all but the newest `keep` (0: keeps all). Files outside `dir` are never
// removed.
edt_status edt_checkpoint_enter(const char *dir, const char *name, int keep, edt_error *err);
// The same, but checkpoint `spared` ("model.ckpt-100", NULL: none) stays whatever its age, as
// one that is still in use.
edt_status edt_checkpoint_enter_sparing(const char *dir, const char *name, int keep,
                                        const char *spared, edt_error *err);

// 700 for ".../model.ckpt-700"; -1 when the name does not end in '-' and digits.
int64_t edt_checkpoint_step(const char *prefix);

#endif
