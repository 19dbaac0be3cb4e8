// Whole-file access: reading with a size limit, read-only mappings, and files that appear under
// their name only when they are complete. Errors carry the path, the system's reason and a
// hint.
#ifndef EDT_CORE_FILE_H
#define EDT_CORE_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/span.h"

// The whole file as an EDT_MEM_TEXT block of the caller's (edt_mem_free), with a zero byte
// after the contents that `*out_bytes` does not count. Pipes work too. EDT_ERR_NOT_FOUND,
// EDT_ERR_IO, EDT_ERR_INVALID when there are more than `max_bytes`.
edt_status edt_file_read(const char *path, size_t max_bytes, edt_error *err, char **out_text,
                         size_t *out_bytes);

// A regular file mapped read-only. `span` belongs to the mapping; an empty file has no data.
typedef struct edt_mapped_file {
    edt_span span;
} edt_mapped_file;

edt_status edt_mapped_file_open(const char *path, edt_error *err, edt_mapped_file *out_file);
// The process gives back the memory of the pages that lie wholly in [begin, end); they stay
// readable and come back from the file when they are read again. Nothing for a zeroed struct.
void edt_mapped_file_forget(const edt_mapped_file *file, size_t begin, size_t end);
// Zeroes the struct; a zeroed one is legal.
void edt_mapped_file_close(edt_mapped_file *file);

// A file written as "<path>.tmp-<pid>-<n>" beside its final name and renamed when it is
// complete: whatever happens, the final name holds the old contents, the new ones or nothing.
// One owner.
typedef struct edt_atomic_file edt_atomic_file;

// An existing regular file is replaced at the commit, anything else under that name is an
// error.
edt_status edt_atomic_file_open(const char *path, edt_error *err, edt_atomic_file **out_file);
// Buffered (1 MiB). After an error only edt_atomic_file_close is useful.
edt_status edt_atomic_file_append(edt_atomic_file *file, const void *data, size_t n_bytes,
                                  edt_error *err);
// Writes the pieces one after another at `offset` (pwritev, unbuffered), for files whose parts
// come from several threads. Not to be mixed with append. The one function here that any number
// of threads may call at once, for ranges that do not overlap.
edt_status edt_atomic_file_write_at(edt_atomic_file *file, uint64_t offset,
                                    const edt_span *pieces, size_t n_pieces, edt_error *err);
// Bytes appended so far.
uint64_t edt_atomic_file_tell(const edt_atomic_file *file);
// Flushes and syncs under the temporary name: what a commit of several files does to all of them
// before it renames the first.
edt_status edt_atomic_file_sync(edt_atomic_file *file, edt_error *err);
// Flushes, syncs and renames; once. The handle still wants closing.
edt_status edt_atomic_file_commit(edt_atomic_file *file, edt_error *err);
// Renames without the syncs, for large files that can be made again: complete whatever happens
// to the process, but not when the machine loses power within the next seconds.
edt_status edt_atomic_file_commit_unsynced(edt_atomic_file *file, edt_error *err);
// Frees the handle; without a successful commit the temporary file is removed. NULL is fine.
void edt_atomic_file_close(edt_atomic_file *file);

// Open, append, commit and close in one.
edt_status edt_file_write(const char *path, const void *data, size_t n_bytes, edt_error *err);

#endif
