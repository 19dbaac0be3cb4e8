// train: trains and evaluates EfficientDet. Flags of the reference's main.py, with the names of
// tf2/train.py as aliases (spec/train.md 1).
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "backend/backend.h"
#include "core/cli.h"
#include "core/log.h"
#include "core/signal.h"
#include "dataio/labels.h"
#include "dist/comm.h"
#include "dist/launch.h"
#include "eval/model_config.h"
#include "model/io/checkpoint.h"
#include "model/scaling.h"
#include "train/rank_setup.h"
#include "train/trainer.h"

typedef struct flags {
    edt_train_options options;
    const char *mode, *model_name, *hparams, *strategy, *on_bad_sample;
    double num_epochs;
    int64_t batch_size, num_ranks;
    bool has_model_name, has_device, debug, share_device, epoch_in_child;
} flags;

static bool wants_gpus(const flags *f)
{
    return strcmp(f->strategy, "gpus") == 0 || strcmp(f->strategy, "multi-gpus") == 0;
}

static edt_status parse(int argc, char **argv, edt_arena *arena, edt_error *err, flags *f,
                        bool *out_exit)
{
    static const char tpu_reason[] = "TPUs are not supported; leave it out";
    edt_train_options *o = &f->options;
    const edt_cli_option options[] = {
        {.name = "mode",
         .type = EDT_CLI_TEXT,
         .default_text = "train",
         .target = &f->mode,
         .choices = "train|eval|train_and_eval|traineval",
         .help = "train, eval, or train_and_eval (an evaluation after each epoch)"},
        {.name = "model_name",
         .type = EDT_CLI_TEXT,
         .default_text = "efficientdet-d0",
         .target = &f->model_name,
         .given = &f->has_model_name,
         .help = "row of the model table; mode eval: the checkpoint's, unless given"},
        {.name = "model_dir",
         .type = EDT_CLI_TEXT,
         .default_text = "",
         .target = &o->model_dir,
         .help = "checkpoints, metrics, config; a run resumes from what is there"},
        {.name = "train_file_pattern",
         .type = EDT_CLI_TEXT,
         .default_text = "",
         .target = &o->train_file_pattern,
         .help = "shards to train on (globs, with commas)"},
        {.name = "val_file_pattern",
         .type = EDT_CLI_TEXT,
         .default_text = "",
         .target = &o->val_file_pattern,
         .help = "shards to evaluate"},
        {.name = "val_json_file",
         .type = EDT_CLI_TEXT,
         .default_text = "",
         .target = &o->val_json_file,
         .help = "COCO ground truth; without it the shards' own boxes are used"},
        {.name = "testdev_dir",
         .type = EDT_CLI_TEXT,
         .default_text = "",
         .target = &o->testdev_dir,
         .help = "existing directory: evaluation computes no metrics but writes there the "
                 "detections of all pictures for submission"},
        {.name = "hparams",
         .type = EDT_CLI_TEXT,
         .default_text = "",
         .target = &f->hparams,
         .help = "k=v,k2=v2 or a .yaml file; names at the end"},
        {.name = "ckpt",
         .type = EDT_CLI_TEXT,
         .default_text = "",
         .target = &o->ckpt,
         .help = "initialise the whole detector from a checkpoint: a TensorFlow prefix or "
                 "directory, a .h5 or a .safetensors file"},
        {.name = "pretrained_ckpt",
         .type = EDT_CLI_TEXT,
         .default_text = "",
         .target = &o->pretrained_ckpt,
         .help = "the same without its heads, which start fresh"},
        {.name = "ckpt_strict",
         .type = EDT_CLI_BOOL,
         .default_text = "false",
         .target = &o->ckpt_strict,
         .help = "a variable that is missing in the checkpoint, has another shape there or is "
                 "left over is an error (skip_mismatch=false: missing and misfit ones only)"},
        {.name = "backbone_ckpt",
         .type = EDT_CLI_TEXT,
         .default_text = "",
         .target = &o->backbone_ckpt,
         .help = "initialise the backbone from a checkpoint of a detector or of a backbone "
                 "alone, in "
                 "which ckpt_var_scope is its name"},
        {.name = "train_batch_size",
         .type = EDT_CLI_INT,
         .default_text = "64",
         .target = &o->train_batch_size,
         .lo = 1,
         .hi = 65536,
         .help = "global batch size"},
        {.name = "batch_size",
         .type = EDT_CLI_INT,
         .default_text = "0",
         .target = &f->batch_size,
         .lo = 0,
         .hi = 65536,
         .help = "sets train_batch_size and eval_batch_size; 0: leave them"},
        {.name = "eval_batch_size",
         .type = EDT_CLI_INT,
         .default_text = "1",
         .target = &o->eval_batch_size,
         .lo = 1,
         .hi = 65536,
         .help = "pictures per evaluation batch"},
        {.name = "eval_samples",
         .type = EDT_CLI_INT,
         .default_text = "5000",
         .target = &o->eval_samples,
         .lo = 0,
         .hi = 1e15,
         .help = "most pictures to evaluate; 0: all"},
        {.name = "num_examples_per_epoch",
         .type = EDT_CLI_INT,
         .default_text = "120000",
         .target = &o->num_examples_per_epoch,
         .lo = 0,
         .hi = 1e15,
         .help = "examples that make an epoch of the schedule; 0: the records of the shards"},
        {.name = "num_epochs",
         .type = EDT_CLI_FLOAT,
         .default_text = "0",
         .target = &f->num_epochs,
         .lo = 0,
         .hi = 1e9,
         .help = "overrides the hparam num_epochs; 0: leave it"},
        {.name = "save_checkpoints_steps",
         .type = EDT_CLI_INT,
         .default_text = "1000",
         .target = &o->save_checkpoints_steps,
         .lo = 1,
         .hi = 1e15,
         .help = "checkpoint period"},
        {.name = "log_steps",
         .type = EDT_CLI_INT,
         .default_text = "20",
         .target = &o->log_steps,
         .aliases = "iterations_per_loop|steps_per_execution",
         .lo = 1,
         .hi = 1e15,
         .help = "period of metrics.jsonl"},
        {.name = "histogram_steps",
         .type = EDT_CLI_INT,
         .default_text = "0",
         .target = &o->histogram_steps,
         .lo = 0,
         .hi = 1e15,
         .help = "period of TensorBoard's histograms of weights and gradients; 0: none"},
        {.name = "eval_after_train",
         .type = EDT_CLI_BOOL,
         .default_text = "false",
         .target = &o->eval_after_train,
         .help = "mode train: one evaluation at the end"},
        {.name = "min_eval_interval",
         .type = EDT_CLI_FLOAT,
         .default_text = "180",
         .target = &o->min_eval_interval,
         .lo = 0,
         .hi = 1e9,
         .help = "mode eval: least seconds between evaluations"},
        {.name = "eval_timeout",
         .type = EDT_CLI_FLOAT,
         .default_text = "-1",
         .target = &o->eval_timeout,
         .lo = -1,
         .hi = 1e12,
         .help =
             "mode eval: give up after so many seconds without a new checkpoint; 0: evaluate "
             "once, -1: wait for ever"},
        {.name = "eval_device",
         .type = EDT_CLI_TEXT,
         .default_text = "",
         .target = &o->eval_device,
         .choices = "|cpu|ref|cuda",
         .help =
             "mode train_and_eval: evaluate on this backend beside the next epoch (cuda: on "
             "the GPU behind those of training); '': on training's own, which waits"},
        {.name = "eval_threads",
         .type = EDT_CLI_INT,
         .default_text = "0",
         .target = &o->eval_threads,
         .lo = 0,
         .hi = 4096,
         .help =
             "threads of an evaluation beside training; 0: those that --num_threads leaves"},
        {.name = "tf_random_seed",
         .type = EDT_CLI_INT,
         .default_text = "0",
         .target = &o->tf_random_seed,
         .aliases = "seed",
         .lo = 0,
         .hi = 9e15,
         .help = "seed of initial weights, order, augmentation, drop connect"},
        {.name = "on_bad_sample",
         .type = EDT_CLI_TEXT,
         .default_text = "",
         .target = &f->on_bad_sample,
         .choices = "|fail|skip|substitute",
         .help =
             "sets the hparam on_bad_sample: end at a damaged record, leave it out, or take "
             "another; what was met is in quarantine.json of model_dir. '': leave it"},
        {.name = "strategy",
         .type = EDT_CLI_TEXT,
         .default_text = "",
         .target = &f->strategy,
         .help =
             "'' (one device), or gpus: --device=cuda, sync_bn=full, and, without a launcher "
             "(mpirun, srun), one rank for each visible GPU"},
        {.name = "device",
         .type = EDT_CLI_TEXT,
         .default_text = "cpu",
         .target = &o->device,
         .given = &f->has_device,
         .choices = "cpu|ref|cuda",
         .help = "backend"},
        {.name = "deterministic",
         .type = EDT_CLI_BOOL,
         .default_text = "true",
         .target = &o->deterministic,
         .help = "a GPU computes the same bytes in every run; without, its libraries' "
                 "algorithms are chosen by the clock"},
        {.name = "tf32",
         .type = EDT_CLI_BOOL,
         .default_text = "false",
         .target = &o->tf32,
         .help = "32-bit products on a GPU round their factors to TF32"},
        {.name = "num_ranks",
         .type = EDT_CLI_INT,
         .default_text = "0",
         .target = &f->num_ranks,
         .lo = 0,
         .hi = 1024,
         .help =
             "start so many ranks on this machine, which share each batch; 0: one, or one per "
             "GPU with --strategy=gpus"},
        {.name = "share_device",
         .type = EDT_CLI_BOOL,
         .default_text = "false",
         .target = &f->share_device,
         .help = "let several of these ranks use one GPU (tests)"},
        {.name = "num_threads",
         .type = EDT_CLI_INT,
         .default_text = "0",
         .target = &o->num_threads,
         .lo = 0,
         .hi = 4096,
         .help = "threads of backend and loader; 0: all cores"},
        {.name = "overfit_one_batch",
         .type = EDT_CLI_BOOL,
         .default_text = "false",
         .target = &o->overfit_one_batch,
         .help = "learn the first batch by heart, unaugmented, and print its own AP"},
        {.name = "plan",
         .type = EDT_CLI_BOOL,
         .default_text = "false",
         .target = &o->plan,
         .help = "print memory and work, then exit"},
        {.name = "estimate",
         .type = EDT_CLI_BOOL,
         .default_text = "false",
         .target = &o->estimate,
         .help = "tell from a short probe when the run would end, then exit; writes nothing"},
        {.name = "use_fake_data",
         .type = EDT_CLI_BOOL,
         .default_text = "false",
         .target = &o->use_fake_data,
         .help = "train on the first batch again and again, to measure without a loader"},
        {.name = "profile",
         .type = EDT_CLI_BOOL,
         .default_text = "false",
         .target = &o->profile,
         .help = "write Chrome traces of some steps, timeline-<step>.json, into model_dir"},
        {.name = "debug",
         .type = EDT_CLI_BOOL,
         .default_text = "false",
         .target = &f->debug,
         .help = "--log_level=debug; order and numbers are deterministic anyway"},
        {.name = "trace_filename",
         .type = EDT_CLI_TEXT,
         .default_text = "",
         .target = &o->trace_path,
         .help = "write a Chrome trace of the run"},
        {.name = "tpu", .type = EDT_CLI_REFUSED, .help = tpu_reason},
        {.name = "gcp_project", .type = EDT_CLI_REFUSED, .help = tpu_reason},
        {.name = "tpu_zone", .type = EDT_CLI_REFUSED, .help = tpu_reason},
        {.name = "eval_master", .type = EDT_CLI_REFUSED, .help = tpu_reason},
        {.name = "num_cores", .type = EDT_CLI_REFUSED, .default_text = "8", .help = tpu_reason},
        {.name = "use_spatial_partition",
         .type = EDT_CLI_REFUSED,
         .default_text = "false",
         .help = tpu_reason},
        {.name = "num_cores_per_replica",
         .type = EDT_CLI_REFUSED,
         .default_text = "2",
         .help = tpu_reason},
        {.name = "input_partition_dims", .type = EDT_CLI_REFUSED, .help = tpu_reason},
        {.name = "use_xla",
         .type = EDT_CLI_REFUSED,
         .default_text = "false",
         .help = "there is no XLA here: kernels are chosen when the model is built"},
        {.name = "hub_module_url",
         .type = EDT_CLI_REFUSED,
         .help = "TF-Hub modules are not read; use --backbone_ckpt or --ckpt"},
        {.name = "worker",
         .type = EDT_CLI_REFUSED,
         .help = "ranks come from the launcher (mpirun, Slurm), not from a list of hosts"},
        {.name = "worker_index",
         .type = EDT_CLI_REFUSED,
         .default_text = "0",
         .help = "ranks come from the launcher (mpirun, Slurm), not from a list of hosts"},
        {.name = "run_epoch_in_child_process",
         .type = EDT_CLI_BOOL,
         .default_text = "false",
         .target = &f->epoch_in_child,
         .help = "accepted for the reference's command lines, without effect: memory does not "
                 "grow from epoch to epoch"},
        {.name = "eval_name",
         .type = EDT_CLI_TEXT,
         .default_text = "",
         .target = &o->eval_name,
         .help = "TensorBoard shows evaluations under eval_<name> instead of eval"},
    };
    const edt_cli_program program = {
        .name = "train",
        .summary = "trains and evaluates EfficientDet on TFRecord shards",
        .description =
            "Running the same command again resumes exactly where the last checkpoint stands. "
            "Batch size, learning rate and steps are global: of all ranks together.",
        .examples =
            "train --model_name=efficientdet-d0 --model_dir=out "
            "--train_file_pattern='train-*'\n"
            "train --mode=eval --model_dir=out --val_file_pattern='val-*' --eval_timeout=0\n"
            "mpirun -n 8 train --strategy=gpus --model_dir=out --train_file_pattern='train-*'\n"
            "train --num_ranks=2 --model_dir=out --train_file_pattern='train-*'\n"
            "train --model_dir=out --train_file_pattern='train-*' --plan",
        .options = options,
        .n_options = (int)(sizeof options / sizeof options[0]),
        .show_hparams = true,
    };
    return edt_cli_parse(&program, argc, argv, arena, err, out_exit);
}

// Mode eval: what the checkpoint was trained with counts, under the user's --hparams, so that
// nobody has to repeat classes, size and label map. A directory that is still empty is
// evaluated with the flags' settings once there is a checkpoint.
static edt_status configure_from_checkpoint(const flags *f, edt_arena *arena, edt_error *err,
                                            edt_hparams *hp, bool *out_is_stored)
{
    const char *dir = f->options.model_dir;
    const char *prefix;
    *out_is_stored = false;
    if (dir[0] == '\0') {
        return EDT_OK;
    }
    const edt_status status = edt_checkpoint_latest(dir, arena, err, &prefix);
    if (status == EDT_OK) {
        EDT_TRY(edt_model_config_load(hp, f->has_model_name ? f->model_name : NULL, prefix,
                                      f->hparams, arena, err, &prefix));
        *out_is_stored = true;
    }
    return status == EDT_END ? EDT_OK : status;
}

static edt_status configure(const flags *f, edt_arena *arena, edt_error *err, edt_hparams *hp)
{
    bool is_stored = false;
    if (f->options.mode == EDT_TRAIN_MODE_EVAL) {
        EDT_TRY(configure_from_checkpoint(f, arena, err, hp, &is_stored));
    }
    if (!is_stored) {
        EDT_TRY(edt_scaling_apply(hp, f->model_name, err));
        if (wants_gpus(f)) { // the reference's class of batch norm under this strategy
            EDT_TRY(edt_hparams_override(hp, "sync_bn=full", err));
        }
        EDT_TRY_CTX(edt_hparams_override(hp, f->hparams, err), err, "--hparams");
    }
    if (f->num_epochs > 0.0) {
        hp->num_epochs = f->num_epochs;
    }
    if (f->on_bad_sample[0] != '\0') {
        EDT_TRY(edt_hparams_set(hp, "on_bad_sample", f->on_bad_sample, err));
    }
    EDT_TRY(edt_labels_resolve(hp, err));
    return edt_hparams_check(hp, err);
}

// How many ranks this process is to start; 0: none, it is the only one or one of several.
static edt_status count_ranks(const flags *f, edt_error *err, int *out_n)
{
    *out_n = 0;
    if (f->options.plan && f->num_ranks == 0) {
        return EDT_OK; // needs neither ranks nor a device
    }
    if (strcmp(f->options.device, "cuda") == 0) {
        // Before any file is looked at, and once instead of by every rank.
        int n_devices;
        EDT_TRY(edt_backend_cuda_count_devices(err, &n_devices));
        if (f->num_ranks > n_devices && !f->share_device) {
            EDT_FAIL(err, EDT_ERR_USAGE,
                     "--num_ranks=%d but %d GPUs are visible; --share_device lets ranks share "
                     "one",
                     (int)f->num_ranks, n_devices);
        }
        *out_n = wants_gpus(f) && f->num_ranks == 0 ? n_devices : (int)f->num_ranks;
    } else {
        *out_n = (int)f->num_ranks;
    }
    if (edt_launch_is_rank() || *out_n == 1) {
        *out_n = 0;
    }
    return EDT_OK;
}

static edt_status set_device(flags *f, edt_error *err)
{
    if (f->strategy[0] != '\0' && !wants_gpus(f)) {
        EDT_FAIL(err, EDT_ERR_USAGE, "--strategy=%s is not known; use '' or gpus", f->strategy);
    }
    if (wants_gpus(f) && f->has_device && strcmp(f->options.device, "cuda") != 0) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "--strategy=gpus and --device=%s contradict each other; --num_ranks or mpirun "
                 "start several ranks on other devices",
                 f->options.device);
    }
    if (wants_gpus(f)) {
        f->options.device = "cuda";
    }
    if (f->options.tf32 && strcmp(f->options.device, "cuda") != 0) {
        EDT_FAIL(err, EDT_ERR_USAGE, "--tf32 goes with --device=cuda, not with %s",
                 f->options.device);
    }
    return EDT_OK;
}

// `argv` starts other ranks. *out_code: of the ranks, where this process only looked after
// them.
static edt_status run(int argc, char **argv, edt_arena *arena, edt_hparams *hp, edt_error *err,
                      edt_comm **out_comm, int *out_code)
{
    flags f = {0};
    bool done;
    int n_ranks;
    EDT_TRY(parse(argc, argv, arena, err, &f, &done));
    if (done) {
        return EDT_OK;
    }
    f.options.mode = strcmp(f.mode, "train") == 0  ? EDT_TRAIN_MODE_TRAIN
                     : strcmp(f.mode, "eval") == 0 ? EDT_TRAIN_MODE_EVAL
                                                   : EDT_TRAIN_MODE_TRAIN_AND_EVAL;
    if (f.debug) {
        edt_log_set_level(EDT_LOG_DEBUG);
    }
    if (f.batch_size > 0) {
        f.options.train_batch_size = f.options.eval_batch_size = f.batch_size;
    }
    EDT_TRY(set_device(&f, err));
    EDT_TRY(count_ranks(&f, err, &n_ranks));
    EDT_TRY(configure(&f, arena, err, hp));
    if (n_ranks > 0) {
        EDT_TRY(edt_train_check_options(&f.options, err));
        if (f.options.mode != EDT_TRAIN_MODE_EVAL) {
            int64_t n_rows;
            EDT_TRY(edt_rank_setup_batch(n_ranks, f.options.train_batch_size, err, &n_rows));
        }
        const edt_launch_options lo = {.n_ranks = n_ranks, .shares_devices = f.share_device};
        return edt_launch_run(&lo, argv, err, out_code);
    }
    EDT_TRY(edt_interrupt_install(err));
    EDT_TRY(
        edt_comm_open(&(edt_comm_options){.deadline_s = hp->comm_deadline_s}, err, out_comm));
    if (f.num_ranks > 0 && edt_comm_world_size(*out_comm) != (int)f.num_ranks) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "--num_ranks=%d, but the launcher started %d; leave it out", (int)f.num_ranks,
                 edt_comm_world_size(*out_comm));
    }
    if (edt_comm_rank(*out_comm) > 0) {
        edt_log_set_level(EDT_LOG_ERROR);
    }
    if (f.epoch_in_child) {
        EDT_INFO("--run_epoch_in_child_process has no effect: memory does not grow from epoch "
                 "to epoch");
    }
    f.options.comm = *out_comm;
    return edt_train_run(hp, &f.options, err);
}

int main(int argc, char **argv)
{
    edt_error err = {0};
    edt_arena arena;
    edt_comm *comm = NULL;
    int code = 0; // of ranks that were started
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    edt_hparams hp = {0};
    edt_status status = edt_hparams_init(&hp, &err);
    if (status == EDT_OK) {
        status = run(argc, argv, &arena, &hp, &err, &comm, &code);
    }
    // An interrupt that all ranks follow is told once.
    if (status != EDT_OK && !(status == EDT_ERR_CANCELLED && edt_comm_rank(comm) > 0)) {
        EDT_ERROR("%s", err.text);
    }
    edt_comm_destroy(comm); // after the message: the end of an MPI rank may end all others
    edt_hparams_deinit(&hp);
    edt_arena_deinit(&arena);
    return status == EDT_OK ? code : edt_status_exit_code(status);
}
