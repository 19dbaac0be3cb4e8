// Damaged and compressed shards of the reference: --verify reports the stated fault at the
// stated offset, whatever the number of threads, and --repair saves exactly the sound records,
// those behind the damage too.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "dataio/repair.h"
#include "dataio/shard_reader.h"
#include "dataio/verify.h"
#include "tests/support/test_dirs.h"

static edt_verify_report *verify(const char *path, int n_threads)
{
    const edt_verify_options options = {
        .paths = (const char *const[]){path}, .n_files = 1, .n_threads = n_threads};
    edt_verify_report *report = NULL;
    edt_error err = {0};
    cr_assert_eq(edt_verify_run(&options, &err, &report), EDT_OK, "%s", err.text);
    return report;
}

// The first finding about framing: the payloads here are no Examples, which is reported too.
static const edt_verify_finding *framing(const edt_verify_report *report)
{
    for (int64_t i = 0; i < edt_verify_n_findings(report); ++i) {
        const edt_verify_finding *finding = edt_verify_finding_at(report, i);
        if (finding->code != EDT_VERIFY_EXAMPLE) {
            return finding;
        }
    }
    return NULL;
}

static void check_file(const char *name, const char *error, long long offset)
{
    const char *path = edt_test_path(edt_test_golden_dir(), "data/tfrecord/reader/%s", name);
    edt_strbuf text[2] = {{0}, {0}};
    for (int i = 0; i < 2; ++i) {
        edt_verify_report *report = verify(path, 1 + 3 * i);
        const edt_verify_finding *found = framing(report);
        if (strcmp(error, "none") == 0) {
            cr_expect_null(found, "%s: %s", name, found != NULL ? found->words : "");
        } else if (found == NULL) {
            cr_expect_fail("%s: nothing found instead of %s", name, error);
        } else {
            cr_expect_str_eq(edt_verify_code_name(found->code), error, "%s", name);
            cr_expect(offset < 0 || found->offset == (uint64_t)offset, "%s: offset %llu", name,
                      (unsigned long long)found->offset);
        }
        edt_json_writer json = {0};
        edt_text out;
        edt_verify_write_json(report, &json);
        cr_assert_eq(edt_json_writer_finish(&json, NULL, &out), EDT_OK);
        edt_strbuf_append(&text[i], out.data, out.n_bytes);
        edt_json_writer_deinit(&json);
        edt_verify_report_destroy(report);
    }
    cr_expect_str_eq(text[0].text, text[1].text, "%s: the report depends on the threads", name);
    edt_strbuf_deinit(&text[0]);
    edt_strbuf_deinit(&text[1]);
}

Test(verify_golden, each_damage_is_reported_at_its_place, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    const char *manifest =
        edt_test_path(edt_test_golden_dir(), "data/tfrecord/reader/MANIFEST.tsv");
    char *table = NULL;
    size_t n_bytes;
    cr_assert_eq(edt_file_read(manifest, 1 << 20, NULL, &table, &n_bytes), EDT_OK);
    int n_files = 0;
    char *rest = table;
    (void)strsep(&rest, "\n"); // names of the columns
    for (char *line; (line = strsep(&rest, "\n")) != NULL && *line != '\0'; ++n_files) {
        char *columns[8] = {0};
        for (int i = 0; i < 8; ++i) {
            columns[i] = strsep(&line, "\t");
            cr_assert_not_null(columns[i]);
        }
        check_file(columns[0], columns[6], atoll(columns[7]));
    }
    cr_assert_eq(n_files, 17);
    edt_mem_free(table);
}

// The records of plain.tfrecord that survive each damage, by number.
Test(verify_golden, repair_saves_every_sound_record, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    edt_log_set_level(EDT_LOG_ERROR);
    static const size_t lengths[] = {5, 0, 1280, 1, 8};
    static const struct {
        const char *name, *survivors;
    } cases[] = {
        {"plain.tfrecord", "01234"},
        {"empty.tfrecord", ""},
        {"bad_data_crc_first.tfrecord", "1234"},
        {"bad_data_crc_third.tfrecord", "0134"},
        {"bad_length_crc_third.tfrecord", "0134"},
        {"huge_length_third.tfrecord", "0134"},
        {"max_length_valid_crc_third.tfrecord", "0134"},
        {"truncated_in_header.tfrecord", "01"},
        {"truncated_after_header.tfrecord", "01"},
        {"truncated_in_payload.tfrecord", "01"},
        {"truncated_in_data_crc.tfrecord", "01"},
        {"trailing_zeros.tfrecord", "01234"},
        {"gzip.tfrecord", "01234"},
        {"gzip_two_members.tfrecord", "01234"},
        {"gzip_truncated.tfrecord", "0123"},
        {"zlib.tfrecord", "01234"},
    };
    char out[256];
    (void)snprintf(out, sizeof out, "%s/out.tfrecord", edt_test_temp_dir());
    for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
        const char *path =
            edt_test_path(edt_test_golden_dir(), "data/tfrecord/reader/%s", cases[i].name);
        const edt_repair_options options = {
            .paths = (const char *const[]){path}, .n_files = 1, .out = out};
        edt_repair_result result;
        edt_error err = {0};
        cr_assert_eq(edt_repair_run(&options, &err, &result), EDT_OK, "%s", err.text);
        cr_expect_eq((size_t)result.n_kept, strlen(cases[i].survivors), "%s", cases[i].name);
        edt_shard_reader *reader = NULL;
        edt_record record;
        cr_assert_eq(edt_shard_reader_open(out, NULL, &err, &reader), EDT_OK, "%s", err.text);
        for (const char *c = cases[i].survivors; *c != '\0'; ++c) {
            cr_assert_eq(edt_shard_reader_next(reader, &err, &record), EDT_OK, "%s", err.text);
            cr_expect_eq(record.payload.n_bytes, lengths[*c - '0'], "%s", cases[i].name);
        }
        cr_expect_eq(edt_shard_reader_next(reader, &err, &record), EDT_END, "%s",
                     cases[i].name);
        edt_shard_reader_close(reader);
    }
}
