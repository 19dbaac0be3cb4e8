// Walks all records of a list of shards of any storage and origin, damaged ones too: one thread
// reads in order, several look at records, results come back in order. What is wrong with the
// framing is handed over like a record; behind damage in a plain shard the walk goes on at the
// next place where a record with both its CRCs right stands.
#ifndef EDT_DATAIO_RECORD_SCAN_H
#define EDT_DATAIO_RECORD_SCAN_H

#include "core/arena.h"
#include "dataio/shard_reader.h"

typedef enum edt_scan_kind {
    EDT_SCAN_RECORD,  // a record; its `fault` may be DATA_CRC, which does not end the walk
    EDT_SCAN_DAMAGE,  // the framing is broken at `offset`: `fault`, `words`, `lost_bytes`
    EDT_SCAN_STREAM,  // the compressed stream is broken: `words`; the rest is lost
    EDT_SCAN_NO_FILE, // the file cannot be opened: `words`
    EDT_SCAN_FILE_END // after the last of a file: records are as many as i_record says
} edt_scan_kind;

typedef struct edt_scan_item {
    edt_scan_kind kind;
    const char *path;
    int64_t i_file;
    edt_shard_format format;
    int64_t i_record; // number in the file, of those found
    uint64_t offset;  // in the uncompressed shard
    // A record's, until the item has been consumed; its header lies before it in memory and its
    // CRC behind it.
    edt_span payload;
    edt_tfrecord_fault fault;
    uint64_t lost_bytes; // DAMAGE: up to where the walk goes on, or to the end
    char words[256];     // what is wrong, without file name
    edt_arena *arena;    // for `work`; until the item has been consumed
    void *result;        // spec.result_bytes, zeroed; filled by `work` for `consume`
} edt_scan_item;

typedef struct edt_scan_spec {
    const char *const *paths;
    int64_t n_files;
    int n_threads;        // 0: one per processor
    bool check_data_crc;  // otherwise payloads that nobody looks at stay untouched on the disk
    const char *progress; // word for the progress line, or NULL: none
    size_t result_bytes;
    void *ctx; // of both callbacks
    // In parallel, for each RECORD with a sound CRC. May be NULL.
    edt_status (*work)(void *ctx, int worker, edt_scan_item *item, edt_error *err);
    // In order, on the caller's thread. EDT_END ends the scan, which is no error.
    edt_status (*consume)(void *ctx, const edt_scan_item *item, edt_error *err);
} edt_scan_spec;

// Errors are those of the callbacks, EDT_ERR_NOMEM and EDT_ERR_CANCELLED: damage is none.
edt_status edt_record_scan(const edt_scan_spec *spec, edt_error *err);

// Number of workers that a scan with this setting has.
int edt_record_scan_workers(int n_threads);

#endif
