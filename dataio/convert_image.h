// Reads the image files of a conversion and holds their headers against the annotations. What
// is bad goes to the worker's report.
#ifndef EDT_DATAIO_CONVERT_IMAGE_H
#define EDT_DATAIO_CONVERT_IMAGE_H

#include "core/arena.h"
#include "core/span.h"
#include "dataio/convert_report.h"
#include "dataio/reencode.h"
#include "dataio/sha256.h"

// What one worker owns. The arena is reset before each image.
typedef struct edt_convert_worker {
    edt_arena arena;
    edt_sha256 *sha;
    edt_convert_report *report; // of the group of the image at hand; bad images go here
    edt_reencoder *reencoder;   // made when it is first needed
    uint8_t *buffer;            // the image file; only ever grows
    size_t capacity;
} edt_convert_worker;

// An image file read into the worker's buffer, its header checked against the size that the
// annotations give, and encoded anew if asked for. `where` says in messages which entry it is:
// "images[3]".
typedef struct edt_convert_image {
    const char *path, *where;
    int64_t order; // of its items in the report
    int64_t height, width;
    bool jpeg_only;                       // other formats are bad instead of counted
    const edt_reencode_options *reencode; // NULL: nothing
} edt_convert_image;
// `*out_picture` is what shall be stored, of the worker's buffers. A picture whose pixels
// cannot be decoded where `reencode` asks for it is bad.
edt_status edt_convert_read_image(edt_convert_worker *worker, const edt_convert_image *image,
                                  edt_error *err, bool *out_good, edt_reencoded *out_picture);
// Frees what a worker holds.
void edt_convert_worker_deinit(edt_convert_worker *worker);

#endif
