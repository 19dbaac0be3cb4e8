// model_info: sizes of models, tensors of checkpoints, what this build and machine offer.
#include "core/cli.h"
#include "core/log.h"
#include "eval/model_config.h"
#include "model/io/checkpoint.h"
#include "train/model_report.h"

typedef struct flags {
    const char *model_name, *ckpt_path, *hparams;
    int64_t image_size;
    bool all, variables, env, json;
} flags;

static edt_status parse(int argc, char **argv, edt_arena *arena, edt_error *err, flags *f,
                        bool *out_exit)
{
    const edt_cli_option options[] = {
        {.name = "model_name",
         .type = EDT_CLI_TEXT,
         .default_text = "efficientdet-d0",
         .target = &f->model_name,
         .help = "row of the model table"},
        {.name = "hparams",
         .type = EDT_CLI_TEXT,
         .default_text = "",
         .target = &f->hparams,
         .help = "k=v,k2=v2 or a .yaml file"},
        {.name = "image_size",
         .type = EDT_CLI_INT,
         .default_text = "-1",
         .target = &f->image_size,
         .lo = -1,
         .hi = 65536,
         .help = "square network input; -1: the model's"},
        {.name = "all",
         .type = EDT_CLI_BOOL,
         .default_text = "false",
         .target = &f->all,
         .help = "parameters and FLOPs of every model beside the published ones"},
        {.name = "variables",
         .type = EDT_CLI_BOOL,
         .default_text = "false",
         .target = &f->variables,
         .help = "names and shapes of the model's variables"},
        {.name = "ckpt_path",
         .type = EDT_CLI_TEXT,
         .default_text = "",
         .target = &f->ckpt_path,
         .aliases = "model_dir",
         .help = "a checkpoint's prefix or directory, a .h5 or a .safetensors file: lists its "
                 "tensors "
                 "with min, mean, max"},
        {.name = "env",
         .type = EDT_CLI_BOOL,
         .default_text = "false",
         .target = &f->env,
         .help = "processor, libraries and backends"},
        {.name = "json",
         .type = EDT_CLI_BOOL,
         .default_text = "false",
         .target = &f->json,
         .help = "JSON instead of tables"},
    };
    const edt_cli_program program = {
        .name = "model_info",
        .summary = "Tells sizes of models, tensors of checkpoints and what this machine offers",
        .description = "Without --all, --variables, --ckpt_path or --env: parameters and "
                       "FLOPs of one model, part by part. FLOPs are counted as in "
                       "the published tables: multiply-accumulates of convolutions, and "
                       "half of the smaller operations.",
        .examples = "model_info --model_name=efficientdet-lite0\n"
                    "model_info --all --json\n"
                    "model_info --ckpt_path=model_dir\n"
                    "model_info --env",
        .options = options,
        .n_options = (int)(sizeof options / sizeof options[0]),
        .show_hparams = true,
    };
    return edt_cli_parse(&program, argc, argv, arena, err, out_exit);
}

static edt_status run(const flags *f, edt_hparams *hp, edt_arena *arena, edt_error *err)
{
    const char *prefix;
    if (f->all + f->variables + f->env + (f->ckpt_path[0] != '\0') > 1) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "give one of --all, --variables, --ckpt_path and --env at a time");
    }
    if (f->env) {
        return edt_report_environment(f->json, err);
    }
    if (f->all) {
        return edt_report_all_models(f->json, err);
    }
    if (f->ckpt_path[0] != '\0') {
        EDT_TRY(edt_checkpoint_resolve(f->ckpt_path, arena, err, &prefix));
        return edt_report_checkpoint(prefix, f->json, err);
    }
    EDT_TRY(edt_hparams_init(hp, err));
    EDT_TRY(edt_model_config_load(hp, f->model_name, NULL, f->hparams, arena, err, &prefix));
    if (f->image_size > 0) {
        hp->image_size = (edt_hw){f->image_size, f->image_size};
        EDT_TRY(edt_hparams_check(hp, err));
    }
    return f->variables ? edt_report_variables(hp, f->json, err)
                        : edt_report_model(hp, f->json, err);
}

int main(int argc, char **argv)
{
    flags f = {.all = false};
    edt_error err = {0};
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    edt_hparams hp = {0};
    bool leave = false;
    edt_status status = parse(argc, argv, &arena, &err, &f, &leave);
    if (status == EDT_OK && !leave) {
        status = run(&f, &hp, &arena, &err);
    }
    if (status != EDT_OK) {
        EDT_ERROR("%s", err.text);
    }
    edt_hparams_deinit(&hp);
    edt_arena_deinit(&arena);
    return edt_status_exit_code(status);
}
