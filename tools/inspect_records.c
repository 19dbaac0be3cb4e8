// Looks into record files: pictures as the network will see them, checks, tables, lists, single
// records, and what can be saved of damaged shards.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/cli.h"
#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "core/path.h"
#include "core/signal.h"
#include "core/strbuf.h"
#include "dataio/fill_cache.h"
#include "dataio/inspect.h"
#include "dataio/labels.h"
#include "dataio/record_list.h"
#include "dataio/record_stats.h"
#include "dataio/repair.h"
#include "dataio/verify.h"
#include "model/scaling.h"

enum { FINDINGS_SHOWN = 20 }; // per code

typedef struct settings {
    edt_inspect_options inspect;
    int64_t n_threads, num_classes;
    const char *model_name, *hparams, *json, *extract, *repair;
    bool verify, stats, list, fill_cache, samples_given;
    edt_cli_texts shards;
    edt_path_list files;
} settings;

static edt_status parse(settings *s, int argc, char **argv, edt_arena *arena, edt_error *err,
                        bool *out_exit)
{
    const edt_cli_option options[] = {
        {"file_pattern", EDT_CLI_TEXT, "", "record files: comma-separated globs",
         &s->inspect.file_pattern, NULL, NULL, 0, 0, NULL},
        {"samples", EDT_CLI_INT, "10", "pictures to write; what is done without other orders",
         &s->inspect.n_samples, NULL, NULL, 1, 1e6, &s->samples_given},
        {"save_samples_dir", EDT_CLI_TEXT, "tfrecord_samples",
         "where the pictures, index.html and samples.jpg go, and what is extracted",
         &s->inspect.save_dir, NULL, NULL, 0, 0, NULL},
        {"eval", EDT_CLI_BOOL, "false",
         "the evaluation's view (in order, whole pictures) instead of training's",
         &s->inspect.eval, NULL, NULL, 0, 0, NULL},
        {"model_name", EDT_CLI_TEXT, "efficientdet-d0",
         "chooses the configuration and image size", &s->model_name, NULL, NULL, 0, 0, NULL},
        {"hparams", EDT_CLI_TEXT, "", "k=v,k=v or a .yaml file", &s->hparams, NULL, NULL, 0, 0,
         NULL},
        {"verify", EDT_CLI_BOOL, "false",
         "check framing, CRCs, pictures, boxes, labels, ids and duplicates; exit code 1 when "
         "something is defective",
         &s->verify, NULL, NULL, 0, 0, NULL},
        {"num_classes", EDT_CLI_INT, "0", "with --verify: labels above are defects; 0: any",
         &s->num_classes, NULL, NULL, 0, 1e9, NULL},
        {"stats", EDT_CLI_BOOL, "false",
         "tables of classes, sizes and shapes of boxes and pictures, boxes per picture",
         &s->stats, NULL, NULL, 0, 0, NULL},
        {"list", EDT_CLI_BOOL, "false", "one tab-separated line per record", &s->list, NULL,
         NULL, 0, 0, NULL},
        {"extract", EDT_CLI_TEXT, "",
         "image id, or file name: writes this record's picture, its annotations as JSON, the "
         "picture with boxes and the masks into --save_samples_dir",
         &s->extract, NULL, NULL, 0, 0, NULL},
        {"repair", EDT_CLI_TEXT, "",
         "new shard (of several: directory) for all records whose CRCs are right, also those "
         "behind the damage",
         &s->repair, NULL, NULL, 0, 0, NULL},
        {"fill_cache", EDT_CLI_BOOL, "false",
         "decode all pictures into the cache that --hparams=decoded_cache=DIR names, for "
         "training on the same shards; what is there stays, so that it may be interrupted",
         &s->fill_cache, NULL, NULL, 0, 0, NULL},
        {"json", EDT_CLI_TEXT, "",
         "with --verify or --stats: also write it as JSON; - is stdout", &s->json, NULL, NULL,
         0, 0, NULL},
        {"num_threads", EDT_CLI_INT, "0", "threads; 0: all processors", &s->n_threads, NULL,
         NULL, 0, 1024, NULL},
    };
    const edt_cli_program program = {
        .name = "inspect_records",
        .summary = "Looks into TFRecord shards of detection data",
        .description =
            "Writes pictures as the network will see them, after jitter, crop and mirror, "
            "with boxes and class names, a gallery (index.html) and a contact sheet "
            "(samples.jpg); pictures without boxes are passed over. Or checks the shards, "
            "counts what is in them, lists or extracts records, saves what is good of damaged "
            "ones. Shards may come from anywhere, plain or compressed by gzip, zlib or zstd: "
            "the content tells, not the name.",
        .examples = "inspect_records --file_pattern='tfrecord/train-*' --samples=20\n"
                    "inspect_records --verify --num_classes=90 tfrecord/val-*\n"
                    "inspect_records --stats --json=stats.json tfrecord/train-*\n"
                    "inspect_records --extract=397133 --save_samples_dir=out tfrecord/val-*\n"
                    "inspect_records --repair=good.tfrecord damaged.tfrecord\n"
                    "inspect_records --fill_cache --hparams=decoded_cache=/fast/coco "
                    "tfrecord/train-*",
        .options = options,
        .n_options = (int)(sizeof options / sizeof options[0]),
        .arguments = "[SHARD...]",
        .argument_target = &s->shards,
        .max_arguments = 1 << 20,
        .show_hparams = true,
    };
    return edt_cli_parse(&program, argc, argv, arena, err, out_exit);
}

// Shards named one by one join the pattern.
static edt_status join_patterns(settings *s, edt_strbuf *buf, edt_error *err)
{
    edt_strbuf_puts(buf, s->inspect.file_pattern);
    for (int i = 0; i < s->shards.n; ++i) {
        edt_strbuf_puts(buf, buf->n_bytes > 0 ? "," : "");
        edt_strbuf_puts(buf, s->shards.v[i]);
    }
    if (buf->failed) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the file patterns");
    }
    if (buf->n_bytes == 0) {
        EDT_FAIL(err, EDT_ERR_USAGE, "no record files: give --file_pattern=GLOB or shards");
    }
    s->inspect.file_pattern = buf->text;
    return EDT_OK;
}

static edt_status check_orders(const settings *s, edt_error *err)
{
    const int n_alone = (s->list ? 1 : 0) + (s->extract[0] != '\0') + (s->repair[0] != '\0') +
                        (s->fill_cache ? 1 : 0);
    const int n_reports = (s->verify ? 1 : 0) + (s->stats ? 1 : 0);
    if (n_alone > 1 || (n_alone == 1 && n_reports > 0)) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "--list, --extract, --repair and --fill_cache go alone; --verify and --stats "
                 "go together");
    }
    if (s->json[0] != '\0' && n_reports != 1) {
        EDT_FAIL(err, EDT_ERR_USAGE, "--json=%s: give it with either --verify or --stats",
                 s->json);
    }
    if (s->num_classes > 0 && !s->verify) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "--num_classes=%" PRId64 " is for --verify; the pictures take "
                 "--hparams=num_classes=N",
                 s->num_classes);
    }
    return EDT_OK;
}

// JSON to a file or to stdout, where it replaces the text.
static edt_status put_json(const settings *s, edt_json_writer *json, edt_error *err)
{
    edt_text text;
    EDT_TRY(edt_json_writer_finish(json, err, &text));
    if (strcmp(s->json, "-") != 0) {
        return edt_file_write(s->json, text.data, text.n_bytes, err);
    }
    (void)fwrite(text.data, 1, text.n_bytes, stdout);
    (void)putchar('\n');
    return EDT_OK;
}

static edt_status put_text(const settings *s, const edt_strbuf *text, edt_error *err)
{
    if (text->failed) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the report");
    }
    if (strcmp(s->json, "-") != 0) {
        (void)fwrite(text->text, 1, text->n_bytes, stdout);
    }
    return EDT_OK;
}

static edt_status verify(const settings *s, edt_error *err)
{
    const edt_verify_options options = {.paths = s->files.path,
                                        .n_files = s->files.n,
                                        .n_threads = (int)s->n_threads,
                                        .num_classes = s->num_classes,
                                        .show_progress = true};
    edt_verify_report *report = NULL;
    EDT_TRY(edt_verify_run(&options, err, &report));
    const edt_verify_totals totals = edt_verify_get_totals(report);
    edt_strbuf text = {0};
    edt_json_writer json = {.indent = 1};
    edt_verify_write_text(report, FINDINGS_SHOWN, &text);
    edt_status status = put_text(s, &text, err);
    if (status == EDT_OK && s->json[0] != '\0') {
        edt_verify_write_json(report, &json);
        status = put_json(s, &json, err);
    }
    edt_strbuf_deinit(&text);
    edt_json_writer_deinit(&json);
    edt_verify_report_destroy(report);
    if (status == EDT_OK && totals.n_defects > 0) {
        return edt_error_set(err, EDT_ERR_INVALID,
                             "%" PRId64 " defects in %" PRId64 " records of %" PRId64 " files",
                             totals.n_defects, totals.n_records, totals.n_files);
    }
    return status;
}

static edt_status stats(const settings *s, const edt_hparams *hp, edt_error *err)
{
    const edt_stats_options options = {.paths = s->files.path,
                                       .n_files = s->files.n,
                                       .n_threads = (int)s->n_threads,
                                       .labels = &hp->label_map,
                                       .show_progress = true};
    edt_stats_report *report = NULL;
    EDT_TRY(edt_stats_run(&options, err, &report));
    edt_strbuf text = {0};
    edt_json_writer json = {.indent = 1};
    edt_stats_write_text(edt_stats_get(report), &text);
    edt_status status = put_text(s, &text, err);
    if (status == EDT_OK && s->json[0] != '\0') {
        edt_stats_write_json(edt_stats_get(report), &json);
        status = put_json(s, &json, err);
    }
    edt_strbuf_deinit(&text);
    edt_json_writer_deinit(&json);
    edt_stats_report_destroy(report);
    return status;
}

static edt_status repair(const settings *s, edt_error *err)
{
    const edt_repair_options options = {.paths = s->files.path,
                                        .n_files = s->files.n,
                                        .out = s->repair,
                                        .n_threads = (int)s->n_threads,
                                        .show_progress = true};
    edt_repair_result result;
    EDT_TRY(edt_repair_run(&options, err, &result));
    printf("%" PRId64 " records saved to %s; lost at %" PRId64 " places of %" PRId64
           " damaged files (of %" PRId64 "), %" PRIu64 " bytes\n",
           result.n_kept, s->repair, result.n_bad, result.n_damaged_files, result.n_files,
           result.lost_bytes);
    return EDT_OK;
}

static edt_status list_or_extract(const settings *s, const edt_hparams *hp, edt_error *err)
{
    const edt_list_options options = {.paths = s->files.path,
                                      .n_files = s->files.n,
                                      .n_threads = (int)s->n_threads,
                                      .labels = &hp->label_map};
    if (s->list) {
        int64_t n_bad = 0;
        EDT_TRY(edt_record_list(&options, stdout, err, &n_bad));
        if (n_bad > 0) {
            EDT_FAIL(err, EDT_ERR_INVALID,
                     "%" PRId64 " places could not be read: --verify tells more", n_bad);
        }
        return EDT_OK;
    }
    edt_extract_result result;
    EDT_TRY(edt_record_extract(&options, s->extract, s->inspect.save_dir, err, &result));
    printf("record %" PRId64 " of %s with %" PRId64 " boxes: %s.*\n", result.i_record,
           result.path, result.n_boxes, result.stem);
    return EDT_OK;
}

static edt_status fill_cache(const settings *s, const edt_hparams *hp, edt_error *err)
{
    const char *path = hp->decoded_cache;
    if (path == NULL || path[0] == '\0' || strcmp(path, "off") == 0) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "--fill_cache: name the directory, --hparams=decoded_cache=DIR");
    }
    const edt_fill_options options = {.paths = s->files.path,
                                      .n_files = s->files.n,
                                      .n_threads = (int)s->n_threads,
                                      .cache_path = path,
                                      .max_bytes = hp->decoded_cache_bytes,
                                      .zstd_level = (int)hp->decoded_cache_zstd,
                                      .exif_rotate = hp->exif_rotate,
                                      .show_progress = true};
    edt_fill_result r;
    EDT_TRY(edt_fill_cache(&options, err, &r));
    printf("%" PRId64 " pictures stored in %s in %.1f s, %" PRId64 " were there; %" PRId64
           " of %" PRId64 " in %.3g GB%s\n",
           r.n_stored, path, r.seconds, r.n_there, r.n_entries, r.n_records,
           (double)r.n_bytes / 1e9, r.is_full ? ", its limit" : "");
    if (r.n_bad > 0) {
        EDT_FAIL(err, EDT_ERR_INVALID,
                 "%" PRId64 " of %" PRId64 " records were left out: --verify tells more",
                 r.n_bad, r.n_records);
    }
    return EDT_OK;
}

static edt_status samples(settings *s, const edt_hparams *hp, edt_error *err)
{
    edt_inspect_result result;
    s->inspect.n_threads = (int)s->n_threads;
    s->inspect.model_name = s->model_name;
    EDT_TRY(edt_inspect_samples(hp, &s->inspect, err, &result));
    if (result.n_samples < s->inspect.n_samples) {
        EDT_WARN("the data set has only %" PRId64 " samples", result.n_samples);
    }
    printf("%" PRId64 " pictures at %s (%" PRId64 " samples without boxes passed over)\n",
           result.n_saved, s->inspect.save_dir, result.n_without_boxes);
    return EDT_OK;
}

static edt_status run(settings *s, edt_hparams *hp, edt_strbuf *pattern, edt_arena *arena,
                      edt_error *err)
{
    EDT_TRY(join_patterns(s, pattern, err));
    EDT_TRY(check_orders(s, err));
    EDT_TRY(edt_hparams_init(hp, err));
    EDT_TRY(edt_scaling_apply(hp, s->model_name, err));
    EDT_TRY(edt_hparams_override(hp, s->hparams, err));
    EDT_TRY(edt_labels_resolve(hp, err));
    EDT_TRY(edt_hparams_check(hp, err));
    EDT_TRY(edt_interrupt_install(err));
    EDT_TRY(edt_path_glob(s->inspect.file_pattern, arena, err, &s->files));
    if (s->repair[0] != '\0') {
        return repair(s, err);
    }
    if (s->fill_cache) {
        return fill_cache(s, hp, err);
    }
    if (s->list || s->extract[0] != '\0') {
        return list_or_extract(s, hp, err);
    }
    if (s->stats) {
        EDT_TRY(stats(s, hp, err));
    }
    if (s->samples_given || !(s->stats || s->verify)) {
        EDT_TRY(samples(s, hp, err));
    }
    // Last, as its defects are the program's exit code.
    return s->verify ? verify(s, err) : EDT_OK;
}

int main(int argc, char **argv)
{
    settings s = {.n_threads = 0};
    edt_error err = {0};
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    edt_hparams hp = {0};
    edt_strbuf pattern = {0};
    bool leave = false;
    edt_status status = parse(&s, argc, argv, &arena, &err, &leave);
    if (status == EDT_OK && !leave) {
        status = run(&s, &hp, &pattern, &arena, &err);
    }
    if (status != EDT_OK) {
        EDT_ERROR("%s", err.text);
    }
    edt_strbuf_deinit(&pattern);
    edt_hparams_deinit(&hp);
    edt_arena_deinit(&arena);
    return edt_status_exit_code(status);
}
