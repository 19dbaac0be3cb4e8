// The engine under the converters: takes the images of a list in order, lets workers turn them
// into records, and writes these round robin into shards. A source (convert_coco, convert_voc)
// says what the images are; threads, order, reading and checking files, counting, the report
// and the shards are done here. The bytes written depend on the source alone, not on threads.
#ifndef EDT_DATAIO_CONVERT_RUN_H
#define EDT_DATAIO_CONVERT_RUN_H

#include "core/arena.h"
#include "core/span.h"
#include "dataio/convert_report.h"
#include "dataio/sha256.h"
#include "dataio/shard_writer.h"
#include "dataio/tfexample.h"

// What one worker owns. The arena is reset before each image.
typedef struct edt_convert_worker {
    edt_arena arena;
    edt_sha256 *sha;
    uint8_t *buffer; // the image file; only ever grows
    size_t capacity;
} edt_convert_worker;

// Boxes of an image, or of all.
typedef struct edt_convert_counts {
    int64_t n_boxes; // kept
    int64_t n_empty, n_outside, n_clipped, n_negative;
    int64_t n_kept_outside, n_kept_empty; // VOC keeps what COCO drops
} edt_convert_counts;

// Everything is borrowed until edt_convert_run returns. The callbacks share `ctx`.
typedef struct edt_convert_spec {
    const char *program;            // named by the report
    const char *output_file_prefix; // NULL or "": EDT_ERR_USAGE naming `prefix_flag`
    const char *prefix_flag;        // "--output_path"
    int64_t num_shards;
    edt_shard_compression compression;
    // Of several processes each converts the images of the shards that are its own
    // (edt_shard_writer_options); world_size 0 is 1.
    int rank, world_size;
    int num_threads;         // 0: one per processor
    const char *report_file; // NULL or "": none
    bool show_progress;
    edt_convert_report *report;
    int64_t n_images;
    // The round robin starts anew at these images (begin of each year of VOC): ascending, the
    // first is 0. n_parts 0 stands for a single part.
    const int64_t *part_begin;
    int n_parts;
    const char
        *image_source; // words of the hint when no image could be used: "--image_dir='x'"
    void *ctx;
    // Image `i` as a record, in parallel. `*out_good` false: it is left out (the report knows
    // why). Pieces live in the worker's arena or buffer, or longer.
    edt_status (*make_record)(void *ctx, edt_convert_worker *worker, int64_t i, edt_error *err,
                              bool *out_good, edt_convert_counts *out_counts,
                              edt_tfexample_pieces *out_pieces);
    // Once, when all records are written and before the shards get their names. May be NULL.
    edt_status (*finish)(void *ctx, edt_error *err);
} edt_convert_spec;

typedef struct edt_convert_stats {
    int64_t n_images;      // in the list, of this rank's shards
    int64_t n_records;     // written by this rank, as all that follows
    int64_t n_boxes;       // written
    int64_t n_dropped;     // annotations without area or sticking out
    int64_t n_bad;         // items left out
    uint64_t output_bytes; // of the shards, uncompressed
} edt_convert_stats;

// EDT_ERR_USAGE for the prefix and the numbers of shards and threads; nothing is touched.
edt_status edt_convert_check(const edt_convert_spec *spec, edt_error *err);

// Checks and runs. On any error, and when the user interrupts, nothing appears under the final
// names; of several errors the first in the order of the list is returned.
edt_status edt_convert_run(const edt_convert_spec *spec, edt_error *err,
                           edt_convert_stats *out_stats);

// An image file read into the worker's buffer, its header checked against the size that the
// annotations give. `where` says in messages which entry it is: "images[3]".
typedef struct edt_convert_image {
    const char *path, *where;
    int64_t order; // of its items in the report
    int64_t height, width;
    bool jpeg_only; // other formats are bad instead of counted
} edt_convert_image;
edt_status edt_convert_read_image(edt_convert_worker *worker, edt_convert_report *report,
                                  const edt_convert_image *image, edt_error *err,
                                  bool *out_good, edt_span *out_encoded);

#endif
