// What a converter met on its way: bad input, which ends the run or is skipped and counted as
// --on_bad says, and harmless things that are only counted. Written as JSON for --report. All
// functions but create and destroy may be called from any thread.
#ifndef EDT_DATAIO_CONVERT_REPORT_H
#define EDT_DATAIO_CONVERT_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"
#include "core/json.h"

// Bad input (shared/design/cli.md, Shards); the code names are stable.
typedef enum edt_bad_kind {
    EDT_BAD_FIELD,                // "field": a JSON field is missing or has the wrong type
    EDT_BAD_CATEGORY,             // "category": unknown category_id
    EDT_BAD_DUPLICATE_IMAGE,      // "duplicate_image"
    EDT_BAD_DUPLICATE_ANNOTATION, // "duplicate_annotation"
    EDT_BAD_UNREADABLE,           // "unreadable": the file is missing, unreadable or empty
    EDT_BAD_HEADER,               // "header": no known image header, or the file is cut
    EDT_BAD_SIZE,                 // "size": the header's size is not the JSON's
    EDT_BAD_PIXELS, // "pixels": not decodable (--verify_pixels, --reencode, --max_side)
    EDT_BAD_N_KINDS
} edt_bad_kind;

// Counted only.
typedef enum edt_note_kind {
    EDT_NOTE_DROPPED_EMPTY,   // "dropped_empty": annotation with w <= 0 or h <= 0
    EDT_NOTE_DROPPED_OUTSIDE, // "dropped_outside": annotation that sticks out at the right or
                              // below
    EDT_NOTE_CLIPPED,         // "clipped": annotation cut to the image (--clip_boxes)
    EDT_NOTE_NEGATIVE_ORIGIN, // "negative_origin": annotation kept with x or y below 0
    EDT_NOTE_NOT_JPEG,        // "not_jpeg": image of another format
    EDT_NOTE_CATEGORY_TWICE,  // "category_twice": the later definition counts
    EDT_NOTE_KEPT_OUTSIDE,    // "kept_outside": VOC object kept that sticks out there
    EDT_NOTE_KEPT_EMPTY,      // "kept_empty": VOC object kept without area
    EDT_NOTE_N_KINDS
} edt_note_kind;

// Boxes of an image, of a group of shards or of all.
typedef struct edt_convert_counts {
    int64_t n_boxes; // kept
    int64_t n_empty, n_outside, n_clipped, n_negative;
    int64_t n_kept_outside, n_kept_empty; // VOC keeps what COCO drops
} edt_convert_counts;

const char *edt_bad_kind_name(edt_bad_kind kind);
const char *edt_note_kind_name(edt_note_kind kind);

typedef struct edt_convert_report edt_convert_report;

edt_status edt_convert_report_create(bool skip_bad, edt_error *err,
                                     edt_convert_report **out_report);
// A report for a part of the work that is merged into `whole` later (edt_convert_report_put,
// edt_convert_report_merge). What is logged counts for both. `whole` must outlive it.
edt_status edt_convert_report_create_part(edt_convert_report *whole, edt_error *err,
                                          edt_convert_report **out_part);
void edt_convert_report_destroy(edt_convert_report *report);

// One bad thing. With skip_bad: counted, logged (the first few of each kind), EDT_OK. Otherwise
// EDT_ERR_INVALID with the words in `err` and a hint. `order` sorts the items of the report
// (image number; -1 for what comes before images).
edt_status edt_convert_report_bad(edt_convert_report *report, edt_bad_kind kind, int64_t order,
                                  edt_error *err, const char *fmt, ...) EDT_PRINTF(5, 6);
void edt_convert_report_note(edt_convert_report *report, edt_note_kind kind, int64_t n);

int64_t edt_convert_report_n_bad(const edt_convert_report *report, edt_bad_kind kind);
int64_t edt_convert_report_n_notes(const edt_convert_report *report, edt_note_kind kind);
int64_t edt_convert_report_n_bad_total(const edt_convert_report *report);

// Adds the annotations that were dropped, cut or kept with a negative origin to the notes.
void edt_convert_report_note_counts(edt_convert_report *report,
                                    const edt_convert_counts *counts);

// Writes "bad", "notes" and "bad_items" into an object that is being written, and takes them
// back from an object that was read. EDT_ERR_FORMAT for what was not written so.
void edt_convert_report_put(edt_convert_report *report, edt_json_writer *json);
edt_status edt_convert_report_merge(edt_convert_report *report, const edt_json_node *object,
                                    edt_error *err);

// One JSON object: the given name and number pairs first, then "bad" and "notes" (counts by
// code) and "bad_items"
// [{"order","code","what"}] in order. Written to a temporary name and renamed.
typedef struct edt_report_number {
    const char *name;
    int64_t value;
} edt_report_number;
edt_status edt_convert_report_write(edt_convert_report *report, const char *program,
                                    const edt_report_number *numbers, size_t n_numbers,
                                    const char *path, edt_error *err);

#endif
