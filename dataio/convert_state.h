// The work directory of a conversion, PREFIX.converting: finished groups of shards wait there
// until all of them are done, then all get their names at once. Whoever dies leaves nothing
// under the final names; the same conversion started again goes on from the finished groups,
// another one begins anew. Several processes (ranks) may share one; they agree by file locks,
// and the last to finish publishes.
//
//   lock          byte 0 is held while the directory is joined or published, byte 1 is shared
//                 by all that take part
//   state         the identity of the conversion, as text
//   PREFIX-…      finished shards (unfinished ones have temporary names), .edt: their indexes
//   group-G.done  group G is finished: JSON with counts, digest of its inputs, report
//   publish       the shards are being given their names
#ifndef EDT_DATAIO_CONVERT_STATE_H
#define EDT_DATAIO_CONVERT_STATE_H

#include <stdbool.h>

#include "dataio/convert_report.h"
#include "dataio/shard_writer.h"

typedef struct edt_convert_state edt_convert_state;

typedef struct edt_convert_state_options {
    const char *prefix; // of the final shards
    int64_t n_shards;
    edt_shard_compression compression;
    int64_t n_groups; // group g holds the shards i with i % n_groups == g
    // Inputs and options, everything that the bytes depend on. Conversions with equal texts may
    // share their work. NULL: this one shares nothing.
    const char *identity;
} edt_convert_state_options;

// What is kept of a finished group besides its shards and its report.
typedef struct edt_convert_group {
    int64_t n_images, n_records;
    edt_convert_counts counts;
    uint64_t stream_bytes; // of its shards, uncompressed
    uint64_t digest;       // of the input files
} edt_convert_group;

// Creates the directory and joins it, or clears what another conversion left there.
// EDT_ERR_MISMATCH when another conversion is running there now, or when shards of a set with
// another number or compression lie under the prefix (a pattern for one set would match both).
// EDT_ERR_IO.
edt_status edt_convert_state_open(const edt_convert_state_options *options, edt_error *err,
                                  edt_convert_state **out_state);
// Leaves; the directory is removed unless finished groups or other processes are in it. NULL is
// fine.
void edt_convert_state_close(edt_convert_state *state);

// The prefix for the shard writer; the state's text.
const char *edt_convert_state_prefix(const edt_convert_state *state);
// Whether finished groups wait in the directory.
bool edt_convert_state_has_groups(const edt_convert_state *state);

// Whether group `g` is finished; if so, what was kept of it, and its report is merged into
// `report` unless that is NULL. A group that is not as it was left counts as not finished.
edt_status edt_convert_state_load_group(const edt_convert_state *state, int64_t g,
                                        edt_convert_report *report, edt_error *err,
                                        bool *out_done, edt_convert_group *out_group);
// Forgets that a group is finished.
edt_status edt_convert_state_drop_group(const edt_convert_state *state, int64_t g,
                                        edt_error *err);
// Marks a group as finished, its shards having been committed.
edt_status edt_convert_state_save_group(const edt_convert_state *state, int64_t g,
                                        const edt_convert_group *group,
                                        edt_convert_report *report, edt_error *err);

// If all groups are finished and no other process has published them: holds the directory and
// sets *out_is_last. Then either edt_convert_state_publish or edt_convert_state_close follows.
edt_status edt_convert_state_begin_publish(edt_convert_state *state, edt_error *err,
                                           bool *out_is_last);
// Replaces the shards of the same names by the new ones, with their indexes and catalog, and
// removes the directory. Old shards are removed before the first new one gets its name, so that
// a set is never a mixture.
edt_status edt_convert_state_publish(edt_convert_state *state, edt_error *err);

// Hash of a file's size and time of change, for digests; 0 for what cannot be looked at.
uint64_t edt_convert_state_hash_file(const char *path);

#endif
