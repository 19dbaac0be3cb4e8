// The record that stands at a position of an epoch's order, from wherever it is cheapest to
// have: read at random from the shards, or, where the order goes through the shards one after
// another (edt_sampler_window), out of windows that a thread of its own reads in order while
// the ones before are being used. Shards that are one compressed stream can be read in the
// second way only.
//
// In windows a record is read once, in file order, into memory; of plain and seekable shards
// only the records of this rank's rows, of streams every byte is decompressed. Two windows are
// in memory, more only when a global batch spans more of them (edt_record_source_n_windows).
// Reading waits for nobody else's progress but its windows' end of use.
#ifndef EDT_DATAIO_RECORD_SOURCE_H
#define EDT_DATAIO_RECORD_SOURCE_H

#include "dataio/record_index.h"
#include "dataio/sampler.h"

typedef struct edt_record_source edt_record_source;

typedef struct edt_record_source_options {
    const edt_record_index *index; // outlives the source, as does the sampler
    const edt_sampler *sampler;
    edt_cursor start;
    // Records of rows that are not this rank's are asked for as well: substitutes, partners,
    // repeated pictures. Windows then hold all records of streams.
    bool reads_others;
} edt_record_source_options;

// Starts the thread where there is one. EDT_ERR_UNSUPPORTED with the remedy for an order at
// random of shards that are streams.
edt_status edt_record_source_create(const edt_record_source_options *options, edt_error *err,
                                    edt_record_source **out_source);
// Stops and waits for the thread, at most for the end of one read. No edt_record_source_read
// may be under way. NULL is fine.
void edt_record_source_destroy(edt_record_source *source);

// How many windows are held in memory; 0: everything is read at random.
int64_t edt_record_source_n_windows(const edt_record_source *source);

// The payload of the record at `position` of `epoch`. It lasts until the next use of the
// scratch, and at least until its window is given back. Waits until the record has been read;
// never for one that lies further ahead than windows are held. Any number of threads, each with
// a scratch of its own. Errors are those of edt_record_index_read_into, each at the record that
// has it: behind damage that ends a stream, at every further record of that shard.
// EDT_ERR_CANCELLED after edt_record_source_stop.
edt_status edt_record_source_read(edt_record_source *source, int64_t epoch, int64_t position,
                                  edt_record_scratch *scratch, edt_error *err,
                                  edt_span *out_payload);

// Gives back all windows that end before the batch at `cursor` begins: nothing before the
// window that holds its begin will be read any more. Cursors never go back. Any thread.
void edt_record_source_retire(edt_record_source *source, edt_cursor cursor);

// Lets all reads that wait, and later ones that would, fail. Any thread.
void edt_record_source_stop(edt_record_source *source);

#endif
