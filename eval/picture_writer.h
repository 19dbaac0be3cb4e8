// Pictures with what was found on them: 0.jpg, 1.jpg, ... by the numbers of the files. Where
// the caller leaves processors free, threads of the writer's own draw, encode and write while
// it goes on.
#ifndef EDT_EVAL_PICTURE_WRITER_H
#define EDT_EVAL_PICTURE_WRITER_H

#include "eval/draw_found.h"
#include "eval/picture_reader.h"
#include "model/efficientdet.h"

// All is borrowed until destroy.
typedef struct edt_picture_writer_options {
    const edt_hparams *hp;  // class names
    const edt_model *model; // with a segmentation head pixels are coloured by their class
    const char *dir;        // that exists
    edt_draw_found_options draw;
    int64_t max_found;     // detections of a picture
    int n_network_threads; // the writer has the processors that they leave; 0: all; see add
} edt_picture_writer_options;

// What there is of one picture; everything is copied but the pixels.
typedef struct edt_picture_found {
    int64_t number;
    const edt_detection *found;
    int64_t n_found;
    const float *logits; // of the segmentation head, NULL without one
    float image_scale;
} edt_picture_found;

typedef struct edt_picture_writer edt_picture_writer;

edt_status edt_picture_writer_create(const edt_picture_writer_options *options, edt_error *err,
                                     edt_picture_writer **out_writer);
// Writes what is still to be written. NULL is fine.
void edt_picture_writer_destroy(edt_picture_writer *writer);

// Takes the pixels of `picture`, in exchange for memory that its reader uses again. Waits while
// many pictures are on their way. The first picture that could not be drawn or written, in the
// order of the calls, ends this or a later call with its error. Without a processor of its own
// the writer is done with the picture on return.
edt_status edt_picture_writer_add(edt_picture_writer *writer, edt_picture *picture,
                                  const edt_picture_found *found, edt_error *err);
// Waits for all pictures, or returns the first one's error.
edt_status edt_picture_writer_finish(edt_picture_writer *writer, edt_error *err);

// The threads' time for drawing, encoding and writing, after finish.
double edt_picture_writer_seconds(const edt_picture_writer *writer);

#endif
