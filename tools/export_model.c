// export_model: a model's weights in the formats of other programs.
#include "core/cli.h"
#include "core/log.h"
#include "eval/model_config.h"
#include "train/export_weights.h"

typedef struct flags {
    const char *model_name, *model_dir, *ckpt_path, *hparams;
    const char *export_ckpt, *safetensors, *format, *ema;
    bool overwrite;
} flags;

static edt_status parse(int argc, char **argv, edt_arena *arena, edt_error *err, flags *f,
                        bool *out_exit)
{
    static const char later[] =
        "this version exports weights only, with --export_ckpt or --safetensors";
    const edt_cli_option options[] = {
        {.name = "model_name",
         .type = EDT_CLI_TEXT,
         .default_text = "",
         .target = &f->model_name,
         .help = "row of the model table; '' takes the checkpoint's own, else efficientdet-d0"},
        {.name = "model_dir",
         .type = EDT_CLI_TEXT,
         .default_text = "",
         .target = &f->model_dir,
         .help = "directory whose latest checkpoint is read"},
        {.name = "ckpt_path",
         .type = EDT_CLI_TEXT,
         .default_text = "",
         .target = &f->ckpt_path,
         .help = "a checkpoint's prefix or directory, a .h5 or a .safetensors file"},
        {.name = "hparams",
         .type = EDT_CLI_TEXT,
         .default_text = "",
         .target = &f->hparams,
         .help = "k=v,k2=v2 or a .yaml file, such as num_classes of a checkpoint that does not "
                 "tell it"},
        {.name = "export_ckpt",
         .type = EDT_CLI_TEXT,
         .default_text = "",
         .target = &f->export_ckpt,
         .help = "where to: the prefix of a TensorFlow checkpoint, or a file"},
        {.name = "format",
         .type = EDT_CLI_TEXT,
         .default_text = "",
         .target = &f->format,
         .choices = "|tf1|tf2|h5|safetensors",
         .help = "tf1: TensorFlow checkpoint by names; tf2: object-based one, as Keras' "
                 "save_weights; h5: Keras HDF5; '': by the ending .h5, .hdf5 or .safetensors, "
                 "else tf1"},
        {.name = "safetensors",
         .type = EDT_CLI_TEXT,
         .default_text = "",
         .target = &f->safetensors,
         .help = "the same as --export_ckpt with --format=safetensors"},
        {.name = "ema",
         .type = EDT_CLI_TEXT,
         .default_text = "auto",
         .target = &f->ema,
         .choices = "auto|keep|fold|raw",
         .help =
             "moving averages of the weights. keep: beside the raw values; fold: in their "
             "place; raw: left out; auto: keep for tf1 and safetensors where there are some, "
             "else fold"},
        {.name = "overwrite",
         .type = EDT_CLI_BOOL,
         .default_text = "false",
         .target = &f->overwrite,
         .help = "replace what is there"},
        {.name = "saved_model_dir", .type = EDT_CLI_REFUSED, .help = later},
        {.name = "frozen_graph", .type = EDT_CLI_REFUSED, .help = later},
        {.name = "tflite", .type = EDT_CLI_REFUSED, .help = later},
        {.name = "onnx", .type = EDT_CLI_REFUSED, .help = later},
        {.name = "tensorrt", .type = EDT_CLI_REFUSED, .help = later},
    };
    const edt_cli_program program = {
        .name = "export_model",
        .summary = "writes a model's weights in the formats of other programs",
        .description =
            "Reads any checkpoint that detect and train read, writes another format and "
            "compares "
            "the result with what was read, bit for bit. Without optimizer state: exported "
            "weights start a new training (train --ckpt), they do not resume one.",
        .examples = "export_model --model_dir=out --export_ckpt=out/model.h5\n"
                    "export_model --model_dir=out --safetensors=model.safetensors\n"
                    "export_model --ckpt_path=efficientdet-d1 --model_name=efficientdet-d1 "
                    "--export_ckpt=keras/d1 --format=tf2\n"
                    "export_model --ckpt_path=d0.h5 --export_ckpt=tf1/model --ema=raw",
        .options = options,
        .n_options = (int)(sizeof options / sizeof options[0]),
        .show_hparams = true,
    };
    return edt_cli_parse(&program, argc, argv, arena, err, out_exit);
}

static edt_status run(const flags *f, edt_hparams *hp, edt_arena *arena, edt_error *err)
{
    const bool names_safetensors = f->safetensors[0] != '\0';
    if (names_safetensors == (f->export_ckpt[0] != '\0') ||
        (names_safetensors && f->format[0] != '\0')) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "give either --export_ckpt (with --format) or --safetensors");
    }
    if ((f->ckpt_path[0] != '\0') == (f->model_dir[0] != '\0')) {
        EDT_FAIL(err, EDT_ERR_USAGE, "give either --model_dir or --ckpt_path");
    }
    edt_export_options options = {
        .output = names_safetensors ? f->safetensors : f->export_ckpt,
        .format = names_safetensors ? "safetensors" : f->format,
        .ema = f->ema,
        .overwrite = f->overwrite,
    };
    EDT_TRY(edt_model_config_load(hp, f->model_name,
                                  f->ckpt_path[0] != '\0' ? f->ckpt_path : f->model_dir,
                                  f->hparams, arena, err, &options.ckpt));
    if (options.ckpt == NULL) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "--ckpt_path=_ are random weights: there is nothing to export");
    }
    return edt_export_weights(hp, &options, err);
}

int main(int argc, char **argv)
{
    flags f = {.overwrite = false};
    edt_error err = {0};
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    edt_hparams hp = {0};
    bool leave = false;
    edt_status status = parse(argc, argv, &arena, &err, &f, &leave);
    if (status == EDT_OK && !leave) {
        status = edt_hparams_init(&hp, &err);
    }
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
