// The engine under the converters: takes the images of a list in order, lets workers turn them
// into records, and writes these round robin into shards. A source (convert_coco, convert_voc)
// says what the images are; threads, order, reading and checking files, counting, the report
// and the shards are done here. The bytes written depend on the source alone, not on threads or
// ranks. Images are converted by groups of shards, in the order of the list within a group;
// finished groups wait in PREFIX.converting (dataio/convert_state.h) until all are done, and
// the same conversion started again goes on from there.
#ifndef EDT_DATAIO_CONVERT_RUN_H
#define EDT_DATAIO_CONVERT_RUN_H

#include "core/arena.h"
#include "core/span.h"
#include "core/strbuf.h"
#include "dataio/convert_image.h"
#include "dataio/convert_report.h"
#include "dataio/shard_writer.h"
#include "dataio/tfexample.h"

// What every converter can be told. NULL or "" stands for "not given".
typedef struct edt_convert_options {
    const char *output_file_prefix; // EDT_ERR_USAGE when not given
    int64_t num_shards;
    edt_shard_compression compression;
    // Of several processes each converts its own groups of shards, g % world_size == rank, and
    // the last to finish gives all shards their names; world_size 0 is 1.
    int rank, world_size;
    int num_threads; // 0: one per processor
    bool skip_bad;   // bad input (convert_report.h) is left out instead of ending the run
    bool clip_boxes; // cut boxes to the image; the converter says what happens otherwise
    edt_reencode_options reencode; // zeroed: the files' bytes are stored
    const char *report_file;
    bool show_progress;
} edt_convert_options;

// Everything is borrowed until edt_convert_run returns. The callbacks share `ctx`.
typedef struct edt_convert_spec {
    const edt_convert_options *options;
    const char *program;     // named by the report
    const char *prefix_flag; // the program's name of output_file_prefix: "--output_path"
    // Appends inputs and options as text: everything that the bytes depend on besides
    // `options`. A conversion goes on from the finished groups of another of the same text.
    edt_status (*write_identity)(void *ctx, edt_strbuf *out, edt_error *err);
    // Hash of the files that image `i` is made of (edt_convert_state_hash_file): a finished
    // group whose files have changed is converted again. Any thread. May be NULL.
    uint64_t (*hash_inputs)(void *ctx, edt_arena *arena, int64_t i);
    edt_convert_report *report; // of what comes before images; the groups' are merged into it
    int64_t n_images;
    // The round robin starts anew at these images (begin of each year of VOC): ascending, the
    // first is 0. n_parts 0 stands for a single part.
    const int64_t *part_begin;
    int n_parts;
    const char *image_flag, *image_dir; // for the hint when no image could be used
    void *ctx;
    // Image `i` as a record, in parallel. `*out_good` false: it is left out (the report knows
    // why). Pieces live in the worker's arena or buffer, or longer.
    edt_status (*make_record)(void *ctx, edt_convert_worker *worker, int64_t i, edt_error *err,
                              bool *out_good, edt_convert_counts *out_counts,
                              edt_tfexample_pieces *out_pieces);
    // Once, in the process that gives the shards their names, before it does so: when all
    // records of all ranks are written. Records of finished groups that are found are not made
    // again, so it must not rely on make_record having seen them. May be NULL.
    edt_status (*finish)(void *ctx, edt_error *err);
} edt_convert_spec;

// Of all ranks in the process that publishes, of this one's groups in the others.
typedef struct edt_convert_stats {
    int64_t n_images;      // in the list
    int64_t n_records;     // written
    int64_t n_boxes;       // written
    int64_t n_dropped;     // annotations without area or sticking out
    int64_t n_bad;         // items left out
    int64_t n_resumed;     // images of groups that an earlier run had finished
    bool published;        // the shards have their names
    uint64_t output_bytes; // of the shards, uncompressed
} edt_convert_stats;

// EDT_ERR_USAGE for the prefix and the numbers of shards and threads; nothing is touched.
edt_status edt_convert_check(const edt_convert_spec *spec, edt_error *err);

// Checks and runs. On any error, and when the user interrupts, nothing appears under the final
// names; of several errors the first in the order of conversion is returned. `out_stats` may be
// NULL.
edt_status edt_convert_run(const edt_convert_spec *spec, edt_error *err,
                           edt_convert_stats *out_stats);

#endif
