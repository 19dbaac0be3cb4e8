// Rows on their way out of a decoder: to a sink in bands that are still in the cache, or into a
// buffer that keeps the whole picture. The decoders of every format write through a row band.
#ifndef EDT_DATAIO_ROW_SINK_H
#define EDT_DATAIO_ROW_SINK_H

#include "augment/image.h"
#include "core/error.h"

// Takes rows [y, y + n) while they are still in the cache; `rows` has h = n and lasts until the
// return. An error ends the decoding and is returned from it.
typedef struct edt_row_sink {
    edt_status (*take)(void *ctx, int64_t y, const edt_image *rows, edt_error *err);
    void *ctx;
} edt_row_sink;

// Pixels of one thread; grow to the largest picture seen. Zero it to begin.
typedef struct edt_row_buffer {
    uint8_t *data;
    size_t n_bytes;
} edt_row_buffer;

// At least n_bytes; what was in it is lost. EDT_ERR_NOMEM.
edt_status edt_row_buffer_reserve(edt_row_buffer *buffer, size_t n_bytes, edt_error *err);
void edt_row_buffer_deinit(edt_row_buffer *buffer);

// The rows of one picture. With a sink the buffer holds EDT_ROW_BAND_ROWS rows at a time,
// otherwise all that are asked for.
enum { EDT_ROW_BAND_ROWS = 16 };
typedef struct edt_row_band {
    edt_row_buffer *buffer;
    const edt_row_sink *sink; // NULL: keep the rows
    int64_t h, w;             // of the picture
    int64_t n_rows;           // wanted
    int64_t begin, capacity;  // rows [begin, begin + capacity) have a place in the buffer
} edt_row_band;

// n_rows below 1 or beyond h: all. EDT_ERR_NOMEM.
edt_status edt_row_band_begin(edt_row_band *band, edt_row_buffer *buffer,
                              const edt_row_sink *sink, int64_t h, int64_t w, int64_t n_rows,
                              edt_error *err);
// Place of row y, which is one of edt_row_band_room() from the first that is not complete.
uint8_t *edt_row_band_at(const edt_row_band *band, int64_t y);
// Rows from y on that have a place now; y is the first row that is not complete.
int64_t edt_row_band_room(const edt_row_band *band, int64_t y);
// Rows before `end` are complete: hands the band to the sink when it is full or the last.
edt_status edt_row_band_complete(edt_row_band *band, int64_t end, edt_error *err);

#endif
