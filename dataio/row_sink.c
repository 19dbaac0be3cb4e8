// See row_sink.h.
#include "dataio/row_sink.h"

#include "core/mem.h"

edt_status edt_row_buffer_reserve(edt_row_buffer *buffer, size_t n_bytes, edt_error *err)
{
    if (n_bytes <= buffer->n_bytes) {
        return EDT_OK;
    }
    // Not realloc: the old picture need not be copied.
    edt_row_buffer_deinit(buffer);
    buffer->data = edt_mem_alloc(EDT_MEM_IMAGE, n_bytes);
    if (buffer->data == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %zu bytes of pixels", n_bytes);
    }
    buffer->n_bytes = n_bytes;
    return EDT_OK;
}

void edt_row_buffer_deinit(edt_row_buffer *buffer)
{
    edt_mem_free(buffer->data);
    *buffer = (edt_row_buffer){0};
}

edt_status edt_row_band_begin(edt_row_band *band, edt_row_buffer *buffer,
                              const edt_row_sink *sink, int64_t h, int64_t w, int64_t n_rows,
                              edt_error *err)
{
    const int64_t n = n_rows < 1 || n_rows > h ? h : n_rows;
    const int64_t capacity = sink != NULL && n > EDT_ROW_BAND_ROWS ? EDT_ROW_BAND_ROWS : n;
    EDT_TRY(edt_row_buffer_reserve(buffer, (size_t)(capacity * w) * 3, err));
    *band = (edt_row_band){
        .buffer = buffer, .sink = sink, .h = h, .w = w, .n_rows = n, .capacity = capacity};
    return EDT_OK;
}

uint8_t *edt_row_band_at(const edt_row_band *band, int64_t y)
{
    return band->buffer->data + 3 * band->w * (y - band->begin);
}

int64_t edt_row_band_room(const edt_row_band *band, int64_t y)
{
    const int64_t end = band->begin + band->capacity;
    return (end < band->n_rows ? end : band->n_rows) - y;
}

edt_status edt_row_band_complete(edt_row_band *band, int64_t end, edt_error *err)
{
    if (band->sink == NULL || edt_row_band_room(band, end) > 0) {
        return EDT_OK;
    }
    const edt_image rows = {.data = band->buffer->data,
                            .h = end - band->begin,
                            .w = band->w,
                            .stride = 3 * band->w};
    const int64_t y = band->begin;
    band->begin = end;
    return rows.h > 0 ? band->sink->take(band->sink->ctx, y, &rows, err) : EDT_OK;
}
