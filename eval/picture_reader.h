// Picture files in batches of a network's input, as evaluation would place them. While the
// caller works on one batch, a thread of the reader's decodes the next.
#ifndef EDT_EVAL_PICTURE_READER_H
#define EDT_EVAL_PICTURE_READER_H

#include "core/path.h"
#include "dataio/preprocess.h"
#include "dataio/row_sink.h"

// One file. The pixels are the reader's, until a caller exchanges them.
typedef struct edt_picture {
    const char *path;
    edt_image image;        // the decoded picture, where it is kept; it may be drawn on
    edt_row_buffer *pixels; // its memory, for a caller that takes it and leaves another
    edt_status status;      // EDT_OK, or why the file could not be read
    edt_error error;
} edt_picture;

typedef struct edt_picture_batch {
    int64_t first;         // number of the file in row 0; the batch's n_valid rows follow it
    edt_picture *pictures; // [n_valid]
    edt_batch batch;       // rows that could not be read hold anything
    double read_seconds;
} edt_picture_batch;

// `files` and `config` (evaluation's, f32) are borrowed.
typedef struct edt_picture_reader_options {
    const edt_path_list *files;
    const edt_preprocess_config *config;
    int64_t batch_size;
    bool keeps_pictures;
    int n_threads; // a batch is decoded by; 0: all cores
} edt_picture_reader_options;

typedef struct edt_picture_reader edt_picture_reader;

edt_status edt_picture_reader_create(const edt_picture_reader_options *options, edt_error *err,
                                     edt_picture_reader **out_reader);
// Waits for the thread. NULL is fine.
void edt_picture_reader_destroy(edt_picture_reader *reader);

// The next batch, the caller's until the next call. EDT_END after the last one. A file that
// cannot be read is no error here: edt_picture tells.
edt_status edt_picture_reader_next(edt_picture_reader *reader, edt_error *err,
                                   edt_picture_batch **out_batch);

#endif
