// The VOC converter against the official one: each record's payload, with its keys sorted, hash
// for hash, the evaluation JSON byte for byte, and the same whatever the number of threads and
// of processes.
#include <cjson/cJSON.h>
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "dataio/convert_voc.h"
#include "dataio/sha256.h"
#include "dataio/shard_reader.h"
#include "tests/support/golden_conversion.h"
#include "tests/support/test_dirs.h"

static void convert(const cJSON *args, const char *prefix, int n_threads, int rank,
                    int world_size, edt_shard_compression compression)
{
    const edt_convert_voc_options options = {
        .data = {.data_dir = edt_golden_conversion_path(args, "data_dir"),
                 .set = cJSON_GetObjectItem(args, "set")->valuestring,
                 .year = cJSON_GetObjectItem(args, "year")->valuestring,
                 .annotations_dir = "Annotations",
                 .label_map_path = edt_golden_conversion_path(args, "label_map_json_path"),
                 .ignore_difficult =
                     cJSON_IsTrue(cJSON_GetObjectItem(args, "ignore_difficult_instances")),
                 .num_images = cJSON_HasObjectItem(args, "num_images")
                                   ? cJSON_GetObjectItem(args, "num_images")->valueint
                                   : 0},
        .reference_defects = true,
        .run = {.output_file_prefix = prefix,
                .num_shards = cJSON_GetObjectItem(args, "num_shards")->valueint,
                .num_threads = n_threads,
                .rank = rank,
                .world_size = world_size,
                .compression = compression,
                .skip_bad = world_size > 1},
    };
    edt_error err = {0};
    cr_assert_eq(edt_convert_voc(&options, &err, NULL), EDT_OK, "%s", err.text);
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
        cr_assert_eq(edt_sha256_run(sha, record.payload, NULL, hex), EDT_OK);
        cr_assert_str_eq(hex, cJSON_GetObjectItem(want, "sorted_payload_sha256")->valuestring,
                         "%s record %lld", path, (long long)record.index);
    }
    cr_assert_eq(edt_shard_reader_next(reader, &err, &record), EDT_END);
    edt_shard_reader_close(reader);
}

ParameterizedTestParameters(convert_voc_golden, records_and_json_are_the_stated_ones)
{
    static char names[][12] = {"voc", "voc_merged", "voc2007"};
    return cr_make_param_array(char[12], names, sizeof names / sizeof *names);
}

ParameterizedTest(char (*name)[12], convert_voc_golden, records_and_json_are_the_stated_ones,
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
    static const struct {
        int n_threads, world_size;
        edt_shard_compression compression;
        const char *suffix;
    } runs[] = {
        {1, 1, EDT_SHARD_COMPRESS_NONE, ""},     {2, 1, EDT_SHARD_COMPRESS_NONE, ""},
        {8, 1, EDT_SHARD_COMPRESS_NONE, ""},     {2, 3, EDT_SHARD_COMPRESS_NONE, ""},
        {1, 1, EDT_SHARD_COMPRESS_ZSTD, ".zst"}, {8, 1, EDT_SHARD_COMPRESS_ZSTD, ".zst"},
        {3, 3, EDT_SHARD_COMPRESS_GZIP, ".gz"},  {1, 1, EDT_SHARD_COMPRESS_ZLIB, ".zz"}};
    for (int i = 0; i < (int)(sizeof runs / sizeof *runs); ++i) {
        // The directory does not exist yet: parents are made too.
        for (int rank = runs[i].world_size - 1; rank >= 0; --rank) {
            char prefix[512];
            (void)snprintf(prefix, sizeof prefix, "%s/%d/new/%s", dir, i, *name);
            convert(args, prefix, runs[i].n_threads, rank, runs[i].world_size,
                    runs[i].compression);
        }
        const cJSON *shard;
        cJSON_ArrayForEach(shard, cJSON_GetObjectItem(json, "shards"))
        {
            const char *file = cJSON_GetObjectItem(shard, "file")->valuestring;
            const char *path = edt_test_path(dir, "%d/new/%s%s", i, file, runs[i].suffix);
            check_shard(path, cJSON_GetObjectItem(shard, "records"), sha);
            if (i < 4) {
                edt_test_equal_files(edt_test_path(dir, "0/new/%s", file), path);
            } else if (i == 5) {
                edt_test_equal_files(edt_test_path(dir, "4/new/%s.zst", file), path);
            }
        }
        edt_test_equal_files(edt_golden_conversion_path(json, "evaluation_json"),
                             edt_test_path(dir, "%d/new/json_%s.json", i, *name));
    }
    edt_sha256_destroy(sha);
    cJSON_Delete(json);
}
