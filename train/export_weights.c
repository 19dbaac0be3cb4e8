// See export_weights.h.
#include "train/export_weights.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "core/path.h"
#include "core/strbuf.h"
#include "model/efficientdet.h"
#include "model/io/checkpoint.h"
#include "model/io/restore.h"
#include "model/io/weights_save.h"
#include "model/scaling.h"
#include "train/config_file.h"

typedef struct exporter {
    const edt_hparams *hp;
    const edt_export_options *options;
    edt_arena arena;
    edt_backend *backend;
    edt_model *model;
    edt_params *params;
    edt_restore_report report;
    edt_weights_save_options save;
} exporter;

static edt_status no_memory(edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_NOMEM, "export: out of memory");
}

static edt_weights_format choose_format(const edt_export_options *o)
{
    static const struct {
        const char *name, *ending;
        edt_weights_format format;
    } rows[] = {
        {"tf1", ".index", EDT_WEIGHTS_TF_NAMES},
        {"tf2", NULL, EDT_WEIGHTS_TF_OBJECTS},
        {"h5", ".h5", EDT_WEIGHTS_KERAS_H5},
        {"h5", ".hdf5", EDT_WEIGHTS_KERAS_H5},
        {"safetensors", ".safetensors", EDT_WEIGHTS_SAFETENSORS},
    };
    const bool named = o->format != NULL && o->format[0] != '\0';
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
        if (named ? strcmp(rows[i].name, o->format) == 0
                  : rows[i].ending != NULL && edt_path_has_suffix(o->output, rows[i].ending)) {
            return rows[i].format;
        }
    }
    return EDT_WEIGHTS_TF_NAMES;
}

// Before anything is read: is the name one that can be written to?
static edt_status check_output(exporter *e, edt_error *err)
{
    const char *output = e->options->output;
    const size_t n = strlen(output);
    const bool bundle =
        e->save.format == EDT_WEIGHTS_TF_NAMES || e->save.format == EDT_WEIGHTS_TF_OBJECTS;
    if (n == 0 || output[n - 1] == '/' || edt_path_is_dir(output)) {
        EDT_FAIL(err, EDT_ERR_USAGE, "'%s' is a directory; name %s in it, such as %s%s%s",
                 output, bundle ? "the prefix of a checkpoint" : "a file", output,
                 n > 0 && output[n - 1] != '/' ? "/" : "",
                 bundle                                   ? "model"
                 : e->save.format == EDT_WEIGHTS_KERAS_H5 ? "model.h5"
                                                          : "model.safetensors");
    }
    static const char *const ENDINGS[] = {".index", ".meta", ".data-00000-of-00001"};
    for (size_t i = 0; bundle && i < sizeof ENDINGS / sizeof ENDINGS[0]; ++i) {
        if (edt_path_has_suffix(output, ENDINGS[i])) {
            EDT_FAIL(err, EDT_ERR_USAGE,
                     "'%s': a checkpoint is named by its prefix: leave %s out", output,
                     ENDINGS[i]);
        }
    }
    bool exist = false;
    EDT_TRY(edt_weights_exist(output, e->save.format, err, &exist));
    if (exist && !e->options->overwrite) {
        EDT_FAIL(err, EDT_ERR_USAGE, "'%s' is there already; --overwrite replaces it", output);
    }
    if (e->save.format == EDT_WEIGHTS_KERAS_H5 && strcmp(e->options->ema, "keep") == 0) {
        EDT_FAIL(
            err, EDT_ERR_USAGE,
            "--ema=keep: Keras' HDF5 layout holds one value per variable; use fold or raw");
    }
    return EDT_OK;
}

static edt_status load(exporter *e, edt_error *err)
{
    const edt_model_options network = {
        .mode = EDT_MODEL_INFER, .real = EDT_DTYPE_F32, .batch_size = 1};
    EDT_TRY(
        edt_backend_create("cpu", &(edt_backend_options){.n_threads = 1}, err, &e->backend));
    EDT_TRY(edt_model_create(e->hp, &network, err, &e->model));
    EDT_TRY(edt_params_create(e->model->graph, e->backend, err, &e->params));
    EDT_TRY(edt_params_add_arena(e->params, EDT_PARAMS_EMA, err));
    const edt_restore_options restore = {.load_ema = true, .strict = true};
    return edt_restore(e->params, e->options->ckpt, &restore, err, &e->report);
}

static edt_status choose_averages(exporter *e, edt_error *err)
{
    const char *ema = e->options->ema;
    const bool any = e->report.n_averages > 0;
    const bool has_place =
        e->save.format == EDT_WEIGHTS_TF_NAMES || e->save.format == EDT_WEIGHTS_SAFETENSORS;
    if (strcmp(ema, "keep") == 0 && !any) {
        EDT_FAIL(err, EDT_ERR_USAGE, "--ema=keep: %s holds no averages; use fold or raw",
                 e->report.prefix);
    }
    e->save.averages = strcmp(ema, "raw") == 0                          ? EDT_WEIGHTS_RAW
                       : strcmp(ema, "keep") == 0                       ? EDT_WEIGHTS_KEEP
                       : strcmp(ema, "fold") == 0 || !has_place || !any ? EDT_WEIGHTS_FOLD
                                                                        : EDT_WEIGHTS_KEEP;
    return EDT_OK;
}

// The settings in `now` that the table `was` has otherwise, whole top-level blocks of YAML.
static void put_differences(const char *now, const char *was, edt_strbuf *out)
{
    while (*now != '\0') {
        const char *end = now;
        do { // the line, and what is indented under it
            end += strcspn(end, "\n");
            end += *end == '\n';
        } while (*end == ' ' || *end == '-');
        const size_t n = (size_t)(end - now);
        const char *same = was;
        while (same != NULL && strncmp(same, now, n) != 0) {
            same = strchr(same, '\n');
            same = same == NULL ? NULL : same + 1;
        }
        if (same == NULL || same[n] == ' ' || same[n] == '-') {
            edt_strbuf_append(out, now, n);
        }
        now = end;
    }
}

// All settings, and what of them differs from the model's row, as YAML that --hparams=FILE.yaml
// takes; `changes` tells the same in a line.
typedef struct settings {
    const char *all, *hparams, *changes;
} settings;

static edt_status describe(exporter *e, edt_error *err, settings *out)
{
    edt_hparams row = {0};
    edt_strbuf differences = {0};
    const char *now, *was;
    EDT_TRY(edt_hparams_init(&row, err));
    edt_status status = EDT_OK;
    EDT_TRY_GOTO(edt_scaling_apply(&row, e->hp->name, err));
    EDT_TRY_GOTO(edt_hparams_to_yaml(e->hp, &e->arena, err, &now));
    EDT_TRY_GOTO(edt_hparams_to_yaml(&row, &e->arena, err, &was));
    put_differences(now, was, &differences);
    *out = (settings){
        .all = now,
        .hparams = edt_arena_strdup(&e->arena, differences.n_bytes > 0 ? differences.text : ""),
        .changes = edt_config_file_changes(now, was, &e->arena)};
    if (differences.failed || out->hparams == NULL || out->changes == NULL) {
        status = no_memory(err);
    }
fail:
    edt_strbuf_deinit(&differences);
    edt_hparams_deinit(&row);
    return status;
}

static edt_status write_file(exporter *e, edt_error *err)
{
    static const char *const AVERAGES[] = {"kept", "folded", "raw"};
    const char *dir = edt_path_dirname(&e->arena, e->options->output);
    const char *step = edt_arena_printf(&e->arena, "%" PRId64, e->report.global_step);
    settings told = {0};
    if (dir == NULL || step == NULL) {
        return no_memory(err);
    }
    EDT_TRY(describe(e, err, &told));
    const edt_safetensors_meta meta[] = {
        {"format", "tf"}, // the layout of the tensors: kernels are height, width, in, out
        {"model_name", e->hp->name},
        {"averages", AVERAGES[e->save.averages]},
        {"hparams", told.hparams},
        {"edt/config", told.all}, // our programs' settings when they load it
        {"global_step", step},
    };
    e->save.global_step = e->report.global_step;
    e->save.meta = meta;
    e->save.n_meta = (int64_t)(sizeof meta / sizeof meta[0]) - (e->report.global_step < 0);
    EDT_TRY(edt_path_mkdirs(dir, err));
    EDT_TRY(edt_weights_save(e->params, e->options->output, &e->save, err));
    int n = 0;
    EDT_TRY(edt_weights_verify(e->params, e->options->output, &e->save, err, &n));
    static const char *const WORDS[] = {"values and averages",
                                        "averages in the place of the values", "raw values"};
    const bool is_folded = e->save.averages == EDT_WEIGHTS_FOLD;
    const int n_averages = e->report.n_averages;
    (void)printf("wrote %s (%s): %s of %d variables", e->options->output,
                 edt_weights_format_name(e->save.format),
                 is_folded && n_averages == 0 ? "values" : WORDS[e->save.averages],
                 e->params->n_params);
    if (is_folded && n_averages > 0 && n_averages < e->params->n_params) {
        (void)printf(", of which %d have one", n_averages);
    }
    (void)printf("\nverified %d tensors\n", n);
    if (e->save.format != EDT_WEIGHTS_SAFETENSORS && told.changes[0] != '\0') {
        EDT_INFO(
            "%s does not tell settings: what loads it wants --model_name=%s and of these, as "
            "--hparams, what concerns it: %s",
            e->options->output, e->hp->name, told.changes);
    }
    return EDT_OK;
}

// A directory without a state file gets one, so that it can be given as --model_dir; one that
// has it may be a run's, which goes on from the checkpoint named there.
static edt_status enter(exporter *e, edt_error *err)
{
    if (e->save.format != EDT_WEIGHTS_TF_NAMES && e->save.format != EDT_WEIGHTS_TF_OBJECTS) {
        return EDT_OK;
    }
    const char *dir = edt_path_dirname(&e->arena, e->options->output);
    const char *name = edt_path_basename(&e->arena, e->options->output);
    edt_checkpoint_state state;
    if (dir == NULL || name == NULL) {
        return no_memory(err);
    }
    const edt_status status = edt_checkpoint_state_read(dir, &e->arena, err, &state);
    if (status == EDT_END) {
        const edt_checkpoint_state first = {.latest = name, .n = 1, .all = &name};
        return edt_checkpoint_state_write(dir, &first, err);
    }
    return status;
}

static edt_status run(exporter *e, edt_error *err)
{
    e->save.format = choose_format(e->options);
    EDT_TRY(check_output(e, err));
    EDT_TRY(load(e, err));
    edt_restore_report_log(&e->report);
    (void)printf("read %s: %d variables, %d averages", e->report.prefix, e->report.n_loaded,
                 e->report.n_averages);
    if (e->report.global_step >= 0) {
        (void)printf(", step %" PRId64, e->report.global_step);
    }
    (void)printf("\n");
    EDT_TRY(choose_averages(e, err));
    EDT_TRY(write_file(e, err));
    EDT_TRY(enter(e, err));
    if (e->save.format == EDT_WEIGHTS_TF_NAMES && e->save.averages == EDT_WEIGHTS_RAW) {
        EDT_INFO("%s holds no averages: load it with moving_average_decay=0",
                 e->options->output);
    }
    return EDT_OK;
}

edt_status edt_export_weights(const edt_hparams *hp, const edt_export_options *options,
                              edt_error *err)
{
    exporter e = {.hp = hp, .options = options};
    edt_arena_init(&e.arena, EDT_MEM_TEXT, 0);
    const edt_status status = run(&e, err);
    edt_restore_report_deinit(&e.report);
    edt_params_destroy(e.params);
    edt_model_destroy(e.model);
    edt_backend_destroy(&e.backend);
    edt_arena_deinit(&e.arena);
    return status;
}
