// Saves the good records of damaged shards: every record whose CRCs match, byte for byte and in
// order, also those behind the damage in a plain shard.
#ifndef EDT_DATAIO_REPAIR_H
#define EDT_DATAIO_REPAIR_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

typedef struct edt_repair_options {
    const char *const *paths;
    int64_t n_files;
    // The new shard of a single file; or a directory that is there or ends with '/', where each
    // shard keeps its name. Names ending in .gz, .zz, .zst are written compressed so.
    const char *out;
    int n_threads; // 0: one per processor
    bool show_progress;
} edt_repair_options;

typedef struct edt_repair_result {
    int64_t n_files, n_damaged_files;
    int64_t n_kept, n_bad; // records kept; places where something was lost
    uint64_t lost_bytes;   // of plain shards; unknown for the end of a broken stream
} edt_repair_result;

// New shards appear under their names when they are complete. EDT_ERR_USAGE when a shard would
// replace itself or two have one name; EDT_ERR_NOT_FOUND for a file that cannot be opened;
// EDT_ERR_IO. What is lost is logged with file, record and offset.
edt_status edt_repair_run(const edt_repair_options *options, edt_error *err,
                          edt_repair_result *out_result);

#endif
