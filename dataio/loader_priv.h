// The loader's inner types, shared by loader.c (slots, threads, hand-over) and loader_stage.c
// (what a worker does to one row).
#ifndef EDT_DATAIO_LOADER_PRIV_H
#define EDT_DATAIO_LOADER_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/thread.h"
#include "dataio/loader.h"
#include "dataio/preprocess.h"
#include "dataio/quarantine.h"
#include "dataio/record_index.h"
#include "dataio/record_source.h"

typedef enum edt_bad_policy { EDT_BAD_FAIL, EDT_BAD_SKIP, EDT_BAD_SUBSTITUTE } edt_bad_policy;

// Bad records that were met, each as often as that.
typedef struct edt_met_records {
    int64_t *indexes;
    int64_t n, capacity;
} edt_met_records;

typedef enum edt_slot_state {
    EDT_SLOT_FREE,    // may be opened for the next batch
    EDT_SLOT_FILLING, // workers write rows
    EDT_SLOT_READY,   // complete, or failed
    EDT_SLOT_HELD,    // the consumer's
} edt_slot_state;

typedef struct edt_loader_slot {
    edt_batch batch;
    edt_slot_state state; // under the loader's mutex, as are the next five
    edt_cursor after;     // cursor behind this batch
    int64_t n_done;       // rows finished
    edt_status status;    // of the lowest failing row
    int64_t bad_row;      // that row
    edt_error error;
    bool *skipped;       // [B] rows to leave out; each written by the worker that has the row
    edt_met_records met; // under the mutex
} edt_loader_slot;

typedef struct edt_loader_worker {
    struct edt_loader *loader;
    edt_preprocessor *preprocessor;
    edt_record_scratch *scratch;         // holds the record at work
    edt_record_scratch *partner_scratch; // and one it is mixed with; NULL without mixing
    edt_met_records met;                 // while it worked on its row
    edt_thread thread;
} edt_loader_worker;

struct edt_loader {
    edt_preprocess_config config;
    edt_decoded_cache *cache; // of training; NULL: none
    edt_sampler sampler;
    edt_bad_policy on_bad;
    edt_record_index *index;
    edt_shard_order *shards; // with shuffle=window
    edt_mixture *mixture;    // with dataset_weights or negatives_ratio
    edt_record_source *source;
    edt_quarantine *quarantine; // NULL with on_bad_sample=fail
    edt_slot_memory slot_memory;
    edt_loader_slot *slots; // batch q lives in slot q mod n_slots
    int64_t n_slots;
    edt_loader_worker *workers;
    int n_workers;
    atomic_int n_warned;
    atomic_bool has_warned_truncated;

    pthread_mutex_t mutex; // guards everything below and the slots' states
    pthread_cond_t work;   // a row can be taken, or the end has come
    pthread_cond_t ready;  // a batch is complete, or the end has come
    bool has_sync;
    edt_cursor dispatch_cursor; // of the next batch to open
    int64_t n_opened;           // batches opened so far
    edt_loader_slot *open;      // slot whose rows are being taken, NULL before the first
    int64_t next_row;           // of `open`
    bool ended;                 // no further batch will be opened
    int64_t failed_sequence;    // batches from here on are not worth work
    int64_t n_delivered;
    edt_cursor cursor;
    bool stop;
    int n_idle; // workers that wait for a slot, and the sum of the times since when
    double idle_since_sum;
    edt_loader_stats stats;
};

// EDT_ERR_NOMEM.
edt_status edt_met_records_add(edt_met_records *met, const int64_t *indexes, int64_t n,
                               edt_error *err);

// What one row cost and how it went.
typedef struct edt_row_result {
    edt_status status; // a failure ends the stream at this row
    double read_seconds, decode_seconds, augment_seconds, resize_seconds, target_seconds;
} edt_row_result;

// Opens the data set: index, order of the samples, and where their records are read from.
// on_bad must have been set.
edt_status edt_loader_open_data(edt_loader *loader, const edt_hparams *hp,
                                const edt_loader_options *options, edt_error *err);

// Arrays of one slot, zeroed. A slot whose init failed can be deinitialised.
edt_status edt_loader_slot_init(edt_loader *loader, const edt_loader_options *options,
                                edt_error *err, edt_loader_slot *slot);
void edt_loader_slot_deinit(const edt_loader *loader, edt_loader_slot *slot);

// Fills row `row` of an opened slot according to its plan and the policy for bad samples; those
// met are left in worker->met.
edt_row_result edt_loader_fill_row(edt_loader_worker *worker, edt_loader_slot *slot,
                                   int64_t row, edt_error *err);

// Moves the rows behind skipped ones up and turns the tail into padding (see edt_batch). Called
// once, when all rows are done.
void edt_loader_close_ranks(const edt_loader *loader, edt_loader_slot *slot);

#endif
