// Official shards and damaged ones: what the reader says about each, key by key, and that the
// writer gives the stated bytes back.
#include <cjson/cJSON.h>
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/path.h"
#include "dataio/example.h"
#include "dataio/record_index.h"
#include "dataio/sha256.h"
#include "dataio/shard_reader.h"
#include "dataio/tfexample.h"
#include "tests/support/test_dirs.h"

static const char *tfrecord_dir(void)
{
    return edt_test_path(edt_test_golden_dir(), "data/tfrecord");
}

static const char *sha_of(edt_span bytes)
{
    static char hex[EDT_SHA256_HEX_BYTES + 1];
    edt_sha256 *sha = NULL;
    cr_assert_eq(edt_sha256_create(NULL, &sha), EDT_OK);
    cr_assert_eq(edt_sha256_run(sha, bytes, NULL, hex), EDT_OK);
    edt_sha256_destroy(sha);
    return hex;
}

static const cJSON *member(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    cr_assert_not_null(item, "no '%s'", key);
    return item;
}

static const char *text_of(const cJSON *object, const char *key)
{
    return member(object, key)->valuestring;
}

static void check_bytes(const cJSON *want, edt_span got, const char *key)
{
    if (cJSON_IsString(want)) {
        cr_assert_eq(got.n_bytes, strlen(want->valuestring), "%s", key);
        cr_assert_arr_eq(got.data, want->valuestring, got.n_bytes, "%s", key);
    } else if (cJSON_HasObjectItem(want, "bytes")) {
        cr_assert_eq((double)got.n_bytes, member(want, "bytes")->valuedouble, "%s", key);
        cr_assert_str_eq(sha_of(got), text_of(want, "sha256"), "%s", key);
    } else {
        cr_assert(got.n_bytes > 8 && memcmp(got.data, "\x89PNG", 4) == 0, "%s: a mask", key);
    }
}

static void check_feature(const cJSON *want, const edt_feature *got, const char *key)
{
    cr_assert_str_eq(edt_feature_kind_name(got->kind), text_of(want, "type"), "%s", key);
    const cJSON *values = member(want, "values");
    cr_assert_eq((int)got->n, cJSON_GetArraySize(values), "%s", key);
    size_t i = 0;
    const cJSON *value;
    cJSON_ArrayForEach(value, values)
    {
        if (got->kind == EDT_FEATURE_BYTES) {
            check_bytes(value, got->value.bytes[i], key);
        } else if (got->kind == EDT_FEATURE_FLOAT) {
            cr_assert(got->value.floats[i] == (float)value->valuedouble, "%s[%zu]", key, i);
        } else {
            cr_assert_eq((double)got->value.ints[i], value->valuedouble, "%s[%zu]", key, i);
        }
        ++i;
    }
}

static void check_rewritten(const edt_feature *features, size_t n, const char *sha,
                            edt_arena *arena)
{
    edt_tfexample_pieces written;
    cr_assert_eq(edt_tfexample_write(features, n, arena, NULL, &written), EDT_OK);
    uint8_t *joined = edt_arena_alloc(arena, written.n_bytes);
    size_t at = 0;
    for (size_t i = 0; i < written.n_pieces; ++i) {
        memcpy(joined + at, written.pieces[i].data, written.pieces[i].n_bytes);
        at += written.pieces[i].n_bytes;
    }
    cr_assert_eq(at, written.n_bytes);
    cr_assert_str_eq(sha_of((edt_span){joined, at}), sha);
}

static void check_record(const cJSON *want, edt_span payload, edt_arena *arena)
{
    edt_error err = {0};
    cr_assert_str_eq(sha_of(payload), text_of(want, "payload_sha256"));
    edt_tfexample message;
    cr_assert_eq(edt_tfexample_parse(payload, arena, &err, &message), EDT_OK, "%s", err.text);
    const cJSON *features = member(want, "features");
    cr_assert_eq((int)message.n_entries, cJSON_GetArraySize(features));
    edt_feature decoded[64];
    // Backwards, so that the writer has something to sort.
    for (size_t i = 0; i < message.n_entries; ++i) {
        edt_feature *feature = &decoded[message.n_entries - 1 - i];
        cr_assert_eq(edt_tfexample_decode(&message.entries[i], arena, &err, feature), EDT_OK);
    }
    const cJSON *feature;
    cJSON_ArrayForEach(feature, features)
    {
        const edt_tfexample_entry *entry = edt_tfexample_find(&message, feature->string);
        cr_assert_not_null(entry, "%s", feature->string);
        const size_t i = (size_t)(entry - message.entries);
        check_feature(feature, &decoded[message.n_entries - 1 - i], feature->string);
    }
    check_rewritten(decoded, message.n_entries, text_of(want, "sorted_payload_sha256"), arena);
    edt_example example;
    cr_assert_eq(edt_example_decode(payload, EDT_EXAMPLE_TEXTS | EDT_EXAMPLE_MASKS, arena, &err,
                                    &example),
                 EDT_OK, "%s", err.text);
    cr_assert_eq(example.n_texts, example.n_boxes);
}

static cJSON *load_json(const char *path)
{
    char *text = NULL;
    size_t n_bytes;
    cr_assert_eq(edt_file_read(path, 1u << 28, NULL, &text, &n_bytes), EDT_OK, "%s", path);
    cJSON *json = cJSON_ParseWithLength(text, n_bytes);
    edt_mem_free(text);
    cr_assert_not_null(json, "%s", path);
    return json;
}

ParameterizedTestParameters(tfrecord_golden, shards_read_back_key_for_key)
{
    static char names[][16] = {"coco", "coco_masks", "edge",      "info",
                               "voc",  "voc2007",    "voc_merged"};
    return cr_make_param_array(char[16], names, sizeof names / sizeof *names);
}

ParameterizedTest(char (*name)[16], tfrecord_golden, shards_read_back_key_for_key,
                  .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    cJSON *json = load_json(edt_test_path(tfrecord_dir(), "%s.json", *name));
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    const cJSON *shards = member(json, "shards");
    const char *paths[16];
    int64_t n_files = 0, n_records = 0;
    const cJSON *shard;
    cJSON_ArrayForEach(shard, shards)
    {
        paths[n_files] = edt_arena_strdup(
            &arena, edt_test_path(tfrecord_dir(), "%s", text_of(shard, "file")));
        edt_shard_reader *reader = NULL;
        edt_error err = {0};
        cr_assert_eq(edt_shard_reader_open(paths[n_files], NULL, &err, &reader), EDT_OK, "%s",
                     err.text);
        edt_record record;
        const cJSON *want;
        cJSON_ArrayForEach(want, member(shard, "records"))
        {
            cr_assert_eq(edt_shard_reader_next(reader, &err, &record), EDT_OK, "%s", err.text);
            check_record(want, record.payload, &arena);
            ++n_records;
        }
        cr_assert_eq(edt_shard_reader_next(reader, &err, &record), EDT_END);
        edt_shard_reader_close(reader);
        ++n_files;
    }
    edt_record_index *index = NULL;
    cr_assert_eq(edt_record_index_create(paths, n_files, NULL, NULL, &index), EDT_OK);
    cr_assert_eq(edt_record_index_n_records(index), n_records);
    const cJSON *last = cJSON_GetArrayItem(shards, 0);
    const int n_first = cJSON_GetArraySize(member(last, "records"));
    cr_assert_eq(edt_record_index_first(index, 1), n_first);
    for (int64_t i = n_first - 1; i >= 0; --i) {
        edt_span payload;
        cr_assert_eq(edt_record_index_read(index, i, NULL, &payload), EDT_OK);
        const cJSON *want = cJSON_GetArrayItem(member(last, "records"), (int)i);
        cr_assert_str_eq(sha_of(payload), text_of(want, "payload_sha256"));
    }
    edt_record_index_destroy(index);
    edt_arena_deinit(&arena);
    cJSON_Delete(json);
}

typedef struct manifest_row {
    char file[64], records[64], error[32];
    long long offset;
} manifest_row;

static bool next_row(FILE *file, manifest_row *out)
{
    char line[1024];
    if (fgets(line, sizeof line, file) == NULL) {
        return false;
    }
    char *rest = line;
    const char *fields[8];
    for (int i = 0; i < 8; ++i) {
        fields[i] = strsep(&rest, "\t\n");
        cr_assert_not_null(fields[i], "%s", line);
    }
    snprintf(out->file, sizeof out->file, "%s", fields[0]);
    snprintf(out->records, sizeof out->records, "%s", fields[5]);
    snprintf(out->error, sizeof out->error, "%s", fields[6]);
    out->offset = atoll(fields[7]);
    return true;
}

static void check_row(const manifest_row *row)
{
    edt_error err = {0};
    edt_shard_reader *reader = NULL;
    const char *path = edt_test_path(tfrecord_dir(), "reader/%s", row->file);
    cr_assert_eq(edt_shard_reader_open(path, NULL, &err, &reader), EDT_OK, "%s", err.text);
    char lengths[64] = "";
    size_t used = 0;
    edt_record record;
    edt_status status;
    while ((status = edt_shard_reader_next(reader, &err, &record)) == EDT_OK) {
        used += (size_t)snprintf(lengths + used, sizeof lengths - used, "%s%zu",
                                 used > 0 ? "," : "", record.payload.n_bytes);
    }
    uint64_t offset;
    const edt_tfrecord_fault fault = edt_shard_reader_fault(reader, &offset);
    if (strcmp(row->records, "*") != 0) {
        cr_assert_str_eq(lengths, row->records, "%s", row->file);
    }
    cr_assert_str_eq(edt_tfrecord_fault_name(fault), row->error, "%s: %s", row->file, err.text);
    cr_assert_eq(status == EDT_END, fault == EDT_TFRECORD_OK, "%s: %s", row->file, err.text);
    if (row->offset >= 0) {
        cr_assert_eq((long long)offset, row->offset, "%s", row->file);
        cr_assert_not_null(strstr(err.text, row->file));
        // The index sees the same damage, unless it is in a payload.
        edt_record_index *index = NULL;
        const edt_status indexed = edt_record_index_create(&path, 1, NULL, &err, &index);
        cr_assert_eq(indexed == EDT_OK, fault == EDT_TFRECORD_DATA_CRC, "%s", row->file);
        edt_record_index_destroy(index);
    }
    edt_shard_reader_close(reader);
}

Test(tfrecord_golden, reader_meets_the_manifest, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    FILE *file = fopen(edt_test_path(tfrecord_dir(), "reader/MANIFEST.tsv"), "r");
    cr_assert_not_null(file);
    char header[1024];
    cr_assert_not_null(fgets(header, sizeof header, file));
    int n_rows = 0;
    manifest_row row;
    while (next_row(file, &row)) {
        check_row(&row);
        ++n_rows;
    }
    fclose(file);
    cr_assert_eq(n_rows, 17);
}

Test(tfrecord_golden, stray_bytes_end_silently_when_asked, .timeout = 30)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    const edt_shard_reader_options options = {.lenient_tail = true};
    const char *path = edt_test_path(tfrecord_dir(), "reader/truncated_in_header.tfrecord");
    edt_shard_reader *reader = NULL;
    cr_assert_eq(edt_shard_reader_open(path, &options, NULL, &reader), EDT_OK);
    edt_record record;
    int n = 0;
    edt_status status;
    while ((status = edt_shard_reader_next(reader, NULL, &record)) == EDT_OK) {
        ++n;
    }
    cr_assert_eq(n, 2);
    cr_assert_eq(status, EDT_END);
    edt_shard_reader_close(reader);
}
