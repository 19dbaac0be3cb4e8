// Looks into record files: pictures as the network will see them, with boxes and class names.
#include <inttypes.h>
#include <stdio.h>

#include "core/cli.h"
#include "core/log.h"
#include "core/strbuf.h"
#include "dataio/inspect.h"
#include "dataio/labels.h"
#include "model/scaling.h"

static const char comes_later[] = "it comes with a later version";

typedef struct settings {
    edt_inspect_options inspect;
    int64_t n_threads;
    const char *model_name, *hparams;
    edt_cli_texts shards;
} settings;

static edt_status parse(settings *s, int argc, char **argv, edt_arena *arena, edt_error *err,
                        bool *out_exit)
{
    const edt_cli_option options[] = {
        {"file_pattern", EDT_CLI_TEXT, "", "record files: comma-separated globs",
         &s->inspect.file_pattern, NULL, NULL, 0, 0, NULL},
        {"samples", EDT_CLI_INT, "10", "pictures to write", &s->inspect.n_samples, NULL, NULL,
         1, 1e6, NULL},
        {"save_samples_dir", EDT_CLI_TEXT, "tfrecord_samples",
         "where the pictures, index.html and samples.jpg go", &s->inspect.save_dir, NULL, NULL,
         0, 0, NULL},
        {"eval", EDT_CLI_BOOL, "false",
         "the evaluation's view (in order, whole pictures) instead of training's",
         &s->inspect.eval, NULL, NULL, 0, 0, NULL},
        {"model_name", EDT_CLI_TEXT, "efficientdet-d0",
         "chooses the configuration and image size", &s->model_name, NULL, NULL, 0, 0, NULL},
        {"hparams", EDT_CLI_TEXT, "", "k=v,k=v or a .yaml file", &s->hparams, NULL, NULL, 0, 0,
         NULL},
        {"num_threads", EDT_CLI_INT, "0", "loader threads; 0: all processors", &s->n_threads,
         NULL, NULL, 0, 1024, NULL},
        {"verify", EDT_CLI_REFUSED, NULL, comes_later, NULL, NULL, NULL, 0, 0, NULL},
        {"stats", EDT_CLI_REFUSED, NULL, comes_later, NULL, NULL, NULL, 0, 0, NULL},
        {"list", EDT_CLI_REFUSED, NULL, comes_later, NULL, NULL, NULL, 0, 0, NULL},
        {"extract", EDT_CLI_REFUSED, NULL, comes_later, NULL, NULL, NULL, 0, 0, NULL},
        {"repair", EDT_CLI_REFUSED, NULL, comes_later, NULL, NULL, NULL, 0, 0, NULL},
    };
    const edt_cli_program program = {
        .name = "inspect_records",
        .summary = "Looks into TFRecord shards of detection data",
        .description =
            "Writes pictures as the network will see them, after jitter, crop and mirror, "
            "with boxes and class names, a gallery (index.html) and a contact sheet "
            "(samples.jpg). Pictures without boxes are passed over.",
        .examples = "inspect_records --file_pattern='tfrecord/train-*' --samples=20\n"
                    "inspect_records --eval --model_name=efficientdet-lite0 shard.tfrecord",
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

static edt_status run(settings *s, edt_hparams *hp, edt_strbuf *pattern, edt_error *err)
{
    s->inspect.n_threads = (int)s->n_threads;
    EDT_TRY(join_patterns(s, pattern, err));
    EDT_TRY(edt_hparams_init(hp, err));
    EDT_TRY(edt_scaling_apply(hp, s->model_name, err));
    EDT_TRY(edt_hparams_override(hp, s->hparams, err));
    EDT_TRY(edt_labels_resolve(hp, err));
    EDT_TRY(edt_hparams_check(hp, err));
    edt_inspect_result result;
    EDT_TRY(edt_inspect_samples(hp, &s->inspect, err, &result));
    if (result.n_samples < s->inspect.n_samples) {
        EDT_WARN("the data set has only %" PRId64 " samples", result.n_samples);
    }
    printf("%" PRId64 " pictures at %s (%" PRId64 " samples without boxes passed over)\n",
           result.n_saved, s->inspect.save_dir, result.n_without_boxes);
    return EDT_OK;
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
        status = run(&s, &hp, &pattern, &err);
    }
    if (status != EDT_OK) {
        EDT_ERROR("%s", err.text);
    }
    edt_strbuf_deinit(&pattern);
    edt_hparams_deinit(&hp);
    edt_arena_deinit(&arena);
    return edt_status_exit_code(status);
}
