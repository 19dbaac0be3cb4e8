// benchmark: measures network, training step, loader, decoding or the whole way to boxes.
#include <string.h>

#include "core/cli.h"
#include "core/log.h"
#include "core/signal.h"
#include "eval/model_config.h"
#include "train/benchmark.h"

typedef struct flags {
    edt_bench_options bench;
    const char *model_name, *ckpt_path, *hparams;
    int64_t image_size, n_threads;
} flags;

static edt_status parse(int argc, char **argv, edt_arena *arena, edt_error *err, flags *f,
                        bool *out_exit)
{
    edt_bench_options *o = &f->bench;
    const edt_cli_option options[] = {
        {.name = "what",
         .type = EDT_CLI_TEXT,
         .default_text = "network",
         .target = &o->what,
         .choices = "network|train|loader|decode|end_to_end|eval",
         .help = "what to measure"},
        {.name = "model_name",
         .type = EDT_CLI_TEXT,
         .default_text = "",
         .target = &f->model_name,
         .help = "row of the model table; '' takes the checkpoint's, else efficientdet-d0"},
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
        {.name = "batch_size",
         .type = EDT_CLI_INT,
         .default_text = "0",
         .target = &o->batch_size,
         .lo = 0,
         .hi = 4096,
         .help = "0: 1 picture, 2 for train, 16 for loader"},
        {.name = "num_threads",
         .type = EDT_CLI_INT,
         .default_text = "0",
         .target = &f->n_threads,
         .lo = 0,
         .hi = 256,
         .help = "0: all cores"},
        {.name = "device",
         .type = EDT_CLI_TEXT,
         .default_text = "cpu",
         .target = &o->device,
         .choices = "cpu|ref|cuda",
         .help = "backend"},
        {.name = "precision",
         .type = EDT_CLI_TEXT,
         .default_text = "f32",
         .target = &o->precision,
         .choices = "f32|tf32|bf16|f16",
         .help = "of activations; tf32, bf16 and f16 on devices that have them"},
        {.name = "bm_runs",
         .type = EDT_CLI_INT,
         .default_text = "10",
         .target = &o->runs,
         .lo = 1,
         .hi = 1000000,
         .help = "measured runs; passes of loader and decode"},
        {.name = "warmup",
         .type = EDT_CLI_INT,
         .default_text = "3",
         .target = &o->warmup,
         .lo = 0,
         .hi = 1000000,
         .help = "runs before them"},
        {.name = "seconds",
         .type = EDT_CLI_FLOAT,
         .default_text = "0.5",
         .target = &o->seconds,
         .lo = 0.001,
         .hi = 3600,
         .help = "length of one pass of loader and decode"},
        {.name = "file_pattern",
         .type = EDT_CLI_TEXT,
         .default_text = "",
         .target = &o->file_pattern,
         .help = "shards for loader, decode and end_to_end"},
        {.name = "input_image",
         .type = EDT_CLI_TEXT,
         .default_text = "",
         .target = &o->input_image,
         .help = "for end_to_end: JPEG files, globs (with commas) or a directory"},
        {.name = "ckpt_path",
         .type = EDT_CLI_TEXT,
         .default_text = "_",
         .target = &f->ckpt_path,
         .aliases = "model_dir",
         .help =
             "a checkpoint's prefix or directory, a .h5 or a .safetensors file; _ for random "
             "weights"},
        {.name = "json",
         .type = EDT_CLI_BOOL,
         .default_text = "false",
         .target = &o->json,
         .help = "one JSON line per result"},
        {.name = "per_op",
         .type = EDT_CLI_BOOL,
         .default_text = "false",
         .target = &o->per_op,
         .help = "for network and train: time by op and by shape; with OMP_WAIT_POLICY=passive "
                 "also the share of it that the threads were busy"},
    };
    const edt_cli_program program = {
        .name = "benchmark",
        .summary = "Measures the network, training, the loader or the whole way to boxes",
        .description =
            "network: one batch of noise through the inference network. train: whole steps on "
            "a fabricated batch. Both stand next to the f32 matrix product's rate of the same "
            "backend on the same threads. decode: images per second from shards. loader: the "
            "same "
            "into batches beside decoding alone, with anchor targets, with AutoAugment "
            "(hparam autoaugment_policy, else v0), filling and using a decoded cache in a "
            "temporary directory, on 1, 2, 4, ... threads. end_to_end: JPEG bytes to boxes.",
        .examples = "benchmark --what=train --batch_size=2 --per_op\n"
                    "benchmark --what=network --num_threads=1 --json\n"
                    "benchmark --what=train --device=cuda --precision=bf16 --batch_size=64\n"
                    "benchmark --what=loader --file_pattern='tfrecord/train-*' "
                    "--hparams=autoaugment_policy=v2\n"
                    "benchmark --what=end_to_end --input_image='images/*.jpg'",
        .options = options,
        .n_options = (int)(sizeof options / sizeof options[0]),
        .show_hparams = true,
    };
    return edt_cli_parse(&program, argc, argv, arena, err, out_exit);
}

static edt_status run(flags *f, edt_hparams *hp, edt_arena *arena, edt_error *err)
{
    if (strcmp(f->bench.what, "eval") == 0) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "--what=eval is not measured here: `coco_eval --json` tells the evaluator's "
                 "seconds, `train --mode=eval` the images per second of a whole evaluation");
    }
    EDT_TRY(edt_hparams_init(hp, err));
    EDT_TRY(edt_model_config_load(hp, f->model_name, f->ckpt_path, f->hparams, arena, err,
                                  &f->bench.ckpt));
    if (f->image_size > 0) {
        hp->image_size = (edt_hw){f->image_size, f->image_size};
        EDT_TRY(edt_hparams_check(hp, err));
    }
    f->bench.n_threads = (int)f->n_threads;
    EDT_TRY(edt_interrupt_install(err));
    return edt_bench_run(hp, &f->bench, err);
}

int main(int argc, char **argv)
{
    flags f = {.n_threads = 0};
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
