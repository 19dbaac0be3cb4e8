// Checks everything about record files that training relies on, and says what is wrong with
// which record: framing, CRCs, the message, the picture, boxes, labels, ids and duplicates.
#ifndef EDT_DATAIO_VERIFY_H
#define EDT_DATAIO_VERIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"
#include "core/json.h"

// The code names are stable. All but the last group make a data set defective.
typedef enum edt_verify_code {
    EDT_VERIFY_UNREADABLE,   // "unreadable": the file cannot be opened
    EDT_VERIFY_LENGTH_CRC,   // "length_crc"   } framing, as by the shard reader; in a plain
    EDT_VERIFY_DATA_CRC,     // "data_crc"     } shard checking goes on behind the damage
    EDT_VERIFY_TRUNCATED,    // "truncated"    }
    EDT_VERIFY_TOO_LARGE,    // "too_large"    }
    EDT_VERIFY_STREAM,       // "stream": the compressed stream is broken
    EDT_VERIFY_EXAMPLE,      // "example": no tf.train.Example, or keys that training refuses
    EDT_VERIFY_IMAGE,        // "image": the picture does not decode
    EDT_VERIFY_SIZE,         // "size": stored height or width differ from the picture's
    EDT_VERIFY_BOX_RANGE,    // "box_range": a coordinate outside 0..1, or not a number
    EDT_VERIFY_BOX_EMPTY,    // "box_empty": a box without area, or inverted
    EDT_VERIFY_LABEL,        // "label": below 1, or above num_classes
    EDT_VERIFY_LABEL_NAME,   // "label_name": one label with two names
    EDT_VERIFY_ID,           // "id": no image id, or one that is no number
    EDT_VERIFY_DUPLICATE_ID, // "duplicate_id": two records with one image id
    EDT_VERIFY_SHA256,       // "sha256": stored hash differs from the picture's
    EDT_VERIFY_MASK,         // "mask": no PNG of the picture's size
    EDT_VERIFY_N_DEFECTS,
    EDT_VERIFY_NOT_JPEG = EDT_VERIFY_N_DEFECTS, // "not_jpeg": PNG, GIF or BMP
    EDT_VERIFY_DUPLICATE_IMAGE, // "duplicate_image": two records with one picture
    EDT_VERIFY_N_CODES
} edt_verify_code;

const char *edt_verify_code_name(edt_verify_code code);
// A few words of what it means and what to do.
const char *edt_verify_code_advice(edt_verify_code code);

typedef struct edt_verify_options {
    const char *const *paths;
    int64_t n_files;
    int n_threads;       // 0: one per processor
    int64_t num_classes; // labels above are defects; 0: any
    bool show_progress;
} edt_verify_options;

typedef struct edt_verify_finding {
    edt_verify_code code;
    const char *path;
    int64_t i_record; // in its file; -1: the file as a whole
    uint64_t offset;  // in the uncompressed shard
    const char *id;   // source id, "" when unknown
    const char *words;
} edt_verify_finding;

typedef struct edt_verify_report edt_verify_report;

// Findings are in the order of files and records whatever the number of threads. A defect is no
// error: EDT_ERR_NOMEM, EDT_ERR_CANCELLED.
edt_status edt_verify_run(const edt_verify_options *options, edt_error *err,
                          edt_verify_report **out_report);
void edt_verify_report_destroy(edt_verify_report *report); // NULL is fine

typedef struct edt_verify_totals {
    int64_t n_files, n_records, n_boxes, n_empty_records; // records without boxes
    int64_t n_defects, n_warnings;
    uint64_t payload_bytes;
    double seconds;
} edt_verify_totals;

edt_verify_totals edt_verify_get_totals(const edt_verify_report *report);
int64_t edt_verify_count(const edt_verify_report *report, edt_verify_code code);
// The first findings of each code are kept with their words (at most 1000 per code).
int64_t edt_verify_n_findings(const edt_verify_report *report);
const edt_verify_finding *edt_verify_finding_at(const edt_verify_report *report, int64_t i);

// {"files", "records", ..., "codes": {name: count}, "findings": [...]} into `json`.
void edt_verify_write_json(const edt_verify_report *report, edt_json_writer *json);
// Lines for people: up to `max_per_code` findings of each code, then the table of counts.
void edt_verify_write_text(const edt_verify_report *report, int64_t max_per_code,
                           edt_strbuf *out);

#endif
