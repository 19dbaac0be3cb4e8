// For compare_pictures.py: reads paths, one a line, and prints for each "ok HEIGHT WIDTH
// SHA256" of the decoded picture, or "error WORDS".
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "dataio/image_decode.h"
#include "dataio/sha256.h"

static edt_status decode(edt_image_decoder *decoder, edt_sha256 *sha, const char *path,
                         edt_error *err)
{
    char *data = NULL;
    size_t n_bytes = 0;
    int64_t h, w;
    edt_image image;
    char hex[EDT_SHA256_HEX_BYTES + 1];
    EDT_TRY(edt_file_read(path, 1u << 28, err, &data, &n_bytes));
    const edt_span bytes = {(const uint8_t *)data, n_bytes};
    edt_status status = edt_image_open(decoder, bytes, err, &h, &w);
    if (status == EDT_OK) {
        status = edt_image_decode(decoder, 0, err, &image);
    }
    if (status == EDT_OK) {
        const edt_span pixels = {image.data, (size_t)(h * image.stride)};
        status = edt_sha256_run(sha, pixels, err, hex);
    }
    if (status == EDT_OK) {
        printf("ok %" PRId64 " %" PRId64 " %s\n", h, w, hex);
    }
    edt_mem_free(data);
    return status;
}

int main(void)
{
    char *line = NULL;
    size_t capacity = 0;
    edt_image_decoder *decoder = NULL;
    edt_sha256 *sha = NULL;
    edt_error err = {0};
    if (edt_image_decoder_create(NULL, &err, &decoder) != EDT_OK ||
        edt_sha256_create(&err, &sha) != EDT_OK) {
        (void)fprintf(stderr, "%s\n", err.text);
        edt_image_decoder_destroy(decoder);
        return 1;
    }
    while (getline(&line, &capacity, stdin) > 0) {
        line[strcspn(line, "\n")] = '\0';
        err = (edt_error){0};
        if (decode(decoder, sha, line, &err) != EDT_OK) {
            printf("error %s\n", err.text);
        }
    }
    free(line);
    edt_sha256_destroy(sha);
    edt_image_decoder_destroy(decoder);
    return 0;
}
