// Records that could not be used in a run (on_bad_sample=skip and substitute): which, why, and
// how often they were met. Kept in memory, reported as a JSON file that is written anew every
// few seconds while something is added, so that a killed run leaves its latest state:
//   {"fingerprint", "on_bad_sample", "n_samples", "bad_records", "times_met",
//    "records": [{"file", "record", "source_id", "status", "reason", "times_met"}]}
// in the order of the data set; source_id is null where the side index has none.
#ifndef EDT_DATAIO_QUARANTINE_H
#define EDT_DATAIO_QUARANTINE_H

#include "dataio/record_index.h"

typedef struct edt_quarantine edt_quarantine; // any thread

typedef struct edt_quarantine_options {
    const edt_record_index *index; // outlives the quarantine
    const char *policy;            // for the report, as are the next
    const char *path;              // NULL or "": no report
} edt_quarantine_options;

// A report of the same data set that lies at `path` is gone on with: its records stay in it and
// its counts go on. Nothing is written before a record is met.
edt_status edt_quarantine_create(const edt_quarantine_options *options, edt_error *err,
                                 edt_quarantine **out_quarantine);
// Does not write. NULL is fine.
void edt_quarantine_destroy(edt_quarantine *quarantine);

// A record that cannot be used.
typedef struct edt_bad_record {
    int64_t index; // in the data set
    edt_status status;
    const char *reason; // without file and number of the record; copied
    // Whatever is drawn for a sample, the record will fail: its bytes, boxes or the header of
    // its picture. Else it was the pixels that this sample wanted, or a mixture's.
    bool is_final;
} edt_bad_record;

// Notes it; the report leaves it out until it counts as met. *out_is_new: for the first time
// since the create. EDT_ERR_NOMEM.
edt_status edt_quarantine_add(edt_quarantine *quarantine, const edt_bad_record *bad,
                              edt_error *err, bool *out_is_new);
// Records that were added, each met once more (in the list as often as that). Those who work
// ahead add, who hands their work over counts: so the report follows what was handed over.
void edt_quarantine_meet(edt_quarantine *quarantine, const int64_t *indexes, int64_t n);
// The status of a record that was added with is_final since the create, its reason in `err`;
// EDT_OK for all others. Costs next to nothing while nothing is bad.
edt_status edt_quarantine_check(edt_quarantine *quarantine, int64_t index, edt_error *err);

// Writes the report where something was met and the last time is some seconds ago. A failure is
// warned of once.
void edt_quarantine_save_if_due(edt_quarantine *quarantine);
// Writes it where something was met.
edt_status edt_quarantine_save(edt_quarantine *quarantine, edt_error *err);

typedef struct edt_quarantine_counts {
    int64_t n_records, n_met; // with those of a report that was gone on with
} edt_quarantine_counts;
edt_quarantine_counts edt_quarantine_count(edt_quarantine *quarantine);

// Some lines of warning: how many records of the data set, and the worst by times met. Nothing
// where nothing is bad.
void edt_quarantine_log(edt_quarantine *quarantine);

#endif
