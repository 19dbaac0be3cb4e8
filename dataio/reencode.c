// See reencode.h.
#include "dataio/reencode.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "dataio/image_decode.h"
#include "dataio/jpeg_encode.h"

enum { DEFAULT_QUALITY = 95 };

// What part of the source a new pixel averages: from `first`, the ends in part.
typedef struct tap {
    int64_t first, n;
    float head, tail; // weights of the first and the last pixel; 1 in between
} tap;

struct edt_reencoder {
    edt_image_decoder *decoder;
    uint8_t *encoded;
    uint8_t *pixels; // of the smaller picture
    float *rows;     // sum of a new row, then one source row made narrower
    tap *taps;       // of the columns
    size_t pixel_bytes, row_floats, n_taps;
};

edt_status edt_reencode_parse(const char *text, edt_error *err, edt_reencode_options *options)
{
    if (text == NULL || text[0] == '\0') {
        return EDT_OK;
    }
    char *end = NULL;
    const long quality = strtol(text, &end, 10);
    const bool half = strcmp(end, ",420") == 0;
    if (end == text || (*end != '\0' && !half) || quality < 1 || quality > 100) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "--reencode=%s: give a JPEG quality from 1 to 100, with ',420' behind it for "
                 "half-size chroma: 90 or 90,420",
                 text);
    }
    options->quality = (int)quality;
    options->half_chroma = half;
    return EDT_OK;
}

bool edt_reencode_is_idle(const edt_reencode_options *options)
{
    return options->quality == 0 && options->max_side == 0 && !options->verify;
}

void edt_reencode_size(const edt_reencode_options *options, int64_t height, int64_t width,
                       int64_t *out_height, int64_t *out_width)
{
    const int64_t longest = height > width ? height : width;
    *out_height = height;
    *out_width = width;
    if (options->max_side > 0 && longest > options->max_side) {
        // Rounded to the nearest pixel.
        const int64_t h = (2 * height * options->max_side + longest) / (2 * longest);
        const int64_t w = (2 * width * options->max_side + longest) / (2 * longest);
        *out_height = h > 0 ? h : 1;
        *out_width = w > 0 ? w : 1;
    }
}

edt_status edt_reencoder_create(edt_error *err, edt_reencoder **out_reencoder)
{
    edt_reencoder *r = edt_mem_calloc(EDT_MEM_IMAGE, 1, sizeof *r);
    if (r == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to encode pictures");
    }
    const edt_status status = edt_image_decoder_create(NULL, err, &r->decoder);
    if (status != EDT_OK) {
        edt_reencoder_destroy(r);
        return status;
    }
    *out_reencoder = r;
    return EDT_OK;
}

void edt_reencoder_destroy(edt_reencoder *reencoder)
{
    if (reencoder != NULL) {
        edt_image_decoder_destroy(reencoder->decoder);
        edt_mem_free(reencoder->encoded);
        edt_mem_free(reencoder->pixels);
        edt_mem_free(reencoder->rows);
        edt_mem_free(reencoder->taps);
        edt_mem_free(reencoder);
    }
}

// Grows a buffer to `n` items; what it holds is lost.
static void *room(void *buffer, size_t n, size_t *capacity, size_t item_bytes)
{
    if (n <= *capacity) {
        return buffer;
    }
    edt_mem_free(buffer);
    void *grown = edt_mem_alloc(EDT_MEM_IMAGE, n * item_bytes);
    *capacity = grown != NULL ? n : 0;
    return grown;
}

static tap make_tap(int64_t i, int64_t from, int64_t to)
{
    // New pixel i covers [i from / to, (i + 1) from / to).
    const int64_t begin = i * from;
    const int64_t end = begin + from;
    const int64_t first = begin / to;
    const int64_t last = (end - 1) / to;
    const float head = (float)((first + 1) * to - begin) / (float)to;
    const float tail = (float)(end - last * to) / (float)to;
    return (tap){first, last - first + 1, first == last ? (float)from / (float)to : head, tail};
}

static void narrow_row(const uint8_t *row, const tap *taps, int64_t w, float *out)
{
    for (int64_t x = 0; x < w; ++x) {
        const tap *t = &taps[x];
        const uint8_t *p = row + 3 * t->first;
        float sum[3] = {t->head * p[0], t->head * p[1], t->head * p[2]};
        for (int64_t k = 1; k < t->n; ++k) {
            const float weight = k + 1 < t->n ? 1.0f : t->tail;
            for (int c = 0; c < 3; ++c) {
                sum[c] += weight * p[3 * k + c];
            }
        }
        for (int c = 0; c < 3; ++c) {
            out[3 * x + c] = sum[c];
        }
    }
}

static edt_status shrink(edt_reencoder *r, const edt_image *from, edt_image *to, edt_error *err)
{
    const size_t n_row = (size_t)to->w * 3;
    r->pixels = room(r->pixels, (size_t)to->h * n_row, &r->pixel_bytes, 1);
    r->rows = room(r->rows, 2 * n_row, &r->row_floats, sizeof *r->rows);
    r->taps = room(r->taps, (size_t)to->w, &r->n_taps, sizeof *r->taps);
    if (r->pixels == NULL || r->rows == NULL || r->taps == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to make a picture smaller");
    }
    to->data = r->pixels;
    to->stride = (int64_t)n_row;
    for (int64_t x = 0; x < to->w; ++x) {
        r->taps[x] = make_tap(x, from->w, to->w);
    }
    const float scale =
        (float)((double)to->h * (double)to->w / ((double)from->h * (double)from->w));
    float *sum = r->rows;
    float *row = r->rows + n_row;
    for (int64_t y = 0; y < to->h; ++y) {
        const tap t = make_tap(y, from->h, to->h);
        memset(sum, 0, n_row * sizeof *sum);
        for (int64_t k = 0; k < t.n; ++k) {
            const float weight = k == 0 ? t.head : k + 1 < t.n ? 1.0f : t.tail;
            narrow_row(from->data + (t.first + k) * from->stride, r->taps, to->w, row);
            for (size_t i = 0; i < n_row; ++i) {
                sum[i] += weight * row[i];
            }
        }
        uint8_t *out = to->data + y * to->stride;
        for (size_t i = 0; i < n_row; ++i) {
            const float level = sum[i] * scale + 0.5f;
            out[i] = (uint8_t)(level > 255.0f ? 255.0f : level);
        }
    }
    return EDT_OK;
}

edt_status edt_reencoder_run(edt_reencoder *reencoder, edt_span encoded, int64_t height,
                             int64_t width, const edt_reencode_options *options, edt_error *err,
                             edt_reencoded *out_picture)
{
    edt_reencoder *r = reencoder;
    int64_t new_h, new_w;
    edt_reencode_size(options, height, width, &new_h, &new_w);
    const bool smaller = new_h != height || new_w != width;
    const bool encode = smaller || options->quality > 0;
    edt_image picture = {0};
    *out_picture = (edt_reencoded){.bytes = encoded, .height = height, .width = width};
    if (!encode && !options->verify) {
        return EDT_OK;
    }
    int64_t h, w;
    EDT_TRY(edt_image_open(r->decoder, encoded, err, &h, &w));
    if (h != height || w != width) { // a GIF whose frames and screen differ
        EDT_FAIL(err, EDT_ERR_FORMAT,
                 "the picture is %" PRId64 " x %" PRId64 " (height x width), its header says "
                 "%" PRId64 " x %" PRId64,
                 h, w, height, width);
    }
    EDT_TRY(edt_image_decode(r->decoder, 0, err, &picture));
    if (!encode) {
        return EDT_OK;
    }
    edt_image result = picture;
    if (smaller) {
        result = (edt_image){.h = new_h, .w = new_w};
        EDT_TRY(shrink(r, &picture, &result, err));
    }
    const edt_jpeg_encode_options jpeg = {.quality = options->quality > 0 ? options->quality
                                                                          : DEFAULT_QUALITY,
                                          .full_chroma = !options->half_chroma};
    uint8_t *data = NULL;
    size_t n_bytes = 0;
    EDT_TRY(edt_jpeg_encode(&result, &jpeg, err, &data, &n_bytes));
    edt_mem_free(r->encoded);
    r->encoded = data;
    *out_picture = (edt_reencoded){
        .bytes = {data, n_bytes}, .height = result.h, .width = result.w, .is_new = true};
    return EDT_OK;
}
