// Where the pixels of one picture come from: the decoded cache when it is there, else the
// decoder; whole, or in bands that nobody keeps.
#ifndef EDT_DATAIO_SAMPLE_PICTURE_H
#define EDT_DATAIO_SAMPLE_PICTURE_H

#include <stdbool.h>

#include "core/span.h"
#include "dataio/decoded_cache.h"
#include "dataio/image_decode.h"
#include "dataio/row_sink.h"

// Decoder, cache reader and buffers for one open picture; one thread.
typedef struct edt_sample_picture edt_sample_picture;

// `cache` may be NULL; it is borrowed.
edt_status edt_sample_picture_create(bool exif_rotate, edt_decoded_cache *cache, edt_error *err,
                                     edt_sample_picture **out_picture);
void edt_sample_picture_destroy(edt_sample_picture *picture); // NULL is fine

// Looks sample `index` up in the cache, or reads the header of `encoded`, which must last until
// the pixels have been taken; an index below 0 is not looked up. The decoder's and the cache's
// errors.
edt_status edt_sample_picture_open(edt_sample_picture *picture, edt_span encoded, int64_t index,
                                   edt_error *err, int64_t *out_h, int64_t *out_w);

// At least the first n_rows rows (0: all) as one view, whose `h` is the whole picture's; it
// lasts until the picture's next call. Only with `writable` may it be written to.
edt_status edt_sample_picture_decode(edt_sample_picture *picture, int64_t n_rows, bool writable,
                                     edt_error *err, edt_image *out_image);
// The same in bands (edt_row_sink), which only with `writable` may be written to. With a
// `window` (else NULL) the sink looks at its levels only: others are undefined, and bands above
// it may be left out.
edt_status edt_sample_picture_stream(edt_sample_picture *picture, int64_t n_rows, bool writable,
                                     const edt_image_window *window, const edt_row_sink *sink,
                                     edt_error *err);
// Hands the first n_rows rows of `image` to `sink` in bands; with `buffer`, unless NULL, as
// copies in it. EDT_ERR_NOMEM and the sink's errors.
edt_status edt_sample_picture_feed(const edt_image *image, int64_t n_rows,
                                   edt_row_buffer *buffer, const edt_row_sink *sink,
                                   edt_error *err);

// What opening, decoding and the cache took so far, without the time in a sink.
double edt_sample_picture_seconds(const edt_sample_picture *picture);

#endif
