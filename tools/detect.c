// detect: finds objects on pictures; draws them and lists them as COCO results.
#include <stdio.h>
#include <string.h>

#include "core/cli.h"
#include "core/log.h"
#include "core/signal.h"
#include "eval/detect.h"
#include "eval/model_config.h"

typedef struct flags {
    edt_detect_options options;
    const char *model_name, *model_dir, *ckpt_path, *hparams, *device;
    const char *output_image_dir, *output_json, *val_json_file;
    int64_t image_size, num_threads;
} flags;

static edt_status parse(int argc, char **argv, edt_arena *arena, edt_error *err, flags *f,
                        bool *out_exit)
{
    static const char later[] = "not in this version";
    edt_detect_options *o = &f->options;
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
         .help = "directory whose latest checkpoint is used"},
        {.name = "ckpt_path",
         .type = EDT_CLI_TEXT,
         .default_text = "",
         .target = &f->ckpt_path,
         .help =
             "a checkpoint's prefix or directory, a .h5 or a .safetensors file; _ for random "
             "weights"},
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
        {.name = "input_image",
         .type = EDT_CLI_TEXT,
         .default_text = "",
         .target = &o->input_image,
         .help = "JPEG files, globs (with commas) or a directory"},
        {.name = "output_image_dir",
         .type = EDT_CLI_TEXT,
         .default_text = "",
         .target = &f->output_image_dir,
         .help = "pictures with boxes: 0.jpg, 1.jpg, ... in order of names"},
        {.name = "output_json",
         .type = EDT_CLI_TEXT,
         .default_text = "",
         .target = &f->output_json,
         .help = "COCO result file"},
        {.name = "val_json_file",
         .type = EDT_CLI_TEXT,
         .default_text = "",
         .target = &f->val_json_file,
         .help = "COCO ground truth to evaluate against"},
        {.name = "min_score_thresh",
         .type = EDT_CLI_FLOAT,
         .default_text = "0.4",
         .target = &o->min_score_thresh,
         .lo = 0,
         .hi = 1,
         .help = "drawn boxes score above this"},
        {.name = "max_boxes_to_draw",
         .type = EDT_CLI_INT,
         .default_text = "100",
         .target = &o->max_boxes_to_draw,
         .lo = 1,
         .hi = 1000,
         .help = "per picture"},
        {.name = "line_thickness",
         .type = EDT_CLI_FLOAT,
         .default_text = "2",
         .target = &o->line_thickness,
         .lo = 1,
         .hi = 100,
         .help = "pixels"},
        {.name = "nms_method",
         .type = EDT_CLI_TEXT,
         .default_text = "hard",
         .target = &o->nms_method,
         .choices = "hard|gaussian",
         .help = "of the drawn boxes"},
        {.name = "batch_size",
         .type = EDT_CLI_INT,
         .default_text = "1",
         .target = &o->batch_size,
         .lo = 1,
         .hi = 4096,
         .help = "pictures per run of the network"},
        {.name = "num_threads",
         .type = EDT_CLI_INT,
         .default_text = "0",
         .target = &f->num_threads,
         .lo = 0,
         .hi = 4096,
         .help = "0: all cores"},
        {.name = "device",
         .type = EDT_CLI_TEXT,
         .default_text = "cpu",
         .target = &f->device,
         .choices = "cpu|ref|cuda",
         .help = "backend"},
        {.name = "show_timing",
         .type = EDT_CLI_BOOL,
         .default_text = "false",
         .target = &o->show_timing,
         .help = "print milliseconds per picture and stage"},
        {.name = "input_video", .type = EDT_CLI_REFUSED, .help = later},
        {.name = "output_video", .type = EDT_CLI_REFUSED, .help = later},
    };
    const edt_cli_program program = {
        .name = "detect",
        .summary = "finds objects on pictures with a trained EfficientDet",
        .examples = "detect --model_dir=out --input_image=photos/ --output_image_dir=drawn\n"
                    "detect --ckpt_path=model.ckpt-9000 --input_image='val/*.jpg' "
                    "--output_json=dt.json --val_json_file=instances_val2017.json",
        .options = options,
        .n_options = (int)(sizeof options / sizeof options[0]),
        .show_hparams = true,
    };
    return edt_cli_parse(&program, argc, argv, arena, err, out_exit);
}

static const char *or_null(const char *text)
{
    return text[0] != '\0' ? text : NULL;
}

static edt_status run(int argc, char **argv, edt_arena *arena, edt_hparams *hp, edt_error *err)
{
    flags f = {0};
    bool done;
    EDT_TRY(parse(argc, argv, arena, err, &f, &done));
    if (done) {
        return EDT_OK;
    }
    f.options.output_image_dir = or_null(f.output_image_dir);
    f.options.output_json = or_null(f.output_json);
    f.options.val_json_file = or_null(f.val_json_file);
    f.options.n_threads = (int)f.num_threads;
    const char *ckpt = f.ckpt_path[0] != '\0' ? f.ckpt_path : f.model_dir;
    if (ckpt[0] == '\0') {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "give --model_dir or --ckpt_path (or --ckpt_path=_ for random weights)");
    }
    EDT_TRY(edt_interrupt_install(err));
    // A device that is not there is told before any file is looked at.
    edt_backend *backend = NULL;
    EDT_TRY(edt_backend_create(
        f.device, &(edt_backend_options){.n_threads = f.options.n_threads}, err, &backend));
    edt_status status =
        edt_model_config_load(hp, f.model_name, ckpt, f.hparams, arena, err, &f.options.ckpt);
    if (status == EDT_OK && f.image_size > 0) {
        hp->image_size = (edt_hw){f.image_size, f.image_size};
        status = edt_hparams_check(hp, err);
        if (status != EDT_OK) {
            (void)edt_error_add_context(err, status, "--image_size");
        }
    }
    if (status == EDT_OK) {
        status = edt_detect_run(hp, backend, &f.options, err);
    }
    edt_backend_destroy(&backend);
    return status;
}

int main(int argc, char **argv)
{
    edt_error err = {0};
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    edt_hparams hp = {0};
    edt_status status = edt_hparams_init(&hp, &err);
    if (status == EDT_OK) {
        status = run(argc, argv, &arena, &hp, &err);
    }
    if (status != EDT_OK) {
        EDT_ERROR("%s", err.text);
    }
    edt_hparams_deinit(&hp);
    edt_arena_deinit(&arena);
    return edt_status_exit_code(status);
}
