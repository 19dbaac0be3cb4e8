// See sample_picture.h.
#include "dataio/sample_picture.h"

#include <string.h>

#include "core/clock.h"
#include "core/mem.h"
#include "core/trace.h"

struct edt_sample_picture {
    edt_image_decoder *decoder;
    edt_decoded_cache *cache; // NULL: none
    edt_decoded_reader *reader;
    edt_span encoded; // the open picture
    int64_t index;    // its sample
    bool is_cached;   // the cache has it: `cached` is its view
    edt_image cached;
    edt_row_buffer copy; // of a cached picture that will be written to
    double seconds;
    const edt_row_sink *sink; // of the caller, while it streams
    double sink_seconds;
};

edt_status edt_sample_picture_create(bool exif_rotate, edt_decoded_cache *cache, edt_error *err,
                                     edt_sample_picture **out_picture)
{
    const edt_image_decoder_options options = {.exif_rotate = exif_rotate};
    edt_status status = EDT_OK;
    edt_sample_picture *p = edt_mem_calloc(EDT_MEM_IMAGE, 1, sizeof *p);
    if (p == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a picture");
    }
    p->cache = cache;
    EDT_TRY_GOTO(edt_image_decoder_create(&options, err, &p->decoder));
    if (cache != NULL) {
        EDT_TRY_GOTO(edt_decoded_reader_create(cache, err, &p->reader));
    }
    *out_picture = p;
    return EDT_OK;
fail:
    edt_sample_picture_destroy(p);
    return status;
}

void edt_sample_picture_destroy(edt_sample_picture *picture)
{
    if (picture == NULL) {
        return;
    }
    edt_decoded_reader_destroy(picture->reader);
    edt_image_decoder_destroy(picture->decoder);
    edt_row_buffer_deinit(&picture->copy);
    edt_mem_free(picture);
}

double edt_sample_picture_seconds(const edt_sample_picture *picture)
{
    return picture->seconds;
}

static edt_status open_picture(edt_sample_picture *p, edt_span encoded, int64_t index,
                               edt_error *err, int64_t *out_h, int64_t *out_w)
{
    p->encoded = encoded;
    p->index = index;
    p->is_cached = false;
    if (p->cache != NULL && index >= 0) {
        EDT_TRY(edt_decoded_get(p->reader, index, err, &p->is_cached, &p->cached));
    }
    if (p->is_cached) {
        *out_h = p->cached.h;
        *out_w = p->cached.w;
        return EDT_OK;
    }
    return edt_image_open(p->decoder, encoded, err, out_h, out_w);
}

edt_status edt_sample_picture_open(edt_sample_picture *picture, edt_span encoded, int64_t index,
                                   edt_error *err, int64_t *out_h, int64_t *out_w)
{
    const double t0 = edt_clock_now_s();
    const edt_status status = open_picture(picture, encoded, index, err, out_h, out_w);
    picture->seconds += edt_clock_now_s() - t0;
    return status;
}

static void copy_rows(const edt_image *image, int64_t y, int64_t n, uint8_t *out_rows)
{
    const size_t row_bytes = (size_t)image->w * 3;
    for (int64_t i = 0; i < n; ++i) {
        memcpy(out_rows + (size_t)i * row_bytes, image->data + (y + i) * image->stride,
               row_bytes);
    }
}

// The view of a cached picture, in memory of our own when it will be written to.
static edt_status take_cached(edt_sample_picture *p, int64_t n_rows, bool writable,
                              edt_error *err, edt_image *out_image)
{
    *out_image = p->cached;
    if (!writable) {
        return EDT_OK;
    }
    const int64_t row_bytes = p->cached.w * 3;
    EDT_TRY(edt_row_buffer_reserve(&p->copy, (size_t)(p->cached.h * row_bytes), err));
    copy_rows(&p->cached, 0, n_rows > 0 && n_rows < p->cached.h ? n_rows : p->cached.h,
              p->copy.data);
    out_image->data = p->copy.data;
    out_image->stride = row_bytes;
    return EDT_OK;
}

edt_status edt_sample_picture_feed(const edt_image *image, int64_t n_rows,
                                   edt_row_buffer *buffer, const edt_row_sink *sink,
                                   edt_error *err)
{
    const int64_t n = n_rows > 0 && n_rows < image->h ? n_rows : image->h;
    if (buffer != NULL) {
        EDT_TRY(
            edt_row_buffer_reserve(buffer, (size_t)(EDT_ROW_BAND_ROWS * image->w) * 3, err));
    }
    for (int64_t y = 0; y < n; y += EDT_ROW_BAND_ROWS) {
        edt_image rows = *image;
        rows.h = y + EDT_ROW_BAND_ROWS < n ? EDT_ROW_BAND_ROWS : n - y;
        rows.data += y * image->stride;
        if (buffer != NULL) {
            copy_rows(image, y, rows.h, buffer->data);
            rows.data = buffer->data;
            rows.stride = image->w * 3;
        }
        EDT_TRY(sink->take(sink->ctx, y, &rows, err));
    }
    return EDT_OK;
}

static bool is_filling(const edt_sample_picture *p)
{
    return p->cache != NULL && p->index >= 0 && edt_decoded_is_filling(p->cache);
}

static edt_status decode_picture(edt_sample_picture *p, int64_t n_rows, bool writable,
                                 edt_error *err, edt_image *out_image)
{
    if (p->is_cached) {
        return take_cached(p, n_rows, writable, err, out_image);
    }
    if (!is_filling(p)) {
        return edt_image_decode(p->decoder, n_rows, err, out_image);
    }
    const edt_status status = edt_image_decode(p->decoder, 0, err, out_image);
    if (status == EDT_OK) {
        edt_decoded_put(p->cache, p->index, out_image);
        return EDT_OK;
    }
    // What is damaged may lie behind the rows that are wanted, where nobody would have looked
    // without the cache: it must not make a sample bad.
    int64_t h, w;
    if (n_rows == 0 || edt_image_open(p->decoder, p->encoded, NULL, &h, &w) != EDT_OK) {
        return status;
    }
    return edt_image_decode(p->decoder, n_rows, err, out_image);
}

edt_status edt_sample_picture_decode(edt_sample_picture *picture, int64_t n_rows, bool writable,
                                     edt_error *err, edt_image *out_image)
{
    const double t0 = edt_clock_now_s();
    edt_trace_begin("decode");
    const edt_status status = decode_picture(picture, n_rows, writable, err, out_image);
    edt_trace_end();
    picture->seconds += edt_clock_now_s() - t0;
    return status;
}

static edt_status take_timed(void *ctx, int64_t y, const edt_image *rows, edt_error *err)
{
    edt_sample_picture *p = ctx;
    const double t0 = edt_clock_now_s();
    const edt_status status = p->sink->take(p->sink->ctx, y, rows, err);
    p->sink_seconds += edt_clock_now_s() - t0;
    return status;
}

edt_status edt_sample_picture_stream(edt_sample_picture *picture, int64_t n_rows, bool writable,
                                     const edt_image_window *window, const edt_row_sink *sink,
                                     edt_error *err)
{
    edt_sample_picture *p = picture;
    if (p->is_cached) {
        return edt_sample_picture_feed(&p->cached, n_rows, writable ? &p->copy : NULL, sink,
                                       err);
    }
    if (is_filling(p)) {
        edt_image image;
        EDT_TRY(edt_sample_picture_decode(p, n_rows, writable, err, &image));
        return edt_sample_picture_feed(&image, n_rows, NULL, sink, err);
    }
    if (window != NULL) {
        edt_image_focus(p->decoder, window);
    }
    const edt_row_sink timed = {.take = take_timed, .ctx = p};
    const double t0 = edt_clock_now_s();
    p->sink = sink;
    p->sink_seconds = 0;
    const edt_status status = edt_image_decode_rows(p->decoder, n_rows, &timed, err);
    p->seconds += edt_clock_now_s() - t0 - p->sink_seconds;
    return status;
}
