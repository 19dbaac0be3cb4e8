// The converter against the official one: each record's payload, with its keys sorted, hash for
// hash, and the same bytes whatever the number of threads.
#include <cjson/cJSON.h>
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "dataio/convert_coco.h"
#include "dataio/png_mask.h"
#include "dataio/sha256.h"
#include "dataio/shard_reader.h"
#include "tests/support/golden_conversion.h"
#include "tests/support/test_dirs.h"

static void convert(const cJSON *args, const char *prefix, int n_threads)
{
    const edt_convert_coco_options options = {
        .image_dir = edt_golden_conversion_path(args, "image_dir"),
        .image_info_file = edt_golden_conversion_path(args, "image_info_file"),
        .object_annotations_file = edt_golden_conversion_path(args, "object_annotations_file"),
        .caption_annotations_file =
            edt_golden_conversion_path(args, "caption_annotations_file"),
        .include_masks = cJSON_IsTrue(cJSON_GetObjectItem(args, "include_masks")),
        .run = {.output_file_prefix = prefix,
                .num_shards = cJSON_GetObjectItem(args, "num_shards")->valueint,
                .num_threads = n_threads},
    };
    edt_error err = {0};
    cr_assert_eq(edt_convert_coco(&options, &err, NULL), EDT_OK, "%s", err.text);
}

// One value of a feature against the golden's: numbers and texts as they are, pictures by size
// and hash, masks by their pixels.
static void check_value(const edt_feature *got, size_t i, const cJSON *want, edt_sha256 *sha,
                        edt_arena *arena)
{
    char hex[EDT_SHA256_HEX_BYTES + 1];
    const cJSON *pixels = cJSON_GetObjectItem(want, "sha256_of_pixels");
    switch (got->kind) {
    case EDT_FEATURE_INT64: cr_assert_eq(got->value.ints[i], (int64_t)want->valuedouble); break;
    case EDT_FEATURE_FLOAT: cr_assert_eq(got->value.floats[i], (float)want->valuedouble); break;
    default:
        if (cJSON_IsString(want)) {
            cr_assert_eq(got->value.bytes[i].n_bytes, strlen(want->valuestring));
            cr_assert_eq(memcmp(got->value.bytes[i].data, want->valuestring,
                                got->value.bytes[i].n_bytes),
                         0);
        } else if (pixels != NULL) {
            edt_error err = {0};
            int64_t h, w;
            const uint8_t *levels;
            cr_assert_eq(edt_png_mask_decode(got->value.bytes[i], arena, &err, &h, &w, &levels),
                         EDT_OK, "%s", err.text);
            cr_assert_eq(h, cJSON_GetObjectItem(want, "height")->valueint);
            cr_assert_eq(w, cJSON_GetObjectItem(want, "width")->valueint);
            cr_assert_eq(edt_sha256_run(sha, (edt_span){levels, (size_t)(h * w)}, NULL, hex),
                         EDT_OK);
            cr_assert_str_eq(hex, pixels->valuestring);
        } else {
            cr_assert_eq(edt_sha256_run(sha, got->value.bytes[i], NULL, hex), EDT_OK);
            cr_assert_str_eq(hex, cJSON_GetObjectItem(want, "sha256")->valuestring);
        }
    }
}

static void check_features(edt_span payload, const cJSON *features, edt_sha256 *sha)
{
    edt_error err = {0};
    edt_tfexample example;
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    cr_assert_eq(edt_tfexample_parse(payload, &arena, &err, &example), EDT_OK, "%s", err.text);
    cr_assert_eq(example.n_entries, (size_t)cJSON_GetArraySize(features));
    const cJSON *want;
    cJSON_ArrayForEach(want, features)
    {
        const edt_tfexample_entry *entry = edt_tfexample_find(&example, want->string);
        edt_feature got;
        cr_assert_not_null(entry, "%s", want->string);
        cr_assert_eq(edt_tfexample_decode(entry, &arena, &err, &got), EDT_OK, "%s", err.text);
        cr_assert_str_eq(edt_feature_kind_name(got.kind),
                         cJSON_GetObjectItem(want, "type")->valuestring);
        const cJSON *values = cJSON_GetObjectItem(want, "values");
        cr_assert_eq(got.n, (size_t)cJSON_GetArraySize(values), "%s", want->string);
        for (size_t i = 0; i < got.n; ++i) {
            check_value(&got, i, cJSON_GetArrayItem(values, (int)i), sha, &arena);
        }
    }
    edt_arena_deinit(&arena);
}

static void check_shard(const char *path, const cJSON *records, edt_sha256 *sha)
{
    edt_error err = {0};
    edt_shard_reader *reader = NULL;
    cr_assert_eq(edt_shard_reader_open(path, NULL, &err, &reader), EDT_OK, "%s", err.text);
    edt_record record;
    const cJSON *want;
    cJSON_ArrayForEach(want, records)
    {
        char hex[EDT_SHA256_HEX_BYTES + 1];
        cr_assert_eq(edt_shard_reader_next(reader, &err, &record), EDT_OK, "%s", err.text);
        const cJSON *features = cJSON_GetObjectItem(want, "features");
        check_features(record.payload, features, sha);
        // The bytes of a PNG are its writer's.
        if (cJSON_GetObjectItem(features, "image/object/mask") == NULL) {
            cr_assert_eq(edt_sha256_run(sha, record.payload, NULL, hex), EDT_OK);
            cr_assert_str_eq(hex,
                             cJSON_GetObjectItem(want, "sorted_payload_sha256")->valuestring,
                             "%s record %lld", path, (long long)record.index);
        }
    }
    cr_assert_eq(edt_shard_reader_next(reader, &err, &record), EDT_END);
    edt_shard_reader_close(reader);
}

ParameterizedTestParameters(convert_coco_golden, records_have_the_stated_hashes)
{
    static char names[][16] = {"coco", "coco_masks", "edge", "info"};
    return cr_make_param_array(char[16], names, sizeof names / sizeof *names);
}

ParameterizedTest(char (*name)[16], convert_coco_golden, records_have_the_stated_hashes,
                  .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    EDT_TEST_NEEDS_DIR(edt_test_data_dir());
    edt_log_set_level(EDT_LOG_ERROR);
    const char *golden = edt_test_path(edt_test_golden_dir(), "data/tfrecord/%s.json", *name);
    cJSON *json = edt_golden_conversion_load(golden);
    const cJSON *args = cJSON_GetObjectItem(json, "args");
    char dir[256]; // the buffers of edt_test_path rotate
    (void)snprintf(dir, sizeof dir, "%s", edt_test_temp_dir());
    edt_sha256 *sha = NULL;
    cr_assert_eq(edt_sha256_create(NULL, &sha), EDT_OK);
    static const int thread_counts[] = {1, 2, 8};
    for (int i = 0; i < 3; ++i) {
        const int n_threads = thread_counts[i];
        // The directory does not exist yet: parents are made too.
        convert(args, edt_test_path(dir, "%d/new/%s", n_threads, *name), n_threads);
        const cJSON *shard;
        cJSON_ArrayForEach(shard, cJSON_GetObjectItem(json, "shards"))
        {
            const char *file = cJSON_GetObjectItem(shard, "file")->valuestring;
            const char *path = edt_test_path(dir, "%d/new/%s", n_threads, file);
            check_shard(path, cJSON_GetObjectItem(shard, "records"), sha);
            edt_test_equal_files(edt_test_path(dir, "1/new/%s", file), path);
        }
    }
    edt_sha256_destroy(sha);
    cJSON_Delete(json);
}
