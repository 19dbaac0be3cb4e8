// The JPEG decoder over arbitrary bytes: no overrun, no hang, an error with words or a picture,
// and the same picture again from a decoder that has seen other data.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "dataio/jpeg_decode.h"
#include "dataio/jpeg_encode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap);

enum { MAX_PIXELS = 1 << 18 };

// Sum over the decoded bytes; -1 when the data was refused.
static int64_t decode(edt_jpeg_decoder *decoder, const uint8_t *data, size_t n, int64_t n_rows)
{
    edt_error err = {0};
    edt_image image;
    int64_t h, w;
    edt_status status = edt_jpeg_open(decoder, (edt_span){data, n}, &err, &h, &w);
    if (status == EDT_OK) {
        if (h * w > MAX_PIXELS) {
            return -1; // legal, but too slow for thousands of runs
        }
        status = edt_jpeg_decode(decoder, n_rows, &err, &image);
    }
    if (status != EDT_OK) {
        if (err.text[0] == '\0') {
            (void)fprintf(stderr, "an error without words\n");
            abort();
        }
        return -1;
    }
    int64_t sum = 0;
    const int64_t n_sure = n_rows < 1 || n_rows > h ? h : n_rows;
    for (int64_t i = 0; i < n_sure * w * 3; ++i) {
        sum += image.data[i];
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static edt_jpeg_decoder *used;
    edt_jpeg_decoder *fresh = NULL;
    if ((used == NULL && edt_jpeg_decoder_create(NULL, &used) != EDT_OK) ||
        edt_jpeg_decoder_create(NULL, &fresh) != EDT_OK) {
        abort();
    }
    const int64_t first = decode(used, data, n, 0);
    if (decode(fresh, data, n, 0) != first) {
        (void)fprintf(stderr, "an earlier picture changed this one\n");
        abort();
    }
    (void)decode(used, data, n, 3);
    edt_jpeg_decoder_destroy(fresh);
    return 0;
}

size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    static const int sizes[][2] = {{8, 8}, {17, 33}, {40, 24}, {1, 50}};
    if (i >= 8) {
        return 0;
    }
    uint8_t pixels[40 * 50 * 3];
    const edt_image image = {.data = pixels,
                             .h = sizes[i % 4][0],
                             .w = sizes[i % 4][1],
                             .stride = 3 * sizes[i % 4][1]};
    for (int64_t k = 0; k < image.h * image.stride; ++k) {
        pixels[k] = (uint8_t)(k * 37 % 251);
    }
    const edt_jpeg_encode_options options = {.quality = 60, .full_chroma = i >= 4};
    uint8_t *data;
    size_t n_bytes = 0;
    if (edt_jpeg_encode(&image, &options, NULL, &data, &n_bytes) != EDT_OK || n_bytes > cap) {
        abort();
    }
    memcpy(out, data, n_bytes);
    edt_mem_free(data);
    return n_bytes;
}
