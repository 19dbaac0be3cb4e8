// What is in a data set, in tables: classes, sizes and shapes of boxes and pictures, boxes per
// picture. Pixels are not decoded and payload CRCs not checked (dataio/verify.h does), so it
// runs at the speed of reading keys.
#ifndef EDT_DATAIO_RECORD_STATS_H
#define EDT_DATAIO_RECORD_STATS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"
#include "core/hparams.h"
#include "core/json.h"

enum {
    EDT_STATS_N_SIDES = 8,   // sqrt(area) in pixels: <8 <16 <32 <64 <96 <192 <384 and above
    EDT_STATS_N_SHARES = 8,  // sqrt of the share of the picture: <1/64 .. <1/2 and above, below
    EDT_STATS_N_ASPECTS = 7, // width / height, below
    EDT_STATS_N_PER_IMAGE = 9 // boxes in a picture, below
};

typedef struct edt_stats_class {
    int64_t label;
    const char *name; // the report's, "" when unknown
    int64_t n_boxes, n_images, n_crowd;
    int64_t n_small, n_medium, n_large; // by box area in pixels: below 32^2, below 96^2
    double side_sum;                    // of sqrt(area) in pixels
} edt_stats_class;

typedef struct edt_stats {
    int64_t n_files, n_records, n_unreadable; // records or parts of files not understood
    int64_t n_boxes, n_crowd, n_without_boxes, n_captions, n_masks;
    uint64_t payload_bytes;
    int64_t n_classes;
    const edt_stats_class *classes; // by label
    int64_t side[EDT_STATS_N_SIDES], share[EDT_STATS_N_SHARES];
    int64_t aspect[EDT_STATS_N_ASPECTS];         // of boxes
    int64_t picture_aspect[EDT_STATS_N_ASPECTS]; // of pictures
    int64_t per_image[EDT_STATS_N_PER_IMAGE];
    int64_t most_boxes; // in one picture
    int64_t min_height, max_height, min_width, max_width;
    double height_sum, width_sum;
    int64_t n_sized; // records whose size is known
    int64_t n_boxes_sized;
} edt_stats;

typedef struct edt_stats_options {
    const char *const *paths;
    int64_t n_files;
    int n_threads;               // 0: one per processor
    const edt_label_map *labels; // names that go before the records'; may be empty
    bool show_progress;
} edt_stats_options;

typedef struct edt_stats_report edt_stats_report;

// EDT_ERR_NOMEM, EDT_ERR_CANCELLED; what cannot be read is counted.
edt_status edt_stats_run(const edt_stats_options *options, edt_error *err,
                         edt_stats_report **out_report);
void edt_stats_report_destroy(edt_stats_report *report); // NULL is fine
const edt_stats *edt_stats_get(const edt_stats_report *report);

void edt_stats_write_json(const edt_stats *stats, edt_json_writer *json);
void edt_stats_write_text(const edt_stats *stats, edt_strbuf *out);

#endif
