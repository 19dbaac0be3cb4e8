// See test_records.h.
#include "tests/support/test_records.h"

#include <stdio.h>
#include <string.h>

#include "core/arena.h"
#include "core/crc32c.h"
#include "dataio/tfexample.h"
#include "dataio/tfrecord.h"
#include "tests/support/test_dirs.h"

void edt_test_write_shard(const char *path, const edt_span *payloads, int n_payloads)
{
    FILE *file = fopen(path, "wb");
    cr_assert_not_null(file, "cannot write %s", path);
    for (int i = 0; i < n_payloads; ++i) {
        uint8_t header[EDT_TFRECORD_HEADER_BYTES], footer[EDT_TFRECORD_FOOTER_BYTES];
        edt_tfrecord_put_header(payloads[i].n_bytes, header);
        edt_tfrecord_put_footer(edt_crc32c(0, payloads[i].data, payloads[i].n_bytes), footer);
        cr_assert_eq(fwrite(header, 1, sizeof header, file), sizeof header);
        cr_assert_eq(fwrite(payloads[i].data, 1, payloads[i].n_bytes, file),
                     payloads[i].n_bytes);
        cr_assert_eq(fwrite(footer, 1, sizeof footer, file), sizeof footer);
    }
    cr_assert_eq(fclose(file), 0);
}

static edt_feature float_list(const char *key, const float *values, size_t n)
{
    return (edt_feature){.key = {.data = key, .n_bytes = strlen(key)},
                         .kind = EDT_FEATURE_FLOAT,
                         .n = n,
                         .value.floats = values};
}

edt_span edt_test_make_example(edt_span encoded, const char *source_id, const float *boxes,
                               const int64_t *labels, int n_boxes)
{
    return edt_test_make_masked_example(encoded, source_id, boxes, labels, NULL, n_boxes);
}

edt_span edt_test_make_masked_example(edt_span encoded, const char *source_id,
                                      const float *boxes, const int64_t *labels,
                                      const edt_span *masks, int n_boxes)
{
    static const char *const sides[4] = {"image/object/bbox/ymin", "image/object/bbox/xmin",
                                         "image/object/bbox/ymax", "image/object/bbox/xmax"};
    float side[4][256];
    cr_assert_leq(n_boxes, 256);
    const edt_span id = {.data = (const uint8_t *)source_id, .n_bytes = strlen(source_id)};
    edt_feature features[8] = {
        {.key = {"image/encoded", 13},
         .kind = EDT_FEATURE_BYTES,
         .n = 1,
         .value.bytes = &encoded},
        {.key = {"image/source_id", 15}, .kind = EDT_FEATURE_BYTES, .n = 1, .value.bytes = &id},
        {.key = {"image/object/class/label", 24},
         .kind = EDT_FEATURE_INT64,
         .n = (size_t)n_boxes,
         .value.ints = labels},
    };
    for (int k = 0; k < 4; ++k) {
        for (int i = 0; i < n_boxes; ++i) {
            side[k][i] = boxes[4 * i + k];
        }
        features[3 + k] = float_list(sides[k], side[k], (size_t)n_boxes);
    }
    features[7] = (edt_feature){.key = {"image/object/mask", 17},
                                .kind = EDT_FEATURE_BYTES,
                                .n = (size_t)n_boxes,
                                .value.bytes = masks};
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    edt_tfexample_pieces pieces;
    edt_error err = {0};
    cr_assert_eq(edt_tfexample_write(features, masks != NULL ? 8 : 7, &arena, &err, &pieces),
                 EDT_OK, "%s", err.text);
    uint8_t *data = edt_mem_alloc(EDT_MEM_TEXT, pieces.n_bytes);
    cr_assert_not_null(data);
    size_t at = 0;
    for (size_t i = 0; i < pieces.n_pieces; ++i) {
        memcpy(data + at, pieces.pieces[i].data, pieces.pieces[i].n_bytes);
        at += pieces.pieces[i].n_bytes;
    }
    edt_arena_deinit(&arena);
    return (edt_span){.data = data, .n_bytes = at};
}

edt_span edt_test_read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    cr_assert_not_null(file, "cannot open %s", path);
    cr_assert_eq(fseek(file, 0, SEEK_END), 0);
    const size_t n = (size_t)ftell(file);
    rewind(file);
    uint8_t *data = edt_mem_alloc(EDT_MEM_TEXT, n);
    cr_assert_eq(fread(data, 1, n, file), n);
    (void)fclose(file);
    return (edt_span){.data = data, .n_bytes = n};
}
