// The training program: modes train, eval and train_and_eval over one model directory
// (spec/train.md 1, 2; design/cli.md). Re-running the same command resumes exactly.
#ifndef EDT_TRAIN_TRAINER_H
#define EDT_TRAIN_TRAINER_H

#include "core/hparams.h"
#include "dist/comm.h"

typedef enum edt_train_mode {
    EDT_TRAIN_MODE_TRAIN,
    EDT_TRAIN_MODE_EVAL,
    EDT_TRAIN_MODE_TRAIN_AND_EVAL,
} edt_train_mode;

// Flags of the reference under their own names, then ours. Texts are borrowed; NULL or "" is
// none.
typedef struct edt_train_options {
    edt_train_mode mode;
    const char *model_dir;
    const char *train_file_pattern, *val_file_pattern, *val_json_file;
    const char *testdev_dir; // an existing directory: see edt_evaluation_options
    const char *ckpt, *pretrained_ckpt, *backbone_ckpt; // see edt_train_init
    bool ckpt_strict;
    int64_t train_batch_size, eval_batch_size;
    int64_t eval_samples;
    int64_t save_checkpoints_steps;
    int64_t log_steps; // iterations_per_loop: period of metrics.jsonl and of plain log lines
    int64_t histogram_steps;        // of weights and gradients in TensorBoard; 0: none
    const char *eval_name;          // evaluations in eval_<name>/
    int64_t num_examples_per_epoch; // 0: records of the training set
    int64_t tf_random_seed;
    bool eval_after_train;
    double min_eval_interval;
    double eval_timeout; // seconds without a new checkpoint; < 0: for ever
    // Mode train_and_eval: evaluations beside training on this backend (train/eval_beside.h);
    // NULL or
    // "": on training's own, which waits.
    const char *eval_device;
    int64_t eval_threads; // of that; 0: what num_threads leaves

    const char *device;  // "cpu", "ref", "cuda"
    int64_t num_threads; // 0: all cores
    bool deterministic;  // a device computes the same bytes in every run
    bool tf32;           // f32 products of a device round their factors to TF32
    bool overfit_one_batch;
    bool plan;
    bool use_fake_data;     // the first batch, augmented as it is, for all steps
    bool estimate;          // time to finish from a short probe; writes nothing
    bool profile;           // timelines in model_dir (train/profile.h)
    const char *trace_path; // Chrome trace of the run (of rank 0)

    // Host communicator of the ranks that train together, borrowed; NULL: one rank. Batch size,
    // learning rate and steps are those of all ranks together. Rank 0 writes every file.
    edt_comm *comm;
} edt_train_options;

// EDT_ERR_USAGE where a flag that the mode needs is missing. edt_train_run checks it, too.
edt_status edt_train_check_options(const edt_train_options *options, edt_error *err);

// `hp` is complete (model row, YAML, flags) and checked; the trainer does not change it. A
// setting that training does not act on is EDT_ERR_UNSUPPORTED. An interrupt (core/signal.h)
// ends any mode with EDT_ERR_CANCELLED, in training after a checkpoint of the step reached, on
// all ranks at the same step. Where this rank fails, the others are told (edt_comm_abort).
edt_status edt_train_run(const edt_hparams *hp, const edt_train_options *options,
                         edt_error *err);

#endif
